//! `migrate`: bring a store to the schema version of this program.

use crate::failure::{Failure, Status};
use crate::output::Output;
use crate::{help, repair};
use clap::Args;
use redb_runtime_store::Store;
use serde::Serialize;
use std::path::PathBuf;

/// Bring a store to the schema version of this program
///
/// Every program that opens a store for writing does the same. Before it does, the store is copied to
/// `<STORE>.v<N>.bak`. Needs the store to itself.
#[derive(Args)]
#[command(after_help = help::MIGRATE)]
pub(crate) struct Migrate {
    /// The store's file
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// Only say what would be done
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
}

impl Migrate {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let plan = Store::options().migration_plan(&self.store)?;
        let migrates = plan.is_needed() && !self.dry_run;
        if migrates {
            repair::for_writing(Store::options(), &self.store, output)?.close()?;
        }
        let (found, supported) = (plan.found, plan.supported);
        if output.json {
            output.object(&Printed {
                found,
                supported,
                copied_to: plan.backup,
                migrated: migrates,
                dry_run: self.dry_run,
            })?;
            return Ok(Status::Done);
        }
        output.summary(match (plan.is_needed(), self.dry_run) {
            (false, _) => format!("schema version {found} is the newest: nothing to do"),
            (true, true) => format!("would migrate from schema version {found} to {supported}"),
            (true, false) => format!("migrated from schema version {found} to {supported}"),
        })?;
        if let Some(copy) = plan.backup {
            output.summary(format!("copy of version {found}: {}", copy.display()))?;
        }
        Ok(Status::Done)
    }
}
