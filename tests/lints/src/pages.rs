//! What the pages name exists, and what a page must describe is described.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every name on a page without its thing, and every thing without its page.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>, String> {
    let mut found = named_tests_exist(root)?;
    found.extend(errors_have_advice(root)?);
    found.extend(examples_are_described(root)?);
    Ok(found)
}

fn read(root: &Path, path: &str) -> Result<String, String> {
    fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))
}

fn files_in(root: &Path, folder: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(root.join(folder)).map_err(|error| format!("{folder}: {error}"))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{folder}: {error}"))?;
    paths.sort();
    Ok(paths)
}

/// Every quoted name of the form `module::a_test_of_ours`.
pub(crate) fn named_tests(page: &str) -> BTreeSet<(String, String)> {
    let is_name = |name: &str| {
        name.chars()
            .all(|character| matches!(character, 'a'..='z' | '0'..='9' | '_'))
    };
    page.split('`')
        .filter_map(|quoted| quoted.split_once("::"))
        .filter(|(module, test)| is_name(module) && is_name(test) && test.matches('_').count() > 2)
        .map(|(module, test)| (module.to_owned(), test.to_owned()))
        .collect()
}

/// The folders with the tests that pages name.
const TESTS: [&str; 2] = ["tests/suite", "tests/postgres/doubt"];

/// Fewer named tests than this on all pages, and the names are probably looked for in the wrong form.
const LEAST_NAMED: usize = 20;

fn named_tests_exist(root: &Path) -> Result<Vec<String>, String> {
    let mut pages = vec!["src/lib.rs".to_owned(), "README.md".to_owned()];
    for path in files_in(root, "docs")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        pages.push(format!("docs/{name}"));
    }
    let (mut found, mut named) = (Vec::new(), 0);
    for page in pages {
        for (module, test) in named_tests(&read(root, &page)?) {
            named += 1;
            let is_there = TESTS.iter().any(|folder| {
                let file = read(root, &format!("{folder}/{module}.rs"));
                file.is_ok_and(|file| file.contains(&format!("fn {test}()")))
            });
            if !is_there {
                found.push(format!("{page}: there is no test {module}::{test}"));
            }
        }
    }
    if named <= LEAST_NAMED {
        found.push(format!("docs: only {named} tests are named"));
    }
    Ok(found)
}

/// The variants of the enum `name` in `source`.
pub(crate) fn variants<'a>(source: &'a str, name: &str) -> Vec<&'a str> {
    let Some((_, declared)) = source.split_once(&format!("pub enum {name} {{")) else {
        return Vec::new();
    };
    declared
        .lines()
        .take_while(|line| *line != "}")
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .filter_map(|line| line.split([' ', '(', ',']).next())
        .collect()
}

fn errors_have_advice(root: &Path) -> Result<Vec<String>, String> {
    let page = read(root, "docs/errors.md")?;
    let source = read(root, "src/error.rs")?;
    let variants = variants(&source, "RuntimeError");
    let mut found = Vec::new();
    if variants.len() <= 15 {
        found.push(format!(
            "src/error.rs: only {} variants were found",
            variants.len()
        ));
    }
    for variant in variants {
        let item = format!("\n- [`{variant}`](crate::RuntimeError::{variant}): ");
        if !page.contains(&item) {
            found.push(format!("docs/errors.md: no advice for {variant}"));
        }
    }
    Ok(found)
}

fn examples_are_described(root: &Path) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for path in files_in(root, "examples")? {
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = read(root, &format!("examples/{name}.rs"))?;
        if !text.starts_with("//! ") {
            found.push(format!("examples/{name}.rs: no page at its beginning"));
        }
        if !text.contains(&format!("cargo run --example {name}")) {
            found.push(format!("examples/{name}.rs: does not say how it is run"));
        }
    }
    Ok(found)
}
