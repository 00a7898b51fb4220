//! Connections between hosts and servers, cut at chosen messages.

use postgres_tests::proxy::{Fault, Point, Proxy, Side, When, Which};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use torture::rng::Rng;

/// The last message that is chosen. Less than a round has, so that the cut happens.
const LAST: usize = 60;

/// The last COMMIT that is chosen.
const LAST_COMMIT: usize = 6;

/// How often the end of the round is looked for.
const GLANCE: Duration = Duration::from_millis(20);

/// A message of a host or of a server, before or after which its connection is cut. Half of them are a COMMIT or its answer.
fn point(rng: &mut Rng) -> Point {
    let is_commit = rng.chance(50);
    Point {
        from: *rng.pick(&[Side::Host, Side::Server]),
        which: if is_commit { Which::Commit } else { Which::Any },
        nth: rng.between(1, if is_commit { LAST_COMMIT } else { LAST }),
        when: *rng.pick(&[When::Before, When::After]),
    }
}

/// Cuts up to `count` connections through `proxy`, one after the other, until `is_over`. Returns how many were cut.
pub(crate) fn cut(proxy: &Proxy, mut rng: Rng, count: usize, is_over: &AtomicBool) -> usize {
    for cut in 0..count {
        let (point, pause) = (point(&mut rng), rng.below(60));
        proxy.plan(point, Fault::Cut);
        while !proxy.wait_fired_within(GLANCE) {
            if is_over.load(Ordering::Relaxed) {
                return cut;
            }
        }
        thread::sleep(Duration::from_millis(pause as u64));
    }
    count
}
