//! Open work of children that are killed: work that was acknowledged as open is found, and work that was acknowledged as
//! closed is not.

use crate::child::say;
use crate::world::{Context, Violation};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::{Runtime, Store};
use std::collections::{BTreeMap, BTreeSet};

/// What a child announces before and after it opens and closes work, with the name of the work.
const OPENING: &str = "opening";
const OPENED: &str = "opened";
const CLOSING: &str = "closing";
const CLOSED: &str = "closed";

/// Opens work of a worker, as the child.
pub(crate) fn open(runtime: &Runtime, worker: &WorkerRef, name: &str) -> Result<(), Violation> {
    say(&format!("{OPENING} {name}"))?;
    let opened = runtime.open_work(worker, name, "a call of a tool");
    opened.or_violation("opening work")?;
    say(&format!("{OPENED} {name}"))
}

/// Closes work that this child has opened.
pub(crate) fn close(runtime: &Runtime, worker: &WorkerRef, name: &str) -> Result<(), Violation> {
    say(&format!("{CLOSING} {name}"))?;
    let closed = runtime.close_work(worker, name);
    if !closed.or_violation("closing work")? {
        return Err(Violation(format!("the work {name} is not open")));
    }
    say(&format!("{CLOSED} {name}"))
}

/// Checks the open work that a killed child has left, and closes it.
pub(crate) fn check(store: &Store, runtime: &Runtime, said: &[String]) -> Result<(), Violation> {
    let mut last = BTreeMap::new();
    for line in said {
        if let Some((state, name)) = line.split_once(' ')
            && [OPENING, OPENED, CLOSING, CLOSED].contains(&state)
        {
            last.insert(name, state);
        }
    }
    let left = store.unfinished().or_violation("listing open work")?;
    let names: BTreeSet<&str> = left.iter().map(|work| work.name.as_str()).collect();
    for (name, state) in &last {
        let is_wrong = match *state {
            OPENED => !names.contains(name),
            CLOSED => names.contains(name),
            // The operation was not acknowledged.
            _ => false,
        };
        if is_wrong {
            return Err(Violation(format!(
                "the work {name} was acknowledged as {state}, listed are {names:?}"
            )));
        }
    }
    if let Some(name) = names.iter().find(|name| !last.contains_key(*name)) {
        return Err(Violation(format!("the work {name} was never opened")));
    }
    for work in &left {
        let closed = runtime.close_work(&work.worker_ref, &work.name);
        closed.or_violation("closing the work that was left")?;
    }
    Ok(())
}
