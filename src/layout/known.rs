//! The quick way to read a line: records that have known members only, as nearly all have.
//!
//! What is here accepts a record only if every member of it is known, comes once and has its plain
//! form. Whatever it does not accept is read in the thorough way, which decides; so nothing here
//! needs to say what is wrong.

use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::{TranscriptEntry, TranscriptRole};
use crate::model::observation::{RuntimeEvent, RuntimeEventKind};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::fmt;

/// An object with no members but these. Every one can be missing: the caller knows which may.
macro_rules! object {
    ($name:ident { $($member:ident: $type:ty),* }) => {
        struct $name { $($member: Option<$type>),* }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;

                impl<'de> Visitor<'de> for Members {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut object = $name { $($member: None),* };
                        while let Some(name) = map.next_key::<&str>()? {
                            match name {
                                $(stringify!($member) if object.$member.is_none() => {
                                    object.$member = Some(map.next_value()?);
                                })*
                                _ => return Err(A::Error::custom("another member")),
                            }
                        }
                        Ok(object)
                    }
                }

                deserializer.deserialize_map(Members)
            }
        }
    };
}

object!(Ref {
    runtime_id: RuntimeId,
    worker_id: WorkerId
});
object!(Kind { kind: Name<RuntimeEventKind> });
object!(Event {
    id: u64,
    worker_ref: Ref,
    kind: Kind,
    message: String
});
object!(Entry {
    sequence: u64,
    worker_ref: Ref,
    role: Name<TranscriptRole>,
    content: String,
    event_id: u64
});

impl Ref {
    fn known(self) -> Option<WorkerRef> {
        Some(WorkerRef::new(self.runtime_id?, self.worker_id?))
    }
}

/// An event that has known members only.
pub(super) fn event(text: &str) -> Option<RuntimeEvent> {
    let event: Event = serde_json::from_str(text).ok()?;
    Some(RuntimeEvent {
        id: event.id?,
        worker_ref: match event.worker_ref {
            Some(worker_ref) => Some(worker_ref.known()?),
            None => None,
        },
        kind: event.kind?.kind?.0,
        message: event.message?,
    })
}

/// A transcript entry that has known members only.
pub(super) fn entry(text: &str) -> Option<TranscriptEntry> {
    let entry: Entry = serde_json::from_str(text).ok()?;
    Some(TranscriptEntry {
        sequence: entry.sequence?,
        worker_ref: entry.worker_ref?.known()?,
        role: entry.role?.0,
        content: entry.content?,
        event_id: entry.event_id?,
    })
}

/// A variant by its name.
struct Name<T>(T);

trait Named: Sized {
    fn named(name: &str) -> Option<Self>;
}

impl Named for RuntimeEventKind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "runtime_started" => Self::RuntimeStarted,
            "runtime_stopped" => Self::RuntimeStopped,
            "worker_created" => Self::WorkerCreated,
            "worker_input_accepted" => Self::WorkerInputAccepted,
            "worker_stopped" => Self::WorkerStopped,
            "worker_cancelled" => Self::WorkerCancelled,
            _ => return None,
        })
    }
}

impl Named for TranscriptRole {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "user" => Self::User,
            "assistant" => Self::Assistant,
            "system" => Self::System,
            _ => return None,
        })
    }
}

impl<'de, T: Named> Deserialize<'de> for Name<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <&str>::deserialize(deserializer)?;
        T::named(name)
            .map(Self)
            .ok_or_else(|| D::Error::custom("another name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_that_is_written_is_read_in_the_quick_way() {
        use RuntimeEventKind::*;
        let worker = || {
            let runtime_id = RuntimeId::new("r\u{1}").unwrap();
            WorkerRef::new(runtime_id, WorkerId::new("w").unwrap())
        };
        for kind in [
            RuntimeStarted,
            RuntimeStopped,
            WorkerCreated,
            WorkerInputAccepted,
            WorkerStopped,
            WorkerCancelled,
        ] {
            for worker_ref in [None, Some(worker())] {
                let written = RuntimeEvent {
                    id: u64::MAX,
                    worker_ref,
                    kind,
                    message: "\"\n\u{1f680}".into(),
                };
                assert_eq!(
                    event(&serde_json::to_string(&written).unwrap()),
                    Some(written)
                );
            }
        }
        for role in [
            TranscriptRole::User,
            TranscriptRole::Assistant,
            TranscriptRole::System,
        ] {
            let written = TranscriptEntry {
                sequence: 1,
                worker_ref: worker(),
                role,
                content: "\0".into(),
                event_id: 7,
            };
            assert_eq!(
                entry(&serde_json::to_string(&written).unwrap()),
                Some(written)
            );
        }
    }

    #[test]
    fn whatever_needs_a_second_look_is_left_to_the_thorough_way() {
        for text in [
            r#"{"id":1,"kind":{"kind":"runtime_started"},"message":"m","x":1}"#,
            r#"{"id":1,"kind":{"kind":"runtime_started","x":1},"message":"m"}"#,
            r#"{"id":1,"id":1,"kind":{"kind":"runtime_started"},"message":"m"}"#,
            r#"{"id":1,"worker_ref":null,"kind":{"kind":"runtime_started"},"message":"m"}"#,
            r#"{"id":1,"worker_ref":["r","w"],"kind":{"kind":"runtime_started"},"message":"m"}"#,
            r#"{"id":1,"kind":["runtime_started"],"message":"m"}"#,
            r#"{"id":1,"kind":{"kind":{"runtime_started":null}},"message":"m"}"#,
            r#"{"id":1,"kind":{"kind":"other"},"message":"m"}"#,
            r#"{"id":1,"kind":{"kind":"runtime_started"}}"#,
            r#"[1,null,{"kind":"runtime_started"},"m"]"#,
            r#"{"id":1,"kind":{"kind":"runtime_started"},"message":"m"}{}"#,
        ] {
            assert_eq!(event(text), None, "{text}");
        }
    }
}
