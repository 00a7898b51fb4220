//! The order of rows: by time where it is known, by the id of the event where it is not.

use crate::report::bins::Bins;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The columns of an axis, about as many as a screen has room for.
pub(crate) const COLUMNS: u32 = 480;

/// The most bins of one kind of mark of a lane.
const MOST_BINS: usize = 512;

/// Milliseconds since 1970, the unit of dated positions.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn time_of(milliseconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))
}

/// Where a row stands in the order of its runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// At this time, in milliseconds since 1970.
    Dated(u64),
    /// At the event with this id. Only rows of earlier releases and of imports have no time, and they come first.
    Undated(u64),
}

impl Point {
    pub(crate) fn new(recorded_at: Option<SystemTime>, event_id: u64) -> Self {
        match recorded_at {
            Some(time) => Self::Dated(milliseconds(time)),
            None => Self::Undated(event_id),
        }
    }
}

/// The least and the greatest of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Option<(u64, u64)>);

impl Span {
    pub(crate) fn add(&mut self, number: u64) {
        let (least, greatest) = self.0.unwrap_or((number, number));
        self.0 = Some((least.min(number), greatest.max(number)));
    }

    /// Where `number` lies in the span, from 0 to 1; the middle of a span of one number.
    fn part(self, number: u64) -> f64 {
        match self.0 {
            Some((least, greatest)) if least < greatest => {
                let number = number.clamp(least, greatest);
                (number - least) as f64 / (greatest - least) as f64
            }
            _ => 0.5,
        }
    }
}

/// Marks of one kind.
pub(crate) struct Marks {
    dated: Bins,
    undated: Bins,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            dated: Bins::new(MOST_BINS),
            undated: Bins::new(MOST_BINS),
        }
    }
}

impl Marks {
    pub(crate) fn add(&mut self, point: Point) {
        match point {
            Point::Dated(at) => self.dated.add(at, 1),
            Point::Undated(event) => self.undated.add(event, 1),
        }
    }
}

/// The axis of a runtime. Its first part has the rows without a time by the ids of their events, the second one the others
/// by time; one of them can be missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Axis {
    pub(crate) undated: Span,
    pub(crate) dated: Span,
    undated_points: u64,
    dated_points: u64,
}

/// The least part of the axis for either kind of rows, if there are any.
const LEAST_PART: f64 = 0.15;

impl Axis {
    pub(crate) fn add(&mut self, point: Point) {
        match point {
            Point::Dated(at) => {
                self.dated.add(at);
                self.dated_points += 1;
            }
            Point::Undated(event) => {
                self.undated.add(event);
                self.undated_points += 1;
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.undated_points + self.dated_points == 0
    }

    /// The part of the axis that the rows without a time take, from 0 to 1.
    pub(crate) fn split(&self) -> f64 {
        match (self.undated_points, self.dated_points) {
            (0, _) => 0.0,
            (_, 0) => 1.0,
            (undated, dated) => {
                let part = undated as f64 / (undated as f64 + dated as f64);
                part.clamp(LEAST_PART, 1.0 - LEAST_PART)
            }
        }
    }

    /// The column of a point.
    pub(crate) fn column(&self, point: Point) -> u32 {
        let split = self.split();
        let part = match point {
            Point::Undated(event) => split * self.undated.part(event),
            Point::Dated(at) => split + (1.0 - split) * self.dated.part(at),
        };
        (part * f64::from(COLUMNS)).round() as u32
    }

    /// The number of marks in each column that has any.
    pub(crate) fn columns(&self, marks: &mut Marks) -> BTreeMap<u32, u64> {
        let mut columns = BTreeMap::new();
        let undated = marks
            .undated
            .counted()
            .map(|(event, count)| (Point::Undated(event), count));
        let dated = marks
            .dated
            .counted()
            .map(|(at, count)| (Point::Dated(at), count));
        for (point, count) in undated.chain(dated) {
            *columns.entry(self.column(point)).or_default() += count;
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::{Axis, COLUMNS, Marks, Point};

    fn axis(points: &[Point]) -> Axis {
        let mut axis = Axis::default();
        points.iter().for_each(|point| axis.add(*point));
        axis
    }

    #[test]
    fn undated_rows_stand_before_dated_ones() {
        let points = [1, 2, 3].map(Point::Undated);
        let undated = axis(&points);
        assert_eq!(
            points.map(|point| undated.column(point)),
            [0, COLUMNS / 2, COLUMNS]
        );
        let mixed = axis(&[
            Point::Undated(1),
            Point::Undated(9),
            Point::Dated(50),
            Point::Dated(60),
        ]);
        let columns = [
            Point::Undated(1),
            Point::Undated(9),
            Point::Dated(50),
            Point::Dated(55),
            Point::Dated(60),
        ];
        let columns = columns.map(|point| mixed.column(point));
        assert_eq!(columns, [0, 240, 240, 360, 480]);
    }

    #[test]
    fn points_outside_the_axis_stay_on_it() {
        let dated = axis(&[Point::Dated(10), Point::Dated(20)]);
        assert_eq!(dated.column(Point::Dated(0)), 0);
        assert_eq!(dated.column(Point::Dated(u64::MAX)), COLUMNS);
        assert_eq!(dated.column(Point::Undated(7)), 0);
        assert_eq!(
            axis(&[Point::Dated(7)]).column(Point::Dated(7)),
            COLUMNS / 2
        );
        assert!(axis(&[]).is_empty());
    }

    #[test]
    fn columns_count_every_mark() {
        let mut marks = Marks::default();
        let mut axis = Axis::default();
        for at in 0..10_000 {
            for point in [Point::Dated(at), Point::Undated(at)] {
                marks.add(point);
                axis.add(point);
            }
        }
        let columns = axis.columns(&mut marks);
        assert_eq!(columns.values().sum::<u64>(), 20_000);
        assert!(columns.len() > 300, "{}", columns.len());
        assert!(columns.keys().all(|column| *column <= COLUMNS));
    }
}
