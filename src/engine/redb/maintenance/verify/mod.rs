//! Verification of a store: pages, values, and the rules across tables.

pub(crate) mod attributes;
#[cfg(test)]
mod attributes_tests;
pub(crate) mod check;
pub(crate) mod damage;
pub(crate) mod files;
pub(crate) mod lengths;
pub(crate) mod logs;
pub(crate) mod options;
pub(crate) mod orphans;
pub(crate) mod report;
pub(crate) mod rules;
pub(crate) mod seen;
pub(crate) mod tombstones;
