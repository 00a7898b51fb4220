//! The program `runtime-store` with the URLs of stores, and copies that are interrupted.

mod copying;
mod passwords;
mod runs;
mod verbs;
