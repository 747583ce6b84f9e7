//! The `format`s of JSON Schema that are checked: those that Airflow checks. Others are taken as they are.

use chrono::NaiveDate;
use core::net::{Ipv4Addr, Ipv6Addr};

/// What a text in this format is called, if the format is checked and the text is not in it.
pub(super) fn refuses(format: &str, text: &str) -> Option<&'static str> {
    let (name, fits) = match format {
        "date" => ("a date like 2021-01-31", date(text)),
        "time" => ("a time like 12:30:00", time(text)),
        "duration" => ("an ISO 8601 duration like P1DT12H", duration(text)),
        "email" | "idn-email" => ("an email address", text.contains('@')),
        "ipv4" => ("an IPv4 address", text.parse::<Ipv4Addr>().is_ok()),
        "ipv6" => ("an IPv6 address", text.parse::<Ipv6Addr>().is_ok()),
        "uuid" => ("a UUID", uuid(text)),
        "regex" => ("a regular expression", regex(text)),
        _ => return None,
    };
    (!fits).then_some(name)
}

/// Two (or four) digits each, with this between them.
fn digits(text: &str, widths: &[usize], between: char) -> bool {
    let parts: Vec<&str> = text.split(between).collect();
    parts.len() == widths.len()
        && parts.iter().zip(widths).all(|(p, &w)| p.len() == w && p.bytes().all(|b| b.is_ascii_digit()))
}

fn date(text: &str) -> bool {
    digits(text, &[4, 2, 2], '-') && text.parse::<NaiveDate>().is_ok()
}

fn time(text: &str) -> bool {
    let number = |part: &str| part.parse::<u32>().unwrap_or(u32::MAX);
    let parts: Vec<u32> = text.split(':').map(number).collect();
    let short = text.split(':').all(|p| (1..=2).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()));
    // A second of 61 is what strptime, whom Airflow asks, allows for leap seconds.
    short && matches!(parts[..], [h, m, s] if h < 24 && m < 60 && s <= 61)
}

fn uuid(text: &str) -> bool {
    let hex = |p: &str| p.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().all(|p| hex(p)) && parts.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12])
}

/// `P1Y2M3W4DT5H6M7.5S`: at least one part, each with a number, in this order.
fn duration(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let Some(rest) = text.strip_prefix('P') else {
        return false;
    };
    let (days, time) = match rest.split_once('T') {
        Some((days, time)) => (days, Some(time)),
        None => (rest, None),
    };
    let fits = |part: &str, units: &str| parts(part, units).is_some();
    match time {
        None => !days.is_empty() && fits(days, "YMWD"),
        Some(time) => !time.is_empty() && fits(time, "HMS") && fits(days, "YMWD"),
    }
}

/// Numbers each with a unit, the units in order; `None` if it is anything else.
fn parts(mut text: &str, mut units: &str) -> Option<()> {
    while !text.is_empty() {
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))?;
        let (number, rest) = text.split_at(end);
        let unit = rest.chars().next()?;
        units = &units[units.find(unit)? + 1..];
        number.replace(',', ".").parse::<f64>().ok()?;
        text = &rest[unit.len_utf8()..];
    }
    Some(())
}

/// Look-around and back-references are regular expressions in Python; the engine here does not know them.
fn regex(text: &str) -> bool {
    regex::Regex::new(text).is_ok() || ["(?=", "(?!", "(?<=", "(?<!", "\\1"].iter().any(|mark| text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::refuses;

    #[test]
    fn formats() {
        for (format, good, bad) in [
            ("date", "2028-02-29", "2027-02-29"),
            ("date", "2025-01-01", "2025-1-1"),
            ("date", "2025-01-01", "2025-01-01T00:00:00"),
            ("time", "12:30:00", "25:00:00"),
            ("time", "12:30:00", "12:30:00Z"),
            ("duration", "P1D", "P"),
            ("duration", "P1Y2M3DT4H5M6.5S", "P1DT"),
            ("duration", "PT1H", "PH"),
            ("duration", "P2W", "P1D2Y"),
            ("email", "me@example.com", "me"),
            ("ipv4", "127.0.0.1", "999.1.1.1"),
            ("ipv6", "::1", "12:30"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000"),
            ("regex", "^a", "["),
            ("regex", "a(?=b)", "("),
        ] {
            assert_eq!(refuses(format, good), None, "{format} {good}");
            assert!(refuses(format, bad).is_some(), "{format} {bad}");
        }
        assert_eq!(refuses("date-time", "anything"), None);
    }
}
