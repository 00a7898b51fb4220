//! What the model says survives the stored form.

use super::*;
use crate::ledger::stored::envelope::tests::{encoded, run};
use crate::ledger::stored::envelope::{Record, decode};
use crate::model::catalog::WorkerStatus;
use crate::model::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, MountRef, ProfileSelector,
    WorkerIntent, WorkspaceRef,
};
use crate::model::diagnostics::DiagnosticSeverity;
use crate::model::interaction::TranscriptRole;
use crate::model::layout_form::LineForm;
use crate::model::management::RuntimeStatus;
use crate::model::observation::RuntimeEventKind;
use crate::model::persisted::ImportRecord;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// What a record says after it was written and read.
fn reread<R: for<'v> Record<Read<'v> = R>>(record: R) -> R {
    let value = encoded("t", &"k", &record);
    decode::<R>("t", &"k", &value).unwrap()
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("\0".to_owned()), "\\PC{0,12}"]
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
            let record = reread(super::worker_row(stored.clone(), numbers.2));
            prop_assert_eq!(record.transcript_len, numbers.2);
            prop_assert_eq!(super::worker_snapshot(worker_ref, record), stored);
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
        Just(WorkerDeleted),
        Just(WorkerExecutionRestored),
    ];
    let message = option::of(any_text());
    let event = (
        any::<u64>(),
        option::of(any_worker_ref()),
        kind,
        message,
        any_unknown(),
    );
    // A few at a time, as a page is read: refs of workers are kept from one to the next.
    run(200, vec(event, 1..9), |events| {
        let runtime = runtime();
        let mut refs = WorkerRefs::new(&runtime);
        for (id, worker_ref, kind, message, unknown) in events {
            let standard = || RuntimeEvent::standard_message(kind, &runtime, worker_ref.as_ref());
            let value = RuntimeEvent {
                id,
                message: message.unwrap_or_else(standard),
                worker_ref: worker_ref.clone(),
                kind,
            };
            let stored = Stored { value, unknown };
            let value = encoded("t", &"k", &super::event_row(&runtime, stored.clone()));
            let row = decode::<EventRow<'static>>("t", &"k", &value).unwrap();
            prop_assert_eq!(super::event(&mut refs, id, row), Ok(stored));
        }
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
            let value = encoded("t", &"k", &super::transcript_row(stored.clone()));
            let row = decode::<TranscriptRow<'static>>("t", &"k", &value).unwrap();
            prop_assert_eq!(super::transcript_entry(&worker_ref, row), stored);
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
            let (record, rows) = super::runtime_rows(stored.clone());
            prop_assert_eq!(record.diagnostics, rows.len() as u64);
            let rows = rows
                .into_iter()
                .map(|(id, row)| super::diagnostic(&runtime(), id, reread(row)).unwrap());
            let rows = rows.collect();
            prop_assert_eq!(
                super::runtime_snapshot(runtime(), reread(record), rows),
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
            prop_assert_eq!(reread(record.clone()), record);
            Ok(())
        },
    );
}

#[test]
fn additions_survive_the_store() {
    let time = || option::of(0..=253_402_300_799_999_u64);
    let of_worker = (
        time(),
        any::<(u64, u64, bool)>(),
        option::of(any_text()),
        time(),
    );
    run(300, (any_request(), of_worker), |(request, additions)| {
        let (changed_at_ms, (change, first_position, is_pinned), attributes, ended_at_ms) =
            additions;
        let worker = WorkerRow {
            status: WorkerStatus::Stopped,
            request,
            next_transcript_sequence: 1,
            last_event_id: 1,
            transcript_len: 0,
            unknown: Vec::new(),
            changed_at_ms,
            change,
            attributes: attributes.clone(),
            first_position,
            is_pinned,
            ended_at_ms,
        };
        prop_assert_eq!(reread(worker.clone()), worker);
        let entry = TranscriptRow {
            sequence: 1,
            role: TranscriptRole::User,
            event_id: 1,
            content: Cow::Borrowed("x"),
            unknown: Vec::new(),
            recorded_at_ms: changed_at_ms,
            form: LineForm::default(),
            attributes: attributes.map(Cow::Owned),
        };
        let value = encoded("t", &"k", &entry);
        prop_assert_eq!(
            decode::<TranscriptRow<'static>>("t", &"k", &value).unwrap(),
            entry
        );
        Ok(())
    });
}
