//! Times: milliseconds since 1970-01-01 00:00 UTC, and their text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last millisecond of the year 9999, the last one that RFC 3339 can write.
pub(crate) const MAX_TIME_MS: u64 = 253_402_300_799_999;

const DAY_MS: u64 = 86_400_000;

/// The bytes of a time as [`rfc3339`] writes it.
const TEXT_BYTES: usize = "2026-11-29T12:00:00.000Z".len();

/// The time as the system's type; `None` stays `None`.
pub(crate) fn system_time(time_ms: Option<u64>) -> Option<SystemTime> {
    time_ms.and_then(|time_ms| UNIX_EPOCH.checked_add(Duration::from_millis(time_ms)))
}

/// The milliseconds of a time, cut to the years 1970 to 9999.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).map_or(MAX_TIME_MS, |time_ms| time_ms.min(MAX_TIME_MS))
}

/// Writes a time after RFC 3339, in UTC, with milliseconds: `2026-11-29T12:00:00.000Z`.
pub(crate) fn rfc3339(time_ms: u64) -> String {
    let time_ms = time_ms.min(MAX_TIME_MS);
    let (day, within) = (time_ms / DAY_MS, time_ms % DAY_MS);
    let (year, month, day) = date(day);
    let (seconds, ms) = (within / 1000, within % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Reads a time that [`rfc3339`] has written; `None` for any other text. Other spellings of the same time are not
/// read: an export could not write them back.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    if text.len() != TEXT_BYTES || !text.is_ascii() {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let within = ((hour * 60 + minute) * 60 + second) * 1000 + number(20, 23)?;
    let time_ms = days(year, month, day)? * DAY_MS + within;
    // Writing it again finds every wrong separator, month, hour and date before 1970.
    (time_ms <= MAX_TIME_MS && rfc3339(time_ms) == text).then_some(time_ms)
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar. The algorithm counts years from
/// March, so that the leap day is the last one: <https://howardhinnant.github.io/date_algorithms.html>.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// The day since 1970-01-01 of a date: the inverse of [`date`]. `None` for dates before 1970 and months that do not
/// exist.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, of_era) = (year / 400, year % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let day = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    day.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_have_their_rfc_3339_text() {
        for (time_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800_001, "2024-02-29T00:00:00.001Z"),
            (1_795_956_312_345, "2026-11-29T12:45:12.345Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (MAX_TIME_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(time_ms), text);
            assert_eq!(parse_rfc3339(text), Some(time_ms));
        }
    }

    #[test]
    fn every_day_until_9999_reads_back() {
        let mut last = String::new();
        for day in 0..=MAX_TIME_MS / DAY_MS {
            let time_ms = day * DAY_MS + (day * 7_919) % DAY_MS;
            let text = rfc3339(time_ms);
            assert_eq!(parse_rfc3339(&text), Some(time_ms), "{text}");
            assert!(last < text, "{last} {text}");
            last = text;
        }
    }

    #[test]
    fn other_spellings_of_times_are_not_read() {
        for text in [
            "",
            "2026-11-29",
            "2026-11-29T12:00:00Z",
            "2026-11-29T12:00:00.000+00:00",
            "2026-11-29t12:00:00.000Z",
            "2026-11-29T12:00:00.000z",
            "2026-11-29 12:00:00.000Z",
            "2026-11-31T12:00:00.000Z",
            "2026-02-29T12:00:00.000Z",
            "2026-13-01T12:00:00.000Z",
            "2026-00-01T12:00:00.000Z",
            "2026-11-29T24:00:00.000Z",
            "2026-11-29T23:60:00.000Z",
            "2026-11-29T23:59:60.000Z",
            "1969-12-31T23:59:59.999Z",
            "0000-01-01T00:00:00.000Z",
            "+026-11-29T12:00:00.000Z",
            "2026-11-29T12:00:00.0é",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn clocks_outside_the_calendar_are_cut() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(milliseconds(before), 0);
        let far = UNIX_EPOCH + Duration::from_millis(MAX_TIME_MS + 1);
        assert_eq!(milliseconds(far), MAX_TIME_MS);
        assert_eq!(
            system_time(Some(MAX_TIME_MS)).map(milliseconds),
            Some(MAX_TIME_MS)
        );
    }
}
