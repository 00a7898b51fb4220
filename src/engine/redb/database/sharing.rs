//! How processes share a store's file.

/// How processes share a store's file. All of them have to agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sharing {
    /// One process writes; others may read meanwhile and follow its commits.
    #[default]
    OneWriter,
    /// One process has the file, for reading or writing; or several, for reading only.
    Exclusive,
    /// Several processes write, a commit at a time; others may read meanwhile.
    ManyWriters,
}

impl Sharing {
    pub(crate) fn concurrency_mode(self) -> redb::ConcurrencyMode {
        match self {
            Self::OneWriter => redb::ConcurrencyMode::SingleWriter,
            Self::Exclusive => redb::ConcurrencyMode::ExclusiveWriter,
            Self::ManyWriters => redb::ConcurrencyMode::MultiWriter,
        }
    }
}
