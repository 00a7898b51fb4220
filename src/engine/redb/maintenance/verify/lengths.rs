//! Compares the row counts that redb stores with the rows that a verification has read.

use crate::engine::redb::maintenance::verify::damage::split_damage;
use crate::engine::redb::maintenance::verify::report::VerifyKind;
use crate::engine::redb::maintenance::verify::rules::Rules;
use crate::engine::redb::schema::version;
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, FILES, IMPORTS, META, RUNTIMES, TOMBSTONES, TRANSCRIPTS, WORKERS,
};
use crate::error::RuntimeError;

impl Rules<'_> {
    /// Reports a table that the schema of the store has, and the store has not.
    pub(crate) fn missing_tables(&mut self) -> Result<(), RuntimeError> {
        let has = [
            (
                TOMBSTONES.name,
                TOMBSTONES.since,
                self.view.has_table(&TOMBSTONES),
            ),
            (FILES.name, FILES.since, self.view.has_table(&FILES)),
        ];
        // A version that cannot be read is reported, too.
        let found = version::version(self.view.tables, self.view.at).ok();
        for (table, since, has) in has {
            // A table list that cannot be read is reported by the walks.
            let has = split_damage(has)?.0.unwrap_or(true);
            if !has && found.is_none_or(|found| found >= since) {
                let message = "the table is missing".to_owned();
                self.findings
                    .add(VerifyKind::Unreadable, (Some(table), None), message);
            }
        }
        Ok(())
    }

    /// Compares the row count that each table records with the number of rows that were read.
    pub(crate) fn lengths(&mut self) -> Result<(), RuntimeError> {
        let view = &self.view;
        let says = [
            (META.name, view.len(&META)),
            (RUNTIMES.name, view.len(&RUNTIMES)),
            (WORKERS.name, view.len(&WORKERS)),
            (EVENTS.name, view.len(&EVENTS)),
            (TRANSCRIPTS.name, view.len(&TRANSCRIPTS)),
            (DIAGNOSTICS.name, view.len(&DIAGNOSTICS)),
            (IMPORTS.name, view.len(&IMPORTS)),
            (TOMBSTONES.name, view.len(&TOMBSTONES)),
            (FILES.name, view.len(&FILES)),
        ];
        for (table, says) in says {
            let walked = self.walked.get(table).copied().unwrap_or(0);
            let (says, damage) = split_damage(says)?;
            if let Some(damage) = damage {
                let message = format!("the row count of the table cannot be read: {damage}");
                self.findings
                    .add(VerifyKind::Unreadable, (Some(table), None), message);
            }
            if let Some(says) = says
                && says != walked
                && !self.broken.contains(table)
            {
                let message = format!("the table counts {says} rows, but has {walked}");
                self.findings
                    .add(VerifyKind::Count, (Some(table), None), message);
            }
        }
        Ok(())
    }
}
