//! What the suite runs on files and in memory, on a server: the tests are the suite's own, compiled with the stores of
//! `hosts` here. Those that open a file themselves run on a file again.

// Helpers of tests that stay in the suite.
#![allow(dead_code)]

mod hosts;

#[path = "../../suite/layout_support.rs"]
mod layout_support;
#[path = "../../suite/support.rs"]
mod support;

#[path = "../../suite/archives.rs"]
mod archives;
#[path = "../../suite/archives_removed.rs"]
mod archives_removed;
#[path = "../../suite/attributes.rs"]
mod attributes;
#[path = "../../suite/bulk_loading.rs"]
mod bulk_loading;
#[path = "../../suite/commits.rs"]
mod commits;
#[path = "../../suite/comparing_stores.rs"]
mod comparing_stores;
#[path = "../../suite/concurrency.rs"]
mod concurrency;
#[path = "../../suite/copying.rs"]
mod copying;
#[path = "../../suite/deleting.rs"]
mod deleting;
#[path = "../../suite/family_ids.rs"]
mod family_ids;
#[path = "../../suite/forgetting.rs"]
mod forgetting;
#[path = "../../suite/forks.rs"]
mod forks;
#[path = "../../suite/guards.rs"]
mod guards;
#[path = "../../suite/host_store.rs"]
mod host_store;
#[path = "../../suite/host_store_diagnostics.rs"]
mod host_store_diagnostics;
#[path = "../../suite/iterating.rs"]
mod iterating;
#[path = "../../suite/kept_files.rs"]
mod kept_files;
#[path = "../../suite/layout_attributes.rs"]
mod layout_attributes;
#[path = "../../suite/layout_bytes.rs"]
mod layout_bytes;
#[path = "../../suite/layout_findings.rs"]
mod layout_findings;
#[path = "../../suite/layout_fuzzed.rs"]
mod layout_fuzzed;
#[path = "../../suite/layout_later.rs"]
mod layout_later;
#[path = "../../suite/layout_left_out.rs"]
mod layout_left_out;
#[path = "../../suite/layout_merged.rs"]
mod layout_merged;
#[path = "../../suite/layout_moves.rs"]
mod layout_moves;
#[path = "../../suite/layout_order.rs"]
mod layout_order;
#[path = "../../suite/layout_own_bytes.rs"]
mod layout_own_bytes;
#[path = "../../suite/layout_readers.rs"]
mod layout_readers;
#[path = "../../suite/layout_rebuilt.rs"]
mod layout_rebuilt;
#[path = "../../suite/layout_reimports.rs"]
mod layout_reimports;
#[path = "../../suite/layout_round_trip.rs"]
mod layout_round_trip;
#[path = "../../suite/layout_safety.rs"]
mod layout_safety;
#[path = "../../suite/layout_salvage.rs"]
mod layout_salvage;
#[path = "../../suite/layout_states.rs"]
mod layout_states;
#[path = "../../suite/layout_states_of_documents.rs"]
mod layout_states_of_documents;
#[path = "../../suite/layout_states_of_logs.rs"]
mod layout_states_of_logs;
#[path = "../../suite/long_deletions.rs"]
mod long_deletions;
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
#[path = "../../suite/retention_races.rs"]
mod retention_races;
#[path = "../../suite/retention_shared.rs"]
mod retention_shared;
#[path = "../../suite/rules.rs"]
mod rules;
#[path = "../../suite/searching.rs"]
mod searching;
#[path = "../../suite/sends.rs"]
mod sends;
#[path = "../../suite/sequences.rs"]
mod sequences;
#[path = "../../suite/telemetry.rs"]
mod telemetry;
#[path = "../../suite/times.rs"]
mod times;
#[path = "../../suite/watching.rs"]
mod watching;
#[path = "../../suite/within.rs"]
mod within;
#[path = "../../suite/within_waits.rs"]
mod within_waits;
