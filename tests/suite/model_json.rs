//! The JSON form of every type of the model, to the byte.

use crate::support::{cursor, runtime_id, worker_ref};
use redb_runtime_store::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, MountRef, ProfileSelector,
    WorkerDetail, WorkerIntent, WorkerLifecycleAck, WorkerStatus, WorkerSummary, WorkspaceRef,
};
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{
    TranscriptEntry, TranscriptProjection, TranscriptQuery, TranscriptRole, WorkerInput,
    WorkerInputKind, WorkerInteractionAck,
};
use redb_runtime_store::management::{
    RuntimeBackendKind, RuntimeLimits, RuntimeOptions, RuntimeStatus, RuntimeSummary,
};
use redb_runtime_store::observation::{
    EventSubscription, EventSubscriptionMode, RuntimeEvent, RuntimeEventBatch, RuntimeEventKind,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Asserts that `value` is written as `json`, and read from it.
fn is<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, json: &str) {
    assert_eq!(serde_json::to_string(&value).unwrap(), json);
    assert_eq!(serde_json::from_str::<T>(json).unwrap(), value);
}

fn refused<T: DeserializeOwned + Debug>(json: &str) {
    serde_json::from_str::<T>(json).expect_err(json);
}

const W: &str = r#"{"runtime_id":"r","worker_id":"w"}"#;

fn w() -> WorkerRef {
    worker_ref("r", "w")
}

/// `json` with `W` in place of every `@`.
fn with_ref(json: &str) -> String {
    json.replace('@', W)
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn ids_are_plain_nonblank_strings() {
    is(
        runtime_id(" a/ランタイム\u{0} "),
        r#"" a/ランタイム\u0000 ""#,
    );
    is(WorkerId::new("w").unwrap(), r#""w""#);
    is(w(), W);
    for blank in ["", " ", "\t\n", "\u{a0}\u{3000}"] {
        assert_eq!(RuntimeId::new(blank), None);
        assert_eq!(WorkerId::new(blank), None);
        let json = serde_json::to_string(blank).unwrap();
        refused::<RuntimeId>(&json);
        refused::<WorkerId>(&json);
        refused::<WorkerRef>(&format!(r#"{{"runtime_id":"r","worker_id":{json}}}"#));
        refused::<WorkerRef>(&format!(r#"{{"runtime_id":{json},"worker_id":"w"}}"#));
    }
    refused::<RuntimeId>("1");
    refused::<RuntimeId>("null");
    refused::<WorkerRef>(r#"{"runtime_id":"r"}"#);
}

#[test]
fn ids_order_and_display_as_text() {
    let (a, b) = (runtime_id("a b"), runtime_id("a!"));
    assert!(a < b);
    assert_eq!(a.to_string(), "a b");
    assert_eq!(a.as_str(), "a b");
    let worker = WorkerId::new(" w ").unwrap();
    assert_eq!(
        (worker.to_string().as_str(), worker.as_str()),
        (" w ", " w ")
    );
}

#[test]
fn intents_and_profiles_are_tagged_by_kind() {
    assert_eq!(
        WorkerIntent::default(),
        WorkerIntent::Assistant { purpose: None }
    );
    is(WorkerIntent::default(), r#"{"kind":"assistant"}"#);
    let purpose = Some(text("p"));
    is(
        WorkerIntent::Assistant {
            purpose: purpose.clone(),
        },
        r#"{"kind":"assistant","purpose":"p"}"#,
    );
    is(
        WorkerIntent::Task {
            objective: text("o"),
        },
        r#"{"kind":"task","objective":"o"}"#,
    );
    let role = text("x");
    is(
        WorkerIntent::Role {
            role: role.clone(),
            purpose,
        },
        r#"{"kind":"role","role":"x","purpose":"p"}"#,
    );
    is(
        WorkerIntent::Role {
            role,
            purpose: None,
        },
        r#"{"kind":"role","role":"x"}"#,
    );
    refused::<WorkerIntent>(r#"{"kind":"task"}"#);
    refused::<WorkerIntent>(r#"{"kind":"Task","objective":"o"}"#);

    assert_eq!(ProfileSelector::default(), ProfileSelector::RuntimeDefault);
    is(
        ProfileSelector::RuntimeDefault,
        r#"{"kind":"runtime_default"}"#,
    );
    is(
        ProfileSelector::Builtin(text("b")),
        r#"{"kind":"builtin","value":"b"}"#,
    );
    is(
        ProfileSelector::Named(text("n")),
        r#"{"kind":"named","value":"n"}"#,
    );
    refused::<ProfileSelector>(r#"{"kind":"named"}"#);
}

#[test]
fn request_json_omits_absent_members() {
    let minimal = r#"{"intent":{"kind":"assistant"},"profile":{"kind":"runtime_default"}}"#;
    is(CreateWorkerRequest::default(), minimal);
    let task = WorkerIntent::Task {
        objective: text("o"),
    };
    let tools_less = CreateWorkerRequest::tools_less(task.clone(), ProfileSelector::RuntimeDefault);
    let same = CreateWorkerRequest {
        intent: task,
        ..Default::default()
    };
    assert_eq!(tools_less, same);
    is(full_request(), &format!("{{{FULL_REQUEST}}}"));
    is(CapabilityRequest::named("c"), r#"{"name":"c"}"#);
}

const FULL_REQUEST: &str = concat!(
    r#""intent":{"kind":"assistant"},"profile":{"kind":"runtime_default"},"#,
    r#""config_bundle":{"id":"b"},"requested_capabilities":[{"name":"c","reason":"y"}],"#,
    r#""workspace_refs":[{"name":"n","reference":"f"}],"mount_refs":[{"name":"m","reference":"g"}]"#
);

fn full_request() -> CreateWorkerRequest {
    CreateWorkerRequest {
        config_bundle: Some(ConfigBundleRef { id: text("b") }),
        requested_capabilities: vec![CapabilityRequest {
            name: text("c"),
            reason: Some(text("y")),
        }],
        workspace_refs: vec![WorkspaceRef {
            name: text("n"),
            reference: text("f"),
        }],
        mount_refs: vec![MountRef {
            name: text("m"),
            reference: text("g"),
        }],
        ..Default::default()
    }
}

#[test]
fn fieldless_enums_are_snake_case_strings() {
    is(
        [
            WorkerStatus::Running,
            WorkerStatus::Stopped,
            WorkerStatus::Cancelled,
        ],
        r#"["running","stopped","cancelled"]"#,
    );
    is(
        [RuntimeStatus::Running, RuntimeStatus::Stopped],
        r#"["running","stopped"]"#,
    );
    is(
        [
            RuntimeBackendKind::Memory,
            RuntimeBackendKind::FsStore,
            RuntimeBackendKind::RedbStore,
        ],
        r#"["memory","fs_store","redb_store"]"#,
    );
    is(
        [WorkerInputKind::User, WorkerInputKind::System],
        r#"["user","system"]"#,
    );
    is(
        [
            TranscriptRole::User,
            TranscriptRole::Assistant,
            TranscriptRole::System,
        ],
        r#"["user","assistant","system"]"#,
    );
    is(
        [
            DiagnosticSeverity::Info,
            DiagnosticSeverity::Warning,
            DiagnosticSeverity::Error,
        ],
        r#"["info","warning","error"]"#,
    );
    is(EventSubscriptionMode::PollOnly, r#""poll_only""#);
    refused::<WorkerStatus>(r#""Running""#);
}

#[test]
fn only_running_workers_are_active() {
    assert!(WorkerStatus::Running.is_active());
    assert!(!WorkerStatus::Stopped.is_active());
    assert!(!WorkerStatus::Cancelled.is_active());
}

#[test]
fn event_kinds_are_objects() {
    use RuntimeEventKind::*;
    is(
        [
            RuntimeStarted,
            RuntimeStopped,
            WorkerCreated,
            WorkerInputAccepted,
            WorkerStopped,
            WorkerCancelled,
            WorkerDeleted,
        ],
        concat!(
            r#"[{"kind":"runtime_started"},{"kind":"runtime_stopped"},{"kind":"worker_created"},"#,
            r#"{"kind":"worker_input_accepted"},{"kind":"worker_stopped"},"#,
            r#"{"kind":"worker_cancelled"},{"kind":"worker_deleted"}]"#
        ),
    );
}

#[test]
fn worker_summary_json_has_every_field() {
    is(
        WorkerSummary {
            worker_ref: w(),
            runtime_id: runtime_id("r"),
            worker_id: w().worker_id,
            status: WorkerStatus::Stopped,
            intent: WorkerIntent::default(),
            profile: ProfileSelector::default(),
            requested_capability_count: 2,
            has_config_bundle: true,
            transcript_len: 3,
            last_event_id: 4,
        },
        &with_ref(concat!(
            r#"{"worker_ref":@,"runtime_id":"r","worker_id":"w","status":"stopped","#,
            r#""intent":{"kind":"assistant"},"profile":{"kind":"runtime_default"},"#,
            r#""requested_capability_count":2,"has_config_bundle":true,"transcript_len":3,"#,
            r#""last_event_id":4}"#
        )),
    );
}

#[test]
fn worker_detail_json_flattens_the_request() {
    let detail = |request: CreateWorkerRequest| WorkerDetail {
        worker_ref: w(),
        runtime_id: runtime_id("r"),
        worker_id: w().worker_id,
        status: WorkerStatus::Running,
        intent: request.intent,
        profile: request.profile,
        config_bundle: request.config_bundle,
        requested_capabilities: request.requested_capabilities,
        workspace_refs: request.workspace_refs,
        mount_refs: request.mount_refs,
        transcript_len: 0,
        last_event_id: 1,
    };
    let json = |request: &str| {
        let json = format!(
            r#"{{"worker_ref":@,"runtime_id":"r","worker_id":"w","status":"running",{request},"transcript_len":0,"last_event_id":1}}"#
        );
        with_ref(&json)
    };
    is(detail(full_request()), &json(FULL_REQUEST));
    let minimal = r#""intent":{"kind":"assistant"},"profile":{"kind":"runtime_default"}"#;
    is(detail(CreateWorkerRequest::default()), &json(minimal));
}

#[test]
fn acknowledgement_and_input_json_is_stable() {
    is(
        WorkerLifecycleAck {
            worker_ref: w(),
            status: WorkerStatus::Cancelled,
            event_id: 5,
        },
        &with_ref(r#"{"worker_ref":@,"status":"cancelled","event_id":5}"#),
    );
    is(
        WorkerInteractionAck {
            worker_ref: w(),
            status: WorkerStatus::Running,
            transcript_sequence: 1,
            event_id: 5,
        },
        &with_ref(r#"{"worker_ref":@,"status":"running","transcript_sequence":1,"event_id":5}"#),
    );
    is(WorkerInput::user("u"), r#"{"kind":"user","content":"u"}"#);
    is(
        WorkerInput::system("s"),
        r#"{"kind":"system","content":"s"}"#,
    );
}

#[test]
fn runtime_json_is_stable() {
    let limits = RuntimeLimits {
        max_transcript_projection_items: 1,
        max_event_batch_items: 2,
    };
    let limits_json = r#"{"max_transcript_projection_items":1,"max_event_batch_items":2}"#;
    is(limits, limits_json);
    let default = RuntimeLimits::default();
    assert_eq!(default.max_transcript_projection_items, 256);
    assert_eq!(default.max_event_batch_items, 256);
    let defaults = r#"{"max_transcript_projection_items":256,"max_event_batch_items":256}"#;
    is(
        RuntimeOptions::default(),
        &format!(r#"{{"runtime_id":null,"display_name":null,"limits":{defaults}}}"#),
    );
    let summary = RuntimeSummary {
        runtime_id: runtime_id("r"),
        display_name: None,
        backend: RuntimeBackendKind::RedbStore,
        status: RuntimeStatus::Running,
        worker_count: 6,
        active_worker_count: 3,
        stopped_worker_count: 2,
        cancelled_worker_count: 1,
        diagnostic_count: 7,
        limits,
    };
    let json = concat!(
        r#"{"runtime_id":"r","display_name":null,"backend":"redb_store","status":"running","#,
        r#""worker_count":6,"active_worker_count":3,"stopped_worker_count":2,"#,
        r#""cancelled_worker_count":1,"diagnostic_count":7,"limits":"#
    );
    is(summary, &format!("{json}{limits_json}}}"));
}

#[test]
fn transcript_json_is_stable() {
    let entry = TranscriptEntry {
        sequence: 1,
        worker_ref: w(),
        role: TranscriptRole::Assistant,
        content: text("a\n\"b\"\u{1}é"),
        event_id: 2,
    };
    let json = with_ref(concat!(
        r#"{"sequence":1,"worker_ref":@,"role":"assistant","content":"a\n\"b\"\u0001é","#,
        r#""event_id":2}"#
    ));
    is(entry.clone(), &json);
    is(TranscriptQuery::new(3, 4), r#"{"start":3,"limit":4}"#);
    let page = TranscriptProjection {
        worker_ref: w(),
        start: 0,
        limit: 1,
        total_items: 2,
        items: vec![entry],
        next_start: Some(1),
    };
    let head = with_ref(r#"{"worker_ref":@,"start":0,"limit":1,"total_items":2,"items":["#);
    is(page.clone(), &format!(r#"{head}{json}],"next_start":1}}"#));
    let last = TranscriptProjection {
        next_start: None,
        ..page
    };
    is(last, &format!(r#"{head}{json}],"next_start":null}}"#));
}

#[test]
fn event_and_cursor_json_is_stable() {
    let cursor_json = r#"{"runtime_id":"r","next_event_id":2}"#;
    is(cursor("r", 2), cursor_json);
    is(
        EventSubscription {
            runtime_id: runtime_id("r"),
            cursor: cursor("r", 2),
            mode: EventSubscriptionMode::PollOnly,
        },
        &format!(r#"{{"runtime_id":"r","cursor":{cursor_json},"mode":"poll_only"}}"#),
    );
    let event = RuntimeEvent {
        id: 1,
        worker_ref: None,
        kind: RuntimeEventKind::RuntimeStarted,
        message: text("runtime started"),
    };
    let json = r#"{"id":1,"kind":{"kind":"runtime_started"},"message":"runtime started"}"#;
    is(event.clone(), json);
    let of_worker = RuntimeEvent {
        worker_ref: Some(w()),
        ..event.clone()
    };
    let of_worker_json = with_ref(
        r#"{"id":1,"worker_ref":@,"kind":{"kind":"runtime_started"},"message":"runtime started"}"#,
    );
    is(of_worker, &of_worker_json);
    is(
        RuntimeEventBatch {
            runtime_id: runtime_id("r"),
            cursor: cursor("r", 2),
            events: vec![event],
            has_more: false,
        },
        &format!(
            r#"{{"runtime_id":"r","cursor":{cursor_json},"events":[{json}],"has_more":false}}"#
        ),
    );
}

#[test]
fn diagnostic_json_omits_absent_worker() {
    let diagnostic = RuntimeDiagnostic {
        id: 1,
        severity: DiagnosticSeverity::Warning,
        code: text("c"),
        message: text("m"),
        worker_ref: None,
    };
    is(
        diagnostic.clone(),
        r#"{"id":1,"severity":"warning","code":"c","message":"m"}"#,
    );
    is(
        RuntimeDiagnostic {
            worker_ref: Some(w()),
            ..diagnostic
        },
        &with_ref(r#"{"id":1,"severity":"warning","code":"c","message":"m","worker_ref":@}"#),
    );
}

#[test]
fn json_of_hosts_may_omit_members() {
    let from = |json: &str| serde_json::from_str::<CreateWorkerRequest>(json).unwrap();
    assert_eq!(from("{}"), CreateWorkerRequest::default());
    let task = from(r#"{"intent":{"kind":"task","objective":"count"}}"#);
    assert_eq!(task.profile, ProfileSelector::RuntimeDefault);
    let limits = |json: &str| serde_json::from_str::<RuntimeLimits>(json).unwrap();
    assert_eq!(limits("{}"), RuntimeLimits::default());
    let one = limits(r#"{"max_event_batch_items":7}"#);
    assert_eq!(one.max_event_batch_items, 7);
    let options: RuntimeOptions = serde_json::from_str("{}").unwrap();
    assert_eq!(options, RuntimeOptions::default());
}
