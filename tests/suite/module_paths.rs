//! The public paths of the crate: the modules and types that a host imports.

use redb_runtime_store::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, MountRef, ProfileSelector,
    WorkerDetail, WorkerIntent, WorkerLifecycleAck, WorkerStatus, WorkerSummary, WorkspaceRef,
};
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::error;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{self, WorkerInput, WorkerInputKind, WorkerInteractionAck};
use redb_runtime_store::layout::{self, ExportOptions, ImportOptions};
use redb_runtime_store::management::{
    RuntimeBackendKind, RuntimeLimits, RuntimeOptions, RuntimeStatus, RuntimeSummary,
};
use redb_runtime_store::observation::{
    EventCursor, EventSubscription, EventSubscriptionMode, RuntimeEvent, RuntimeEventBatch,
    RuntimeEventKind, TranscriptEntry, TranscriptProjection, TranscriptQuery, TranscriptRole,
};
use redb_runtime_store::store::{self, StoreOptions, Stored};
use redb_runtime_store::{
    EventFollower, RedbRuntimeStore, RedbRuntimeStoreOptions, Runtime, RuntimeError,
    RuntimeTransaction, Severity, Sharing, Store, steps,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// The traits of every type of the model.
fn model<T: Clone + Debug + PartialEq + Eq + Serialize + DeserializeOwned>() {}

/// The traits of a handle that all threads of a host share.
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

/// Names each type by its path, which must resolve.
macro_rules! types {
    ($module:ident: $($name:ident $(<$($argument:tt),+>)?),+ $(,)?) => {
        $(let _ = size_of::<redb_runtime_store::$module::$name$(<$($argument),+>)?>();)+
    };
}

#[test]
fn store_types_keep_their_public_paths() {
    types!(store: BackupOptions, BackupReport, BulkLoad<'_>, Census, CensusOptions, CompactReport);
    types!(store: BorrowedEntry<'_>, BorrowedEvent<'_>, BorrowedRef<'_>, EventRun, TranscriptRun);
    types!(store: ImportRecord, MigrationPlan, Pending<()>, PersistedRuntimeSnapshot);
    types!(store: PersistedRuntimeState, PersistedWorkerSnapshot, ReaderCensus, RowProgress);
    types!(store: RedbRuntimeStore, RuntimeCensus, RuntimeStoreTransaction<'_>, Sharing, Snapshot);
    types!(store: Store, StoreOptions, Stored<()>, TableCensus, Tally, UnknownMember);
    types!(store: VerifyFinding, VerifyKind, VerifyOptions, VerifyReport, WorkerCensus);
    types!(store: FileAccess);
    let _: fn(store::RedbRuntimeStore) -> RedbRuntimeStore = |store| store;
    let _: fn(store::Store) -> Store = |store| store;
    let _: fn(store::Sharing) -> Sharing = |sharing| sharing;
    let _: fn(store::Pending<()>) -> redb_runtime_store::Pending<()> = |pending| pending;
}

#[cfg(feature = "search")]
#[test]
fn search_items_keep_their_public_paths() {
    types!(search: Search, SearchMatch, SearchMatches<'static>, SearchRow);
    fn moved<T: Send>() {}
    moved::<redb_runtime_store::search::SearchMatches<'static>>();
    let _ = |runtime: &Runtime, search| runtime.search(search).map(|_| ());
    let _ = |snapshot: &store::Snapshot, search| snapshot.search(search).map(|_| ());
}

#[test]
fn layout_items_keep_their_public_paths() {
    types!(layout: Comparison, Conflict, Difference, ExistingDirectory, ExportOptions);
    types!(layout: ExportOutcome, ExportReport, Finding, FindingKind, FindingText, ImportOptions);
    types!(layout: ImportOutcome, ImportReport, LayoutError, Progress, RuntimeExport, RuntimeImport);
    let _ = |store: &Store, from: &str| layout::import(store, from, ImportOptions::new());
    let _ = |from: &str| layout::check(from, ImportOptions::new());
    let _ = |from: &str, to: &str, options: &StoreOptions| {
        layout::import_to_path(from, to, options, ImportOptions::new())
    };
    let _ = |store: &Store, to: &str| layout::export(store, to, ExportOptions::new());
    let _ = |store: &Store, root: &str| layout::compare(store, root);
    let _ = |store: &Store, root: &str| layout::compare_runtimes(store, root, &[]);
    let _: fn(&Stored<RuntimeEvent>, &mut Vec<u8>) -> _ = layout::write_line;
    let _: (usize, u64) = (
        layout::DEFAULT_MAX_LINE_BYTES,
        layout::DEFAULT_MAX_DOCUMENT_BYTES,
    );
}

#[test]
fn root_items_keep_their_public_paths() {
    let _ = size_of::<(EventFollower, Severity, steps::Step, steps::Change)>();
    let _: fn(error::RuntimeError) -> RuntimeError = |error| error;
}
