//! Malformed directories: an import returns an error or imports the undamaged records. It never panics
//! and never imports wrong data.

use crate::rng::Rng;
use crate::workload::Workload;
use crate::world::{Context, Violation, World, check_rules};
use crate::{disk::Disk, workload::Host, workload::open};
use redb_runtime_store::Store;
use redb_runtime_store::layout::{ExportOptions, ImportOptions, export, import};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The cases that were tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Directories that were malformed.
    pub tried: usize,
    /// Those that a strict import refused.
    pub refused: usize,
    /// Those from which something was salvaged.
    pub salvaged: usize,
}

/// Malforms the export of the workload of `seed` in `count` ways.
///
/// # Errors
///
/// The first directory that is handled wrongly.
pub fn round(seed: u64, count: usize) -> Result<Counts, Violation> {
    let mut rng = Rng::new(seed);
    let disk = Disk::default();
    let store = open(&disk).or_violation("creating a store")?;
    let mut host = Host::new(disk, store, None);
    host.run(&Workload::any(15, &mut rng)?.ops);
    let directory = tempfile::tempdir().or_violation("making a directory")?;
    let sound = directory.path().join("sound");
    export(host.store(), &sound, ExportOptions::new()).or_violation("exporting")?;
    let mut files = Vec::new();
    find_files(&sound, &mut files)?;
    let mut counts = Counts::default();
    for number in 0..count {
        let root = directory.path().join(format!("malformed {number}"));
        for file in &files {
            let to = root.join(file.strip_prefix(&sound).or_violation("a path")?);
            fs::create_dir_all(to.parent().unwrap_or(&root)).or_violation("making a directory")?;
            fs::copy(file, &to).or_violation("copying")?;
        }
        let mut done = String::new();
        for _ in 0..rng.between(1, 3) {
            let file = rng
                .pick(&files)
                .strip_prefix(&sound)
                .or_violation("a path")?;
            let how = malform(&root.join(file), &mut rng).or_violation("malforming")?;
            done.push_str(&format!("{how} {}; ", file.display()));
        }
        counts.tried += 1;
        crate::campaign::count_tried(1);
        let met = catch_unwind(AssertUnwindSafe(|| meet(&root, &mut counts)));
        let met = met.unwrap_or_else(|_| {
            let panic = crate::campaign::last_panic();
            Err(Violation(format!("a panic reached the caller: {panic}")))
        });
        met.map_err(|violation| Violation(format!("{done}{violation}")))?;
        fs::remove_dir_all(&root).or_violation("removing")?;
    }
    Ok(counts)
}

fn find_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Violation> {
    let entries = fs::read_dir(directory).or_violation("listing")?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .or_violation("listing")?;
    paths.sort();
    for path in paths {
        match path.is_dir() {
            true => find_files(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

/// Malforms one file. Returns a description.
fn malform(path: &Path, rng: &mut Rng) -> std::io::Result<&'static str> {
    let Ok(mut bytes) = fs::read(path) else {
        return Ok("nothing left of");
    };
    let at = rng.below(bytes.len().max(1));
    let how = match rng.below(7) {
        0 => {
            fs::remove_file(path)?;
            return Ok("removed");
        }
        1 => {
            bytes.truncate(at);
            "cut off"
        }
        2 if !bytes.is_empty() => {
            bytes[at] ^= 1 << rng.below(8);
            "flipped a bit of"
        }
        3 => {
            let tail = bytes.split_off(at);
            bytes.extend((0..rng.between(1, 40)).map(|_| rng.next() as u8));
            bytes.extend(tail);
            "put bytes into"
        }
        4 => {
            let (start, end) = lines(&bytes, at);
            let line = bytes[start..end].to_vec();
            bytes.splice(start..start, line);
            "repeated a line of"
        }
        5 => {
            let (start, end) = lines(&bytes, at);
            bytes.drain(start..end);
            "dropped a line of"
        }
        _ => {
            bytes.extend_from_slice(b"{\"id\":18446744073709551615,\"kind\":[[[[");
            "appended nonsense to"
        }
    };
    fs::write(path, bytes)?;
    Ok(how)
}

/// The range of the line that contains `at`.
fn lines(bytes: &[u8], at: usize) -> (usize, usize) {
    let at = at.min(bytes.len());
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n');
    let end = bytes[at..].iter().position(|byte| *byte == b'\n');
    (
        start.map_or(0, |start| start + 1),
        end.map_or(bytes.len(), |end| at + end + 1),
    )
}

fn meet(root: &Path, counts: &mut Counts) -> Result<(), Violation> {
    let strict = Store::in_memory().or_violation("opening a store in memory")?;
    if import(&strict, root, ImportOptions::new()).is_err() {
        counts.refused += 1;
        let nothing = World::of(&strict).or_violation("reading")?;
        if nothing != World::default() {
            return Err(Violation("a refused import left something".to_owned()));
        }
    }
    let salvaged = Store::in_memory().or_violation("opening a store in memory")?;
    let options = ImportOptions::new().salvage(true);
    import(&salvaged, root, &options).or_violation("salvaging")?;
    let world = World::of(&salvaged).or_violation("reading what was salvaged")?;
    check_rules(&salvaged, &world)?;
    counts.salvaged += usize::from(world != World::default());
    let again = root.join("exported");
    export(&salvaged, &again, ExportOptions::new()).or_violation("exporting what was salvaged")?;
    let copy = Store::in_memory().or_violation("opening a store in memory")?;
    import(&copy, &again, ImportOptions::new()).or_violation("importing what was salvaged")?;
    let copied = World::of(&copy).or_violation("reading")?;
    // Another directory, from which nothing had to be salvaged.
    match copied
        .without_imports()
        .difference(&world.without_imports())
    {
        None => Ok(()),
        Some(difference) => Err(Violation(format!(
            "salvaged, exported, imported: {difference}"
        ))),
    }
}
