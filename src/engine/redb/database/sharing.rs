//! The modes in which processes share the file of a store.

/// The mode in which processes share the file of a store. All processes that open the file must use
/// the same mode.
///
/// In every mode a process learns of a commit only after it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sharing {
    /// One process writes. Other processes can read at the same time, and see its commits.
    #[default]
    OneWriter,
    /// One process reads and writes, or several processes only read.
    Exclusive,
    /// Several processes write, one commit at a time. Other processes can read at the same time.
    ManyWriters,
}

impl Sharing {
    /// The mode of redb that corresponds to this one.
    pub(crate) fn concurrency_mode(self) -> redb::ConcurrencyMode {
        match self {
            Self::OneWriter => redb::ConcurrencyMode::SingleWriter,
            Self::Exclusive => redb::ConcurrencyMode::ExclusiveWriter,
            Self::ManyWriters => redb::ConcurrencyMode::MultiWriter,
        }
    }
}
