//! Power losses, failed syncs and kills that follow each other in one store.

use crate::faults::assert_holds;
use torture::campaign::Fault;

#[test]
fn generations_of_faults_keep_acknowledged_work() {
    let figures = [
        "in a recovery",
        "with the allocator state in every commit",
        "operations that failed",
        "opens that failed",
        "kills",
        "removals",
        "compactions",
        "commits around 4 MiB",
        "changes of the length",
        "with one writer",
        "in an exclusive file",
        "with many writers",
    ];
    assert_holds(Fault::Generations, 6_000, &figures);
}
