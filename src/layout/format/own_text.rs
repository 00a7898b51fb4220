//! Writes a document that was imported with its own text: with the members that it had, in their order, with their
//! white space, their escapes and their absences, and with the values of now.
//!
//! The text is merged with two canonical texts of the document: that of the values which the text stands for, and that of
//! the values of now. A member that is equal in both keeps its bytes. A changed one gets the new value in its place. One
//! that is gone goes with its comma. One that the text lacks is inserted where its value has changed: after the member
//! that precedes it in form a, with the white space of its neighbour. Items of an array that are the same keep their
//! bytes.
//!
//! All texts must be valid JSON. The depth of the recursion is limited; deeper values are copied as they are.

use crate::layout::format::fast_json::is_number_id;
use crate::layout::format::later::{Lacking, OF_DIRECTORY};
use crate::layout::format::spans::{self, Span};
use crate::model::layout_form::{LayoutForm, Spelling};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// The greatest depth of values that are taken apart. Those of the known members are less deep.
const MAX_DEPTH: usize = 16;

/// The indentation of a document that has none of its own.
const UNIT: &str = "  ";

/// How values are written that are not in the own text.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manner<'a> {
    pub(crate) spelling: Spelling,
    pub(crate) schema_version: u64,
    /// The members that are left out where they have their default.
    pub(crate) left_out: &'a [&'a Lacking],
}

/// The members that new documents of `form` are written without.
pub(crate) fn left_out(known: &'static [Lacking], form: LayoutForm) -> Vec<&'static Lacking> {
    let is_left_out = |lacking: &&Lacking| lacking.left_out_from.is_some_and(|from| from <= form);
    known.iter().filter(is_left_out).collect()
}

/// The document with the values of `now`, both without white space. `own` is the text that stands for the values of
/// `before`. `None` if a text is not what it must be.
pub(crate) fn merged(own: &str, before: &str, now: &str, manner: Manner<'_>) -> Option<String> {
    let (before, now) = (before.trim_ascii(), now.trim_ascii());
    if before == now {
        return Some(own.to_owned());
    }
    let root = spans::document(own);
    let merge = Merge {
        own,
        before,
        now: Writer::new(own, now, manner),
    };
    let mut text = own[..root.start].to_owned();
    let place = Place {
        pointer: String::new(),
        indent: is_on_lines(own).then(String::new),
        depth: 0,
    };
    let sides = Sides {
        own: root.clone(),
        before: spans::document(before),
        now: spans::document(now),
    };
    merge.value(&sides, &place, &mut text)?;
    text.push_str(&own[root.end..]);
    Some(text)
}

/// A new document with the values of `now`, which has no white space, pretty-printed, with a newline at its end.
pub(crate) fn fresh(now: &str, manner: Manner<'_>) -> Option<String> {
    let now = now.trim_ascii();
    let place = Place {
        pointer: String::new(),
        indent: Some(String::new()),
        depth: 0,
    };
    let mut text = String::new();
    Writer::new("", now, manner).write(&spans::document(now), &place, &mut text)?;
    text.push('\n');
    Some(text)
}

fn is_on_lines(text: &str) -> bool {
    text.trim_ascii().contains('\n')
}

/// The place of a value in the document.
#[derive(Clone)]
struct Place {
    pointer: String,
    /// The indentation of its line; `None` in a text without lines.
    indent: Option<String>,
    depth: usize,
}

impl Place {
    fn of_part(&self, name: &str, indent: Option<String>) -> Self {
        Self {
            pointer: format!("{}/{name}", self.pointer),
            indent,
            depth: self.depth + 1,
        }
    }

    /// Whether it is in a reference to a worker, under `name`.
    fn is_in_ref(&self, name: &str) -> bool {
        let Some(parent) = self.pointer.strip_suffix(name) else {
            return false;
        };
        match parent.strip_prefix("/diagnostics/") {
            None => parent == "/worker_ref/",
            Some(item) => item
                .split_once('/')
                .is_some_and(|(_, of)| of == "worker_ref/"),
        }
    }

    fn is_worker_id(&self) -> bool {
        self.pointer == "/worker_id" || self.is_in_ref("worker_id")
    }
}

/// Writes values of the canonical text in the manner and with the white space of the document.
struct Writer<'a> {
    text: &'a str,
    manner: Manner<'a>,
    unit: String,
    newline: &'static str,
}

impl<'a> Writer<'a> {
    /// A writer for a document with the white space of `own`.
    fn new(own: &str, text: &'a str, manner: Manner<'a>) -> Self {
        let root = spans::parts(own, &spans::document(own)).unwrap_or_default();
        let indent = root.first().and_then(|first| {
            let lead = &own[spans::document(own).start + 1..first.whole.start];
            indent_of(lead).filter(|indent| !indent.is_empty())
        });
        Self {
            text,
            manner,
            unit: indent.unwrap_or(UNIT).to_owned(),
            newline: if own.contains("\r\n") { "\r\n" } else { "\n" },
        }
    }

    /// A writer of values of another text.
    fn of<'t>(&'t self, text: &'t str) -> Writer<'t> {
        Writer {
            text,
            manner: self.manner,
            unit: self.unit.clone(),
            newline: self.newline,
        }
    }

    fn json(&self, value: &Range<usize>) -> &'a str {
        &self.text[value.clone()]
    }

    /// Whether a member is left out because the form lacks it.
    fn is_left_out(&self, place: &Place, value: &Range<usize>) -> bool {
        if self.manner.spelling.is_without_runtime && place.is_in_ref("runtime_id") {
            return true;
        }
        let mut left_out = self.manner.left_out.iter();
        left_out.any(|lacking| {
            lacking.pointer == place.pointer
                && (lacking.json == OF_DIRECTORY || lacking.json == self.json(value))
        })
    }

    /// Appends a value.
    fn write(&self, value: &Range<usize>, place: &Place, out: &mut String) -> Option<()> {
        let json = self.json(value);
        if place.pointer == "/schema_version" {
            out.push_str(&self.manner.schema_version.to_string());
            return Some(());
        }
        if self.manner.spelling.has_number_ids
            && place.is_worker_id()
            && let Some(digits) = json.strip_prefix('"').and_then(|id| id.strip_suffix('"'))
            && is_number_id(digits)
        {
            out.push_str(digits);
            return Some(());
        }
        let is_container = json.starts_with(['{', '[']);
        if !is_container || place.depth >= MAX_DEPTH {
            out.push_str(json);
            return Some(());
        }
        let brackets = if json.starts_with('{') {
            ("{", "}")
        } else {
            ("[", "]")
        };
        let indent = place.indent.as_ref();
        let inner = indent.map(|indent| format!("{indent}{}", self.unit));
        out.push_str(brackets.0);
        let mut is_first = true;
        for (index, part) in spans::parts(self.text, value)?.into_iter().enumerate() {
            let name = self.text[part.whole.start..part.value.start].trim_end_matches([':', ' ']);
            let place = match name {
                "" => place.of_part(&index.to_string(), inner.clone()),
                _ => place.of_part(&part.name, inner.clone()),
            };
            if self.is_left_out(&place, &part.value) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(',');
            }
            if let Some(inner) = &inner {
                out.push_str(self.newline);
                out.push_str(inner);
            }
            if !name.is_empty() {
                out.push_str(name);
                out.push_str(if inner.is_some() { ": " } else { ":" });
            }
            self.write(&part.value, &place, out)?;
        }
        if let Some(indent) = indent.filter(|_| !is_first) {
            out.push_str(self.newline);
            out.push_str(indent);
        }
        out.push_str(brackets.1);
        Some(())
    }
}

/// A value in the three texts.
struct Sides {
    own: Range<usize>,
    before: Range<usize>,
    now: Range<usize>,
}

struct Merge<'a> {
    own: &'a str,
    before: &'a str,
    now: Writer<'a>,
}

/// A member or an item of the merged text.
struct Piece<'a> {
    key: (String, usize),
    /// The white space before it.
    lead: &'a str,
    text: String,
    /// The white space after it.
    trail: &'a str,
}

impl<'a> Merge<'a> {
    /// Appends a value of the merged text.
    fn value(&self, sides: &Sides, place: &Place, out: &mut String) -> Option<()> {
        let own = &self.own[sides.own.clone()];
        let before = &self.before[sides.before.clone()];
        let now = self.now.json(&sides.now);
        if before == now {
            out.push_str(own);
            return Some(());
        }
        let all = [own, before, now];
        if place.depth < MAX_DEPTH {
            if all.iter().all(|json| json.starts_with('{')) {
                return self.object(sides, place, out);
            }
            if all.iter().all(|json| json.starts_with('[')) {
                return self.array(sides, place, out);
            }
        }
        self.now.write(&sides.now, place, out)
    }

    fn object(&self, sides: &Sides, place: &Place, out: &mut String) -> Option<()> {
        let own = spans::members(self.own, &sides.own)?;
        let before = keyed(spans::members(self.before, &sides.before)?);
        let now_members = spans::members(self.now.text, &sides.now)?;
        let (own_keys, now_keys) = (keys(&own), keys(&now_members));
        if own.is_empty() {
            let changed = now_members.iter().zip(&now_keys).filter(|(member, key)| {
                let was = before.get(*key).map(|was| &self.before[was.value.clone()]);
                was != Some(self.now.json(&member.value))
            });
            let changed: Vec<&str> = changed
                .map(|(member, _)| self.now.json(&member.whole))
                .collect();
            let changed = format!("{{{}}}", changed.join(","));
            return self.now.of(&changed).write(&(0..changed.len()), place, out);
        }
        if now_members.is_empty() {
            return self.now.write(&sides.now, place, out);
        }
        let now = keyed(now_members);
        let mut pieces = Vec::new();
        for (index, (member, key)) in own.iter().zip(&own_keys).enumerate() {
            let mut piece = self.piece(&own, index, &sides.own);
            piece.key = key.clone();
            match (before.get(key), now.get(key)) {
                (Some(before), Some(now)) => {
                    let sides = Sides {
                        own: member.value.clone(),
                        before: before.value.clone(),
                        now: now.value.clone(),
                    };
                    let place = place.of_part(&key.0, indent_below(piece.lead));
                    piece.text = self.own[member.whole.start..member.value.start].to_owned();
                    self.value(&sides, &place, &mut piece.text)?;
                }
                (Some(_), None) => continue,
                // Not a member of the document as it was read.
                (None, _) => {}
            }
            pieces.push(piece);
        }
        let inserted = self.inserted(
            (&pieces, &own, &sides.own),
            (&before, &now, &now_keys),
            place,
        )?;
        self.join(
            ("{", "}"),
            (&own, &sides.own),
            with_inserted(pieces, inserted),
            out,
        );
        Some(())
    }

    /// The members that the own text lacks and whose values have changed, each with the number of `pieces` before it.
    fn inserted(
        &self,
        (pieces, own, object): (&[Piece<'a>], &[Span], &Range<usize>),
        (before, now, now_keys): (&Keyed, &Keyed, &[(String, usize)]),
        place: &Place,
    ) -> Option<Vec<(usize, Piece<'a>)>> {
        let present: HashSet<(String, usize)> = keys(own).into_iter().collect();
        let places = pieces.iter().enumerate();
        let places: HashMap<_, _> = places.map(|(at, piece)| (&piece.key, at)).collect();
        let mut inserted = Vec::new();
        let mut next = 0;
        for key in now_keys {
            let member = now.get(key)?;
            if present.contains(key) {
                next = places.get(key).map_or(next, |at| at + 1);
                continue;
            }
            let was = before.get(key).map(|was| &self.before[was.value.clone()]);
            if was == Some(self.now.json(&member.value)) {
                continue;
            }
            let neighbour = next.saturating_sub(1).max(1).min(own.len() - 1);
            let mut piece = self.piece(own, neighbour, object);
            let place = place.of_part(&key.0, indent_below(piece.lead));
            let neighbour = &own[neighbour];
            let colon = &self.own[neighbour.whole.start..neighbour.value.start];
            let colon = colon.rsplit_once('"').map_or(":", |(_, colon)| colon);
            let name = &self.now.text[member.whole.start..member.value.start];
            piece.text = format!("{}{colon}", name.trim_end_matches(':'));
            self.now.write(&member.value, &place, &mut piece.text)?;
            piece.trail = "";
            inserted.push((next, piece));
        }
        Some(inserted)
    }

    fn array(&self, sides: &Sides, place: &Place, out: &mut String) -> Option<()> {
        let own = spans::items(self.own, &sides.own)?;
        let before = spans::items(self.before, &sides.before)?;
        let now = spans::items(self.now.text, &sides.now)?;
        if own.is_empty() || now.is_empty() || own.len() != before.len() {
            return self.now.write(&sides.now, place, out);
        }
        let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, item) in before.iter().enumerate() {
            let json = &self.before[item.value.clone()];
            places.entry(json).or_default().push(index);
        }
        let mut pieces = Vec::new();
        let mut reached = 0;
        for (index, item) in now.iter().enumerate() {
            let same = places.get(self.now.json(&item.value));
            let same = same.and_then(|same| same.get(same.partition_point(|at| *at < reached)));
            if let Some(same) = same {
                pieces.push(self.piece(&own, *same, &sides.own));
                reached = same + 1;
                continue;
            }
            let neighbour = reached.max(1).min(own.len() - 1);
            let mut piece = self.piece(&own, neighbour, &sides.own);
            let indent = indent_below(piece.lead);
            piece.text.clear();
            piece.trail = "";
            self.now.write(
                &item.value,
                &place.of_part(&index.to_string(), indent),
                &mut piece.text,
            )?;
            pieces.push(piece);
        }
        self.join(("[", "]"), (&own, &sides.own), pieces, out);
        Some(())
    }

    /// A part of the own text with the white space around it. The white space after the last part belongs to the end of
    /// the object or array.
    fn piece(&self, parts: &[Span], index: usize, container: &Range<usize>) -> Piece<'a> {
        let part = &parts[index];
        // The opening bracket or the comma is one byte.
        let lead_start = match index {
            0 => container.start + 1,
            _ => {
                let between = &self.own[parts[index - 1].value.end..part.whole.start];
                part.whole.start - between.len() + between.find(',').map_or(0, |comma| comma + 1)
            }
        };
        let trail = parts.get(index + 1).map_or("", |next| {
            let between = &self.own[part.value.end..next.whole.start];
            between.split(',').next().unwrap_or_default()
        });
        Piece {
            key: Default::default(),
            lead: &self.own[lead_start..part.whole.start],
            text: self.own[part.whole.clone()].to_owned(),
            trail,
        }
    }

    fn join(
        &self,
        brackets: (&str, &str),
        (parts, container): (&[Span], &Range<usize>),
        pieces: Vec<Piece<'_>>,
        out: &mut String,
    ) {
        out.push_str(brackets.0);
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(piece.lead);
            out.push_str(&piece.text);
            out.push_str(piece.trail);
        }
        if let Some(last) = parts.last() {
            out.push_str(&self.own[last.value.end..container.end - 1]);
        }
        out.push_str(brackets.1);
    }
}

/// Puts each inserted piece after as many pieces as its number says.
fn with_inserted<'a>(
    pieces: Vec<Piece<'a>>,
    mut inserted: Vec<(usize, Piece<'a>)>,
) -> Vec<Piece<'a>> {
    // Stable: pieces of one place stay in their order.
    inserted.sort_by_key(|(after, _)| *after);
    let mut inserted = inserted.into_iter().peekable();
    let mut all = Vec::new();
    for (index, piece) in pieces.into_iter().enumerate() {
        while let Some((_, piece)) = inserted.next_if(|(after, _)| *after <= index) {
            all.push(piece);
        }
        all.push(piece);
    }
    all.extend(inserted.map(|(_, piece)| piece));
    all
}

/// The indentation of a value after the white space `lead`.
fn indent_below(lead: &str) -> Option<String> {
    indent_of(lead).map(str::to_owned)
}

/// The indentation at the end of white space that has a line break.
fn indent_of(lead: &str) -> Option<&str> {
    lead.rsplit_once('\n').map(|(_, indent)| indent)
}

type Keyed = HashMap<(String, usize), Span>;

/// The names of members, each with the number of members of the same name before it.
fn keys(members: &[Span]) -> Vec<(String, usize)> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let key = |member: &Span| member.name.clone();
    members
        .iter()
        .map(|member| {
            let count = seen.entry(&member.name).or_default();
            *count += 1;
            (key(member), *count - 1)
        })
        .collect()
}

fn keyed(members: Vec<Span>) -> Keyed {
    keys(&members).into_iter().zip(members).collect()
}
