//! Reports files that belong to no runtime or worker that can be imported.

use crate::layout::dir::source::SourceDir;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::document::WorkerDocument;
use crate::layout::format::names::WORKERS;
use crate::layout::read::documents::Document;
use crate::layout::read::log_record::LogRecord;
use crate::layout::read::reader::Reader;
use crate::layout::read::sink::ReadStop;
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use std::ffi::OsStr;
use std::io;

impl Reader<'_> {
    /// Reports the files of a runtime directory that was left out.
    pub(crate) fn orphaned_runtime(&mut self, dir: &SourceDir) -> Result<(), ReadStop> {
        self.orphaned_log::<RuntimeEvent>(dir)?;
        let Some(workers) = self.open_dir_if_any(dir, WORKERS)? else {
            return Ok(());
        };
        let names = self.tried("list", workers.path(), workers.names())?;
        for name in names.into_iter().flatten() {
            match self.is_worker_dir(&workers, &name)? {
                Some(true) => self.orphaned_worker(&workers, &name)?,
                Some(false) => self.orphaned_document(&workers, &name)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Reports the files of a worker directory whose runtime was left out.
    pub(crate) fn orphaned_worker(
        &mut self,
        workers: &SourceDir,
        name: &OsStr,
    ) -> Result<(), ReadStop> {
        let Some(dir) = self.open_dir_if_any(workers, name)? else {
            return Ok(());
        };
        let others = self.look_around(&dir, &[WorkerDocument::FILE, TranscriptEntry::FILE])?;
        self.leave_out(others)?;
        self.orphaned_document(&dir, OsStr::new(WorkerDocument::FILE))?;
        self.orphaned_log::<TranscriptEntry>(&dir)
    }

    fn orphaned_document(&mut self, dir: &SourceDir, name: &OsStr) -> Result<(), ReadStop> {
        let Some(mut file) = self.open_file_if_any(dir, name)? else {
            return Ok(());
        };
        let path = dir.path_of(name);
        let message = "the file belongs to no runtime or worker that can be imported";
        let finding = Finding::new(FindingKind::Orphaned, path.clone(), message);
        let length = file.length();
        self.report_part(&file, finding, (0, length))?;
        // The fingerprint covers every file.
        let read = io::copy(&mut file, &mut io::sink());
        if self.tried("read", path, read)?.is_some() {
            self.close_file(dir, file)?;
        }
        Ok(())
    }

    /// Reports a log with the number of its records and its text.
    pub(crate) fn orphaned_log<T: LogRecord>(&mut self, dir: &SourceDir) -> Result<(), ReadStop> {
        let Some(file) = self.open_file_if_any(dir, T::FILE)? else {
            return Ok(());
        };
        let path = dir.path_of(T::FILE);
        let mut lines = self.lines(file);
        let mut records = 0_u64;
        loop {
            match lines.next() {
                Ok(Some(line)) => records += u64::from(!line.bytes.trim_ascii().is_empty()),
                Ok(None) => break,
                Err(error) => {
                    self.refused("read", path.clone(), error)?;
                    break;
                }
            }
        }
        let message = match records {
            1 => "1 record that belongs to no runtime or worker that can be imported".to_owned(),
            _ => format!(
                "{records} records that belong to no runtime or worker that can be imported"
            ),
        };
        let file = lines.into_inner().into_inner();
        let finding = Finding::new(FindingKind::Orphaned, path, message);
        let length = file.length();
        self.report_part(&file, finding, (0, length))?;
        self.close_file(dir, file)
    }
}
