//! Directories made from arbitrary bytes: a small complete directory of any form, with changes that the bytes
//! select. The property test and the fuzz target share this file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A path below the root: a file with its content, or without content an empty directory.
pub(crate) type Files = BTreeMap<String, Option<Vec<u8>>>;

const RUNTIME: &str = "runtimes/id-7274";
const WORKER: &str = "runtimes/id-7274/workers/id-776f726b65722d3030303030303031";
const OTHER: &str = "runtimes/id-7274/workers/id-776f726b65722d3030303030303032";

/// Texts that tend to break readers.
const PIECES: &[&[u8]] = &[
    b"",
    b"\n",
    b"\r\n",
    b"\0\0\0\0",
    b"\xEF\xBB\xBF",
    b"\xff",
    b"{",
    b"}",
    b"[",
    b"\"",
    b"\\",
    b",",
    b"null",
    b"0",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-1",
    b"1e400",
    b"{\"id\":",
    b"{\"sequence\":",
    b"\"id\":3,",
    b"\"worker_ref\":null,",
    b"\"unknown\":{\"a\":[1, 2]},",
    b"\"kind\":{\"kind\":\"worker_stopped\"},",
    b"{\"id\":9,\"kind\":{\"kind\":\"runtime_stopped\"},\"message\":\"m\"}",
    b"worker-00000002",
    b"\"schema_version\": 2,",
    b"redb_store",
    b"\\ud800",
];

/// Names that belong to nothing, of files in the root, in the directory of a runtime and in that of its first worker.
const NAMES: &[(Place, &str)] = &[
    (Place::Runtimes, "notes"),
    (Place::Runtimes, "id-zz/x"),
    (Place::Runtimes, "id-7275/runtime.json"),
    (Place::Runtimes, "id-7275/workers/id-77/transcript.jsonl"),
    (Place::Runtimes, ".export.tmp-1-2/x"),
    (Place::Runtime, ".runtime.json.tmp-1-2"),
    (Place::Runtime, "other"),
    (Place::Runtime, "workers/stray"),
    (Place::Runtime, "workers/id-ff/worker.json"),
    (Place::Runtime, "workers/id-7272/transcript.jsonl"),
    (
        Place::Runtime,
        "workers/id-776F726b65722d3030303030303031/worker.json",
    ),
    (Place::Worker, ".worker.json.tmp-1"),
    (Place::Worker, "notes"),
];

#[derive(Clone, Copy)]
enum Place {
    Runtimes,
    Runtime,
    Worker,
}

impl Place {
    /// The path of a name at this place of a directory; below `runtimes` also where the runtime lies in the root.
    fn path_of(self, files: &Files, name: &str) -> String {
        let beside = |document: &str| {
            let mut documents = files.keys().filter_map(|path| path.strip_suffix(document));
            documents.next().map(str::to_owned)
        };
        let dir = match self {
            Self::Runtimes => None,
            Self::Runtime => beside("runtime.json"),
            Self::Worker => beside("worker.json"),
        };
        dir.unwrap_or_else(|| "runtimes/".to_owned()) + name
    }
}

/// The files of a directory on disk.
pub(crate) fn read(root: &Path) -> io::Result<Files> {
    fn walk(root: &Path, dir: &Path, files: &mut Files) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
                continue;
            };
            match path.is_dir() {
                true => walk(root, &path, files)?,
                false => drop(files.insert(name.to_owned(), Some(fs::read(&path)?))),
            }
        }
        Ok(())
    }
    let mut files = Files::new();
    walk(root, root, &mut files)?;
    Ok(files)
}

/// A runtime with two workers, six events and three entries, as the layout has it.
pub(crate) fn whole() -> Files {
    let worker = |n: u32| format!("{{\"runtime_id\":\"rt\",\"worker_id\":\"worker-{n:08}\"}}");
    let mut events = String::from(
        "{\"id\":1,\"kind\":{\"kind\":\"runtime_started\"},\"message\":\"runtime started\"}\n",
    );
    for (id, n, kind) in [
        (2, 1, "worker_created"),
        (3, 1, "worker_input_accepted"),
        (4, 2, "worker_created"),
        (5, 1, "worker_input_accepted"),
        (6, 2, "worker_input_accepted"),
    ] {
        events += &format!(
            "{{\"id\":{id},\"worker_ref\":{},\"kind\":{{\"kind\":\"{kind}\"}},\"message\":\"m\"}}\n",
            worker(n)
        );
    }
    let entry = |n, sequence: u32, event: u32| {
        format!(
            "{{\"sequence\":{sequence},\"worker_ref\":{},\"role\":\"user\",\
             \"content\":\"\u{e9}\\n\",\"event_id\":{event}}}\n",
            worker(n)
        )
    };
    let document = |n: u32, next: u32, last: u32| {
        format!(
            "{{\n  \"schema_version\": 1,\n  \"worker_ref\": {{\n    \"runtime_id\": \"rt\",\n    \
             \"worker_id\": \"worker-{n:08}\"\n  }},\n  \"worker_id\": \"worker-{n:08}\",\n  \
             \"status\": \"running\",\n  \"request\": {{\n    \"intent\": {{\n      \"kind\": \
             \"assistant\"\n    }},\n    \"profile\": {{\n      \"kind\": \"runtime_default\"\n    \
             }}\n  }},\n  \"next_transcript_sequence\": {next},\n  \"last_event_id\": {last}\n}}\n"
        )
    };
    let runtime = "{\n  \"schema_version\": 1,\n  \"runtime_id\": \"rt\",\n  \"display_name\": \
        null,\n  \"backend\": \"fs_store\",\n  \"status\": \"running\",\n  \"limits\": {\n    \
        \"max_transcript_projection_items\": 256,\n    \"max_event_batch_items\": 256\n  },\n  \
        \"next_worker_sequence\": 3,\n  \"next_event_id\": 7,\n  \"next_diagnostic_id\": 2,\n  \
        \"diagnostics\": [\n    {\n      \"id\": 1,\n      \"severity\": \"info\",\n      \
        \"code\": \"c\",\n      \"message\": \"m\"\n    }\n  ]\n}\n";
    let files = [
        (format!("{RUNTIME}/runtime.json"), runtime.to_owned()),
        (format!("{RUNTIME}/events.jsonl"), events),
        (format!("{WORKER}/worker.json"), document(1, 3, 5)),
        (
            format!("{WORKER}/transcript.jsonl"),
            entry(1, 1, 3) + &entry(1, 2, 5),
        ),
        (format!("{OTHER}/worker.json"), document(2, 2, 6)),
        (format!("{OTHER}/transcript.jsonl"), entry(2, 1, 6)),
    ];
    let content = |(path, text): (String, String)| (path, Some(text.into_bytes()));
    files.into_iter().map(content).collect()
}

/// Bytes, read as decisions. When they are used up every decision is 0.
pub(crate) struct Decisions<'a>(pub(crate) &'a [u8]);

impl Decisions<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number below `bound`, 0 where that is 0.
    fn below(&mut self, bound: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        number.checked_rem(bound).unwrap_or(0)
    }

    fn piece(&mut self) -> Vec<u8> {
        match self.byte() {
            n if n < 200 => PIECES[usize::from(n) % PIECES.len()].to_vec(),
            n => (200..n).map(|_| self.byte()).collect(),
        }
    }
}

/// One of the whole directories `forms` with up to six changes, mostly one.
pub(crate) fn changed(forms: &[Files], bytes: &[u8]) -> Files {
    let mut decisions = Decisions(bytes);
    let mut files = forms
        .get(decisions.below(forms.len()))
        .cloned()
        .unwrap_or_default();
    let changes = [1, 1, 1, 1, 2, 6][decisions.below(6)];
    for _ in 0..changes {
        change(&mut files, &mut decisions);
    }
    files
}

fn change(files: &mut Files, decisions: &mut Decisions<'_>) {
    let paths: Vec<String> = files.keys().cloned().collect();
    let path = paths
        .get(decisions.below(paths.len()))
        .cloned()
        .unwrap_or_default();
    let kind = decisions.byte() % 16;
    match kind {
        0 => drop(files.remove(&path)),
        1 => {
            let (place, name) = NAMES[decisions.below(NAMES.len())];
            let path = place.path_of(files, name);
            files.insert(path, Some(decisions.piece()));
        }
        2 => {
            // A directory in the place of a file.
            files.insert(path, None);
        }
        3 => {
            // A file in the place of another.
            let content = files.get(&path).cloned().flatten();
            let to = paths[decisions.below(paths.len())].clone();
            files.insert(to, content);
        }
        _ => {
            if let Some(Some(content)) = files.get_mut(&path) {
                change_content(content, kind, decisions);
            }
        }
    }
}

fn change_content(content: &mut Vec<u8>, kind: u8, decisions: &mut Decisions<'_>) {
    let at = decisions.below(content.len() + 1);
    let mut lines: Vec<Vec<u8>> = content
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let line = decisions.below(lines.len());
    match kind {
        4 | 5 => content.truncate(at),
        6 | 7 => {
            let piece = decisions.piece();
            content.splice(at..at, piece);
        }
        8 => {
            let to = (at + decisions.below(40)).min(content.len());
            content.drain(at..to);
        }
        9 => {
            let piece = decisions.piece();
            let to = (at + piece.len()).min(content.len());
            content.splice(at..to, piece);
        }
        10 => {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= 1 << (decisions.byte() % 8);
            }
        }
        11 if !lines.is_empty() => {
            let copy = lines[line].clone();
            lines.insert(decisions.below(lines.len()), copy);
            *content = lines.concat();
        }
        12 if !lines.is_empty() => {
            lines.remove(line);
            *content = lines.concat();
        }
        13 if !lines.is_empty() => {
            // An append that was interrupted, and another one after it.
            let cut = decisions.below(lines[line].len());
            lines[line].truncate(cut);
            *content = lines.concat();
        }
        14 => change_number(content, at, decisions),
        _ => *content = decisions.piece(),
    }
}

/// Replaces the first number at or after `at`.
fn change_number(content: &mut Vec<u8>, at: usize, decisions: &mut Decisions<'_>) {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let Some(from) = content[at..]
        .iter()
        .position(is_digit)
        .map(|from| at + from)
    else {
        return;
    };
    let length = content[from..]
        .iter()
        .take_while(|byte| is_digit(byte))
        .count();
    let number = ["0", "1", "2", "7", "9", "100", "18446744073709551615"][decisions.below(7)];
    content.splice(from..from + length, number.bytes());
}

/// Writes the files below `root`. An impossible one, a file below a file, is left out. `runtimes` is there unless the
/// runtime lies in the root.
pub(crate) fn write(root: &Path, files: &Files) -> io::Result<()> {
    if files.keys().all(|path| path.starts_with("runtimes/")) {
        fs::create_dir_all(root.join("runtimes"))?;
    }
    for (path, content) in files {
        let path = root.join(path);
        let Some(parent) = path.parent() else {
            continue;
        };
        if fs::create_dir_all(parent).is_err() {
            continue;
        }
        match content {
            None => drop(fs::create_dir_all(&path)),
            // A symbolic link; its target does not matter.
            Some(content) if content == b"\\" => drop(symlink("/dev/null", &path)),
            Some(content) => drop(fs::write(&path, content)),
        }
    }
    Ok(())
}
