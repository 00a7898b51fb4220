//! Verification: pages, values, and the rules across tables.

pub(crate) mod check;
pub(crate) mod damage;
pub(crate) mod orphans;
pub(crate) mod rules;
