//! Bugs of the store that the rounds must find.

use clap::ValueEnum;
use redb_runtime_store::store::PlantedServerBug;
use std::process::ExitCode;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bug {
    /// A commit stores no token: a lost answer cannot be settled.
    TokenMissing,
    /// A lost answer is settled without the locks: the commit may be under way still.
    SettledWithoutLock,
    /// A commit whose wait for the standby was cancelled is acknowledged.
    CancelTakenForSuccess,
    /// A host that lost its lease goes on when the other has released it.
    LeaseWithoutEpoch,
}

impl Bug {
    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The bug in the store.
    pub(crate) fn planted(self) -> PlantedServerBug {
        match self {
            Self::TokenMissing => PlantedServerBug::TokenMissing,
            Self::SettledWithoutLock => PlantedServerBug::SettledWithoutLock,
            Self::CancelTakenForSuccess => PlantedServerBug::CancelTakenForSuccess,
            Self::LeaseWithoutEpoch => PlantedServerBug::LeaseWithoutEpoch,
        }
    }

    /// Whether rounds with leases find it, not those with a killed primary.
    pub(crate) fn is_of_leases(self) -> bool {
        self == Self::LeaseWithoutEpoch
    }
}

/// Prints the bugs.
pub(crate) fn list() -> ExitCode {
    println!("bugs:");
    for bug in Bug::value_variants() {
        let value = bug.to_possible_value();
        let help = value.and_then(|value| value.get_help().map(ToString::to_string));
        println!("  {:25} {}", bug.name(), help.unwrap_or_default());
    }
    ExitCode::SUCCESS
}
