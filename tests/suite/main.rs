//! The suite: the crate and its program as hosts and users see them.

mod archives;
#[cfg(feature = "fault-injection")]
mod archives_in_files;
#[cfg(feature = "fault-injection")]
mod archives_removed;
mod attributes;
mod bit_rot;
mod bulk_loading;
mod bulk_loading_in_files;
mod checked_pages;
#[cfg(feature = "fault-injection")]
mod commit_queue;
mod commit_syncs;
mod commits;
mod commits_in_doubt;
mod comparing_stores;
mod concurrency;
mod copying;
#[cfg(feature = "fault-injection")]
mod copying_in_files;
mod crash_steps;
mod damage;
mod damaged_pages;
#[cfg(feature = "fault-injection")]
mod deleting;
#[cfg(feature = "fault-injection")]
mod deleting_in_steps;
mod disk_errors;
mod durability;
#[cfg(feature = "fault-injection")]
mod erasing;
#[cfg(all(feature = "fault-injection", feature = "search"))]
mod family_ids;
mod faults;
#[cfg(feature = "fault-injection")]
mod forgetting;
#[cfg(unix)]
mod forking;
mod forks;
#[cfg(feature = "fault-injection")]
mod forks_in_files;
mod generations;
mod guards;
mod guards_in_files;
mod host_store;
mod host_store_diagnostics;
mod hosts;
#[cfg(feature = "program")]
mod importing;
mod iterating;
mod kept_files;
#[cfg(feature = "program")]
mod kept_files_in_files;
mod kills;
mod layout_attributes;
mod layout_bytes;
mod layout_findings;
mod layout_fuzzed;
mod layout_later;
mod layout_left_out;
mod layout_merged;
mod layout_moves;
mod layout_order;
mod layout_own_bytes;
mod layout_readers;
mod layout_rebuilt;
mod layout_reimports;
mod layout_round_trip;
mod layout_safety;
mod layout_salvage;
mod layout_states;
mod layout_states_of_documents;
mod layout_states_of_logs;
mod layout_support;
mod layout_to_path;
mod locking;
#[cfg(feature = "fault-injection")]
mod long_deletions;
mod long_ids;
mod maintenance;
mod migrations;
mod model_json;
mod module_paths;
mod moving;
mod open_work;
mod opening;
#[cfg(feature = "program")]
mod program;
#[cfg(feature = "program")]
mod program_asks;
#[cfg(feature = "program")]
mod program_changes;
#[cfg(feature = "program")]
mod program_compare;
#[cfg(feature = "program")]
mod program_faults;
#[cfg(feature = "program")]
mod program_help;
mod program_hosts;
#[cfg(feature = "program")]
mod program_logs;
#[cfg(feature = "program")]
mod program_output;
#[cfg(feature = "program")]
mod program_report;
#[cfg(all(target_os = "linux", feature = "program"))]
mod program_retention;
#[cfg(feature = "program")]
mod program_run;
#[cfg(feature = "program")]
mod program_search;
#[cfg(feature = "program")]
mod program_shell;
#[cfg(feature = "program")]
mod program_terminal;
#[cfg(feature = "program")]
mod program_times;
mod reading;
mod reading_in_files;
mod repairing;
#[cfg(feature = "fault-injection")]
mod replacing;
mod replies;
mod retention;
#[cfg(feature = "fault-injection")]
mod retention_effects;
mod retention_in_files;
mod retention_races;
mod retention_shared;
mod rules;
mod rules_in_files;
#[cfg(feature = "search")]
mod searching;
#[cfg(feature = "search")]
mod searching_damage;
mod sends;
mod sends_in_files;
mod sequences;
mod sharing;
mod simulated_power_loss;
mod staging;
#[cfg(target_os = "linux")]
mod stopping;
mod stops;
mod support;
#[cfg(feature = "fault-injection")]
mod system_faults;
#[cfg(feature = "tracing")]
mod telemetry;
#[cfg(feature = "tracing")]
mod telemetry_in_files;
#[cfg(feature = "program")]
mod terminal;
mod times;
mod times_in_files;
mod verifying;
mod watching;
mod watching_in_files;
mod within;
mod within_in_files;
mod within_waits;
