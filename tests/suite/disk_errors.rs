//! Errors of the disk at every change and at reads, once and permanently.

use crate::faults::assert_holds;
use crate::support::seed;
use redb::StorageBackend;
use torture::campaign::Fault;
use torture::disk::{ALL_ERRORS, Disk, FaultKind, Strike};
use torture::disk_errors::at_every_step;
use torture::rng::Rng;

#[test]
fn disk_error_is_typed_and_loses_nothing() {
    let figures = [
        "under a path",
        "in maintenance",
        "images after them",
        "with one writer",
        "in an exclusive file",
        "with many writers",
        "read",
        "write",
        "set_len",
        "sync",
        "create",
        "create a directory",
        "rename",
        "remove",
    ];
    assert_holds(Fault::DiskErrors, 2_000, &figures);
}

#[test]
fn every_kind_of_step_gets_errors() {
    let mut strikes: Vec<(usize, Strike)> = Vec::new();
    let trial = |fault: torture::disk::Fault, _: &mut Rng| {
        let (after, disk) = (fault.after, Disk::default());
        disk.set_fault(Some(fault));
        // A host that ignores errors.
        let _ = disk.set_len(8192);
        for page in 0..5 {
            let _ = disk.write(page * 1024, &[1; 1024]);
        }
        let _ = disk.sync_data();
        let strike = disk.first_strike();
        strikes.extend(strike.map(|strike| (after, strike)));
        Ok(strike)
    };
    at_every_step(FaultKind::Change, &mut Rng::new(seed()), trial).unwrap();
    for kind in ["set_len", "write", "sync"] {
        for error in ALL_ERRORS {
            let is_this = |strike: &Strike| strike.step == kind && strike.error == error;
            let is_given = strikes.iter().any(|(_, strike)| is_this(strike));
            assert!(is_given, "{kind} never gets {error:?}: {strikes:?}");
        }
    }
    for step in 0..7 {
        let is_met = strikes.iter().any(|(after, _)| *after == step);
        assert!(is_met, "step {step} never fails: {strikes:?}");
    }
}
