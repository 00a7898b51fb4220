//! What the bench runs on.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// The machine and the file system of `dir`, one remark a line.
pub(crate) fn describe(dir: &Path) -> Result<String> {
    let (kind, device) = file_system(dir)?;
    let mut lines = vec![
        format!(
            "date: {}",
            humantime::format_rfc3339_seconds(SystemTime::now())
        ),
        format!("cpu: {}, {} cores", cpu(), cores()),
        format!(
            "memory: {} MiB",
            memory_kib("/proc/meminfo", "MemTotal")? >> 10
        ),
        format!("kernel: {}", read("/proc/sys/kernel/osrelease")),
        format!(
            "file system: {kind} on {device}, directory {}",
            dir.display()
        ),
        format!("sqlite: {}", rusqlite::version()),
    ];
    if kind == "tmpfs" {
        lines.push("WARNING: a sync costs nothing here; the rows that write mean nothing".into());
    }
    Ok(lines.join("\n"))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn cpu() -> String {
    let info = read("/proc/cpuinfo");
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": "));
    name.map_or("unknown", |(_, name)| name).to_owned()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// The type and the device of the mount that `dir` is on: of the mount points that lead to it, the
/// longest.
fn file_system(dir: &Path) -> Result<(String, String)> {
    let dir = dir.canonicalize()?;
    let mounts = fs::read_to_string("/proc/mounts")?;
    let mut best = None;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [device, point, kind, ..] = fields[..] else {
            continue;
        };
        let is_longer = best.is_none_or(|(_, _, len)| point.len() >= len);
        if dir.starts_with(point) && is_longer {
            best = Some((kind, device, point.len()));
        }
    }
    let (kind, device, _) = best.context("no mount leads to the directory")?;
    Ok((kind.to_owned(), device.to_owned()))
}

/// A line of a file like `/proc/self/status`, in KiB.
pub(crate) fn memory_kib(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .with_context(|| format!("{path} has no {name}"))?;
    let number = line.trim().trim_end_matches(" kB");
    Ok(number.parse()?)
}
