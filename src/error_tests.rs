//! Tests of the messages of errors, and of their kinds.

use super::{ErrorKind, Place, RuntimeError, with_causes};
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use std::error::Error;
use std::io;
use std::path::PathBuf;

#[test]
fn names_write_no_line_of_their_own() {
    let name = "x\nruntime-store: done\u{1b}[2K\u{9b}1A\u{202e}";
    let (path, text) = (PathBuf::from(name), name.to_owned());
    let runtime_id = RuntimeId::new(name).unwrap();
    let worker_id = WorkerId::new(name).unwrap();
    let worker_ref = WorkerRef::new(runtime_id.clone(), worker_id.clone());
    let (operation, place) = ("open", Place::file(&path));
    let errors = [
        RuntimeError::RuntimeStopped {
            runtime_id: runtime_id.clone(),
        },
        RuntimeError::WrongRuntime {
            expected_runtime_id: runtime_id.clone(),
            actual_runtime_id: runtime_id.clone(),
            worker_id: worker_id.clone(),
        },
        RuntimeError::WrongRuntimeCursor {
            expected_runtime_id: runtime_id.clone(),
            actual_runtime_id: runtime_id.clone(),
        },
        RuntimeError::WorkerNotFound {
            runtime_id: runtime_id.clone(),
            worker_id,
        },
        RuntimeError::RuntimeNotFound {
            path: path.clone(),
            runtime_id,
        },
        RuntimeError::KeyReused {
            worker_ref: worker_ref.clone(),
            key: text.clone(),
        },
        RuntimeError::WorkerExists { worker_ref },
        RuntimeError::InvalidRequest(text.clone()),
        RuntimeError::StoreMoved {
            operation,
            place,
            is_uncertain: true,
        },
        RuntimeError::StoreCorrupt {
            operation,
            path: path.clone(),
            message: text.clone(),
        },
        RuntimeError::NotAStore {
            path: path.clone(),
            message: text.clone(),
        },
        RuntimeError::StoreBusy {
            operation,
            path: path.clone(),
            reason: text,
        },
        RuntimeError::StoreMissing { operation, path },
    ];
    for error in errors {
        let message = error.to_string();
        let raw = message.chars().find(|c| c.is_control() || *c == '\u{202e}');
        assert_eq!(raw, None, "{message:?}");
        assert!(
            message.contains(r"x\nruntime-store: done\u{1b}"),
            "{message}"
        );
    }
}

#[test]
fn only_a_store_in_use_is_worth_a_retry() {
    let path = PathBuf::from("a.redb");
    let locked = RuntimeError::StoreLocked {
        path: path.clone(),
        holder: Some(7),
    };
    let moved = |is_uncertain| RuntimeError::StoreMoved {
        operation: "send input",
        place: Place::file(&path),
        is_uncertain,
    };
    let errors = [
        (locked, ErrorKind::InUse),
        (moved(true), ErrorKind::Uncertain),
        (moved(false), ErrorKind::Reopen),
        (RuntimeError::StatePoisoned, ErrorKind::Reopen),
        (
            RuntimeError::InvalidRequest("x".to_owned()),
            ErrorKind::Rejected,
        ),
    ];
    for (error, kind) in errors {
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.is_retryable(), kind == ErrorKind::InUse, "{error}");
    }
}

#[test]
fn message_leaves_the_cause_to_the_source() {
    let (path, cause) = (PathBuf::from("a.redb"), "No space left");
    let errors = [
        RuntimeError::StoreIo {
            operation: "open",
            path: path.clone(),
            source: io::Error::other(cause),
        },
        RuntimeError::CommitUncertain {
            path,
            source: io::Error::other(cause),
        },
    ];
    for error in errors {
        assert!(!error.to_string().contains(cause), "{error}");
        assert_eq!(error.source().unwrap().to_string(), cause);
        assert_eq!(with_causes(&error), format!("{error}: {cause}"));
    }
}
