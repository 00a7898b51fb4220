//! Checks of the source text that the compiler does not make.
//!
//! `cargo run -q -p lints` checks the repository that it was built from, `-- PATH` another copy of it.
//! It prints each violation with its file and exits with 1 if there is one. `-- --arrows` also prints
//! every import as `file -> file: names`.

mod graph;
mod imports;
mod modules;
mod pages;
mod rooms;
mod syncs;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut arrows = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--arrows" => arrows = true,
            path => root = PathBuf::from(path),
        }
    }
    match check(&root, arrows) {
        Ok(violations) if violations.is_empty() => ExitCode::SUCCESS,
        Ok(violations) => {
            for violation in &violations {
                eprintln!("{violation}");
            }
            eprintln!("lints: {} violations", violations.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("lints: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every violation in the repository at `root`.
fn check(root: &Path, print_arrows: bool) -> Result<Vec<String>, String> {
    let sources = modules::read(root)?;
    let arrows = imports::arrows(&sources);
    if print_arrows {
        for arrow in &arrows {
            println!("{arrow}");
        }
    }
    let mut violations = rooms::violations(root, &sources, &arrows)?;
    violations.extend(syncs::violations(&sources));
    violations.extend(pages::violations(root)?);
    let files = sources.files.len();
    println!(
        "lints: {files} files, {} imports between files",
        arrows.len()
    );
    Ok(violations)
}
