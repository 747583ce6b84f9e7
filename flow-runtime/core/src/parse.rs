//! Durations and dates as people write them in attributes, flags and files. Every error is one sentence.

use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use std::time::Duration;

/// The units of a duration, longest first, in milliseconds.
const UNITS: [(&str, u64); 6] =
    [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `10s`, `500ms`, `5m`, `1h30m`, `2d`, `1w`: whole numbers, each with its unit, units from long to short.
pub fn duration(text: &str) -> Result<Duration, String> {
    let refuse = |why: &str| {
        Err(format!(
            "`{text}` is not a duration: {why}; write one like \"10s\", \"500ms\", \"5m\", \"1h30m\" or \"2d\""
        ))
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return refuse("it is empty");
    }
    if rest.starts_with('-') {
        return refuse("time does not run backwards");
    }
    let mut millis: u64 = 0;
    let mut shortest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return refuse("a number comes before each unit");
        }
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() {
            return refuse(&format!("the number {number} has no unit (ms, s, m, h, d, w)"));
        }
        let Some(&(_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return refuse(&format!("`{unit}` is not one of the units ms, s, m, h, d, w"));
        };
        if size >= shortest {
            return refuse("units go from long to short, each at most once");
        }
        shortest = size;
        let total = number.parse::<u64>().ok().and_then(|n| n.checked_mul(size)).and_then(|n| n.checked_add(millis));
        // A thousand years keeps every sum with a date inside what chrono can hold.
        match total.filter(|&n| n <= 1_000 * 366 * 86_400_000) {
            Some(n) => millis = n,
            None => return refuse("it is longer than a thousand years"),
        }
        rest = after.trim_start();
    }
    Ok(Duration::from_millis(millis))
}

/// Reads how many in how long a time: `10/s`, `100/1h30m`, `1/500ms`.
pub fn rate(text: &str) -> Result<(u32, Duration), String> {
    let refuse =
        || format!("`{text}` is not a rate: write how many in how long, like \"10/s\", \"100/m\" or \"1/30s\"");
    let (number, span) = text.split_once('/').ok_or_else(refuse)?;
    let number = number.trim().parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(refuse)?;
    let span = duration(span).or_else(|_| duration(&format!("1{}", span.trim()))).map_err(|_| refuse())?;
    if span.is_zero() { Err(refuse()) } else { Ok((number, span)) }
}

/// Reads `2021-01-01`, `2021-01-01T10:00`, `2021-01-01 10:00:00.5`, or RFC 3339 with an offset; without one it is UTC.
pub fn date(text: &str) -> Result<DateTime<Utc>, String> {
    date_in(text, Tz::UTC)
}

/// The same, where a date without an offset is told by the clocks of this zone. Of a time that comes twice the first counts,
/// and one that a clock skips is as long after midnight as it says.
pub fn date_in(text: &str, zone: Tz) -> Result<DateTime<Utc>, String> {
    let on_the_wall = |local: NaiveDateTime| match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.with_timezone(&Utc),
        LocalResult::None => {
            let midnight = zone.from_local_datetime(&local.date().and_time(NaiveTime::MIN)).earliest();
            let midnight =
                midnight.map_or(local.date().and_time(NaiveTime::MIN).and_utc(), |at| at.with_timezone(&Utc));
            midnight + (local.time() - NaiveTime::MIN)
        }
    };
    let trimmed = text.trim();
    if let Ok(day) = trimmed.parse::<NaiveDate>() {
        return Ok(on_the_wall(day.and_time(NaiveTime::MIN)));
    }
    if let Ok(instant) = DateTime::parse_from_rfc3339(trimmed) {
        return Ok(instant.with_timezone(&Utc));
    }
    for form in ["%Y-%m-%dT%H:%M%#z", "%Y-%m-%d %H:%M%#z", "%Y-%m-%d %H:%M:%S%.f%#z"] {
        if let Ok(instant) = DateTime::parse_from_str(trimmed, form) {
            return Ok(instant.with_timezone(&Utc));
        }
    }
    let (plain, is_utc) = trimmed.strip_suffix('Z').map_or((trimmed, false), |plain| (plain, true));
    for form in ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(instant) = NaiveDateTime::parse_from_str(plain, form) {
            return Ok(if is_utc { instant.and_utc() } else { on_the_wall(instant) });
        }
    }
    Err(format!(
        "`{text}` is not a date: write one like \"2021-01-01\", \"2021-01-01T10:00\" or \
         \"2021-01-01T10:00:00+02:00\" (UTC where no offset is given)"
    ))
}

/// A duration for people: `1m 30s`, `2d`, `250ms`, `0s`; from a minute on without fractions of a second.
pub fn human(duration: Duration) -> String {
    let millis = duration.as_millis() as u64;
    if millis == 0 && !duration.is_zero() {
        return "under 1ms".into();
    }
    if millis == 0 {
        return "0s".into();
    }
    let mut rest = if millis >= 60_000 { millis / 1000 * 1000 } else { millis };
    let mut words = Vec::new();
    // Weeks are left out: "9d" says more than "1w 2d".
    for (unit, size) in &UNITS[1..] {
        let n = rest / size;
        rest %= size;
        if n > 0 {
            words.push(format!("{n}{unit}"));
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_time() {
        let read = |text| rate(text).unwrap();
        assert_eq!((read("10/s"), read("1 / 500ms")), ((10, Duration::from_secs(1)), (1, Duration::from_millis(500))));
        assert_eq!((read("7/m"), read("2/1h30m")), ((7, Duration::from_secs(60)), (2, Duration::from_secs(5400))));
        for text in ["", "10", "0/s", "-1/s", "10/", "10/0s", "1.5/s", "10/year"] {
            assert!(rate(text).unwrap_err().contains("like \"10/s\""), "{text}");
        }
    }

    #[test]
    fn a_date_without_an_offset_is_told_by_the_clocks_of_its_zone() {
        let berlin = Tz::Europe__Berlin;
        for (text, utc) in [
            ("2026-01-01", "2025-12-31T23:00:00Z"),
            ("2026-07-01T10:00", "2026-07-01T08:00:00Z"),
            ("2026-07-01T10:00Z", "2026-07-01T10:00:00Z"),
            ("2026-07-01T10:00+05:00", "2026-07-01T05:00:00Z"),
            ("2026-03-29T02:30", "2026-03-29T01:30:00Z"), // there is no such time: the clock goes from 2 to 3
            ("2026-10-25T02:30", "2026-10-25T00:30:00Z"), // it comes twice
        ] {
            assert_eq!(date_in(text, berlin), Ok(utc.parse().expect(utc)), "{text}");
        }
        assert_eq!(date("2026-01-01"), date_in("2026-01-01", Tz::UTC));
    }

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "it is empty"),
            ("10", "the number 10 has no unit"),
            ("s", "a number comes before each unit"),
            ("-5s", "time does not run backwards"),
            ("1.5h", "the number 1 has no unit"),
            ("10 parsecs", "has no unit"),
            ("10parsecs", "`parsecs` is not one of the units"),
            ("5m1h", "units go from long to short"),
            ("5m5m", "units go from long to short"),
            ("99999999999999999999d", "longer than a thousand years"),
        ] {
            let error = duration(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn dates_are_read() {
        for (text, rfc3339) in [
            ("2021-01-01", "2021-01-01T00:00:00+00:00"),
            ("2021-01-01T10:00", "2021-01-01T10:00:00+00:00"),
            ("2021-01-01 10:00", "2021-01-01T10:00:00+00:00"),
            ("2021-01-01T10:00Z", "2021-01-01T10:00:00+00:00"),
            ("2021-01-01T10:00:05.5Z", "2021-01-01T10:00:05.500+00:00"),
            ("2021-01-01 10:00:00.25", "2021-01-01T10:00:00.250+00:00"),
            ("2021-01-01T10:00+02:00", "2021-01-01T08:00:00+00:00"),
            ("2021-01-01 10:00:00 +02:00", "2021-01-01T08:00:00+00:00"),
            ("2021-01-01T10:00:00-05:30", "2021-01-01T15:30:00+00:00"),
        ] {
            assert_eq!(date(text).map(|d| d.to_rfc3339()).as_deref(), Ok(rfc3339), "{text}");
        }
        for text in ["", "yesterday", "2021-13-01", "2021-02-30", "01/02/2021", "2021"] {
            assert!(date(text).expect_err(text).contains("is not a date"), "{text}");
        }
    }

    #[test]
    fn durations_are_printed_for_people() {
        for (millis, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1_500, "1s 500ms"),
            (90_000, "1m 30s"),
            (90_900, "1m 30s"),
            (86_400_000 * 9, "9d"),
            (3_600_000, "1h"),
        ] {
            assert_eq!(human(Duration::from_millis(millis)), text);
        }
        assert_eq!(human(Duration::from_nanos(1)), "under 1ms");
    }
}
