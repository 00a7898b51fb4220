//! Which file imports which: an arrow for each pair, with the names.
//!
//! An arrow goes to the file that declares a name and, where the name came through a re-export of
//! another module, also to the file of that module: who asks a `mod.rs` depends on it.

use crate::modules::{LIBRARY, Module, Sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The names that one file takes from another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arrow {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) names: BTreeSet<String>,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        write!(f, "{} -> {}: {}", self.from, self.to, names.join(", "))
    }
}

/// Every arrow, sorted.
pub(crate) fn arrows(sources: &Sources) -> Vec<Arrow> {
    let mut found: BTreeMap<(usize, usize), BTreeSet<String>> = BTreeMap::new();
    for (module, content) in sources.modules.iter().enumerate() {
        let from = content.file;
        let mut note = |hit: Hit| {
            if hit.file != from {
                found.entry((from, hit.file)).or_default().insert(hit.name);
            }
        };
        for import in &content.uses {
            // A path that ends at a module with a page of its own is only a step to the names in it.
            let (target, hits) = resolve(sources, module, &import.path, 0);
            hits.into_iter().for_each(&mut note);
            if let Target::Module(to) = target
                && (import.name == "*" || !is_page(sources, to))
            {
                let file = sources.modules[to].file;
                let name = import.path.last().cloned().unwrap_or_default();
                note(Hit { file, name });
            }
        }
        for path in &content.paths {
            let (_, hits) = resolve(sources, module, path, 0);
            hits.into_iter().for_each(&mut note);
        }
    }
    found
        .into_iter()
        .map(|((from, to), names)| Arrow {
            from: sources.files[from].path.clone(),
            to: sources.files[to].path.clone(),
            names,
        })
        .collect()
}

/// Whether a module is the `mod.rs` of a folder, or a root.
fn is_page(sources: &Sources, module: usize) -> bool {
    let content = &sources.modules[module];
    let path = &sources.files[content.file].path;
    content.parent.is_none() || path.ends_with("/mod.rs")
}

/// A name that a path takes from a file.
struct Hit {
    file: usize,
    name: String,
}

/// Where a path ends.
enum Target {
    Module(usize),
    Item,
    /// In another crate, a local variable, a generic.
    Unknown,
}

/// Re-exports of re-exports are followed so far.
const MOST_STEPS: usize = 16;

/// Follows `path` from `module`: where it ends, and the names that it takes from which files.
fn resolve(sources: &Sources, module: usize, path: &[String], steps: usize) -> (Target, Vec<Hit>) {
    let mut hits = Vec::new();
    let Some(first) = path.first() else {
        return (Target::Unknown, hits);
    };
    if steps > MOST_STEPS {
        return (Target::Unknown, hits);
    }
    let content: &Module = &sources.modules[module];
    let start = match first.as_str() {
        "crate" => Some((content.root, 1)),
        "self" => Some((module, 1)),
        "super" => content.parent.map(|parent| (parent, 1)),
        name => match content.children.get(name) {
            Some(child) => Some((*child, 1)),
            None if name == LIBRARY && content.root != sources.library => {
                Some((sources.library, 1))
            }
            None => None,
        },
    };
    let (mut current, mut at) = match start {
        Some(start) => start,
        // An imported name: the rest of the path starts where the import ends.
        None => {
            let import = content
                .uses
                .iter()
                .find(|import| import.name == *first && import.path.first() != Some(first));
            let Some(import) = import else {
                return (Target::Unknown, hits);
            };
            match resolve(sources, module, &import.path, steps + 1) {
                (Target::Module(found), _) => (found, 1),
                (target, _) => return (target, hits),
            }
        }
    };
    while let Some(segment) = path.get(at) {
        let content = &sources.modules[current];
        at += 1;
        if segment == "super" {
            let Some(parent) = content.parent else {
                return (Target::Unknown, hits);
            };
            current = parent;
        } else if let Some(child) = content.children.get(segment) {
            current = *child;
        } else if content.items.contains_key(segment) {
            let (file, name) = (content.file, segment.clone());
            hits.push(Hit { file, name });
            return (Target::Item, hits);
        } else {
            let (file, name) = (content.file, segment.clone());
            hits.push(Hit { file, name });
            let (target, more) = through_uses(sources, current, segment, steps);
            hits.extend(more);
            match target {
                Target::Module(found) => current = found,
                target => return (target, hits),
            }
        }
    }
    (Target::Module(current), hits)
}

/// Where a name that `module` imports comes from.
fn through_uses(sources: &Sources, module: usize, name: &str, steps: usize) -> (Target, Vec<Hit>) {
    let uses = &sources.modules[module].uses;
    if let Some(import) = uses.iter().find(|import| import.name == name) {
        return resolve(sources, module, &import.path, steps + 1);
    }
    for import in uses.iter().filter(|import| import.name == "*") {
        if let (Target::Module(from), _) = resolve(sources, module, &import.path, steps + 1)
            && from != module
        {
            let content = &sources.modules[from];
            if content.items.contains_key(name) || content.children.contains_key(name) {
                let path = ["self".to_owned(), name.to_owned()];
                return resolve(sources, from, &path, steps + 1);
            }
        }
    }
    (Target::Unknown, Vec::new())
}
