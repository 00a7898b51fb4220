//! What was measured against what was asked for.

use std::fmt;

/// What a value has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// Times as fast.
    AtLeast(f64),
    AtMost(f64),
    /// Only for information.
    None,
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::None => true,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// A ratio.
    Times,
    Seconds,
    MiB,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Times if value >= 100.0 => format!("{}x", thousands(value.round() as u64)),
            Self::Times => format!("{value:.2}x"),
            Self::Seconds => duration(value),
            Self::MiB => format!("{value:.0} MiB"),
        }
    }

    fn show_bound(self, bound: Bound) -> String {
        match bound {
            Bound::AtLeast(value) => format!(">= {}", self.show_round(value)),
            Bound::AtMost(value) => format!("<= {}", self.show_round(value)),
            Bound::None => String::new(),
        }
    }

    fn show_round(self, value: f64) -> String {
        match self {
            Self::Times if value >= 100.0 => format!("{}x", thousands(value as u64)),
            Self::Times => format!("{value}x"),
            Self::Seconds => format!("{value} s"),
            Self::MiB => format!("{value} MiB"),
        }
    }
}

/// Seconds, in the unit that suits them.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// A number with its thousands set apart.
pub(crate) fn thousands(number: u64) -> String {
    match (number / 1000, number % 1000) {
        (0, rest) => rest.to_string(),
        (more, rest) => format!("{},{rest:03}", thousands(more)),
    }
}

/// Operations in a second, given the seconds of one.
pub(crate) fn rate(seconds: f64) -> String {
    format!("{}/s", thousands((1.0 / seconds).round() as u64))
}

/// One value with its bounds.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) work: String,
    /// What it is compared with.
    pub(crate) against: &'static str,
    pub(crate) threshold: Bound,
    pub(crate) stretch: Bound,
    pub(crate) value: f64,
    pub(crate) unit: Unit,
    /// Medians of both sides, for information.
    pub(crate) ours: String,
    pub(crate) theirs: String,
}

impl Line {
    fn verdict(&self) -> &'static str {
        match (self.threshold, self.stretch) {
            (Bound::None, _) => "",
            (threshold, _) if !threshold.holds(self.value) => "MISSED",
            (_, Bound::None) => "ok",
            (_, stretch) if stretch.holds(self.value) => "stretch",
            _ => "ok",
        }
    }

    fn cells(&self) -> [String; 8] {
        [
            self.work.clone(),
            self.against.to_owned(),
            self.unit.show_bound(self.threshold),
            self.unit.show_bound(self.stretch),
            self.unit.show(self.value),
            self.ours.clone(),
            self.theirs.clone(),
            self.verdict().to_owned(),
        ]
    }
}

const HEAD: [&str; 8] = [
    "work",
    "against",
    "threshold",
    "stretch",
    "measured",
    "ours",
    "theirs",
    "verdict",
];

/// All lines, and remarks on them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    lines: Vec<Line>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn missed(&self) -> Vec<&Line> {
        let is_missed = |line: &&Line| !line.threshold.holds(line.value);
        self.lines.iter().filter(is_missed).collect()
    }

    pub(crate) fn holds(&self) -> bool {
        self.missed().is_empty()
    }

    /// How many thresholds are missed, and which.
    pub(crate) fn verdict(&self) -> String {
        let is_bound = |line: &&Line| !matches!(line.threshold, Bound::None);
        let bounds = self.lines.iter().filter(is_bound).count();
        let missed = self.missed();
        let names: Vec<String> = missed
            .iter()
            .map(|line| format!("{} against {}", line.work, line.against))
            .collect();
        match names.is_empty() {
            true => format!("0 of {bounds} thresholds missed"),
            false => format!(
                "{} of {bounds} thresholds missed: {}",
                names.len(),
                names.join("; ")
            ),
        }
    }
}

/// Markdown, aligned so that it also reads well as it is.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = HEAD.map(str::to_owned);
        let rows: Vec<[String; 8]> = self.lines.iter().map(Line::cells).collect();
        let mut widths = [0; 8];
        for row in rows.iter().chain([&head]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let rule = widths.map(|width| "-".repeat(width));
        for row in [&head, &rule].into_iter().chain(&rows) {
            for (width, cell) in widths.iter().zip(row) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
        }
        for note in &self.notes {
            writeln!(f, "- {note}")?;
        }
        Ok(())
    }
}
