//! The texts of import records about removed workers and runtimes.
//!
//! A finding of an import can quote a line or a value that the import left out. The findings of a runtime that the
//! store has are in its own record. Conflicts, and findings about a runtime that an import left out although the store
//! has it, are in the record of no runtime.

use crate::error::RuntimeError;
use crate::ledger::rows::Rows;
use crate::ledger::table_names::NO_RUNTIME;
use crate::ledger::transaction::Transaction;
use crate::model::identity::directory_name;

/// Removes the findings about `workers` of a runtime from the import record of the runtime and from that of no runtime.
pub(crate) fn forget_workers(
    transaction: &mut Transaction<'_>,
    runtime: &str,
    workers: &[&str],
) -> Result<(), RuntimeError> {
    if workers.is_empty() {
        return Ok(());
    }
    let workers: Vec<_> = workers.iter().map(|worker| Marks::new(worker)).collect();
    forget(transaction, runtime, |finding| {
        workers.iter().any(|worker| worker.are_in(finding))
    })?;
    let directory = format!("/{}", directory_name(runtime));
    forget(transaction, NO_RUNTIME, |finding| {
        names(finding, &directory) && workers.iter().any(|worker| worker.are_in(finding))
    })
}

/// Removes the findings about a runtime from the import record of no runtime. Its own record is removed with its row.
pub(crate) fn forget_runtime(
    transaction: &mut Transaction<'_>,
    runtime: &str,
) -> Result<(), RuntimeError> {
    let directory = format!("/{}", directory_name(runtime));
    forget(transaction, NO_RUNTIME, |finding| {
        names(finding, &directory)
    })
}

fn forget(
    transaction: &mut Transaction<'_>,
    record: &str,
    is_forgotten: impl Fn(&str) -> bool,
) -> Result<(), RuntimeError> {
    let Some(mut import) = transaction.import(record)? else {
        return Ok(());
    };
    let before = import.findings.len();
    import.findings.retain(|finding| !is_forgotten(finding));
    match import.findings.len() == before {
        true => Ok(()),
        false => transaction.changes().put_import(record, import),
    }
}

/// Whether the JSON of a finding names a directory or a path in it. The name of a directory ends in hex digits, so that
/// no other name begins with it and continues with another character.
fn names(finding: &str, directory: &str) -> bool {
    let mut parts = finding.split(directory).skip(1);
    parts.any(|after| !after.starts_with(|next: char| next.is_ascii_hexdigit()))
}

/// The forms in which the JSON of a finding names a worker.
struct Marks {
    directory: String,
    /// Its directory in the forms that name it by the id itself, with the end of the JSON string or of the name.
    plain: String,
    /// Its id, if it is a number: later forms write it so.
    number: Option<String>,
    /// Its id as a string of a quoted JSON text.
    quoted: String,
    /// The same in the hex digits of a quoted text that is not UTF-8.
    in_hex: String,
}

impl Marks {
    fn new(worker: &str) -> Self {
        let text = json_string(worker);
        let quoted = json_string(&text);
        Self {
            directory: format!("/workers/{}", directory_name(worker)),
            plain: format!("/workers/{}", &text[1..text.len() - 1]),
            number: worker.parse::<u64>().is_ok().then(|| worker.to_owned()),
            quoted: quoted[1..quoted.len() - 1].to_owned(),
            in_hex: text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    fn are_in(&self, finding: &str) -> bool {
        names(finding, &self.directory)
            || self.is_plain(finding)
            || self.is_member(finding)
            || self.is_number(finding)
            || self.is_in_hex(finding)
    }

    /// Whether the finding is about the directory that has the id as its name.
    fn is_plain(&self, finding: &str) -> bool {
        let mut after = finding.split(&self.plain).skip(1);
        after.any(|after| after.starts_with(['/', '"']))
    }

    /// Whether a quoted text has the worker as a number.
    fn is_number(&self, finding: &str) -> bool {
        let Some(number) = &self.number else {
            return false;
        };
        let mut after = finding.split("\\\"worker_id\\\"").skip(1);
        after.any(|after| {
            let value = after.trim_start().strip_prefix(':').map(str::trim_start);
            let rest = value.and_then(|value| value.strip_prefix(number.as_str()));
            rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
        })
    }

    /// Whether a quoted text has the worker as the value of a member `worker_id`: a diagnostic, an event, or an entry.
    fn is_member(&self, finding: &str) -> bool {
        let mut found = finding.match_indices(&self.quoted);
        found.any(|(at, _)| {
            let before = finding[..at].trim_end().strip_suffix(':');
            before.is_some_and(|before| before.trim_end().ends_with("\\\"worker_id\\\""))
        })
    }

    fn is_in_hex(&self, finding: &str) -> bool {
        let text = finding.split_once("\"text_hex\":\"");
        text.is_some_and(|(_, hex)| hex.contains(&self.in_hex))
    }
}

/// A JSON string with its quotes.
fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_match_only_their_worker() {
        let marks = Marks::new("w\"1");
        for (finding, is_about) in [
            (r#"{"path":"/d/workers/id-772231/worker.json"}"#, true),
            (r#"{"path":"/d/workers/id-772231"}"#, true),
            (r#"{"path":"/d/workers/id-77223131"}"#, false),
            (r#"{"text":"{\"worker_id\": \"w\\\"1\"}"}"#, true),
            (r#"{"text":"{\"worker_id\":\"w\\\"11\"}"}"#, false),
            (r#"{"text":"{\"message\":\"w\\\"1\"}"}"#, false),
            (r#"{"text_hex":"ff22775c223122"}"#, true),
            (r#"{"text_hex":"ff22775c22313122"}"#, false),
        ] {
            assert_eq!(marks.are_in(finding), is_about, "{finding}");
        }
        let marks = Marks::new("1");
        for (finding, is_about) in [
            (r#"{"path":"/d/workers/1/worker.json"}"#, true),
            (r#"{"path":"/d/workers/1"}"#, true),
            (r#"{"path":"/d/workers/11/x"}"#, false),
            (r#"{"text":"{\"worker_id\": 1}"}"#, true),
            (r#"{"text":"{\"worker_id\":12}"}"#, false),
        ] {
            assert_eq!(marks.are_in(finding), is_about, "{finding}");
        }
    }
}
