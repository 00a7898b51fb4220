//! `migrate`: migrates a store to the newest schema version.

use crate::arguments::help;
use crate::arguments::location::Location;
use crate::arguments::repair;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use clap::Args;
use redb_runtime_store::store::MigrationPlan;
use redb_runtime_store::{RuntimeError, Store};
use serde::Serialize;
use std::path::PathBuf;

/// Migrate a store to the newest schema version
///
/// Copies the store to `<STORE>.v<N>.bak`, then migrates it in one transaction. Needs exclusive
/// access. A host does the same when it opens an older store for writing.
#[derive(Args)]
#[command(after_help = help::MIGRATE)]
pub(crate) struct Migrate {
    /// The store's file
    #[arg(value_name = "STORE")]
    store: Location,
    /// Report what would be done; change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Printed {
    found: u32,
    supported: u32,
    copied_to: Option<PathBuf>,
    migrated: bool,
    dry_run: bool,
    steps: Vec<PrintedStep>,
}

#[derive(Serialize)]
struct PrintedStep {
    version: u32,
    does: &'static str,
}

impl Migrate {
    fn plan(&self) -> Result<MigrationPlan, RuntimeError> {
        match &self.store {
            Location::File(path) => Store::options().migration_plan(path),
            #[cfg(feature = "postgres")]
            Location::Server(server) => server.options().migration_plan(),
        }
    }

    fn migrate(&self, output: &Output) -> Result<(), RuntimeError> {
        match &self.store {
            Location::File(_) => repair::for_writing(&self.store, output)?.close(),
            #[cfg(feature = "postgres")]
            Location::Server(server) => server.options().migrate().map(|_| ()),
        }
    }

    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let plan = self.plan()?;
        let migrates = plan.is_needed() && !self.dry_run;
        if migrates {
            self.migrate(output)?;
        }
        let (found, supported) = (plan.found, plan.supported);
        if output.json {
            output.object(&Printed {
                found,
                supported,
                copied_to: plan.backup,
                migrated: migrates,
                dry_run: self.dry_run,
                steps: plan
                    .steps
                    .into_iter()
                    .map(|(version, does)| PrintedStep { version, does })
                    .collect(),
            })?;
            return Ok(Status::Done);
        }
        output.summary(match (plan.is_needed(), self.dry_run) {
            (false, _) => format!("schema version {found} is the newest; nothing to migrate"),
            (true, true) => format!("would migrate from schema version {found} to {supported}"),
            (true, false) => format!("migrated from schema version {found} to {supported}"),
        })?;
        for (version, does) in plan.steps {
            output.summary(format!("version {version}: {does}"))?;
        }
        if let Some(copy) = plan.backup {
            output.summary(format!("copy of version {found}: {}", copy.display()))?;
        }
        Ok(Status::Done)
    }
}
