//! Directory trees, in memory.

use crate::world::{Context, Violation};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The content of a directory by relative path: the bytes of each file, `None` for directories.
pub(crate) type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Reads the tree at `root`. A missing directory is empty.
pub(crate) fn read(root: &Path) -> Result<Tree, Violation> {
    let mut tree = Tree::new();
    if root.exists() {
        read_into(root, Path::new(""), &mut tree)?;
    }
    Ok(tree)
}

fn read_into(root: &Path, below: &Path, tree: &mut Tree) -> Result<(), Violation> {
    for entry in fs::read_dir(root.join(below)).or_violation("listing")? {
        let entry = entry.or_violation("listing")?;
        let path = below.join(entry.file_name());
        if entry.file_type().or_violation("looking")?.is_dir() {
            read_into(root, &path, tree)?;
            tree.insert(path, None);
        } else {
            let bytes = fs::read(root.join(&path)).or_violation("reading")?;
            tree.insert(path, Some(bytes));
        }
    }
    Ok(())
}

/// Writes `tree` into the directory at `root`.
pub(crate) fn write(tree: &Tree, root: &Path) -> Result<(), Violation> {
    // A directory comes before its entries.
    for (path, bytes) in tree {
        let path = root.join(path);
        match bytes {
            None => fs::create_dir(&path).or_violation("making a directory")?,
            Some(bytes) => fs::write(&path, bytes).or_violation("writing")?,
        }
    }
    Ok(())
}

/// The part of `tree` below `path`, with paths relative to it.
pub(crate) fn below(tree: &Tree, path: &Path) -> Tree {
    let inner = tree.iter().filter_map(|(at, bytes)| {
        let at = at.strip_prefix(path).ok()?;
        Some((at.to_owned(), bytes.clone()))
    });
    inner.collect()
}

/// The first path at which two trees differ.
pub(crate) fn first_difference(one: &Tree, other: &Tree) -> Option<PathBuf> {
    let mut paths = one.keys().chain(other.keys());
    paths
        .find(|path| one.get(*path) != other.get(*path))
        .cloned()
}

/// Writes a file, and creates its directory.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Violation> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).or_violation("making a directory")?;
    }
    fs::write(path, bytes).or_violation("writing")
}
