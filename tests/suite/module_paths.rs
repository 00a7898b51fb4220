//! Which module has which type: what a host that moves over from the directory store imports.

use redb_runtime_store::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, MountRef, ProfileSelector,
    WorkerDetail, WorkerIntent, WorkerLifecycleAck, WorkerStatus, WorkerSummary, WorkspaceRef,
};
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{self, WorkerInput, WorkerInputKind, WorkerInteractionAck};
use redb_runtime_store::management::{
    RuntimeBackendKind, RuntimeLimits, RuntimeOptions, RuntimeStatus, RuntimeSummary,
};
use redb_runtime_store::observation::{
    EventCursor, EventSubscription, EventSubscriptionMode, RuntimeEvent, RuntimeEventBatch,
    RuntimeEventKind, TranscriptEntry, TranscriptProjection, TranscriptQuery, TranscriptRole,
};
use redb_runtime_store::{
    RedbRuntimeStore, RedbRuntimeStoreOptions, Runtime, RuntimeTransaction, Sharing, Store,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What every type of the model is.
fn model<T: Clone + Debug + PartialEq + Eq + Serialize + DeserializeOwned>() {}

/// What can be handed to every thread of a host.
fn handle<T: Clone + Send + Sync + Debug + 'static>() {}

#[test]
fn types_keep_their_public_paths() {
    model::<(RuntimeId, WorkerId, WorkerRef)>();
    model::<(WorkerIntent, ProfileSelector, ConfigBundleRef)>();
    model::<(CapabilityRequest, WorkspaceRef, MountRef)>();
    model::<(CreateWorkerRequest, WorkerStatus, WorkerSummary)>();
    model::<(WorkerDetail, WorkerLifecycleAck)>();
    model::<(WorkerInput, WorkerInputKind, WorkerInteractionAck)>();
    model::<(RuntimeBackendKind, RuntimeStatus, RuntimeLimits)>();
    model::<(RuntimeOptions, RuntimeSummary)>();
    model::<(TranscriptEntry, TranscriptProjection)>();
    model::<(TranscriptQuery, TranscriptRole)>();
    model::<(EventCursor, EventSubscription, EventSubscriptionMode)>();
    model::<(RuntimeEvent, RuntimeEventKind, RuntimeEventBatch)>();
    model::<(DiagnosticSeverity, RuntimeDiagnostic)>();
}

#[test]
fn transcript_types_agree_on_both_paths() {
    let _: fn(interaction::TranscriptEntry) -> TranscriptEntry = |entry| entry;
    let _: fn(interaction::TranscriptProjection) -> TranscriptProjection = |page| page;
    let _: fn(interaction::TranscriptQuery) -> TranscriptQuery = |query| query;
    let _: fn(interaction::TranscriptRole) -> TranscriptRole = |role| role;
}

#[test]
fn root_types_are_send_and_sync() {
    handle::<Runtime>();
    handle::<Store>();
    handle::<RedbRuntimeStore>();
    handle::<RedbRuntimeStoreOptions>();
    handle::<Sharing>();
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    error::<RuntimeError>();
    let _: fn(&RuntimeTransaction<'_>) = |_| {};
}
