//! Writes a stored record as a line of a log.

use crate::layout::error::LayoutError;
use crate::layout::format::fast_json;
use crate::layout::format::json::{self, Form};
use crate::model::persisted::Stored;
use serde::Serialize;
use std::path::PathBuf;
use std::time::SystemTime;

/// Appends `record`, a [`RuntimeEvent`](crate::observation::RuntimeEvent) or a
/// [`TranscriptEntry`](crate::interaction::TranscriptEntry), to `line` as the layout's logs have it:
/// compact JSON with its unknown members, and a newline.
///
/// # Errors
///
/// [`LayoutError::Unwritable`] where an unknown member has no place in the record.
pub fn write_line<T: Serialize>(record: &Stored<T>, line: &mut Vec<u8>) -> Result<(), LayoutError> {
    json::write(&record.value, &record.unknown, Form::Line, line).map_err(|problem| {
        LayoutError::Unwritable {
            path: PathBuf::from("(line)"),
            message: problem.message,
        }
    })
}

/// As [`write_line`], with the time of the record as its last member `"recorded_at"`, if it has one.
///
/// # Errors
///
/// As [`write_line`].
pub fn write_recorded_line<T: Serialize>(
    record: &Stored<T>,
    recorded_at: Option<SystemTime>,
    line: &mut Vec<u8>,
) -> Result<(), LayoutError> {
    write_line(record, line)?;
    if let Some(time) = recorded_at {
        // The newline, which follows the brace of the record.
        line.pop();
        fast_json::add_time(time, line);
        line.push(b'\n');
    }
    Ok(())
}
