//! Transactions that are larger than one message to the server should be.

use crate::hosts::Host;
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};

/// The most that one statement with several rows has, with its keys. The server takes no message of a gigabyte.
const STATEMENT: usize = (64 << 20) + (1 << 10);

#[test]
fn large_transaction_is_sent_in_several_statements() {
    const LENGTH: usize = 40 << 20;
    let host = Host::new(|options| options);
    let (runtime, worker) = (&host.runtime, &host.worker);
    let said = runtime.transaction(|transaction| {
        ["a", "b", "c"].iter().try_for_each(|letter| {
            let input = WorkerInput::user(letter.repeat(LENGTH));
            transaction.send_input(worker, input).map(drop)
        })
    });
    said.unwrap();
    assert!((LENGTH..STATEMENT).contains(&host.proxy.longest()));
    for (position, letter) in ["a", "b", "c"].iter().enumerate() {
        let query = TranscriptQuery::new(position, 1);
        let page = runtime.transcript_projection(worker, query).unwrap();
        let content = &page.items[0].content;
        assert!(content.len() == LENGTH && content.starts_with(letter));
    }
    assert_eq!(runtime.event_cursor_now().unwrap().next_event_id, 6);
}
