//! Numbers, durations and dates for people.

use chrono::{DateTime, Utc};
use std::time::Duration;

/// `12ms`, `1.3s`, `3m 07s`, `2h 05m`: what it took, always short.
pub fn took(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let millis = (seconds * 1000.0).round() as u64;
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let tenths = (seconds * 10.0).round() as u64;
    if tenths < 600 {
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    let whole = seconds.round() as u64;
    match whole {
        0..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d {:02}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// Seconds from one instant to another.
pub fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).as_seconds_f64()
}

/// Whole seconds until then, or milliseconds where it is less than one: `9s`, `1m 30s`, `300ms`.
pub fn until(now: DateTime<Utc>, due: DateTime<Utc>) -> String {
    let wait = seconds(now, due).max(0.001);
    let millis = if wait < 1.0 { (wait * 1e3).ceil() } else { wait.ceil() * 1e3 };
    flow_core::parse::human(Duration::from_millis(millis as u64))
}

/// The same for what is shown again and again: whole seconds, at least one.
pub fn countdown(now: DateTime<Utc>, due: DateTime<Utc>) -> String {
    let wait = seconds(now, due).ceil().max(1.0);
    flow_core::parse::human(Duration::from_secs(wait as u64))
}

/// `2026-01-31 09:30:20`, in UTC.
pub fn date(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// `09:30:20`, in UTC.
pub fn clock(at: DateTime<Utc>) -> String {
    at.format("%H:%M:%S").to_string()
}

/// `950`, `12.3k`, `1.2M`, `3.0G`: a count of anything.
pub fn count(n: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    match UNITS.iter().find(|(size, _)| n >= *size) {
        Some((size, unit)) => format!("{:.1}{unit}", n as f64 / *size as f64),
        None => n.to_string(),
    }
}

/// The text on one line: line breaks and tabs become blanks, other control characters are left out.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect::<String>()
        .trim()
        .to_string()
}

/// The text on one line of at most this many columns.
pub fn short(text: &str, columns: usize) -> String {
    // What is far beyond the end need not be looked at.
    let head: String = text.chars().take(columns * 4 + 8).collect();
    console::truncate_str(&one_line(&head), columns, "…").into_owned()
}

/// The text in at most this many columns, its middle left out: the ends of long names are what tells them apart.
pub fn middle_cut(text: &str, columns: usize) -> String {
    let wide = console::measure_text_width(text);
    if wide <= columns || columns < 3 {
        return console::truncate_str(text, columns, "…").into_owned();
    }
    let tail = (columns - 1) / 2;
    let head = console::truncate_str(text, columns - 1 - tail, "");
    // From the end backward, as many characters as have room.
    let fits = |&(at, _): &(usize, char)| console::measure_text_width(&text[at..]) <= tail;
    let from = text.char_indices().rev().take_while(fits).last().map_or(text.len(), |(at, _)| at);
    format!("{head}…{}", &text[from..])
}

/// The text in lines of at most this many columns, broken between words; a line break stays one.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let full = console::measure_text_width(&line) + 1 + console::measure_text_width(word) > columns;
            if !line.is_empty() && full {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// The first line of a doc comment.
pub fn first_line(doc: Option<&str>) -> &str {
    doc.unwrap_or_default().trim().lines().next().unwrap_or_default().trim()
}

/// `1 task`, `2 tasks`.
pub fn plural(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_stay_short() {
        for (seconds, text) in [
            (0.0, "0ms"),
            (-1.0, "0ms"),
            (0.0004, "0ms"),
            (0.25, "250ms"),
            (0.9996, "1.0s"),
            (59.94, "59.9s"),
            (59.96, "1m 00s"),
            (187.0, "3m 07s"),
            (7500.0, "2h 05m"),
            (90_000.0, "1d 01h"),
        ] {
            assert_eq!(took(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn counts_have_one_decimal() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1.0k"), (12_345_678, "12.3M"), (3_000_000_000, "3.0G")] {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn a_text_is_cut_to_one_line() {
        assert_eq!(short("one\ntwo\u{7} three", 40), "one two three");
        assert_eq!(short("one two three", 8), "one two…");
        assert_eq!(short(&"ä".repeat(1000), 5), "ääää…");
    }

    #[test]
    fn a_wait_is_never_zero() {
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(until(now, now + Duration::from_millis(8_200)), "9s");
        assert_eq!(until(now, now + Duration::from_micros(999_300)), "1s");
        assert_eq!(until(now, now + Duration::from_millis(300)), "300ms");
        assert_eq!(until(now, now), "1ms");
        assert_eq!(countdown(now, now + Duration::from_millis(300)), "1s");
        assert_eq!(until(now, now + Duration::from_secs(90)), "1m 30s");
    }
}
