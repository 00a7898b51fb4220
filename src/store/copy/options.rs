//! Options of a copy.

use crate::engine::redb::maintenance::progress::{OnProgress, RowProgress};
use crate::model::identity::RuntimeId;

/// Options of a copy; see [`Store::copy_to`](crate::Store::copy_to).
#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    pub(super) runtimes: Vec<RuntimeId>,
    pub(super) replace: bool,
    pub(super) on_progress: OnProgress,
}

impl CopyOptions {
    /// The options at their defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The runtimes to copy. Without any, all of them are copied, and what belongs to no runtime: files, and import records
    /// of runtimes that were left out.
    #[must_use]
    pub fn runtimes(mut self, ids: impl IntoIterator<Item = RuntimeId>) -> Self {
        self.runtimes = ids.into_iter().collect();
        self
    }

    /// Whether to replace what the destination has with other content. `false` by default.
    #[must_use]
    pub fn replace(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }

    /// A callback for the progress in rows, about every 4096 rows, on the thread that copies. It must not change a store.
    #[must_use]
    pub fn on_progress(
        mut self,
        on_progress: impl Fn(RowProgress) + Send + Sync + 'static,
    ) -> Self {
        self.on_progress = OnProgress::new(on_progress);
        self
    }
}
