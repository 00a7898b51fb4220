//! The rules of attributes, and of the change numbers of workers.

use crate::engine::redb::maintenance::verify::report::VerifyKind;
use crate::engine::redb::maintenance::verify::rules::{Expected, Rules};
use crate::engine::redb::tables::definitions::WORKERS;
use crate::ledger::convert;
use crate::ledger::rows::WorkerRow;
use crate::model::attributes::{Attributes, MAX_ATTRIBUTES_BYTES};

impl Rules<'_> {
    /// Checks the attributes and the change number of a worker.
    pub(crate) fn additions_of(&mut self, expected: &Expected<'_>, key: &str, record: &WorkerRow) {
        if let Some(row) = expected.row
            && record.change > row.last_change
        {
            let message = format!(
                "the worker's change number is {}, but the runtime's last one is {}",
                record.change, row.last_change
            );
            self.add(VerifyKind::Counter, WORKERS.name, key, message);
        }
        let checked = record.attributes.as_deref().map(checked);
        let (attributes, wrong) = checked.unwrap_or_default();
        if let Some(message) = wrong {
            self.add(VerifyKind::Attributes, WORKERS.name, key, message);
        }
        let last = u64::from(self.last_opening);
        let mut openings = attributes.openings();
        let later = openings.find(|opening| opening.as_u64().is_none_or(|number| number > last));
        if let Some(later) = later {
            let message = format!(
                "open work names the opening {later}, but the last opening of the store is {last}"
            );
            self.add(VerifyKind::Attributes, WORKERS.name, key, message);
        }
    }
}

/// The attributes of a row, and what is wrong with them. Attributes that cannot be read are none.
pub(crate) fn checked(stored: &str) -> (Attributes, Option<String>) {
    match convert::parsed_attributes(Some(stored)) {
        Ok(attributes) => {
            let bytes = attributes.host_bytes();
            let wrong = (bytes > MAX_ATTRIBUTES_BYTES).then(|| {
                format!("the attributes have {bytes} bytes, the limit is {MAX_ATTRIBUTES_BYTES}")
            });
            (attributes, wrong)
        }
        Err(message) => {
            let wrong = format!("the attributes cannot be read: {message}");
            (Attributes::new(), Some(wrong))
        }
    }
}
