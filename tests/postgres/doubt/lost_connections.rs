//! A connection is lost at any point of an operation.

use crate::hosts::{Host, assert_refused};
use postgres_tests::proxy::{Fault, Point, Side, When};
use redb_runtime_store::RuntimeError;
use redb_runtime_store::interaction::TranscriptQuery;
use std::time::Duration;

#[test]
fn lost_commit_is_written_again() {
    let host = Host::new(|options| options);
    for round in 0..5 {
        host.proxy.plan(Point::COMMIT_LOST, Fault::Cut);
        assert_eq!(host.say(&round.to_string()).unwrap(), 3 + round);
        assert!(host.proxy.has_fired());
    }
    assert_eq!(host.said(), ["0", "1", "2", "3", "4"]);
    assert_eq!(host.proxy.cancels(), 0);
}

#[test]
fn lost_answer_is_settled_by_its_token() {
    let host = Host::new(|options| options);
    for round in 0..5 {
        host.proxy.plan(Point::ANSWER_LOST, Fault::Cut);
        assert_eq!(host.say(&round.to_string()).unwrap(), 3 + round);
        assert!(host.proxy.has_fired());
    }
    assert_eq!(host.said(), ["0", "1", "2", "3", "4"]);
    assert_eq!(host.proxy.cancels(), 0);
}

/// Cuts one operation at each of its messages, in both directions, before and after it.
#[test]
fn input_survives_a_cut_at_every_message() {
    let host = Host::new(|options| options);
    let mut expected = Vec::new();
    for side in [Side::Host, Side::Server] {
        for when in [When::Before, When::After] {
            for nth in 1.. {
                host.proxy.plan(Point::message(side, nth, when), Fault::Cut);
                let text = format!("{side:?} {nth} {when:?}");
                host.say(&text).unwrap();
                expected.push(text);
                if !host.proxy.has_fired() {
                    // Fewer would mean that the operation was not seen.
                    assert!(nth > 4, "{side:?}: {nth} messages");
                    break;
                }
            }
        }
    }
    assert_eq!(host.said(), expected);
    let events = host.runtime.event_cursor_now().unwrap().next_event_id;
    assert_eq!(events, 3 + expected.len() as u64);
}

/// Cuts reads in the same way. A read may fail, since what it has returned so far is of a snapshot that is gone; it is never
/// wrong, and the next one works.
#[test]
fn read_is_right_or_fails_at_every_cut() {
    let host = Host::new(|options| options);
    host.say("hello").unwrap();
    for (side, when) in [(Side::Host, When::After), (Side::Server, When::Before)] {
        for nth in 1.. {
            let point = Point::message(side, nth, when);
            host.proxy.plan(point, Fault::Cut);
            let query = TranscriptQuery::new(0, 256);
            match host.runtime.transcript_projection(&host.worker, query) {
                Ok(page) => assert_eq!(page.items[0].content, "hello"),
                Err(error) => {
                    assert_refused!(Err::<(), _>(error), RuntimeError::StoreIo { .. });
                    assert!(host.proxy.has_fired());
                }
            }
            if !host.proxy.has_fired() {
                break;
            }
            assert_eq!(host.said(), ["hello"], "{side:?} {nth}");
        }
    }
}

/// A fail-over ends the connections that no operation uses. No operation may pay for it.
#[test]
fn connections_lost_while_idle_are_replaced() {
    let host = Host::new(|options| options);
    host.say("hello").unwrap();
    host.proxy.fail(Fault::Cut);
    assert_eq!(host.said(), ["hello"]);
    host.proxy.fail(Fault::Cut);
    host.say("again").unwrap();
    assert_eq!(host.said(), ["hello", "again"]);
}

#[test]
fn outage_past_the_deadline_is_uncertain_and_the_store_goes_on() {
    let host = Host::new(|options| options.outage_timeout(Duration::from_secs(1)));
    for (point, text) in [
        (Point::ANSWER_LOST, "there"),
        (Point::COMMIT_LOST, "absent"),
    ] {
        host.proxy.plan(point, Fault::Outage);
        assert_refused!(host.say(text), RuntimeError::CommitUncertain { .. });
        assert!(host.proxy.has_fired());
        host.proxy.restore();
    }
    host.say("later").unwrap();
    assert_eq!(host.said(), ["there", "later"]);
}

#[test]
fn silent_server_is_given_up_at_the_deadline() {
    let host = Host::new(|options| options.outage_timeout(Duration::from_secs(1)));
    host.proxy.plan(Point::ANSWER_LOST, Fault::Hold);
    // While the server is silent: it is restored only afterwards.
    assert_refused!(host.say("held"), RuntimeError::CommitUncertain { .. });
    host.proxy.restore();
    host.say("later").unwrap();
    assert_eq!(host.said(), ["held", "later"]);
    // A cancelled COMMIT that waits for the standby would be answered as a success.
    assert_eq!(host.proxy.cancels(), 0);
}

#[test]
fn outage_before_the_commit_is_an_error_that_changed_nothing() {
    let host = Host::new(|options| options.outage_timeout(Duration::from_millis(500)));
    host.proxy.fail(Fault::Outage);
    assert_refused!(host.say("lost"), RuntimeError::StoreIo { .. });
    host.proxy.restore();
    host.say("later").unwrap();
    assert_eq!(host.said(), ["later"]);
}

/// The closure of a host must not run twice, whatever happens to the connection.
#[test]
fn closure_runs_once_when_its_commit_is_repeated() {
    let host = Host::new(|options| options);
    for point in [Point::COMMIT_LOST, Point::ANSWER_LOST] {
        host.proxy.plan(point, Fault::Cut);
        let mut runs = 0;
        host.runtime
            .transaction(|transaction| {
                runs += 1;
                transaction.append_reply(&host.worker, "reply")
            })
            .unwrap();
        assert!(host.proxy.has_fired());
        assert_eq!(runs, 1);
    }
    assert_eq!(host.said(), ["reply", "reply"]);
}

#[test]
fn failed_closure_leaves_no_trace() {
    let host = Host::new(|options| options);
    let failed = host.runtime.transaction(|transaction| {
        transaction.append_reply(&host.worker, "undone")?;
        Err::<(), _>(RuntimeError::InvalidRequest("on purpose".to_owned()))
    });
    assert_refused!(failed, RuntimeError::InvalidRequest(_));
    host.say("later").unwrap();
    assert_eq!(host.said(), ["later"]);
}
