//! Times of rows: how they are shown, and which rows a range of times selects.

use crate::arguments::age::parse_age;
use crate::output::failure::Failure;
use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::time::{Duration, SystemTime};

/// A time on the command line.
#[derive(Clone, Copy, Debug)]
enum When {
    At(Timestamp),
    /// The beginning of a day.
    Day(Date),
    /// So long ago.
    Ago(Duration),
}

/// Options about the times of rows.
#[derive(Args)]
pub(crate) struct TimeArguments {
    /// Show times, and read dates, in UTC instead of the local time zone
    #[arg(long)]
    utc: bool,
    /// Show no times
    #[arg(long)]
    no_time: bool,
    /// Print only rows recorded at this time or later: RFC 3339, a date, or an age (90s, 20m, 2h, 3d, 4w).
    /// Rows without a time are left out
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    since: Option<When>,
    /// Print only rows recorded before this time, in the same forms; a date means its beginning
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    until: Option<When>,
}

/// How times are shown, and the range of times that is asked for.
pub(crate) struct Times {
    zone: TimeZone,
    is_utc: bool,
    pub(crate) are_shown: bool,
    pub(crate) since: Option<SystemTime>,
    pub(crate) until: Option<SystemTime>,
}

impl TimeArguments {
    pub(crate) fn read(&self) -> Result<Times, Failure> {
        let zone = match self.utc {
            true => TimeZone::UTC,
            false => TimeZone::system(),
        };
        let now = SystemTime::now();
        let resolve = |when: Option<When>| when.map(|when| resolve(when, &zone, now)).transpose();
        Ok(Times {
            since: resolve(self.since)?,
            until: resolve(self.until)?,
            is_utc: self.utc,
            are_shown: !self.no_time,
            zone,
        })
    }
}

/// The point in time that `when` means at the time `now`.
fn resolve(when: When, zone: &TimeZone, now: SystemTime) -> Result<SystemTime, Failure> {
    let time = match when {
        When::At(time) => Ok(time),
        When::Day(day) => zone.to_timestamp(day.at(0, 0, 0, 0)),
        // An age before all times selects every row.
        When::Ago(age) => return Ok(now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)),
    };
    time.and_then(SystemTime::try_from)
        .map_err(|error| Failure::WrongUse(format!("a time: {error}")))
}

impl Times {
    /// All times, in the local time zone or in UTC.
    pub(crate) fn shown(is_utc: bool) -> Self {
        Self {
            zone: match is_utc {
                true => TimeZone::UTC,
                false => TimeZone::system(),
            },
            is_utc,
            are_shown: true,
            since: None,
            until: None,
        }
    }

    /// Whether a row with this time is in the range that is asked for.
    pub(crate) fn select(&self, recorded_at: Option<SystemTime>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        recorded_at.is_some_and(|time| {
            self.since.is_none_or(|since| since <= time)
                && self.until.is_none_or(|until| time < until)
        })
    }

    /// The name of the time zone, such as `Europe/Berlin`; the distance from UTC at `time` for a zone without a name.
    pub(crate) fn zone_name(&self, time: SystemTime) -> String {
        match self.zone.is_unknown() {
            true => "UTC".to_owned(),
            false => self.formatted(Some(time), "%:Q"),
        }
    }

    /// `2026-11-29 12:45:12`, or `-` without a time.
    pub(crate) fn date_and_time(&self, recorded_at: Option<SystemTime>) -> String {
        self.formatted(recorded_at, "%Y-%m-%d %H:%M:%S")
    }

    /// `12:45:12`; `-` without a time.
    pub(crate) fn time_of_day(&self, recorded_at: Option<SystemTime>) -> String {
        self.formatted(recorded_at, "%H:%M:%S")
    }

    /// `2026-11-29`, with the zone if it is not the local one; `None` without a time.
    pub(crate) fn day(&self, recorded_at: Option<SystemTime>) -> Option<String> {
        recorded_at?;
        let format = match self.is_utc {
            true => "%Y-%m-%d UTC",
            false => "%Y-%m-%d",
        };
        Some(self.formatted(recorded_at, format))
    }

    /// A time in a form of `strftime`; `-` without a time.
    pub(crate) fn formatted(&self, recorded_at: Option<SystemTime>, format: &str) -> String {
        let time = recorded_at.and_then(|time| Timestamp::try_from(time).ok());
        let time = time.map(|time| time.to_zoned_datetime(self.zone.clone()));
        time.map_or_else(|| "-".to_owned(), |time| time.strftime(format).to_string())
    }
}

/// A time as the lines of a log have it: RFC 3339, UTC, milliseconds.
pub(crate) fn rfc3339(time: SystemTime) -> Option<String> {
    let time = Timestamp::try_from(time).ok()?;
    Some(format!("{time:.3}"))
}

fn parse_when(text: &str) -> Result<When, String> {
    if let Some(age) = parse_age(text) {
        return Ok(When::Ago(age));
    }
    // A civil date also parses from longer texts, whose time it ignores.
    if text.len() == "2026-11-29".len()
        && let Ok(day) = text.parse::<Date>()
    {
        return Ok(When::Day(day));
    }
    text.parse().map(When::At).map_err(|_| {
        "expected a time (2026-11-29T12:00:00Z), a date (2026-11-29) or an age (90s, 20m, 2h, 3d, 4w)"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<u64, String> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let time = resolve(parse_when(text)?, &TimeZone::UTC, now);
        let time = time.map_err(|_| "cannot be resolved".to_owned())?;
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        Ok(since.unwrap_or_default().as_secs())
    }

    #[test]
    fn times_dates_and_ages_are_read() {
        for (text, seconds) in [
            ("1970-01-01T00:01:00Z", 60),
            ("1970-01-01T02:01:00+02:00", 60),
            ("1970-01-02", 86_400),
            ("10s", 999_990),
            ("20m", 998_800),
            ("2h", 992_800),
            ("3d", 740_800),
            ("1w", 395_200),
            ("99999w", 0),
        ] {
            assert_eq!(at(text), Ok(seconds), "{text}");
        }
        for text in [
            "",
            "h",
            "-1h",
            "+1h",
            "1y",
            "1970-01-02T",
            "1970-13-01",
            "yesterday",
            "1é",
        ] {
            assert!(at(text).is_err(), "{text}");
        }
    }
}
