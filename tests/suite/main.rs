//! What a host and a user see.

#[cfg(feature = "fault-injection")]
mod commit_queue;
mod commits;
mod concurrency;
mod damage;
mod documentation;
mod durability;
mod host_store;
mod layout_bytes;
mod layout_fuzzed;
mod layout_moves;
mod layout_round_trip;
mod layout_safety;
mod layout_salvage;
mod layout_support;
mod locking;
mod maintenance;
mod model_json;
mod opening;
#[cfg(feature = "program")]
mod program;
#[cfg(feature = "program")]
mod program_help;
mod reading;
mod rules;
mod sequences;
mod sharing;
mod support;
#[cfg(feature = "tracing")]
mod telemetry;
mod watching;
