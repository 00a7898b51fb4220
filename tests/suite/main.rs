//! What a host and a user see.

#[cfg(feature = "fault-injection")]
mod commit_queue;
mod commits;
mod damage;
mod layout_bytes;
mod layout_fuzzed;
mod layout_moves;
mod layout_round_trip;
mod layout_safety;
mod layout_salvage;
mod layout_support;
mod model_json;
mod opening;
#[cfg(feature = "program")]
mod program;
mod rules;
mod sequences;
mod support;
