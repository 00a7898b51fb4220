//! Bugs that simulations of faults plant in an open store, to show that they find them.

/// A bug. Without the feature `fault-injection` no bug can be planted.
#[cfg_attr(not(feature = "fault-injection"), allow(dead_code, unreachable_pub))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// A commit whose wait for the lock to publish it reached the limit is acknowledged.
    MarkLost,
    /// The recovery takes the primary as durable without comparing it with the commit before.
    PrimaryTrusted,
    /// The recovery does not write the pages of the commit that it keeps again. After a failed sync they can
    /// be in the page cache only.
    PagesNotRewritten,
    /// The recovery compares the trees of the two commits one level short: it checks no leaf.
    DescentTooShort,
    /// The recovery takes the primary as the newer commit, also if the other slot is newer.
    OlderPrimary,
    /// A commit that grew the file skips a sync like any other.
    GrowthUnsynced,
    /// The recovery writes the pages and the header that declares them durable before one sync.
    RecoveryOneSync,
    /// The recovery declares a commit durable whose slot it did not write again. After a failed sync it can be in
    /// the page cache only.
    SlotNotRewritten,
    /// The recovery leaves the slot of a commit that it gave up in the header.
    AbandonedSlotKept,
}

/// The bug that is planted in an open store, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted {
    #[cfg(feature = "fault-injection")]
    bug: Option<PlantedBug>,
}

impl Planted {
    #[cfg(feature = "fault-injection")]
    pub(crate) fn some(bug: PlantedBug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether `bug` is planted. Constantly `false` without the feature.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn is(self, bug: PlantedBug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether `bug` is planted. Constantly `false` without the feature.
    #[cfg(not(feature = "fault-injection"))]
    pub(crate) fn is(self, _: PlantedBug) -> bool {
        false
    }
}
