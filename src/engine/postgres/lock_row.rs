//! The rows of `locks`.

/// A row of `locks`, as it was when it was locked.
#[derive(Clone, Debug)]
pub(crate) struct LockRow {
    /// The number of commits that changed the runtime.
    pub(crate) version: i64,
    pub(crate) holder: Option<String>,
    pub(crate) epoch: i64,
    /// Whether the lease of the holder has not ended.
    pub(crate) is_held: bool,
}
