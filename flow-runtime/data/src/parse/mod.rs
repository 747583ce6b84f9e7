//! Text to numbers, days and moments and back. A fixed form is several times faster to read than a general date parser.

mod decimal;
mod format;
mod uuid;

use std::ops::RangeInclusive;

pub(crate) use decimal::{MOST_DIGITS, Unfit, checked as checked_decimal, decimal};
pub(crate) use format::{Says, date_in, has_time, time_in, timestamp_in, timestamptz_in};
pub(crate) use uuid::uuid;

/// Days from 1970-01-01 to a day of the Gregorian calendar, or `None` if there is no such day.
fn days_from_civil(year: i64, month: u32, day: u32) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return None,
    };
    if day == 0 || day > last {
        return None;
    }
    // Years begin in March, so that the leap day is a year's last.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let day_of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468)
}

/// Year, month and day of a number of days from 1970-01-01.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as u32, day as u32)
}

/// A number of exactly these digits.
fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
}

/// A whole number; the text has no blanks around.
#[inline]
pub(crate) fn int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    // So many digits cannot overflow.
    if digits.is_empty() || digits.len() > 18 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let mut number = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + i64::from(digit);
    }
    Some(if negative { -number } else { number })
}

/// A number with or without a fraction, the nearest that there is; the text has no blanks around. Digits that mean a number
/// beyond all that there are, `1e400`, are none.
#[inline]
pub(crate) fn float(text: &[u8]) -> Option<f64> {
    short_float(text).or_else(|| any_float(text).filter(|number| number.is_finite() || !has_digit(text)))
}

/// True for a number that 64 bits cannot hold.
pub(crate) fn is_too_large(text: &[u8]) -> bool {
    has_digit(text) && any_float(text).is_some_and(f64::is_infinite)
}

fn any_float(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn has_digit(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_digit)
}

/// Digits and a point: up to fifteen digits are a whole number that is exact, and so is the power of ten that divides it.
#[inline]
fn short_float(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if rest.len() > 16 {
        return None;
    }
    let (mut number, mut count, mut point) = (0u64, 0, None);
    for byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            number = number * 10 + u64::from(digit);
            count += 1;
        } else if *byte == b'.' && point.is_none() {
            point = Some(count);
        } else {
            return None;
        }
    }
    if count == 0 || count > 15 {
        return None;
    }
    let number = number as f64 / POWERS[count - point.unwrap_or(count)];
    Some(if negative { -number } else { number })
}

/// `2021-01-31` as days from 1970-01-01.
pub(crate) fn date(text: &str) -> Option<i32> {
    date_bytes(text.trim().as_bytes())
}

/// The same; the text has no blanks around.
pub(crate) fn date_bytes(b: &[u8]) -> Option<i32> {
    if b.len() != 10 || b[4] != b'-' || b[7] != b'-' {
        return None;
    }
    let days = days_from_civil(digits(&b[..4])?.into(), digits(&b[5..7])?, digits(&b[8..])?)?;
    i32::try_from(days).ok()
}

/// `2021-01-31 08:05[:00[.123456]][Z|+01:00]` as microseconds from 1970-01-01.
pub(crate) fn timestamp(text: &str) -> Option<i64> {
    Days::default().timestamp(text.trim().as_bytes())
}

/// The day that was read last: moments that follow each other are mostly of one day.
pub(crate) struct Days {
    text: [u8; 10],
    days: i32,
}

impl Default for Days {
    fn default() -> Self {
        Self { text: *b"1970-01-01", days: 0 }
    }
}

impl Days {
    fn date(&mut self, text: &[u8]) -> Option<i32> {
        if text != self.text {
            self.days = date_bytes(text)?;
            self.text.copy_from_slice(text);
        }
        Some(self.days)
    }

    /// A moment; the text has no blanks around.
    #[inline]
    pub(crate) fn timestamp(&mut self, text: &[u8]) -> Option<i64> {
        let (micros, zone) = self.moment(text)?;
        in_utc(micros, zone)
    }

    /// The same with a zone.
    #[inline]
    pub(crate) fn timestamptz(&mut self, text: &[u8]) -> Option<i64> {
        let (micros, zone) = self.moment(text).filter(|(_, zone)| !zone.is_empty())?;
        in_utc(micros, zone)
    }

    /// What the clock shows, and the zone behind it.
    #[inline]
    fn moment<'a>(&mut self, b: &'a [u8]) -> Option<(i64, &'a [u8])> {
        if b.len() < 16 || !matches!(b[10], b' ' | b'T') {
            return None;
        }
        let days = i64::from(self.date(&b[..10])?);
        let (micros, zone) = clock(&b[11..])?;
        Some((days * DAY_MICROS + micros, zone))
    }
}

const DAY_MICROS: i64 = 86_400_000_000;

/// The years 1 to 9999, which a day can be written in. In UTC some of their moments are in others.
const YEARS: RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// What the clock shows in a zone, in UTC, if it is of those years there too.
#[inline]
fn in_utc(micros: i64, zone: &[u8]) -> Option<i64> {
    if zone.is_empty() {
        return Some(micros);
    }
    Some(micros - offset(zone)? * 1_000_000).filter(|micros| YEARS.contains(micros))
}

/// `08:05[:00[.123456]]` as microseconds from midnight; the text has no blanks around.
#[inline]
pub(crate) fn time(text: &[u8]) -> Option<i64> {
    clock(text).filter(|(_, rest)| rest.is_empty()).map(|(micros, _)| micros)
}

/// The time that a text begins with, and the rest of it.
#[inline]
fn clock(b: &[u8]) -> Option<(i64, &[u8])> {
    if b.len() < 5 || b[2] != b':' {
        return None;
    }
    let (hour, minute) = (digits(&b[..2])?, digits(&b[3..5])?);
    let mut rest = &b[5..];
    let mut second = 0;
    let mut micros = 0;
    if let [b':', a, z, after @ ..] = rest {
        second = digits(&[*a, *z])?;
        rest = after;
        if let [b'.', after @ ..] = rest {
            let length = after.iter().take_while(|b| b.is_ascii_digit()).count();
            if length == 0 || length > 9 {
                return None;
            }
            // What microseconds cannot hold is not cut off.
            if after[..length].iter().skip(6).any(|digit| *digit != b'0') {
                return None;
            }
            let fraction = after[..length].iter().chain(std::iter::repeat(&b'0')).take(6);
            micros = fraction.fold(0, |n, b| n * 10 + i64::from(b - b'0'));
            rest = &after[length..];
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((i64::from(hour * 3_600 + minute * 60 + second) * 1_000_000 + micros, rest))
}

/// The seconds east of UTC of `Z`, `+01:00`, `+0100`, `+01` or nothing.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, text) = match text {
        [] | [b'Z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match text.len() {
        2 => (digits(text)?, 0),
        4 => (digits(&text[..2])?, digits(&text[2..])?),
        5 if text[2] == b':' => (digits(&text[..2])?, digits(&text[3..])?),
        _ => return None,
    };
    (hours <= 15 && minutes <= 59).then(|| sign * i64::from(hours * 3_600 + minutes * 60))
}

/// Whether a text in UTF-8 is JSON. It is looked at, and nothing is made of it.
pub(crate) fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// A truth value; the text has no blanks around.
pub(crate) fn boolean_bytes(text: &[u8]) -> Option<bool> {
    match text {
        b"1" => Some(true),
        b"0" => Some(false),
        word if word.eq_ignore_ascii_case(b"true") || word.eq_ignore_ascii_case(b"t") => Some(true),
        word if word.eq_ignore_ascii_case(b"false") || word.eq_ignore_ascii_case(b"f") => Some(false),
        _ => None,
    }
}

/// `2021-01-31`.
pub(crate) fn write_date(days: i32) -> String {
    let mut text = String::with_capacity(10);
    push_date(&mut text, days.into());
    text
}

fn push_date(text: &mut String, days: i64) {
    let (year, month, day) = civil_from_days(days);
    if (0..10_000).contains(&year) {
        push_two(text, (year / 100) as u32);
        push_two(text, (year % 100) as u32);
    } else {
        text.push_str(&format!("{year:04}"));
    }
    text.push('-');
    push_two(text, month);
    text.push('-');
    push_two(text, day);
}

/// Two digits. Writing them one by one is several times faster than a format.
fn push_two(text: &mut String, number: u32) {
    for digit in [number / 10 % 10, number % 10] {
        text.push(char::from(b'0' + digit as u8));
    }
}

/// `2021-01-31 08:05:00`, with `.123456` where there is a fraction.
pub(crate) fn write_timestamp(micros: i64) -> String {
    let of_day = micros.rem_euclid(86_400_000_000);
    let (seconds, fraction) = ((of_day / 1_000_000) as u32, of_day % 1_000_000);
    let mut text = String::with_capacity(26);
    push_date(&mut text, micros.div_euclid(86_400_000_000));
    text.push(' ');
    push_two(&mut text, seconds / 3_600);
    text.push(':');
    push_two(&mut text, seconds / 60 % 60);
    text.push(':');
    push_two(&mut text, seconds % 60);
    if fraction != 0 {
        text.push_str(&format!(".{fraction:06}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read() {
        for (text, want) in [
            ("1970-01-01 00:00:00", Some(0)),
            ("1969-12-31 23:59:59", Some(-1_000_000)),
            ("2021-01-01 00:30:10", Some(1_609_461_010_000_000)),
            ("2021-01-01T00:30:10Z", Some(1_609_461_010_000_000)),
            ("2021-01-01T01:30:10+01:00", Some(1_609_461_010_000_000)),
            ("2020-12-31 23:00:10.5-0130", Some(1_609_461_010_500_000)),
            ("2021-01-01 00:30", Some(1_609_461_000_000_000)),
            ("2021-01-01 00:30:10.123456000", Some(1_609_461_010_123_456)),
            ("2020-02-29 00:00:00", Some(1_582_934_400_000_000)),
            ("2021-02-29 00:00:00", None),
            ("1900-02-29 00:00:00", None),
            ("2021-13-01 00:00:00", None),
            ("2021-01-01 24:00:00", None),
            ("2021-01-01", None),
            ("2021-01-01 00:30:10.123456789", None),
            ("2021-01-01 00:30:1", None),
            ("2021-01-01 00:30:10.", None),
            ("2021-01-01 00:30:10 CET", None),
            ("9999-12-31 23:59:59.999999", Some(253_402_300_799_999_999)),
            ("9999-12-31 23:59:59+01:00", Some(253_402_297_199_000_000)),
            ("9999-12-31 23:59:59-01:00", None),
            ("0001-01-01 00:00:00Z", Some(-62_135_596_800_000_000)),
            ("0001-01-01 00:00:00+00:01", None),
            ("not a timestamp at all", None),
            ("", None),
        ] {
            assert_eq!(timestamp(text), want, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_survives_the_round_trip() {
        for day in -80_000..80_000 {
            assert_eq!(date(&write_date(day)), Some(day));
        }
        assert_eq!(write_date(18_628), "2021-01-01");
    }

    #[test]
    fn moments_survive_the_round_trip() {
        for micros in [0, -1, 1, 1_609_461_010_000_000, 1_609_461_010_123_456, -62_135_596_800_000_000] {
            assert_eq!(timestamp(&write_timestamp(micros)), Some(micros));
        }
    }

    #[test]
    fn whole_numbers_are_read_as_the_standard_library_does() {
        for text in [
            "0",
            "-0",
            "+7",
            "-12",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "000000000000000000012",
            "",
            "-",
            "+",
            "1.0",
            "1e3",
            "12a",
            "١",
        ] {
            assert_eq!(int(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn numbers_are_read_as_the_standard_library_does() {
        for text in [
            "0",
            "-0",
            "1.5",
            ".20",
            "5.",
            "-.5",
            "0.1",
            "123456789012345",
            "1234567890123456",
            "0.000000000000001",
            "99999999999999.9",
            "1e5",
            "-1E-3",
            "1e308",
            "1e-400",
            "inf",
            "-Infinity",
            "NaN",
            "",
            ".",
            "-",
            "1.2.3",
            "1,5",
            "+1.5",
            "4.35",
            "2.675",
            "179769313486231570000.5",
        ] {
            let (read, want) = (float(text.as_bytes()), text.parse::<f64>().ok());
            assert_eq!(read.map(f64::to_bits), want.map(f64::to_bits), "{text}");
        }
        for cents in 0..200_000u64 {
            let text = format!("{}.{:02}", cents / 100, cents % 100);
            assert_eq!(float(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn numbers_beyond_64_bits_are_none() {
        let long = "9".repeat(400);
        for text in ["1e400", "-1E400", "1.8e308", &long] {
            assert!(float(text.as_bytes()).is_none() && is_too_large(text.as_bytes()), "{text}");
        }
        for text in ["1.7e308", "inf", "-infinity", "x9", "9"] {
            assert!(!is_too_large(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_moment_in_time_has_a_zone() {
        let formats = ["%d.%m.%Y %H:%M %z", "%d.%m.%Y %H:%M"].map(String::from);
        for (text, want) in [
            ("2021-01-01T00:30:10Z", Some(1_609_461_010_000_000)),
            ("2021-01-01 01:30:10+01:00", Some(1_609_461_010_000_000)),
            ("2021-01-01 01:30+01", Some(1_609_461_000_000_000)),
            ("2021-01-01 00:30:10", None),
            ("2021-01-01 00:30:10 UTC", None),
            ("2021-01-01 00:30:10+16", None),
            ("9999-12-31 23:59:59-01:00", None),
            ("0001-01-01 00:59:59+01:00", None),
            ("2021-01-01", None),
            ("00:30:10Z", None),
        ] {
            assert_eq!(Days::default().timestamptz(text.as_bytes()), want, "{text}");
        }
        assert_eq!(timestamptz_in(b"31.01.2021 08:05 +0100", &formats), timestamp("2021-01-31 07:05"));
        assert_eq!(timestamptz_in(b"31.01.2021 08:05", &formats), None);
    }

    #[test]
    fn times_are_within_a_day() {
        for (text, want) in [
            ("00:00", Some(0)),
            ("08:05:00", Some(29_100_000_000)),
            ("23:59:59.999999", Some(DAY_MICROS - 1)),
            ("23:59:59.9999990", Some(DAY_MICROS - 1)),
            ("00:00:00.5", Some(500_000)),
            ("23:59:59.9999999", None),
            ("24:00:00", None),
            ("23:60:00", None),
            ("23:59:60", None),
            ("8:05", None),
            ("08:05:00Z", None),
            ("08:05:00+01", None),
            ("08:05:00.", None),
            ("08:05:", None),
            ("08-05-00", None),
            ("-8:05", None),
            ("", None),
        ] {
            assert_eq!(time(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn truth_has_few_names() {
        assert_eq!(
            ["TRUE", "t", "1", "False", "0"].map(|text| boolean_bytes(text.as_bytes())),
            [Some(true), Some(true), Some(true), Some(false), Some(false)]
        );
        assert_eq!(["yes", "2", ""].map(|text| boolean_bytes(text.as_bytes())), [None, None, None]);
    }
}
