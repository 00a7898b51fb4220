//! Maintenance that is interrupted at every step.

use crate::faults::assert_holds;
use torture::campaign::Fault;

#[test]
fn crash_at_any_step_leaves_old_or_new() {
    let figures = ["by killing a process", "in a migration that fails"];
    assert_holds(Fault::CrashSteps, 1_000, &figures);
}
