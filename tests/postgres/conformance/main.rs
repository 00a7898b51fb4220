//! What the suite runs on files and in memory, on a server: the tests are the suite's own, compiled with the stores of
//! `hosts` here. Those that open a file themselves run on a file again.

// Helpers of tests that stay in the suite.
#![allow(dead_code)]

mod hosts;

#[path = "../../suite/layout_support.rs"]
mod layout_support;
#[path = "../../suite/support.rs"]
mod support;

#[path = "../../suite/attributes.rs"]
mod attributes;
#[path = "../../suite/bulk_loading.rs"]
mod bulk_loading;
#[path = "../../suite/commits.rs"]
mod commits;
#[path = "../../suite/concurrency.rs"]
mod concurrency;
#[path = "../../suite/copying.rs"]
mod copying;
#[path = "../../suite/deleting.rs"]
mod deleting;
#[path = "../../suite/family_ids.rs"]
mod family_ids;
#[path = "../../suite/forks.rs"]
mod forks;
#[path = "../../suite/host_store.rs"]
mod host_store;
#[path = "../../suite/host_store_diagnostics.rs"]
mod host_store_diagnostics;
#[path = "../../suite/iterating.rs"]
mod iterating;
#[path = "../../suite/layout_round_trip.rs"]
mod layout_round_trip;
#[path = "../../suite/long_ids.rs"]
mod long_ids;
#[path = "../../suite/open_work.rs"]
mod open_work;
#[path = "../../suite/reading.rs"]
mod reading;
#[path = "../../suite/replies.rs"]
mod replies;
#[path = "../../suite/retention.rs"]
mod retention;
#[path = "../../suite/retention_effects.rs"]
mod retention_effects;
#[path = "../../suite/rules.rs"]
mod rules;
#[path = "../../suite/searching.rs"]
mod searching;
#[path = "../../suite/sends.rs"]
mod sends;
#[path = "../../suite/sequences.rs"]
mod sequences;
