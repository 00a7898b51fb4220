//! The stored bytes of version 2, pinned, and the rules of its additions.

use super::*;
use crate::ledger::stored::tombstone::{Unfinished, WorkerEnd};
use crate::model::layout_form::{AbsentMember, DocumentOrigin, Spelling};

const TIME_MS: u64 = 1_795_956_312_345;

/// The bytes of [`TIME_MS`].
const TIME: &str = "9992dabaa234";

/// Each record of version 2 without additions, and with all that it can have.
pub(super) fn version_2_examples(check: &impl Check) {
    let rest = "8002 01 02 ac02 ffffffffffffffffff01 03 04 05 06 01 022f61 0162 027b7d";
    let keys = &["q", "r\0", "R"];
    let mut record = runtime_example(RuntimeStatus::Stopped);
    let hex = format!("02 01 036ec3a9 01 {rest} 00 4dbae836");
    check.example("runtimes", "r", keys, record.clone(), &hex);
    record.latest_time_ms = Some(TIME_MS);
    record.last_change = 129;
    record.first_event_id = 2;
    let hex = format!("02 01 036ec3a9 01 {rest} 0b {TIME} 8101 02 8d645349");
    check.example("runtimes", "r", keys, record.clone(), &hex);
    record.form = LayoutForm::E;
    let hex = format!("02 01 036ec3a9 01 {rest} 4b {TIME} 8101 02 04 829e6790");
    check.example("runtimes", "r", keys, record, &hex);

    let rest = "01 026362 02 0163 00 0164 01 0179 01 0177 0178 01 016d 016e 09 8001 08 00";
    let (key, others) = (("r", "w"), &[("q", "w"), ("r", "v"), ("rw", "")]);
    let assistant = WorkerIntent::Assistant { purpose: None };
    let profile = ProfileSelector::RuntimeDefault;
    let mut record = worker_example(WorkerStatus::Running, assistant, profile);
    let hex = format!("02 00 00 00 00 {rest} 00 e4f204d8");
    check.example("workers", key, others, record.clone(), &hex);
    record.changed_at_ms = Some(TIME_MS);
    record.change = 300;
    let hex = format!("02 00 00 00 00 {rest} 03 {TIME} ac02 717c3603");
    check.example("workers", key, others, record.clone(), &hex);
    record.attributes = Some(text("{}"));
    record.first_position = 7;
    record.is_pinned = true;
    record.ended_at_ms = Some(0);
    let hex = format!("02 00 00 00 00 {rest} 3f {TIME} ac02 027b7d 07 00 0727077c");
    check.example("workers", key, others, record, &hex);
    version_2_log_examples(check);
}

fn version_2_log_examples(check: &impl Check) {
    let (key, others) = (("r", 1), &[("r", 2), ("q", 1)]);
    let mut record = EventRow {
        worker_id: Some("w".into()),
        kind: RuntimeEventKind::WorkerCreated,
        message: None,
        unknown: Vec::new(),
        recorded_at_ms: None,
        form: LineForm::default(),
    };
    let hex = "02 01 0177 02 00 00 00 36a00150";
    check.example("events", key, others, record.clone(), hex);
    record.recorded_at_ms = Some(TIME_MS);
    let hex = format!("02 01 0177 02 00 00 01 {TIME} faa3bbcc");
    check.example("events", key, others, record.clone(), &hex);
    record.form.spelling.has_number_ids = true;
    let hex = format!("02 01 0177 02 00 00 41 {TIME} 01 57bd3cd1");
    check.example("events", key, others, record.clone(), &hex);
    record.form.own_text = Some("{}\r\n".into());
    let hex = format!("02 01 0177 02 00 00 c101 {TIME} 01 047b7d0d0a 834357f0");
    check.example("events", key, others, record, &hex);

    let (place, elsewhere) = (("r", "w", 2), &[("r", "w", 3), ("r", "v", 2)]);
    let mut record = TranscriptRow {
        sequence: 300,
        role: TranscriptRole::Assistant,
        event_id: 7,
        content: "hi".into(),
        unknown: Vec::new(),
        recorded_at_ms: None,
        form: LineForm::default(),
        attributes: None,
    };
    let hex = "02 ac02 01 07 026869 00 00 7233d46b";
    check.example("transcripts", place, elsewhere, record.clone(), hex);
    record.recorded_at_ms = Some(TIME_MS);
    record.attributes = Some("{}".into());
    let hex = format!("02 ac02 01 07 026869 00 05 {TIME} 027b7d cb49acc3");
    check.example("transcripts", place, elsewhere, record.clone(), &hex);
    record.form = LineForm {
        spelling: Spelling {
            has_number_ids: true,
            is_without_runtime: true,
        },
        own_text: Some("x".into()),
    };
    let hex = format!("02 ac02 01 07 026869 00 c501 {TIME} 027b7d 03 0178 551a39f5");
    check.example("transcripts", place, elsewhere, record, &hex);

    let mut record = DiagnosticRow {
        severity: DiagnosticSeverity::Info,
        code: text("c"),
        message: text("m"),
        worker_id: None,
        unknown: Vec::new(),
        recorded_at_ms: None,
    };
    let hex = "02 00 0163 016d 00 00 00 e2588a69";
    check.example("diagnostics", key, others, record.clone(), hex);
    record.recorded_at_ms = Some(TIME_MS);
    let hex = format!("02 00 0163 016d 00 00 01 {TIME} 7a09b22c");
    check.example("diagnostics", key, others, record, &hex);
    tombstone_examples(check);
}

fn tombstone_examples(check: &impl Check) {
    let (key, others) = (("r", "w"), &[("q", "w"), ("r", "v"), ("rw", "")]);
    let deleted = |at_ms| TombstoneRow::Deleted { at_ms };
    let hex = "02 00 00 15a98889";
    check.example("tombstones", key, others, deleted(None), hex);
    let hex = format!("02 00 01 {TIME} 1d419a52");
    check.example("tombstones", key, others, deleted(Some(TIME_MS)), &hex);
    let at_ms = Some(TIME_MS);
    let end = WorkerEnd {
        transcript_len: 3,
        next_sequence: 4,
        last_event_id: 300,
    };
    let hex = format!("02 01 03 04 ac02 01 {TIME} 18eb3eb7");
    check.example(
        "tombstones",
        key,
        others,
        TombstoneRow::Dropped { at_ms, end },
        &hex,
    );
    let unfinished = TombstoneRow::Unfinished(Unfinished {
        is_whole: true,
        workers: vec![text("a"), text("bc")],
    });
    let hex = "02 02 01 02 0161 026263 00 6dfae8f3";
    check.example("tombstones", ("", "r"), others, unfinished, hex);
    let (place, elsewhere) = (("r", "p", 2), &[("r", "p", 3), ("r", "q", 2)]);
    let chunk = FileChunkRow::Bytes(vec![0, 0xFF]);
    check.example("files", place, elsewhere, chunk, "01 00 02 00ff ad205c08");
    check.example(
        "files",
        place,
        elsewhere,
        FileChunkRow::Directory,
        "01 01 6dc49df9",
    );
    let origin = FileChunkRow::Origin(DocumentOrigin {
        form: LayoutForm::E,
        absent: vec![AbsentMember {
            pointer: text("/a"),
            json: text("[]"),
        }],
    });
    let hex = "01 02 04 01 022f61 025b5d a12b202b";
    check.example("files", place, elsewhere, origin, hex);
}

/// Skipping an addition would lose it with the next write of the row.
#[test]
fn unknown_additions_are_refused() {
    fn refusal<R: Record>(table: &str, row: &R, bit: u32) -> Option<String> {
        let mut body = postcard::to_extend(&row.stored(), vec![2]).unwrap();
        body = postcard::to_extend(&(1_u32 << bit), body).unwrap();
        // Enough for any addition that is known.
        body.extend([0; 2]);
        decode::<R>(table, &"k", &sealed(table, &"k", &body)).err()
    }
    let mut worker = worker_example(
        WorkerStatus::Running,
        WorkerIntent::Assistant { purpose: None },
        ProfileSelector::RuntimeDefault,
    );
    worker.unknown = Vec::new();
    let event = EventRow {
        worker_id: None,
        kind: RuntimeEventKind::RuntimeStarted,
        message: None,
        unknown: Vec::new(),
        recorded_at_ms: None,
        form: LineForm::default(),
    };
    let unknown = |bit: u32| format!("the additions {:#b} are not known", 1_u32 << bit);
    for bit in 0..32 {
        let of_worker = refusal("workers", &worker, bit).unwrap();
        assert_eq!(of_worker == unknown(bit), bit > 5, "{bit}: {of_worker}");
        let of_event = refusal("events", &event, bit).unwrap();
        assert_eq!(
            of_event == unknown(bit),
            bit > 0 && !(6..8).contains(&bit),
            "{bit}: {of_event}"
        );
    }
}

/// A row that uses nothing new grows by one byte, and by at most six for a time.
#[test]
fn rows_grow_by_a_byte_and_their_time() {
    struct Growth;
    impl Check for Growth {
        fn example<K: KeyBytes, R: Example>(
            &self,
            table: &str,
            key: K,
            _: &[K],
            record: R,
            _: &str,
        ) {
            let of_version_1 = 1 + postcard::to_allocvec(&record.stored()).unwrap().len() + 4;
            let grown = encoded(table, &key, &record).len() - of_version_1;
            let is_plain = |additions: Additions<'_>| additions == Additions::default();
            let additions = record.additions();
            if is_plain(additions) {
                assert_eq!(grown, usize::from(R::VERSION > 1), "{table}");
            } else if additions == Additions::of_time(additions.time_ms) {
                assert_eq!(grown, 1 + 6, "{table}");
            }
        }
    }
    every_example(&Growth);
}

#[test]
fn times_past_the_calendar_are_refused() {
    let time = |time_ms: u64| {
        let body = postcard::to_extend(&time_ms, vec![2, 0, 0, 0, 0, 1]).unwrap();
        let value = sealed("events", &("r", 1), &body);
        decode::<EventRow<'static>>("events", &("r", 1), &value).map(|row| row.recorded_at_ms)
    };
    assert_eq!(time(253_402_300_799_999), Ok(Some(253_402_300_799_999)));
    time(253_402_300_800_000).unwrap_err();
    time(u64::MAX).unwrap_err();
}
