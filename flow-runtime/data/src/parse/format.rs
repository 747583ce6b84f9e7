//! Days, times and moments in formats that are stated.

use chrono::format::{Fixed, Item, Numeric, StrftimeItems};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::YEARS;

/// What a format has letters for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Says {
    /// A part of the day's date.
    pub(crate) date: bool,
    /// A part of the time of the day.
    pub(crate) clock: bool,
    /// At least the hour and the minute, and nothing without what it is a part of.
    pub(crate) whole_clock: bool,
    /// The distance from UTC.
    pub(crate) offset: bool,
    /// That, or the name of a zone.
    pub(crate) zone: bool,
}

impl Says {
    pub(crate) fn of(format: &str) -> Self {
        let mut says = Self::default();
        let (mut hour, mut half, mut of_half, mut minute, mut second, mut fraction) =
            (false, false, false, false, false, false);
        // Of what chrono keeps to itself, this is no fraction of a second.
        let loose_offset = StrftimeItems::new("%#z").next();
        for item in StrftimeItems::new(format) {
            match item {
                item if Some(&item) == loose_offset.as_ref() => (says.offset, says.zone) = (true, true),
                Item::Numeric(Numeric::Hour, _) => hour = true,
                Item::Numeric(Numeric::Hour12, _) => half = true,
                Item::Fixed(Fixed::LowerAmPm | Fixed::UpperAmPm) => of_half = true,
                Item::Numeric(Numeric::Minute, _) => minute = true,
                Item::Numeric(Numeric::Second, _) => second = true,
                Item::Numeric(Numeric::Nanosecond, _) => fraction = true,
                // `%.f` may stand for nothing at all.
                Item::Fixed(Fixed::Nanosecond) => {}
                Item::Fixed(Fixed::Nanosecond3 | Fixed::Nanosecond6 | Fixed::Nanosecond9 | Fixed::Internal(_)) => {
                    fraction = true;
                }
                Item::Fixed(Fixed::TimezoneName) => says.zone = true,
                Item::Fixed(
                    Fixed::TimezoneOffset
                    | Fixed::TimezoneOffsetColon
                    | Fixed::TimezoneOffsetDoubleColon
                    | Fixed::TimezoneOffsetTripleColon
                    | Fixed::TimezoneOffsetColonZ
                    | Fixed::TimezoneOffsetZ,
                ) => (says.offset, says.zone) = (true, true),
                Item::Fixed(Fixed::RFC2822 | Fixed::RFC3339) => {
                    (says.date, says.offset, says.zone) = (true, true, true);
                    (hour, minute, second) = (true, true, true);
                }
                Item::Numeric(Numeric::Timestamp, _) => {
                    (says.date, hour, minute, second) = (true, true, true, true);
                }
                Item::Numeric(..) | Item::Fixed(_) => says.date = true,
                _ => {}
            }
        }
        says.clock = hour || half || of_half || minute || second || fraction;
        says.whole_clock = (hour || (half && of_half)) && minute && (second || !fraction);
        says
    }
}

/// A day in the first of some formats that fits. A time of the day that stands beside it would be lost: it must be midnight.
pub(crate) fn date_in(text: &[u8], formats: &[String]) -> Option<i32> {
    let text = std::str::from_utf8(text).ok()?;
    let (format, day) = formats.iter().find_map(|format| Some((format, day_in(text, format)?)))?;
    let time = naive_in(text, format, day)?.time();
    (time == NaiveTime::MIN).then(|| day.to_epoch_days())
}

/// Whether the first of some formats that fits has a time of the day.
pub(crate) fn has_time(text: &str, formats: &[String]) -> bool {
    let format = formats.iter().find(|format| day_in(text, format).is_some());
    format.is_some_and(|format| NaiveDateTime::parse_from_str(text, format).is_ok())
}

/// A moment in the first of some formats that fits: with a zone, which is turned to UTC, without, or a day alone.
pub(crate) fn timestamp_in(text: &[u8], formats: &[String]) -> Option<i64> {
    moment_in(text, formats).map(|(micros, _)| micros)
}

/// The same with a zone.
pub(crate) fn timestamptz_in(text: &[u8], formats: &[String]) -> Option<i64> {
    moment_in(text, formats).filter(|(_, has_zone)| *has_zone).map(|(micros, _)| micros)
}

/// A moment, and whether it has a zone.
fn moment_in(text: &[u8], formats: &[String]) -> Option<(i64, bool)> {
    let text = std::str::from_utf8(text).ok()?;
    let (format, day) = formats.iter().find_map(|format| Some((format, day_in(text, format)?)))?;
    let (moment, has_zone) = match DateTime::parse_from_str(text, format) {
        Ok(moment) => (moment.naive_utc(), true),
        Err(_) if Says::of(format).offset => return None,
        Err(_) => (naive_in(text, format, day)?, false),
    };
    let micros = i64::from(whole_micros(moment.time())?);
    let micros = moment.and_utc().timestamp() * 1_000_000 + micros;
    (!has_zone || YEARS.contains(&micros)).then_some((micros, has_zone))
}

/// What the clock shows. A format that says nothing of it means midnight; where it does, what cannot be read is none.
fn naive_in(text: &str, format: &str, day: NaiveDate) -> Option<NaiveDateTime> {
    match NaiveDateTime::parse_from_str(text, format) {
        Ok(naive) => Some(naive),
        Err(_) => (!Says::of(format).clock).then(|| day.and_time(NaiveTime::MIN)),
    }
}

/// A time of the day in the first of some formats that fits.
pub(crate) fn time_in(text: &[u8], formats: &[String]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let time = formats.iter().find_map(|format| NaiveTime::parse_from_str(text, format).ok())?;
    Some(i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(whole_micros(time)?))
}

/// The microseconds of a time's second. What they cannot hold is not cut off; a leap second is none of a day's.
fn whole_micros(time: NaiveTime) -> Option<u32> {
    let nanos = time.nanosecond();
    (nanos.is_multiple_of(1_000) && nanos < 1_000_000_000).then_some(nanos / 1_000)
}

/// The day of a text in one format. `%Y` takes `21` for the year 21: a year must stand there with all of its four digits.
fn day_in(text: &str, format: &str) -> Option<NaiveDate> {
    let day = NaiveDate::parse_from_str(text, format).ok()?;
    let is_whole = day.year() >= 1_000 || text.contains(&format!("{:04}", day.year()));
    is_whole.then_some(day)
}

#[cfg(test)]
mod tests {
    use super::super::{write_date, write_timestamp};
    use super::*;

    #[test]
    fn stated_formats_are_tried_in_order() {
        let formats = ["%d.%m.%Y %H:%M", "%m/%d/%y", "%Y-%m-%dT%H:%M:%S%z"].map(String::from);
        for (text, want) in [
            ("31.01.2021 08:05", Some("2021-01-31 08:05:00")),
            ("01/31/21", Some("2021-01-31 00:00:00")),
            ("2021-01-31T08:05:00+0100", Some("2021-01-31 07:05:00")),
            ("2021-01-31 08:05:00", None),
            ("31.02.2021 08:05", None),
            ("31.01.21 08:05", None),
            ("31.01.0021 08:05", Some("0021-01-31 08:05:00")),
            ("9999-12-31T23:59:59-0100", None),
        ] {
            assert_eq!(timestamp_in(text.as_bytes(), &formats).map(write_timestamp).as_deref(), want, "{text}");
        }
        assert_eq!(date_in(b"31.01.2021", &["%d.%m.%Y".into()]).map(write_date).as_deref(), Some("2021-01-31"));
    }

    #[test]
    fn what_microseconds_cannot_hold_is_not_cut_off_in_a_format_either() {
        let moments = ["%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f"].map(String::from);
        let micros = |text: &str| timestamp_in(text.as_bytes(), &moments);
        assert_eq!(micros("1970-01-01 00:00:00.000001000"), Some(1));
        assert_eq!(micros("1969-12-31 23:59:59.999999"), Some(-1));
        assert_eq!(micros("1970-01-01 01:00:00.000001+0100"), Some(1));
        for text in ["1970-01-01 00:00:00.0000015", "1970-01-01 00:00:00.0000015+0000", "2016-12-31 23:59:60"] {
            assert_eq!(micros(text), None, "{text}");
        }
        let times = ["%H.%M".to_owned(), "%I:%M:%S%.f %p".to_owned()];
        let time = |text: &str| time_in(text.as_bytes(), &times);
        assert_eq!((time("08.05"), time("08:05:00.5 PM")), (Some(29_100_000_000), Some(72_300_500_000)));
        for text in ["24.00", "08:05:00", "08:05:00.0000001 AM", "11:59:60 PM"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_that_is_not_read_is_no_midnight() {
        for (format, text) in [
            ("%d.%m.%Y %H", "31.01.2021 08"),
            ("%d.%m.%Y %I:%M", "31.01.2021 08:05"),
            ("%d.%m.%Y %M:%S", "31.01.2021 08:05"),
            ("%d.%m.%Y%z", "31.01.2021+0100"),
        ] {
            let formats = [format.to_owned()];
            assert_eq!(timestamp_in(text.as_bytes(), &formats), None, "{format}");
            assert_eq!(date_in(text.as_bytes(), &formats).is_some(), format.ends_with("%z"), "{format}");
        }
    }

    #[test]
    fn a_format_says_what_it_has_letters_for() {
        let says = |format: &str| {
            let says = Says::of(format);
            [says.date, says.clock, says.whole_clock, says.zone].map(u8::from)
        };
        for (format, want) in [
            ("%d.%m.%Y", [1, 0, 0, 0]),
            ("%d.%m.%Y %H:%M", [1, 1, 1, 0]),
            ("%d.%m.%Y %H", [1, 1, 0, 0]),
            ("%I:%M", [0, 1, 0, 0]),
            ("%I:%M %p", [0, 1, 1, 0]),
            ("%T%.f", [0, 1, 1, 0]),
            ("%R.%3f", [0, 1, 0, 0]),
            ("%F %T %z", [1, 1, 1, 1]),
            ("%R %Z", [0, 1, 1, 1]),
            ("%R%#z", [0, 1, 1, 1]),
            ("%+", [1, 1, 1, 1]),
            ("%s", [1, 1, 1, 0]),
            ("at %%", [0, 0, 0, 0]),
        ] {
            assert_eq!(says(format), want, "{format}");
        }
    }
}
