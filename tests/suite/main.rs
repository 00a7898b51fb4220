//! What a host and a user see.

mod layout_round_trip;
mod layout_salvage;
mod layout_support;
