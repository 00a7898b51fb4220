//! The program `runtime-store` with the URLs of stores, and copies that are interrupted.

mod copying;
mod passwords;
#[path = "../../suite/program_run.rs"]
mod program_run;
mod runs;
mod verbs;
