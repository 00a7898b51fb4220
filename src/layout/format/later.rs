//! Documents and lines of later forms of the layout, as texts of form a.
//!
//! The strict reader in `json` knows form a only. A text that it rejects because of its form gets the members that it
//! lacks, each at the end of its object, numbers that are ids of workers become strings, and references get the id of
//! the runtime. The result is read by the strict reader, so that its types and its checks are those of every form.
//!
//! The form is recognised by what a text has and lacks. If several forms explain it, the oldest is assumed.

use crate::layout::format::document::SCHEMA_VERSION;
use crate::layout::format::fast_json::is_number_id;
use crate::layout::format::problem::Problem;
use crate::layout::format::spans::{self, Span};
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::layout_form::{AbsentMember, LayoutForm, Spelling};
use crate::model::persisted::UnknownMember;
use serde_json::value::RawValue;
use std::ops::Range;

/// The greatest `schema_version` that is read. 1 is that of the forms a to g; form h has the others.
pub(crate) const LATEST_SCHEMA_VERSION: u64 = 3;

/// A member that a later form lacks.
pub(crate) struct Lacking {
    pub(crate) pointer: &'static str,
    /// The default of the model; [`OF_DIRECTORY`] for an id that the directory gives.
    pub(crate) json: &'static str,
    /// The oldest form that can lack the member.
    pub(crate) from: LayoutForm,
    /// The oldest form whose new documents are written without the member.
    pub(crate) left_out_from: Option<LayoutForm>,
}

/// The default of an id that the directory gives.
pub(crate) const OF_DIRECTORY: &str = "";

const fn lacking(pointer: &'static str, json: &'static str, from: LayoutForm) -> Lacking {
    Lacking {
        pointer,
        json,
        from,
        left_out_from: Some(from),
    }
}

/// The members that a `runtime.json` can lack, in the order of form a.
pub(crate) const OF_RUNTIME: &[Lacking] = &[
    lacking("/runtime_id", OF_DIRECTORY, LayoutForm::F),
    Lacking {
        left_out_from: None,
        ..lacking("/status", "\"running\"", LayoutForm::F)
    },
    lacking(
        "/limits",
        "{\"max_transcript_projection_items\":256,\"max_event_batch_items\":256}",
        LayoutForm::G,
    ),
    lacking(
        "/limits/max_transcript_projection_items",
        "256",
        LayoutForm::D,
    ),
    lacking("/limits/max_event_batch_items", "256", LayoutForm::G),
    lacking("/next_worker_sequence", "1", LayoutForm::H),
    lacking("/next_event_id", "1", LayoutForm::G),
];

/// The members that a `worker.json` can lack, in the order of form a.
pub(crate) const OF_WORKER: &[Lacking] = &[
    lacking("/worker_ref/runtime_id", OF_DIRECTORY, LayoutForm::F),
    Lacking {
        // Releases of form f wrote it at first.
        left_out_from: Some(LayoutForm::G),
        ..lacking("/status", "\"running\"", LayoutForm::F)
    },
    lacking("/request/intent", "{\"kind\":\"assistant\"}", LayoutForm::C),
    lacking("/next_transcript_sequence", "1", LayoutForm::D),
    lacking("/last_event_id", "0", LayoutForm::G),
];

/// A text of form a that was made of one of a later form.
#[derive(Debug, Default)]
pub(crate) struct FormA {
    pub(crate) text: String,
    /// The members that the original lacks, with the JSON that they got, in the order of form a.
    pub(crate) absent: Vec<AbsentMember>,
    /// The oldest form that explains what is absent, and the numbers.
    pub(crate) form: LayoutForm,
    pub(crate) spelling: Spelling,
    /// The parts of the original that were replaced, by their offsets.
    edits: Vec<(Range<usize>, String)>,
}

impl FormA {
    /// The text of form a of `runtime.json`; `None` if it is of form a already, or is no JSON object. Members that
    /// `given` has get the values there.
    pub(crate) fn of_runtime(text: &str, id: &RuntimeId, given: &[AbsentMember]) -> Option<Self> {
        let mut made = Self::default();
        let root = object_of(text)?;
        let members = spans::members(text, &root)?;
        made.read_version(text, &members);
        made.complete(text, &root, OF_RUNTIME, (id, given))?;
        let diagnostics = members.iter().find(|member| member.name == "diagnostics");
        let items = diagnostics.and_then(|array| spans::items(text, &array.value));
        for item in items.unwrap_or_default() {
            if let Some(of) = spans::member(text, &item.value, "worker_ref") {
                made.spell_ref(text, &of.value, id.as_str());
            }
        }
        made.finish(text)
    }

    /// As [`of_runtime`](Self::of_runtime), for the `worker.json` in the directory of `worker_ref`.
    pub(crate) fn of_worker(
        text: &str,
        worker_ref: &WorkerRef,
        given: &[AbsentMember],
    ) -> Option<Self> {
        let mut made = Self::default();
        let root = object_of(text)?;
        let members = spans::members(text, &root)?;
        made.read_version(text, &members);
        made.complete(text, &root, OF_WORKER, (&worker_ref.runtime_id, given))?;
        for member in &members {
            match member.name.as_str() {
                "worker_ref" => {
                    let id = spans::member(text, &member.value, "worker_id");
                    id.into_iter()
                        .for_each(|id| made.spell_number(text, id.value));
                }
                "worker_id" => made.spell_number(text, member.value.clone()),
                _ => {}
            }
        }
        made.finish(text)
    }

    /// As [`of_runtime`](Self::of_runtime), for a line of a log of the runtime `id`.
    pub(crate) fn of_line(text: &str, id: &str) -> Option<Self> {
        let mut made = Self::default();
        let root = object_of(text)?;
        let of = spans::member(text, &root, "worker_ref")?;
        made.spell_ref(text, &of.value, id);
        made.finish(text)
    }

    /// The position in the original of a problem with [`text`](Self::text).
    pub(crate) fn problem_in(&self, original: &str, problem: Problem) -> Problem {
        let Some(mut offset) = problem.offset_in(self.text.as_bytes()) else {
            return problem;
        };
        let mut grown = 0;
        for (replaced, by) in &self.edits {
            let start = replaced.start + grown;
            if offset < start {
                break;
            }
            let within = (offset - start).min(replaced.len());
            if offset < start + by.len() {
                offset = start + within;
                break;
            }
            grown += by.len() - replaced.len();
        }
        let offset = (offset - grown).min(original.len());
        Problem {
            cut_off: problem.cut_off,
            ..Problem::at(problem.message, original.as_bytes(), offset)
        }
    }

    fn read_version(&mut self, text: &str, members: &[Span]) {
        let Some(version) = members
            .iter()
            .find(|member| member.name == "schema_version")
        else {
            return;
        };
        let number: Option<u64> = text[version.value.clone()].parse().ok();
        if number
            .is_some_and(|number| (SCHEMA_VERSION + 1..=LATEST_SCHEMA_VERSION).contains(&number))
        {
            self.form = LayoutForm::H;
            self.replace(version.value.clone(), SCHEMA_VERSION.to_string());
        }
    }

    /// Adds the members that the document at `root` lacks.
    fn complete(
        &mut self,
        text: &str,
        root: &Range<usize>,
        known: &[Lacking],
        (id, given): (&RuntimeId, &[AbsentMember]),
    ) -> Option<()> {
        let mut added: Vec<(Range<usize>, String)> = Vec::new();
        for lacking in known {
            let (parent, name) = lacking.pointer.rsplit_once('/')?;
            let object = match parent.strip_prefix('/') {
                None => root.clone(),
                Some(parent) => match spans::member(text, root, parent) {
                    Some(parent) => parent.value,
                    // It is absent as a whole.
                    None => continue,
                },
            };
            let Some(members) = spans::members(text, &object) else {
                continue;
            };
            if members.iter().any(|member| member.name == name) {
                continue;
            }
            let json = match given.iter().find(|given| given.pointer == lacking.pointer) {
                _ if lacking.json == OF_DIRECTORY => serde_json::to_string(id).ok()?,
                Some(given) => given.json.clone(),
                None => lacking.json.to_owned(),
            };
            // At the end of the object, so that positions in the members before stay as they are.
            let at = members
                .last()
                .map_or(object.start + 1, |last| last.value.end);
            let last = added.iter_mut().find(|(range, _)| range.start == at);
            let comma = if last.is_some() || !members.is_empty() {
                ","
            } else {
                ""
            };
            let member = format!("{comma}\"{name}\":{json}");
            match last {
                Some((_, members)) => members.push_str(&member),
                None => added.push((at..at, member)),
            }
            self.absent.push(AbsentMember {
                pointer: lacking.pointer.to_owned(),
                json,
            });
            self.form = self.form.max(lacking.from);
        }
        self.edits.append(&mut added);
        Some(())
    }

    /// Makes a reference to a worker of the runtime `id` one of form a.
    fn spell_ref(&mut self, text: &str, of: &Range<usize>, id: &str) {
        let Some(members) = spans::members(text, of) else {
            return;
        };
        if !members.iter().any(|member| member.name == "runtime_id")
            && let (Some(first), Ok(id)) = (members.first(), serde_json::to_string(id))
        {
            let at = first.whole.start;
            self.replace(at..at, format!("\"runtime_id\":{id},"));
            self.spelling.is_without_runtime = true;
            self.form = self.form.max(LayoutForm::F);
        }
        for member in members {
            if member.name == "worker_id" {
                self.spell_number(text, member.value);
            }
        }
    }

    /// Makes an id of a worker that is a number a string of its digits.
    fn spell_number(&mut self, text: &str, value: Range<usize>) {
        let digits = &text[value.clone()];
        if is_number_id(digits) {
            let string = format!("\"{digits}\"");
            self.replace(value, string);
            self.spelling.has_number_ids = true;
            self.form = self.form.max(LayoutForm::E);
        }
    }

    fn replace(&mut self, range: Range<usize>, by: String) {
        self.edits.push((range, by));
    }

    fn finish(mut self, text: &str) -> Option<Self> {
        if self.edits.is_empty() {
            return None;
        }
        self.edits.sort_by_key(|(range, _)| range.start);
        let mut end = 0;
        for (range, by) in &self.edits {
            self.text.push_str(&text[end..range.start]);
            self.text.push_str(by);
            end = range.end;
        }
        self.text.push_str(&text[end..]);
        Some(self)
    }
}

/// The object that a text consists of; `None` if it is no JSON object.
fn object_of(text: &str) -> Option<Range<usize>> {
    let json = serde_json::from_str::<&RawValue>(text).ok()?;
    json.get().starts_with('{').then(|| spans::document(text))
}

/// The oldest form that explains the unknown members of a document.
pub(crate) fn form_of_unknown(unknown: &[UnknownMember]) -> LayoutForm {
    let forms = unknown.iter().map(|member| {
        let name = member.name.as_str();
        match (member.pointer.as_str(), name) {
            ("", "config_bundles") | ("/request/config_bundle", "digest") => LayoutForm::B,
            ("", "execution") => LayoutForm::C,
            ("/request", "profile_source" | "initial_input") => LayoutForm::C,
            ("/request", name) if name.starts_with("working_directory") => LayoutForm::C,
            ("", "workspace_id" | "workspace_owners") => LayoutForm::F,
            ("", "run_generation") => LayoutForm::H,
            _ => LayoutForm::A,
        }
    });
    forms.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::format::document::{RuntimeDocument, WorkerDocument};
    use crate::layout::format::json::{self, Form};
    use crate::model::catalog::WorkerIntent;
    use crate::model::identity::WorkerId;
    use crate::model::management::RuntimeLimits;

    fn id() -> RuntimeId {
        RuntimeId::new("r\"1").unwrap()
    }

    fn worker(name: &str) -> WorkerRef {
        WorkerRef::new(id(), WorkerId::new(name).unwrap())
    }

    const RUNTIME_A: &str = r#"{"schema_version":1,"runtime_id":"r","display_name":null,"backend":"fs_store","status":"running","limits":{"max_transcript_projection_items":1,"max_event_batch_items":2},"next_worker_sequence":1,"next_event_id":1,"next_diagnostic_id":1,"diagnostics":[]}"#;
    const RUNTIME_H: &str = "{ \"schema_version\" : 3, \"display_name\":\"E\",\"backend\":\"fs_store\", \"next_diagnostic_id\":3,\"config_bundles\":{},\"diagnostics\":[{\"id\":1,\"severity\":\"info\",\"code\":\"c\",\"message\":\"m\",\"worker_ref\":{\"worker_id\":7}}]}\n";

    #[test]
    fn text_of_form_a_needs_no_other() {
        assert!(FormA::of_runtime(RUNTIME_A, &id(), &[]).is_none());
        for text in ["", "[]", "{", "7"] {
            assert!(FormA::of_runtime(text, &id(), &[]).is_none(), "{text}");
        }
    }

    #[test]
    fn absent_members_get_the_defaults_of_the_model() {
        let made = FormA::of_runtime(RUNTIME_H, &id(), &[]).unwrap();
        assert_eq!(made.form, LayoutForm::H);
        let read =
            json::read::<RuntimeDocument>(made.text.as_bytes(), Form::Document, &mut Vec::new())
                .unwrap();
        assert_eq!(read.value.schema_version, 1);
        assert_eq!(read.value.limits, RuntimeLimits::default());
        assert_eq!(read.value.runtime_id, id());
        assert_eq!(read.value.diagnostics[0].worker_ref, Some(worker("7")));
        let pointers: Vec<&str> = made.absent.iter().map(|one| &*one.pointer).collect();
        assert_eq!(
            pointers,
            [
                "/runtime_id",
                "/status",
                "/limits",
                "/next_worker_sequence",
                "/next_event_id"
            ]
        );
        let text = r#"{"schema_version":1,"worker_ref":{"worker_id":0},"worker_id":0,"request":{"profile":{"kind":"runtime_default"}}}"#;
        let made = FormA::of_worker(text, &worker("0"), &[]).unwrap();
        assert_eq!(made.form, LayoutForm::G);
        let read =
            json::read::<WorkerDocument>(made.text.as_bytes(), Form::Document, &mut Vec::new());
        let read = read.unwrap().value;
        assert_eq!(
            (read.worker_ref, read.worker_id),
            (worker("0"), worker("0").worker_id)
        );
        assert_eq!(read.request.intent, WorkerIntent::default());
    }

    #[test]
    fn given_values_win_over_defaults() {
        let given = [AbsentMember {
            pointer: "/next_event_id".into(),
            json: "77".into(),
        }];
        let made = FormA::of_runtime(RUNTIME_H, &id(), &given).unwrap();
        assert!(made.text.contains("\"next_event_id\":77"));
        assert!(made.absent.contains(&given[0]));
    }

    #[test]
    fn oldest_form_that_explains_a_document_is_assumed() {
        let without = |name: &str| {
            let mut value: serde_json::Value = serde_json::from_str(RUNTIME_A).unwrap();
            match name.split_once('/') {
                None => value.as_object_mut().unwrap().remove(name),
                Some((object, name)) => value[object].as_object_mut().unwrap().remove(name),
            };
            FormA::of_runtime(&value.to_string(), &id(), &[])
                .unwrap()
                .form
        };
        assert_eq!(
            without("limits/max_transcript_projection_items"),
            LayoutForm::D
        );
        assert_eq!(without("runtime_id"), LayoutForm::F);
        assert_eq!(without("next_event_id"), LayoutForm::G);
        assert_eq!(without("next_worker_sequence"), LayoutForm::H);
        let unknown = |pointer: &str, name: &str| UnknownMember {
            pointer: pointer.into(),
            name: name.into(),
            json: "{}".into(),
        };
        for (pointer, name, form) in [
            ("", "config_bundles", LayoutForm::B),
            ("/request", "initial_input", LayoutForm::C),
            ("", "run_generation", LayoutForm::H),
            ("/request", "config_bundles", LayoutForm::A),
        ] {
            assert_eq!(form_of_unknown(&[unknown(pointer, name)]), form, "{name}");
        }
    }

    #[test]
    fn only_integers_are_number_ids() {
        for (text, is_id) in [
            ("0", true),
            ("18446744073709551615", true),
            ("18446744073709551616", false),
            ("01", false),
            ("-1", false),
            ("+1", false),
            ("1.0", false),
            ("1e2", false),
            ("", false),
        ] {
            assert_eq!(is_number_id(text), is_id, "{text}");
        }
    }

    #[test]
    fn lines_get_the_reference_of_form_a() {
        let line = r#"{"id":2,"worker_ref":{"worker_id":1},"kind":{"kind":"worker_created"},"message":"m"}"#;
        let made = FormA::of_line(line, "r").unwrap();
        assert!(
            made.text
                .contains(r#""worker_ref":{"runtime_id":"r","worker_id":"1"},"#)
        );
        assert!(made.spelling.has_number_ids && made.spelling.is_without_runtime);
        assert!(FormA::of_line(&made.text, "r").is_none());
    }

    #[test]
    fn problems_have_their_position_in_the_original() {
        let line = r#"{"id":2,"worker_ref":{"worker_id":1},"kind":{"kind":"other"},"message":"m"}"#;
        let made = FormA::of_line(line, "r").unwrap();
        for (at, name) in [(0, "{\"id\""), (8, "\"worker_ref\""), (37, "\"kind\":{")] {
            assert!(line[at..].starts_with(name));
            let in_text = made.text.find(name).unwrap();
            let problem = Problem::at("m", made.text.as_bytes(), in_text);
            let found = made.problem_in(line, problem).offset_in(line.as_bytes());
            assert_eq!(found, Some(at), "{name}");
        }
        // A position in an inserted text is that of the insertion.
        let within = made.text.find("runtime_id").unwrap();
        let problem = Problem::at("m", made.text.as_bytes(), within);
        let found = made.problem_in(line, problem).offset_in(line.as_bytes());
        assert_eq!(found, Some(22));
    }
}
