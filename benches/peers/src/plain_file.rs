//! One file, an append and an `fdatasync` for each input: the floor, not a store.

use crate::peer::{InputPeer, Sender};
use crate::workload::Tally;
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub(crate) struct PlainFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl PlainFile {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
        })
    }
}

impl InputPeer for PlainFile {
    fn sender(&self) -> Result<Box<dyn Sender + '_>> {
        Ok(Box::new(self))
    }

    fn tally(&self) -> Result<Tally> {
        let mut tally = Tally::default();
        for line in BufReader::new(File::open(&self.path)?).lines() {
            let line = line?;
            let (worker, text) = line.split_once('\t').context("a line without a tab")?;
            tally.add(worker.parse()?, text);
        }
        Ok(tally)
    }
}

impl Sender for &PlainFile {
    fn send(&mut self, worker: usize, text: &str) -> Result<()> {
        let line = format!("{worker}\t{text}\n");
        let mut file = self.file.lock().expect("no sender panics");
        file.write_all(line.as_bytes())?;
        Ok(file.sync_data()?)
    }
}
