//! Bugs that simulations of faults plant in a store on a server, to show that they find them.

/// A bug. Without the feature `fault-injection` no bug can be planted.
#[cfg_attr(not(feature = "fault-injection"), allow(dead_code, unreachable_pub))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedServerBug {
    /// A commit stores no token. Settling it never finds it.
    TokenMissing,
    /// Settling a commit looks its token up without the locks: it does not wait for a commit that is still under way.
    SettledWithoutLock,
    /// A commit whose wait for the standby was cancelled is acknowledged.
    CancelTakenForSuccess,
    /// A host goes by whether another host has the lease now, not by whether one had it meanwhile.
    LeaseWithoutEpoch,
}

/// The bug that is planted in a store, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted {
    #[cfg(feature = "fault-injection")]
    bug: Option<PlantedServerBug>,
}

impl Planted {
    #[cfg(feature = "fault-injection")]
    pub(crate) fn some(bug: PlantedServerBug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether `bug` is planted. Constantly `false` without the feature.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn is(self, bug: PlantedServerBug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether `bug` is planted. Constantly `false` without the feature.
    #[cfg(not(feature = "fault-injection"))]
    pub(crate) fn is(self, _: PlantedServerBug) -> bool {
        false
    }
}
