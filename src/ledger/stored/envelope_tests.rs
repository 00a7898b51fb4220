//! The stored bytes, pinned: what is written today has to be read by every later version.

use super::*;
use crate::ledger::rows::{
    DiagnosticRow, EventRow, ImportRow, RuntimeRow, TranscriptRow, WorkerRow,
};
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::ledger::stored::record::MetaRecord;
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::model::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, MountRef, ProfileSelector,
    WorkerIntent, WorkerStatus, WorkspaceRef,
};
use crate::model::diagnostics::DiagnosticSeverity;
use crate::model::interaction::TranscriptRole;
use crate::model::layout_form::{LayoutForm, LineForm};
use crate::model::management::RuntimeStatus;
use crate::model::observation::RuntimeEventKind;
use crate::model::persisted::UnknownMember;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseResult, TestRunner};
use std::fmt::Debug;

#[path = "version_2_tests.rs"]
mod version_2;

/// A record that can be compared with what is read of it.
trait Example: Record + Debug {
    fn is_read_as(&self, read: &Self::Read<'_>) -> bool;
}

macro_rules! examples {
    ($($record:ident),+) => {
        $(impl Example for $record {
            fn is_read_as(&self, read: &Self) -> bool {
                self == read
            }
        })+
    };
}

examples!(
    MetaRecord,
    RuntimeRow,
    WorkerRow,
    DiagnosticRow,
    ImportRow,
    TombstoneRow,
    FileChunkRow
);

impl Example for EventRow<'static> {
    fn is_read_as(&self, read: &EventRow<'_>) -> bool {
        self == read
    }
}

impl Example for TranscriptRow<'static> {
    fn is_read_as(&self, read: &TranscriptRow<'_>) -> bool {
        self == read
    }
}

/// A check that runs over one rich example of each stored record.
trait Check {
    /// `record` is read from `hex`, the value under `key` of `table`, and written as `hex` if that has the version
    /// that is written. `others` are keys it is not stored under.
    fn example<K: KeyBytes, R: Example>(
        &self,
        table: &str,
        key: K,
        others: &[K],
        record: R,
        hex: &str,
    );
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn unknown() -> Vec<UnknownMember> {
    vec![UnknownMember {
        pointer: text("/a"),
        name: text("b"),
        json: text("{}"),
    }]
}

fn runtime_example(status: RuntimeStatus) -> RuntimeRow {
    RuntimeRow {
        display_name: Some(text("né")),
        status,
        max_transcript_projection_items: 256,
        max_event_batch_items: 1,
        next_worker_sequence: 2,
        next_event_id: 300,
        next_diagnostic_id: u64::MAX,
        running_workers: 3,
        stopped_workers: 4,
        cancelled_workers: 5,
        diagnostics: 6,
        unknown: unknown(),
        latest_time_ms: None,
        last_change: 0,
        first_event_id: 1,
        form: LayoutForm::A,
    }
}

fn worker_example(
    status: WorkerStatus,
    intent: WorkerIntent,
    profile: ProfileSelector,
) -> WorkerRow {
    WorkerRow {
        status,
        request: CreateWorkerRequest {
            intent,
            profile,
            config_bundle: Some(ConfigBundleRef { id: text("cb") }),
            requested_capabilities: vec![
                CapabilityRequest::named("c"),
                CapabilityRequest {
                    name: text("d"),
                    reason: Some(text("y")),
                },
            ],
            workspace_refs: vec![WorkspaceRef {
                name: text("w"),
                reference: text("x"),
            }],
            mount_refs: vec![MountRef {
                name: text("m"),
                reference: text("n"),
            }],
        },
        next_transcript_sequence: 9,
        last_event_id: 128,
        transcript_len: 8,
        unknown: Vec::new(),
        changed_at_ms: None,
        change: 0,
        attributes: None,
        first_position: 0,
        is_pinned: false,
        ended_at_ms: None,
    }
}

/// One example of each record, and every variant of every enum in one of them.
fn every_example(check: &impl Check) {
    meta_and_runtime_examples(check);
    worker_examples(check);
    event_examples(check);
    log_examples(check);
    version_2::version_2_examples(check);
}

fn meta_and_runtime_examples(check: &impl Check) {
    let other = &["store_id", "", "schema_versio"];
    let number = MetaRecord::Number(300);
    check.example(
        "meta",
        "schema_version",
        other,
        number,
        "01 00ac02 217a17d8",
    );
    let id = MetaRecord::Text(text("id"));
    check.example(
        "meta",
        "store_id",
        &["created_by"],
        id,
        "01 01 026964 9bd1c4a3",
    );
    let rest = "8002 01 02 ac02 ffffffffffffffffff01 03 04 05 06 01 022f61 0162 027b7d";
    for (status, index, crc) in [
        (RuntimeStatus::Running, "00", "7a531abc"),
        (RuntimeStatus::Stopped, "01", "72b07a80"),
    ] {
        let record = runtime_example(status);
        let hex = format!("01 01 036ec3a9 {index} {rest} {crc}");
        check.example("runtimes", "r", &["q", "r\0", "R"], record, &hex);
    }
}

fn worker_examples(check: &impl Check) {
    let key = ("r", "w");
    let others = &[("q", "w"), ("r", "v"), ("rw", ""), ("", "rw"), ("w", "r")];
    let rest = "01 026362 02 0163 00 0164 01 0179 01 0177 0178 01 016d 016e 09 8001 08 00";
    let assistant = WorkerIntent::Assistant { purpose: None };
    let record = worker_example(
        WorkerStatus::Running,
        assistant,
        ProfileSelector::RuntimeDefault,
    );
    let hex = format!("01 00 00 00 00 {rest} 9bffa45d");
    check.example("workers", key, others, record, &hex);

    let task = WorkerIntent::Task {
        objective: text("o"),
    };
    let builtin = ProfileSelector::Builtin(text("p"));
    let record = worker_example(WorkerStatus::Stopped, task, builtin);
    let hex = format!("01 01 01 016f 01 0170 {rest} f1c651ff");
    check.example("workers", key, others, record, &hex);

    let role = WorkerIntent::Role {
        role: text("r"),
        purpose: Some(text("u")),
    };
    let named = ProfileSelector::Named(text("p"));
    let record = worker_example(WorkerStatus::Cancelled, role, named);
    let hex = format!("01 02 02 0172 01 0175 02 0170 {rest} e62db0f6");
    check.example("workers", key, others, record, &hex);
}

fn event_examples(check: &impl Check) {
    use RuntimeEventKind::*;
    let kinds = [
        (RuntimeStarted, "00", "fabe409b"),
        (RuntimeStopped, "01", "8c5f4f06"),
        (WorkerCreated, "02", "577a2e7a"),
        (WorkerInputAccepted, "03", "219b21e7"),
        (WorkerStopped, "04", "e131ec82"),
        (WorkerCancelled, "05", "97d0e31f"),
        (WorkerDeleted, "06", "4cf58263"),
        (WorkerExecutionRestored, "07", "3a148dfe"),
    ];
    for (kind, index, crc) in kinds {
        let record = EventRow {
            worker_id: Some("w".into()),
            kind,
            message: Some("hm".into()),
            unknown: unknown(),
            recorded_at_ms: None,
            form: LineForm::default(),
        };
        let hex = format!("01 01 0177 {index} 01 02686d 01 022f61 0162 027b7d {crc}");
        let others = &[("r", 257), ("q", 1), ("r", 0)];
        check.example("events", ("r", 1), others, record, &hex);
    }
}

fn log_examples(check: &impl Check) {
    let roles = [
        (TranscriptRole::User, "00", "1619d942"),
        (TranscriptRole::Assistant, "01", "b3ca8589"),
        (TranscriptRole::System, "02", "1db8110f"),
    ];
    for (role, index, crc) in roles {
        let record = TranscriptRow {
            sequence: 300,
            role,
            event_id: 7,
            content: "hi".into(),
            unknown: Vec::new(),
            recorded_at_ms: None,
            form: LineForm::default(),
            attributes: None,
        };
        let hex = format!("01 ac02 {index} 07 026869 00 {crc}");
        let others = &[("r", "w", 3), ("r", "v", 2), ("q", "w", 2), ("rw", "", 2)];
        check.example("transcripts", ("r", "w", 2), others, record, &hex);
    }
    let severities = [
        (DiagnosticSeverity::Info, "00", "566b7f0d"),
        (DiagnosticSeverity::Warning, "01", "e26008ab"),
        (DiagnosticSeverity::Error, "02", "7f7ae09a"),
    ];
    for (severity, index, crc) in severities {
        let record = DiagnosticRow {
            severity,
            code: text("c"),
            message: text("m"),
            worker_id: None,
            unknown: Vec::new(),
            recorded_at_ms: None,
        };
        let hex = format!("01 {index} 0163 016d 00 00 {crc}");
        let others = &[("r", 2), ("s", 1)];
        check.example("diagnostics", ("r", 1), others, record, &hex);
    }
    let record = ImportRow {
        source: text("/s"),
        fingerprint: 1 << 127,
        imported_at_s: 5,
        workers: 1,
        events: 2,
        transcript_entries: 3,
        bytes: 400,
        salvaged: true,
        findings: vec![text("{}"), text("")],
    };
    let hex = "01 022f73 80808080808080808080808080808080808002 05 01 02 03 9003 01 02 027b7d 00 5df65bd5";
    check.example("imports", "r", &["s", ""], record, hex);
}

struct BytesArePinned;

impl Check for BytesArePinned {
    fn example<K: KeyBytes, R: Example>(&self, table: &str, key: K, _: &[K], record: R, hex: &str) {
        let pinned = from_hex(hex);
        let value = encoded(table, &key, &record);
        if pinned[0] == R::VERSION {
            let written: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(written, hex.replace(' ', ""), "{table}: {record:?}");
        }
        for value in [value, pinned] {
            let read = decode::<R>(table, &key, &value).unwrap();
            assert!(record.is_read_as(&read), "{table}: {record:?}");
        }
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let hex = hex.replace(' ', "");
    let byte = |index| u8::from_str_radix(&hex[index..index + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

pub(crate) fn encoded<R: Record>(table: &str, key: &impl KeyBytes, record: &R) -> Vec<u8> {
    // What is left over from the value before must not show.
    let mut value = b"left over".to_vec();
    encode(table, key, record, &mut value).unwrap();
    value
}

/// A value with any body and the right CRC.
fn sealed(table: &str, key: &impl KeyBytes, versioned_body: &[u8]) -> Vec<u8> {
    let crc = checksum(Crc::of_key(table, key), versioned_body);
    [versioned_body, &crc].concat()
}

#[test]
fn stored_bytes_never_change() {
    every_example(&BytesArePinned);
}

struct DamageIsRefused;

impl Check for DamageIsRefused {
    fn example<K: KeyBytes, R: Example>(
        &self,
        table: &str,
        key: K,
        others: &[K],
        record: R,
        hex: &str,
    ) {
        let value = from_hex(hex);
        let refused = |key: &K, value: &[u8], why: &str| {
            let refusal = decode::<R>(table, key, value).err();
            refusal.unwrap_or_else(|| panic!("{table}: {why}: {record:?}"))
        };
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused(&key, &flipped, "a flipped bit");
        }
        for len in 0..value.len() {
            refused(&key, &value[..len], "cut off");
            refused(&key, &value[value.len() - len..], "cut off in front");
        }
        for byte in 0..=255 {
            refused(&key, &[&value[..], &[byte]].concat(), "a byte too many");
        }
        for other in others {
            refused(other, &value, "another key");
        }
        for other in ["", "event", "events\0", "runtime", "Workers"] {
            assert!(decode::<R>(other, &key, &value).is_err(), "another table");
        }
    }
}

#[test]
fn a_damaged_or_moved_value_is_refused() {
    every_example(&DamageIsRefused);
}

struct ForeignBodiesAreRefused;

impl Check for ForeignBodiesAreRefused {
    fn example<K: KeyBytes, R: Example>(&self, table: &str, key: K, _: &[K], _: R, hex: &str) {
        let value = from_hex(hex);
        let versioned_body = &value[..value.len() - CRC_BYTES];
        let refusal = |versioned_body: &[u8]| {
            let value = sealed(table, &key, versioned_body);
            decode::<R>(table, &key, &value).err().unwrap()
        };
        for version in (0..=255).filter(|version| !(1..=R::VERSION).contains(version)) {
            let mut other = versioned_body.to_vec();
            other[0] = version;
            assert_eq!(
                refusal(&other),
                format!("value version {version} is not known")
            );
        }
        let longer = [versioned_body, &[0, 0]].concat();
        assert_eq!(refusal(&longer), "2 bytes follow the record");
        for len in 0..versioned_body.len() {
            refusal(&versioned_body[..len]);
        }
        // A length, index or number that claims to be huge: refused or read, never believed.
        let huge = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
        for position in 1..versioned_body.len() {
            let (before, after) = versioned_body.split_at(position);
            for rest in [after, &after[1..], &[]] {
                let body = [before, &huge, rest].concat();
                // Whether it decodes does not matter: it must come back.
                let _ = decode::<R>(table, &key, &sealed(table, &key, &body));
            }
        }
    }
}

#[test]
fn a_body_of_another_version_or_length_is_refused() {
    every_example(&ForeignBodiesAreRefused);
}

#[test]
fn a_variant_that_is_not_known_is_refused() {
    let body = [1, 2, 0];
    let value = sealed("meta", &"k", &body);
    decode::<MetaRecord>("meta", &"k", &value).unwrap_err();
    let body = [1, 0, 8, 0, 0];
    let value = sealed("events", &("r", 1), &body);
    decode::<EventRow<'static>>("events", &("r", 1), &value).unwrap_err();
}

/// Runs `test` on random values; the printed seed replays them.
pub(crate) fn run<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> TestCaseResult)
where
    S::Value: Debug,
{
    let seed =
        std::env::var("SUITE_SEED").map_or_else(|_| rand_seed(), |seed| seed.parse().unwrap());
    println!("SUITE_SEED={seed}");
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config).run(&strategy, test).unwrap();
}

fn rand_seed() -> u64 {
    getrandom::u64().unwrap()
}

#[test]
fn random_bytes_never_panic() {
    let bytes = (vec(any::<u8>(), 0..200), any::<(bool, bool)>());
    run(20_000, bytes, |(mut body, (known_version, second))| {
        if known_version && let Some(version) = body.first_mut() {
            *version = 1 + u8::from(second);
        }
        let sealed = |table, key| sealed(table, &key, &body);
        let _ = decode::<MetaRecord>("meta", &"k", &sealed("meta", "k"));
        let _ = decode::<RuntimeRow>("runtimes", &"k", &sealed("runtimes", "k"));
        let _ = decode::<WorkerRow>("workers", &"k", &sealed("workers", "k"));
        let _ = decode::<EventRow<'static>>("events", &"k", &sealed("events", "k"));
        let _ = decode::<TranscriptRow<'static>>("transcripts", &"k", &sealed("transcripts", "k"));
        let _ = decode::<DiagnosticRow>("diagnostics", &"k", &sealed("diagnostics", "k"));
        let _ = decode::<ImportRow>("imports", &"k", &sealed("imports", "k"));
        let _ = decode::<TombstoneRow>("tombstones", &"k", &sealed("tombstones", "k"));
        // Without the right CRC nothing of it is believed.
        let unsealed = decode::<EventRow<'static>>("events", &"k", &body);
        prop_assert!(unsealed.is_err());
        Ok(())
    });
}

#[test]
fn keys_with_the_same_texts_in_a_row_have_checksums_of_their_own() {
    let crc = |key: &dyn Fn(&mut Crc)| {
        let mut hasher = Crc::new();
        key(&mut hasher);
        hasher.finalize()
    };
    let of = |a: &'static str, b: &'static str| crc(&|hasher| (a, b).digest(hasher));
    assert_ne!(of("ab", "c"), of("a", "bc"));
    assert_ne!(of("", "abc"), of("abc", ""));
    let numbered = |a: &'static str, n: u64| crc(&|hasher| (a, n).digest(hasher));
    assert_ne!(numbered("a", 0), numbered("a\0", 0));
}
