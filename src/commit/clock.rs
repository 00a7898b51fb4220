//! The clock that dates changes.

use crate::model::time;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

type Now = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The clock of a store: that of the system, unless a host sets another one.
#[derive(Clone, Default)]
pub(crate) struct Clock(Option<Now>);

impl Clock {
    pub(crate) fn of(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// The time in milliseconds since 1970-01-01 00:00 UTC, cut to the years 1970 to 9999.
    pub(crate) fn now_ms(&self) -> u64 {
        time::milliseconds(self.0.as_ref().map_or_else(SystemTime::now, |now| now()))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "system clock",
            Some(_) => "clock of the host",
        })
    }
}
