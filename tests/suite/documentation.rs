//! What the documentation names is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Everything between backticks that has the form `module::a_test_of_ours`.
fn named_tests(page: &str) -> BTreeSet<(String, String)> {
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

#[test]
fn every_test_that_a_page_names_exists() {
    let mut found = 0;
    let mut pages = vec!["src/lib.rs".to_owned()];
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap() {
        let name = entry.unwrap().file_name();
        pages.push(format!("docs/{}", name.to_string_lossy()));
    }
    for page in pages {
        for (module, test) in named_tests(&read(&page)) {
            let suite = read(&format!("tests/suite/{module}.rs"));
            let declaration = format!("fn {test}()");
            assert!(
                suite.contains(&declaration),
                "{page} names {module}::{test}"
            );
            found += 1;
        }
    }
    assert!(
        found > 20,
        "only {found} tests are named: are they looked for?"
    );
}

#[test]
fn every_error_has_advice() {
    let page = read("docs/errors.md");
    let source = read("src/error.rs");
    let declared = source.split_once("pub enum RuntimeError {").unwrap().1;
    let variants: Vec<&str> = declared
        .lines()
        .take_while(|line| *line != "}")
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .map(|line| line.split([' ', '(', ',']).next().unwrap())
        .collect();
    assert!(variants.len() > 15, "{variants:?}");
    for variant in variants {
        let link = format!("| [`{variant}`](crate::RuntimeError::{variant})");
        let listed = format!(", [`{variant}`](crate::RuntimeError::{variant})");
        assert!(page.contains(&link) || page.contains(&listed), "{variant}");
    }
}

#[test]
fn every_example_is_described_where_it_begins() {
    let examples = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap();
    for entry in examples {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().unwrap().to_string_lossy();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//! "), "{name}");
            assert!(
                text.contains(&format!("cargo run --example {name}")),
                "{name} does not say how it is run"
            );
        }
    }
}
