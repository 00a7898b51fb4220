//! Maintenance that is cut off at every step.

use crate::faults::assert_holds;
use torture::campaign::Fault;

#[test]
fn what_is_cut_off_at_any_step_leaves_the_old_or_the_new_and_can_be_done_again() {
    let figures = ["by killing a process", "in a migration that fails"];
    assert_holds(Fault::CrashSteps, 1_000, &figures);
}
