//! Completes ids from the store on the line.

use crate::arguments::location::Location;
use crate::arguments::repair;
use clap::{Command, ValueHint};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use redb_runtime_store::identity::{RuntimeId, WorkerId};
use redb_runtime_store::{RuntimeError, Store};
use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The most ids that are offered.
const MOST: usize = 1000;

/// Completes every argument that is the id of a runtime or of a worker, or the place of a store.
pub(crate) fn complete_ids(program: Command) -> Command {
    program.mut_subcommands(|verb| {
        verb.mut_args(|argument| {
            let value = argument.get_value_parser().type_id();
            if value == TypeId::of::<RuntimeId>() {
                argument.add(ArgValueCompleter::new(runtimes))
            } else if value == TypeId::of::<WorkerId>() {
                argument.add(ArgValueCompleter::new(workers))
            } else if value == TypeId::of::<Location>() {
                argument.value_hint(ValueHint::AnyPath)
            } else {
                argument
            }
        })
    })
}

fn runtimes(begun: &OsStr) -> Vec<CompletionCandidate> {
    candidates(begun, |store, offer| {
        for id in store.snapshot()?.runtime_ids()? {
            offer(id.as_str());
        }
        Ok(())
    })
}

fn workers(begun: &OsStr) -> Vec<CompletionCandidate> {
    candidates(begun, |store, offer| {
        let snapshot = store.snapshot()?;
        let named = runtime_on_line().unwrap_or_default();
        for runtime in snapshot.runtime_ids()? {
            if !runtime.as_str().starts_with(&named) {
                continue;
            }
            for worker in snapshot.workers(&runtime)? {
                if !offer(worker?.value.worker_ref.worker_id.as_str()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    })
}

/// The ids of the store on the line that begin with `begun`, each once. Without a store that can be read there are none: a
/// completion neither repairs a store nor prints an error. `offer` returns whether more ids are wanted.
fn candidates(
    begun: &OsStr,
    each: impl FnOnce(&Store, &mut dyn FnMut(&str) -> bool) -> Result<(), RuntimeError>,
) -> Vec<CompletionCandidate> {
    let mut found = BTreeSet::new();
    let Some(store) = store_on_line().and_then(|store| repair::for_completion(&store).ok()) else {
        return Vec::new();
    };
    let begun = begun.to_string_lossy();
    let mut offer = |id: &str| {
        if id.starts_with(&*begun) && is_plain(id) {
            found.insert(id.to_owned());
        }
        found.len() < MOST
    };
    // Damage: the ids before it are offered.
    let _ = each(&store, &mut offer);
    found.into_iter().map(CompletionCandidate::new).collect()
}

/// Whether an id means the same on the line of a shell as it is. A shell would act on other characters, and this program
/// would take an id that begins with `-` as an option.
fn is_plain(id: &str) -> bool {
    !id.starts_with('-')
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./@+,".contains(&byte))
}

/// The words of the line that is completed, after the program's name.
fn words() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(2)
}

/// The first word that is the path of a file, or the URL of a store.
fn store_on_line() -> Option<Location> {
    let places = words().filter_map(|word| {
        let path = at_home(PathBuf::from(unquoted(&word.to_string_lossy())));
        Location::parse(path.as_os_str()).ok()
    });
    let mut stores = places.filter(|place| place.file().is_none_or(Path::is_file));
    stores.next()
}

/// A word without the quotes around it.
fn unquoted(word: &str) -> &str {
    let within = |quote| word.strip_prefix(quote)?.strip_suffix(quote);
    within('\'').or_else(|| within('"')).unwrap_or(word)
}

/// The path that a shell makes of one that begins with `~/`.
fn at_home(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(below), Some(home)) => PathBuf::from(home).join(below),
        _ => path,
    }
}

/// The value of `--runtime`.
fn runtime_on_line() -> Option<String> {
    let mut words = words().map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        if word == "--runtime" {
            return words.next();
        }
        if let Some(value) = word.strip_prefix("--runtime=") {
            return Some(value.to_owned());
        }
    }
    None
}
