//! The operations of a generation.

use crate::disk::Disk;
use crate::model::{Call, any_call, new_runtime, runtime_id};
use crate::moods::Mood;
use crate::rng::Rng;
use crate::workload::{IMPORTED, imported, imported_into, in_transaction, open, runtime};
use crate::world::World;
use redb_runtime_store::Store;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::interaction::WorkerInput;
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

/// The runtime that every store has, and one that grows and is removed again.
pub(crate) const FIRST: &str = "first";
const LARGE: &str = "large";

/// The bytes of texts in large commits: around 1 MiB, from which on a commit takes two syncs, and 4 MiB.
const LARGE_COMMITS: [RangeInclusive<usize>; 2] = [950_000..=1_100_000, 3_400_000..=4_400_000];

/// One operation of a generation.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    CreateRuntime(String),
    Call(String, Call),
    Transaction(String, Vec<Call>),
    /// Adds a worker with inputs of these bytes to a runtime, in one transaction.
    Fill(String, Vec<usize>),
    Import,
    Remove(String),
    Compact,
    Reopen,
}

/// The inputs of an [`Op::Fill`], in calls.
fn filling(world: &World, id: &str, sizes: &[usize]) -> Vec<Call> {
    let create = Call::Create(CreateWorkerRequest::default());
    let mut after = world.clone();
    let known: Vec<String> = after.0[id].workers.keys().cloned().collect();
    let _ = after.call(id, &create);
    let workers = after.0[id].workers.iter();
    let mut added = workers.filter(|(name, _)| !known.contains(name));
    let worker = added
        .next()
        .map(|(_, worker)| worker.own.value.worker_ref.clone());
    let inputs = sizes.iter().filter_map(|bytes| {
        let text = "redb writes pages, then a header. ".repeat(bytes / 34 + 1);
        Some(Call::Input(worker.clone()?, WorkerInput::user(text)))
    });
    std::iter::once(create).chain(inputs).collect()
}

impl Op {
    /// Any operation that makes sense in `world`.
    pub(crate) fn any(world: &World, mood: &Mood, rng: &mut Rng) -> Self {
        let has_large = world.0.contains_key(LARGE);
        match rng.below(100) {
            0..=1 => Self::Reopen,
            2..=5 if mood.compacts => Self::Compact,
            2..=6 => Self::Import,
            7..=16 if has_large => Self::Remove(LARGE.to_owned()),
            7..=16 => Self::CreateRuntime(LARGE.to_owned()),
            17..=19 if world.0.contains_key(IMPORTED) => Self::Remove(IMPORTED.to_owned()),
            17..=60 if has_large && mood.grows => {
                let sizes = vec![90_000; rng.between(1, 6)];
                Self::Fill(LARGE.to_owned(), sizes)
            }
            20..=25 if has_large && !mood.is_large => {
                let sizes = vec![90_000; rng.between(1, 6)];
                Self::Fill(LARGE.to_owned(), sizes)
            }
            20..=29 if has_large && mood.is_large => {
                let range = rng.pick(&LARGE_COMMITS);
                let bytes = rng.between(*range.start(), *range.end());
                let many = *rng.pick(&[1, 5, 60, 900]);
                Self::Fill(LARGE.to_owned(), vec![bytes / many; many])
            }
            30..=45 => {
                let mut after = world.clone();
                let mut calls = Vec::new();
                for _ in 0..rng.between(1, 6) {
                    let call = any_call(&after.0[FIRST], rng);
                    let _ = after.call(FIRST, &call);
                    calls.push(call);
                }
                Self::Transaction(FIRST.to_owned(), calls)
            }
            _ => Self::Call(FIRST.to_owned(), any_call(&world.0[FIRST], rng)),
        }
    }

    /// The calls of a transaction in `world`.
    fn calls(&self, world: &World) -> Vec<Call> {
        match self {
            Self::Transaction(_, calls) => calls.clone(),
            Self::Fill(id, sizes) => filling(world, id, sizes),
            _ => Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::CreateRuntime(_) => "create runtime",
            Self::Call(..) => "call",
            Self::Transaction(..) => "transaction",
            Self::Fill(..) => "fill",
            Self::Import => "import",
            Self::Remove(_) => "remove runtime",
            Self::Compact => "compact",
            Self::Reopen => "reopen",
        }
    }

    /// The world after this operation in `world`; `None` if a rule rejects it.
    pub(crate) fn expected(&self, world: &World) -> Option<World> {
        static IMPORT: LazyLock<Option<World>> = LazyLock::new(|| imported().ok());
        let mut after = world.clone();
        match self {
            Self::CreateRuntime(id) => {
                after.0.insert(id.clone(), Arc::new(new_runtime(id)));
            }
            Self::Call(id, call) => after.call(id, call).map(drop).ok()?,
            Self::Transaction(id, _) | Self::Fill(id, _) => {
                for call in self.calls(world) {
                    after.call(id, &call).ok()?;
                }
            }
            Self::Import => after.0.extend(IMPORT.as_ref()?.0.clone()),
            Self::Remove(id) => drop(after.0.remove(id)),
            Self::Compact | Self::Reopen => {}
        }
        Some(after)
    }

    pub(crate) fn execute(
        &self,
        store: &mut Store,
        disk: &Disk,
        world: &World,
    ) -> Result<(), RuntimeError> {
        match self {
            Self::CreateRuntime(id) => runtime(store, id).map(drop),
            Self::Call(id, call) => call.make(&runtime(store, id)?).map(drop),
            Self::Transaction(id, _) | Self::Fill(id, _) => {
                let calls = self.calls(world);
                runtime(store, id)?
                    .transaction(|tx| calls.iter().try_for_each(|call| in_transaction(tx, call)))
            }
            Self::Import => imported_into(store),
            Self::Remove(id) => store.bulk_load(|load| load.remove_runtime(&runtime_id(id))),
            Self::Compact => store.compact().map(drop),
            Self::Reopen => {
                store.close()?;
                *store = open(disk)?;
                Ok(())
            }
        }
    }

    /// Whether it is a large commit.
    pub(crate) fn is_large(&self) -> bool {
        // The texts are a little shorter than the commit.
        matches!(self, Self::Fill(_, sizes) if sizes.iter().sum::<usize>() + 900 > *LARGE_COMMITS[0].start())
    }
}
