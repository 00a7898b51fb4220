//! The stored bytes, pinned: what is written today has to be read by every later version.

use super::*;
use crate::model::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, MountRef, ProfileSelector,
    WorkerIntent, WorkspaceRef,
};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::TranscriptEntry;
use crate::model::management::RuntimeLimits;
use crate::model::observation::RuntimeEvent;
use crate::store::convert;
use crate::store::persisted::{
    ImportRecord, PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseResult, TestRunner};
use std::fmt::Debug;

/// A check that runs over one rich example of each stored record.
trait Check {
    /// `record` is stored under `key` of `table` as `hex`; `others` are keys it is not stored
    /// under.
    fn example<K: KeyBytes, R: Record + Debug + PartialEq>(
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

fn unknown() -> Vec<UnknownRecord> {
    vec![UnknownRecord {
        pointer: text("/a"),
        name: text("b"),
        json: text("{}"),
    }]
}

fn runtime_example(status: RuntimeStatusRecord) -> RuntimeRecord {
    RuntimeRecord {
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
    }
}

fn worker_example(
    status: WorkerStatusRecord,
    intent: IntentRecord,
    profile: ProfileRecord,
) -> WorkerRecord {
    WorkerRecord {
        status,
        request: RequestRecord {
            intent,
            profile,
            config_bundle: Some(text("cb")),
            requested_capabilities: vec![(text("c"), None), (text("d"), Some(text("y")))],
            workspace_refs: vec![(text("w"), text("x"))],
            mount_refs: vec![(text("m"), text("n"))],
        },
        next_transcript_sequence: 9,
        last_event_id: 128,
        transcript_len: 8,
        unknown: Vec::new(),
    }
}

/// One example of each record, and every variant of every enum in one of them.
fn every_example(check: &impl Check) {
    meta_and_runtime_examples(check);
    worker_examples(check);
    event_examples(check);
    log_examples(check);
}

fn meta_and_runtime_examples(check: &impl Check) {
    let other = &["store_id", "", "schema_versio"];
    let number = MetaRecord::Number(300);
    check.example("meta", "schema_version", other, number, "01 00ac02 PIN");
    let id = MetaRecord::Text(text("id"));
    check.example("meta", "store_id", &["created_by"], id, "01 01 026964 PIN");
    let rest = "8002 01 02 ac02 ffffffffffffffffff01 03 04 05 06 01 022f61 0162 027b7d";
    for (status, index, crc) in [
        (RuntimeStatusRecord::Running, "00", "PIN"),
        (RuntimeStatusRecord::Stopped, "01", "PIN"),
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
    let assistant = IntentRecord::Assistant { purpose: None };
    let record = worker_example(
        WorkerStatusRecord::Running,
        assistant,
        ProfileRecord::RuntimeDefault,
    );
    let hex = format!("01 00 00 00 00 {rest} PIN");
    check.example("workers", key, others, record, &hex);

    let task = IntentRecord::Task {
        objective: text("o"),
    };
    let builtin = ProfileRecord::Builtin(text("p"));
    let record = worker_example(WorkerStatusRecord::Stopped, task, builtin);
    let hex = format!("01 01 01 016f 01 0170 {rest} PIN");
    check.example("workers", key, others, record, &hex);

    let role = IntentRecord::Role {
        role: text("r"),
        purpose: Some(text("u")),
    };
    let named = ProfileRecord::Named(text("p"));
    let record = worker_example(WorkerStatusRecord::Cancelled, role, named);
    let hex = format!("01 02 02 0172 01 0175 02 0170 {rest} PIN");
    check.example("workers", key, others, record, &hex);
}

fn event_examples(check: &impl Check) {
    use EventKindRecord::*;
    let kinds = [
        (RuntimeStarted, "00", "PIN"),
        (RuntimeStopped, "01", "PIN"),
        (WorkerCreated, "02", "PIN"),
        (WorkerInputAccepted, "03", "PIN"),
        (WorkerStopped, "04", "PIN"),
        (WorkerCancelled, "05", "PIN"),
    ];
    for (kind, index, crc) in kinds {
        let record = EventRecord {
            worker_id: Some(text("w")),
            kind,
            message: Some(text("hm")),
            unknown: unknown(),
        };
        let hex = format!("01 01 0177 {index} 01 02686d 01 022f61 0162 027b7d {crc}");
        let others = &[("r", 257), ("q", 1), ("r", 0)];
        check.example("events", ("r", 1), others, record, &hex);
    }
}

fn log_examples(check: &impl Check) {
    let roles = [
        (RoleRecord::User, "00", "PIN"),
        (RoleRecord::Assistant, "01", "PIN"),
        (RoleRecord::System, "02", "PIN"),
    ];
    for (role, index, crc) in roles {
        let record = TranscriptRecord {
            sequence: 300,
            role,
            event_id: 7,
            content: text("hi"),
            unknown: Vec::new(),
        };
        let hex = format!("01 ac02 {index} 07 026869 00 {crc}");
        let others = &[("r", "w", 3), ("r", "v", 2), ("q", "w", 2), ("rw", "", 2)];
        check.example("transcripts", ("r", "w", 2), others, record, &hex);
    }
    let severities = [
        (SeverityRecord::Info, "00", "PIN"),
        (SeverityRecord::Warning, "01", "PIN"),
        (SeverityRecord::Error, "02", "PIN"),
    ];
    for (severity, index, crc) in severities {
        let record = DiagnosticRecord {
            severity,
            code: text("c"),
            message: text("m"),
            worker_id: None,
            unknown: Vec::new(),
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
    let hex =
        "01 022f73 80808080808080808080808080808080808002 05 01 02 03 9003 01 02 027b7d 00 PIN";
    check.example("imports", "r", &["s", ""], record, hex);
}

struct BytesArePinned;

impl Check for BytesArePinned {
    fn example<K: KeyBytes, R: Record + Debug + PartialEq>(
        &self,
        table: &str,
        key: K,
        _: &[K],
        record: R,
        hex: &str,
    ) {
        let value = encoded(table, &key, &record);
        let written: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, hex.replace(' ', ""), "{table}: {record:?}");
        assert_eq!(decode::<R>(table, &key, &value), Ok(record));
    }
}

fn encoded<R: Record>(table: &str, key: &impl KeyBytes, record: &R) -> Vec<u8> {
    // What is left over from the value before must not show.
    let mut value = b"left over".to_vec();
    encode(table, key, record, &mut value).unwrap();
    value
}

/// A value with any body and the right CRC.
fn sealed(table: &str, key: &impl KeyBytes, versioned_body: &[u8]) -> Vec<u8> {
    let crc = checksum(table, key, versioned_body);
    [versioned_body, &crc].concat()
}

#[test]
fn stored_bytes_never_change() {
    every_example(&BytesArePinned);
}

struct DamageIsRefused;

impl Check for DamageIsRefused {
    fn example<K: KeyBytes, R: Record + Debug + PartialEq>(
        &self,
        table: &str,
        key: K,
        others: &[K],
        record: R,
        _: &str,
    ) {
        let value = encoded(table, &key, &record);
        let refused = |key: &K, value: &[u8], why: &str| {
            decode::<R>(table, key, value).expect_err(&format!("{table}: {why}: {record:?}"))
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
            decode::<R>(other, &key, &value).expect_err("another table");
        }
    }
}

#[test]
fn a_damaged_or_moved_value_is_refused() {
    every_example(&DamageIsRefused);
}

struct ForeignBodiesAreRefused;

impl Check for ForeignBodiesAreRefused {
    fn example<K: KeyBytes, R: Record + Debug + PartialEq>(
        &self,
        table: &str,
        key: K,
        _: &[K],
        record: R,
        _: &str,
    ) {
        let value = encoded(table, &key, &record);
        let versioned_body = &value[..value.len() - CRC_BYTES];
        let refusal = |versioned_body: &[u8]| {
            decode::<R>(table, &key, &sealed(table, &key, versioned_body)).unwrap_err()
        };
        for version in (0..=255).filter(|version| *version != R::VERSION) {
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
    for (table, body) in [("runtimes", "status"), ("workers", "status")] {
        let _ = (table, body);
    }
    let body = [1, 2, 0];
    let value = sealed("meta", &"k", &body);
    decode::<MetaRecord>("meta", &"k", &value).unwrap_err();
    let body = [1, 0, 6, 0, 0];
    let value = sealed("events", &("r", 1), &body);
    decode::<EventRecord>("events", &("r", 1), &value).unwrap_err();
}

fn run<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> TestCaseResult)
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
    let bytes = (vec(any::<u8>(), 0..200), any::<bool>());
    run(20_000, bytes, |(mut body, known_version)| {
        if known_version && let Some(version) = body.first_mut() {
            *version = 1;
        }
        let sealed = |table, key| sealed(table, &key, &body);
        let _ = decode::<MetaRecord>("meta", &"k", &sealed("meta", "k"));
        let _ = decode::<RuntimeRecord>("runtimes", &"k", &sealed("runtimes", "k"));
        let _ = decode::<WorkerRecord>("workers", &"k", &sealed("workers", "k"));
        let _ = decode::<EventRecord>("events", &"k", &sealed("events", "k"));
        let _ = decode::<TranscriptRecord>("transcripts", &"k", &sealed("transcripts", "k"));
        let _ = decode::<DiagnosticRecord>("diagnostics", &"k", &sealed("diagnostics", "k"));
        let _ = decode::<ImportRow>("imports", &"k", &sealed("imports", "k"));
        // Without the right CRC nothing of it is believed.
        let unsealed = decode::<EventRecord>("events", &"k", &body);
        prop_assert!(unsealed.is_err());
        Ok(())
    });
}

/// What a record says after it was written and read.
fn reread<R: Record>(record: R) -> R {
    let value = encoded("t", &"k", &record);
    decode("t", &"k", &value).unwrap()
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just(text("\0")), "\\PC{0,12}"]
}

fn any_id() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/é\0 ]{0,6}x", "\\PC{1,9}"].prop_filter("blank", |id| !id.trim().is_empty())
}

fn any_worker_ref() -> impl Strategy<Value = WorkerRef> {
    any_id().prop_map(|id| WorkerRef::new(runtime(), WorkerId::new(id).unwrap()))
}

fn runtime() -> RuntimeId {
    RuntimeId::new("a/ ランタイム").unwrap()
}

fn any_unknown() -> impl Strategy<Value = Vec<UnknownMember>> {
    let member = (any_text(), any_text(), any_text());
    let member = member.prop_map(|(pointer, name, json)| UnknownMember {
        pointer: format!("/request{pointer}"),
        name,
        json,
    });
    vec(member, 0..3)
}

fn any_request() -> impl Strategy<Value = CreateWorkerRequest> {
    let purpose = || option::of(any_text());
    let intent = prop_oneof![
        purpose().prop_map(|purpose| WorkerIntent::Assistant { purpose }),
        any_text().prop_map(|objective| WorkerIntent::Task { objective }),
        (any_text(), purpose()).prop_map(|(role, purpose)| WorkerIntent::Role { role, purpose }),
    ];
    let profile = prop_oneof![
        Just(ProfileSelector::RuntimeDefault),
        any_text().prop_map(ProfileSelector::Builtin),
        any_text().prop_map(ProfileSelector::Named),
    ];
    let bundle = option::of(any_text().prop_map(|id| ConfigBundleRef { id }));
    let capability = (any_text(), option::of(any_text()));
    let capability = capability.prop_map(|(name, reason)| CapabilityRequest { name, reason });
    let pair = || (any_text(), any_text());
    let workspace = pair().prop_map(|(name, reference)| WorkspaceRef { name, reference });
    let mount = pair().prop_map(|(name, reference)| MountRef { name, reference });
    let lists = (
        vec(capability, 0..3),
        vec(workspace, 0..3),
        vec(mount, 0..3),
    );
    (intent, profile, bundle, lists).prop_map(|(intent, profile, config_bundle, lists)| {
        CreateWorkerRequest {
            intent,
            profile,
            config_bundle,
            requested_capabilities: lists.0,
            workspace_refs: lists.1,
            mount_refs: lists.2,
        }
    })
}

#[test]
fn workers_survive_the_store() {
    let status = prop_oneof![
        Just(WorkerStatus::Running),
        Just(WorkerStatus::Stopped),
        Just(WorkerStatus::Cancelled),
    ];
    let numbers = any::<(u64, u64, u64)>();
    let worker = (
        any_worker_ref(),
        status,
        any_request(),
        numbers,
        any_unknown(),
    );
    run(
        300,
        worker,
        |(worker_ref, status, request, numbers, unknown)| {
            let value = PersistedWorkerSnapshot {
                worker_ref: worker_ref.clone(),
                status,
                request,
                next_transcript_sequence: numbers.0,
                last_event_id: numbers.1,
            };
            let stored = Stored { value, unknown };
            let record = reread(convert::worker_record(stored.clone(), numbers.2));
            prop_assert_eq!(record.transcript_len, numbers.2);
            prop_assert_eq!(convert::worker_snapshot(worker_ref, record), stored);
            Ok(())
        },
    );
}

#[test]
fn events_survive_the_store_whatever_their_message() {
    use RuntimeEventKind::*;
    let kind = prop_oneof![
        Just(RuntimeStarted),
        Just(RuntimeStopped),
        Just(WorkerCreated),
        Just(WorkerInputAccepted),
        Just(WorkerStopped),
        Just(WorkerCancelled),
    ];
    let message = option::of(any_text());
    let event = (
        any::<u64>(),
        option::of(any_worker_ref()),
        kind,
        message,
        any_unknown(),
    );
    run(500, event, |(id, worker_ref, kind, message, unknown)| {
        let standard = || RuntimeEvent::standard_message(kind, &runtime(), worker_ref.as_ref());
        let value = RuntimeEvent {
            id,
            message: message.unwrap_or_else(standard),
            worker_ref: worker_ref.clone(),
            kind,
        };
        let stored = Stored { value, unknown };
        let record = reread(convert::event_record(&runtime(), stored.clone()));
        prop_assert_eq!(convert::event(&runtime(), id, record), Ok(stored));
        Ok(())
    });
}

#[test]
fn transcript_entries_survive_the_store() {
    let role = prop_oneof![
        Just(TranscriptRole::User),
        Just(TranscriptRole::Assistant),
        Just(TranscriptRole::System),
    ];
    let entry = (
        any::<(u64, u64)>(),
        any_worker_ref(),
        role,
        any_text(),
        any_unknown(),
    );
    run(
        300,
        entry,
        |(numbers, worker_ref, role, content, unknown)| {
            let value = TranscriptEntry {
                sequence: numbers.0,
                worker_ref: worker_ref.clone(),
                role,
                content,
                event_id: numbers.1,
            };
            let stored = Stored { value, unknown };
            let record = reread(convert::transcript_record(stored.clone()));
            prop_assert_eq!(convert::transcript_entry(&worker_ref, record), stored);
            Ok(())
        },
    );
}

fn any_diagnostic() -> impl Strategy<Value = RuntimeDiagnostic> {
    let severity = prop_oneof![
        Just(DiagnosticSeverity::Info),
        Just(DiagnosticSeverity::Warning),
        Just(DiagnosticSeverity::Error),
    ];
    let worker_ref = option::of(any_worker_ref());
    (severity, any_text(), any_text(), worker_ref).prop_map(
        |(severity, code, message, worker_ref)| RuntimeDiagnostic {
            id: 0,
            severity,
            code,
            message,
            worker_ref,
        },
    )
}

#[test]
fn runtimes_and_their_diagnostics_survive_the_store() {
    let numbers = any::<(u64, u64, u64, u32, u32)>();
    let facts = (option::of(any_text()), any::<bool>(), numbers);
    // For each diagnostic the members that are unknown of it; then those of the runtime itself.
    let diagnostics = vec((any_diagnostic(), any_unknown()), 0..4);
    run(
        300,
        (facts, diagnostics, any_unknown()),
        |(facts, diagnostics, mut unknown)| {
            let (display_name, running, numbers) = facts;
            let mut known = Vec::new();
            for (index, (diagnostic, members)) in diagnostics.into_iter().enumerate() {
                let id = 7 + 3 * index as u64;
                known.push(RuntimeDiagnostic { id, ..diagnostic });
                unknown.extend(members.into_iter().map(|member| UnknownMember {
                    pointer: format!("/diagnostics/{index}{}", member.pointer),
                    ..member
                }));
            }
            let value = PersistedRuntimeSnapshot {
                runtime_id: runtime(),
                display_name,
                status: if running {
                    RuntimeStatus::Running
                } else {
                    RuntimeStatus::Stopped
                },
                limits: RuntimeLimits {
                    max_transcript_projection_items: numbers.3 as usize,
                    max_event_batch_items: numbers.4 as usize,
                },
                next_worker_sequence: numbers.0,
                next_event_id: numbers.1,
                next_diagnostic_id: numbers.2,
                diagnostics: known,
            };
            let stored = Stored { value, unknown };
            let (record, rows) = convert::runtime_records(stored.clone());
            prop_assert_eq!(record.diagnostics, rows.len() as u64);
            let rows = rows
                .into_iter()
                .map(|(id, row)| convert::diagnostic(&runtime(), id, reread(row)).unwrap());
            let rows = rows.collect();
            prop_assert_eq!(
                convert::runtime_snapshot(runtime(), reread(record), rows),
                stored
            );
            Ok(())
        },
    );
}

#[test]
fn import_records_survive_the_store() {
    let numbers = (
        any::<u128>(),
        any::<(u64, u64, u64, u64, u64)>(),
        any::<bool>(),
    );
    run(
        100,
        (any_text(), numbers, vec(any_text(), 0..3)),
        |(source, numbers, findings)| {
            let (fingerprint, counts, salvaged) = numbers;
            let record = ImportRecord {
                source,
                fingerprint,
                imported_at_s: counts.0,
                workers: counts.1,
                events: counts.2,
                transcript_entries: counts.3,
                bytes: counts.4,
                salvaged,
                findings,
            };
            prop_assert_eq!(
                ImportRecord::from(reread(ImportRow::from(record.clone()))),
                record
            );
            Ok(())
        },
    );
}

#[test]
fn keys_with_the_same_texts_in_a_row_have_checksums_of_their_own() {
    let crc = |key: &dyn Fn(&mut crc32fast::Hasher)| {
        let mut hasher = crc32fast::Hasher::new();
        key(&mut hasher);
        hasher.finalize()
    };
    let of = |a: &'static str, b: &'static str| crc(&|hasher| (a, b).digest(hasher));
    assert_ne!(of("ab", "c"), of("a", "bc"));
    assert_ne!(of("", "abc"), of("abc", ""));
    let numbered = |a: &'static str, n: u64| crc(&|hasher| (a, n).digest(hasher));
    assert_ne!(numbered("a", 0), numbered("a\0", 0));
}
