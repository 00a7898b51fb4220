//! `set-limits`: sets the limits of a runtime.

use crate::arguments::help;
use crate::arguments::select::WritableArgument;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use clap::Args;

/// Set how many items one read of a runtime returns at most
///
/// A limit that is not given stays. The limits apply to reads of hosts, not to this program. Fails with exit code 3 while
/// a host has the store open.
#[derive(Args)]
#[command(after_help = help::SET_LIMITS)]
pub(crate) struct SetLimits {
    #[command(flatten)]
    store: WritableArgument,
    /// The most entries of a transcript
    #[arg(long, value_name = "N")]
    transcript: Option<usize>,
    /// The most events
    #[arg(long, value_name = "N")]
    events: Option<usize>,
}

impl SetLimits {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        if self.transcript.is_none() && self.events.is_none() {
            let message = "no limit is given: pass `--transcript`, `--events` or both";
            return Err(Failure::WrongUse(message.to_owned()));
        }
        let (store, runtime) = self.store.open(output)?;
        let mut limits = runtime.summary()?.limits;
        if let Some(transcript) = self.transcript {
            limits.max_transcript_projection_items = transcript;
        }
        if let Some(events) = self.events {
            limits.max_event_batch_items = events;
        }
        runtime.set_limits(limits)?;
        let summary = runtime.summary()?;
        store.close()?;
        if output.json {
            output.object(&summary)?;
            return Ok(Status::Done);
        }
        output.summary(format!(
            "runtime {}: {} entries and {} events for one read",
            visible(&summary.runtime_id),
            limits.max_transcript_projection_items,
            limits.max_event_batch_items,
        ))?;
        Ok(Status::Done)
    }
}
