//! The end of a log of a directory: what an update appends to it.

use crate::error::RuntimeError;
use crate::layout::compare::documents::Style;
use crate::layout::dir::target::TargetDir;
use crate::layout::error::LayoutError;
use crate::layout::export::earlier_state::not_a_prefix;
use crate::layout::export::runtime_writer::RuntimeWriter;
use crate::layout::findings::finding::Finding;
use crate::layout::read::log_record::{LogRecord, LogRow};
use crate::layout::report::RuntimeExport;
use crate::model::persisted::Stored;

/// The end of a log of the directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached {
    /// The event id or the position of the next record that the store has and the directory lacks.
    pub(crate) next: u64,
    /// The incomplete line after it, which a killed update left.
    tail: Vec<u8>,
    /// Whether that line has a time.
    tail_has_time: bool,
}

impl Reached {
    pub(crate) fn until(next: u64) -> Self {
        Self {
            next,
            tail: Vec::new(),
            tail_has_time: false,
        }
    }
}

/// Appends the new records to a log. Returns their number. `last` reads the last record that the directory has.
pub(crate) fn append_rest<T: LogRecord>(
    (writer, style): (&RuntimeWriter<'_>, &Style),
    dir: &TargetDir,
    rest: impl Iterator<Item = Result<Stored<T::Recorded>, RuntimeError>>,
    (reached, last): (&Reached, LastOf<'_, T>),
    report: &mut RuntimeExport,
) -> Result<u64, LayoutError> {
    let mut rest = rest.peekable();
    let is_new = !dir.has(T::FILE)?;
    if is_new && rest.peek().is_none() {
        // The form has no such log.
        return Ok(0);
    }
    report.new_logs += u64::from(is_new);
    let file = match is_new {
        true => dir.create_file(T::FILE)?,
        false => dir.append_to(T::FILE)?,
    };
    let mut lacks_end = !is_new && reached.tail.is_empty() && !file.ends_with_newline()?;
    if lacks_end && rest.peek().is_none() {
        let last = last()?.map(T::of_store);
        let own_text = last.as_ref().and_then(LogRow::own_text);
        // The last record was imported without one.
        lacks_end = own_text.is_none_or(|text| text.ends_with('\n'));
    }
    let mut log = writer.log(style, file);
    if lacks_end {
        // The last record is complete; only its newline is missing.
        log.end_line()?;
    }
    let mut skip = reached.tail.len();
    for record in rest {
        let skip = std::mem::take(&mut skip);
        let times = match skip {
            0 => writer.times,
            _ => reached.tail_has_time,
        };
        log.append_after(&T::of_store(record?), times, skip)?;
    }
    if log.is_empty() {
        return Ok(0);
    }
    let appended = log.finish()?;
    report.bytes += appended.bytes;
    report.not_in_form += appended.not_in_form;
    Ok(appended.records)
}

/// Reads the record before the first one that the directory lacks.
pub(crate) type LastOf<'l, T> =
    &'l dyn Fn() -> Result<Option<Stored<<T as LogRecord>::Recorded>>, LayoutError>;

pub(crate) fn take_tail_of<T: LogRecord>(
    reached: &mut Reached,
    next: Option<Result<Stored<T::Recorded>, RuntimeError>>,
    text: &[u8],
    finding: &Finding,
) -> Result<(), LayoutError> {
    let Some(next) = next.transpose()? else {
        return Err(damaged(finding));
    };
    let row = T::of_store(next);
    // The update that was killed may have written times or not. Where its line does not show that yet, either way
    // completes it.
    for times in [false, true] {
        let mut line = Vec::new();
        if row.write_own_line(times, &mut line).is_ok() && line.starts_with(text) {
            reached.tail = text.to_vec();
            reached.tail_has_time = times;
            return Ok(());
        }
    }
    Err(damaged(finding))
}

pub(crate) fn damaged(finding: &Finding) -> LayoutError {
    let what = format!("{}: {}", finding.kind, finding.message);
    not_a_prefix(&finding.path, finding.line, what)
}
