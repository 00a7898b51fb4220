//! The verb `report`: writes one HTML file about a store, which needs no script and loads nothing.
//!
//! One [walk] over a snapshot collects what the sections show. Its memory does not depend on the length of the logs:
//! points in time go into [bins], and of a transcript only its end is held. The sections then write themselves one
//! after the other through a [page].

pub(crate) mod bins;
pub(crate) mod choice;
pub(crate) mod chronology;
pub(crate) mod destination;
pub(crate) mod findings;
pub(crate) mod growth;
pub(crate) mod head;
pub(crate) mod page;
pub(crate) mod source;
pub(crate) mod tail;
pub(crate) mod text;
pub(crate) mod timeline;
pub(crate) mod transcripts;
pub(crate) mod verb;
pub(crate) mod walk;
pub(crate) mod workers;
