//! The tests of what a host and a user see: one binary.
