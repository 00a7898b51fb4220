//! The rooms of `src`: in which order they import each other, and what a folder may hold.

use crate::graph::circles;
use crate::imports::Arrow;
use crate::modules::Sources;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms in reading order. A room imports only rooms before it.
const ROOMS: [&str; 11] = [
    "src/model",
    "src/error.rs",
    "src/fs",
    "src/ledger",
    "src/commit",
    "src/engine",
    "src/store",
    "src/runtime",
    "src/layout",
    // The root composes the public paths; the guide is a page of it.
    "src/lib.rs",
    "src/bin/runtime-store",
];

/// Files that belong to a room without being in its folder.
const ALSO: [(&str, &str); 2] = [
    ("src/guide.rs", "src/lib.rs"),
    ("src/severity.rs", "src/model"),
];

/// Files that may stand in one folder.
const MOST_FILES: usize = 24;

/// Every arrow upwards, circle, type in a `mod.rs` and folder that is too full.
pub(crate) fn violations(
    root: &Path,
    sources: &Sources,
    arrows: &[Arrow],
) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let rooms: BTreeMap<&str, Option<usize>> = (0..sources.files.len())
        .map(|file| (sources.files[file].path.as_str(), room_of(sources, file)))
        .collect();
    for (path, room) in &rooms {
        if room.is_none() {
            found.push(format!("{path}: stands in no room"));
        }
    }
    found.extend(upward(arrows, &rooms));
    found.extend(file_circles(arrows));
    found.extend(folder_circles(arrows));
    found.extend(items_in_pages(sources));
    full_folders(root, Path::new("src"), &mut found)?;
    Ok(found)
}

/// The room of a file. A file outside `src` belongs to the file that declares it.
fn room_of(sources: &Sources, file: usize) -> Option<usize> {
    let path = sources.files[file].path.as_str();
    if !path.starts_with("src/") {
        return sources.files[file]
            .declared_in
            .and_then(|declared_in| room_of(sources, declared_in));
    }
    let path = ALSO
        .iter()
        .find(|(also, _)| *also == path)
        .map_or(path, |(_, room)| room);
    ROOMS
        .iter()
        .position(|room| path == *room || path.starts_with(&format!("{room}/")))
}

fn upward(arrows: &[Arrow], rooms: &BTreeMap<&str, Option<usize>>) -> Vec<String> {
    arrows
        .iter()
        .filter_map(|arrow| {
            let from = rooms.get(arrow.from.as_str()).copied().flatten()?;
            let to = rooms.get(arrow.to.as_str()).copied().flatten()?;
            (to > from).then(|| {
                format!(
                    "upward arrow from {} to {}: {arrow}",
                    ROOMS[from], ROOMS[to]
                )
            })
        })
        .collect()
}

/// Circles between files, with the arrows inside each.
fn file_circles(arrows: &[Arrow]) -> Vec<String> {
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for arrow in arrows {
        edges.entry(&arrow.from).or_default().insert(&arrow.to);
    }
    let mut found = Vec::new();
    for circle in circles(&edges) {
        let mut text = format!("circle of {} files:", circle.len());
        for arrow in arrows {
            if circle.contains(&arrow.from) && circle.contains(&arrow.to) {
                text.push_str(&format!("\n  {arrow}"));
            }
        }
        found.push(text);
    }
    found
}

/// Circles between folders that stand in one folder, with the arrows between them.
fn folder_circles(arrows: &[Arrow]) -> Vec<String> {
    // The folders that hold the two ends of an arrow, below the last one that holds both.
    let ends = |arrow: &Arrow| -> Option<(String, String)> {
        let from: Vec<&str> = arrow.from.split('/').collect();
        let to: Vec<&str> = arrow.to.split('/').collect();
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let both_in_folders = from.len() > common + 1 && to.len() > common + 1;
        both_in_folders.then(|| (from[..=common].join("/"), to[..=common].join("/")))
    };
    let pairs: Vec<Option<(String, String)>> = arrows.iter().map(ends).collect();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in pairs.iter().flatten() {
        edges.entry(from).or_default().insert(to);
    }
    let mut found = Vec::new();
    for circle in circles(&edges) {
        let mut text = format!("circle of folders {}:", circle.join(", "));
        for (arrow, pair) in arrows.iter().zip(&pairs) {
            if let Some((from, to)) = pair
                && circle.contains(from)
                && circle.contains(to)
            {
                text.push_str(&format!("\n  {arrow}"));
            }
        }
        found.push(text);
    }
    found
}

/// A `mod.rs` holds its page and re-exports.
fn items_in_pages(sources: &Sources) -> Vec<String> {
    let mut found = Vec::new();
    for module in &sources.modules {
        let path = &sources.files[module.file].path;
        if path.ends_with("/mod.rs") {
            for (name, keyword) in &module.items {
                found.push(format!("{path}: {keyword} {name} in a mod.rs"));
            }
        }
    }
    found
}

fn full_folders(root: &Path, folder: &Path, found: &mut Vec<String>) -> Result<(), String> {
    let entries = fs::read_dir(root.join(folder))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
        names.push(folder.join(entry.file_name()));
    }
    names.sort();
    let (folders, files): (Vec<_>, Vec<_>) =
        names.iter().partition(|name| root.join(name).is_dir());
    if files.len() > MOST_FILES {
        found.push(format!(
            "{}: {} files in one folder, more than {MOST_FILES}",
            folder.display(),
            files.len()
        ));
    }
    for folder in folders {
        full_folders(root, folder, found)?;
    }
    Ok(())
}
