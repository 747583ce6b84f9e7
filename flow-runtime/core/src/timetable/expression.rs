//! A cron expression on the wall clock: which local dates and times it names, without a time zone.

use super::field::{self, FIELDS};
use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use croner::{Cron, CronComponent, Weekday};
use std::fmt;

/// No search goes further than this: croniter, which answers for Airflow, gives up after as many years. The rarest
/// date that an expression can name is the fifth Friday of a February, up to 40 years apart.
pub(super) const MOST_YEARS: i32 = 50;

/// A cron expression of five fields, or of six with the seconds last, in the dialect of Airflow 3.
///
/// Where both the day of month and the day of week are restricted, a day that fits either is named. A field that names
/// all its values is no restriction, however it is written: `0-23`, `*/1`.
#[derive(Clone)]
pub struct CronExpression {
    text: String,
    days: Cron,
    hours: Vec<u32>,
    minutes: Vec<u32>,
    seconds: Vec<u32>,
}

impl CronExpression {
    /// Reads an expression; an error is half a sentence that names the field that is wrong.
    pub fn parse(text: &str) -> Result<CronExpression, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if !matches!(fields.len(), 5 | 6) {
            return Err(format!(
                "a cron expression has 5 fields (minute, hour, day of month, month, day of week; seconds may come \
                 sixth), and this has {}; otherwise write a preset like @daily, or an interval like `every 10m`",
                fields.len()
            ));
        }
        let mut spelt = Vec::with_capacity(6);
        for (field, written) in FIELDS.iter().zip(&fields) {
            spelt.push(field.spell(written).map_err(|why| format!("`{written}` is no {} ({why})", field.name))?);
        }
        let mut days = field::read(&spelt).map_err(|whole| match field::wrong(&spelt) {
            Some((place, why)) => format!("`{}` is no {} ({why})", fields[place], FIELDS[place].name),
            None => format!("the cron expression is wrong: {whole}"),
        })?;
        // croner takes only a literal `*` for no restriction.
        let names_all = [
            (field::DAY, !days.pattern.is_dom_wildcard() && days.pattern.days.values().len() == 31),
            (field::WEEKDAY, !days.pattern.is_dow_wildcard() && days.pattern.days_of_week.values().len() == 7),
        ];
        for (place, _) in names_all.iter().filter(|(_, all)| *all) {
            spelt[*place] = "*".into();
            days = field::read(&spelt)?;
        }
        let values = |component: &CronComponent| component.values().into_iter().map(u32::from).collect();
        Ok(CronExpression {
            text: fields.join(" "),
            hours: values(&days.pattern.hours),
            minutes: values(&days.pattern.minutes),
            seconds: values(&days.pattern.seconds),
            days,
        })
    }

    /// Does it name some time in every hour of a day that it names?
    pub fn names_every_hour(&self) -> bool {
        self.hours.len() == 24
    }

    /// The first time that it names strictly after this one.
    pub fn after(&self, time: NaiveDateTime) -> Option<NaiveDateTime> {
        let from = time.with_nanosecond(0)?.checked_add_signed(TimeDelta::seconds(1))?;
        if self.names(from.date())
            && let Some(time) = self.time_from(from.time())
        {
            return Some(from.date().and_time(time));
        }
        let first = self.time_from(NaiveTime::MIN)?;
        let mut day = from.date().succ_opt()?;
        let last_year = time.year() + MOST_YEARS;
        while day.year() <= last_year {
            if !self.names_month(day) {
                day = first_of_next_month(day)?;
            } else if self.names(day) {
                return Some(day.and_time(first));
            } else {
                day = day.succ_opt()?;
            }
        }
        None
    }

    /// The last time that it names strictly before this one.
    pub fn before(&self, time: NaiveDateTime) -> Option<NaiveDateTime> {
        let until = time.checked_sub_signed(TimeDelta::nanoseconds(1))?.with_nanosecond(0)?;
        if self.names(until.date())
            && let Some(time) = self.time_until(until.time())
        {
            return Some(until.date().and_time(time));
        }
        let last = self.time_until(NaiveTime::from_hms_opt(23, 59, 59)?)?;
        let mut day = until.date().pred_opt()?;
        let first_year = time.year() - MOST_YEARS;
        while day.year() >= first_year {
            if !self.names_month(day) {
                day = day.with_day(1)?.pred_opt()?;
            } else if self.names(day) {
                return Some(day.and_time(last));
            } else {
                day = day.pred_opt()?;
            }
        }
        None
    }

    fn names_month(&self, day: NaiveDate) -> bool {
        self.days.pattern.month_match(day.month()).unwrap_or(false)
    }

    fn names(&self, day: NaiveDate) -> bool {
        let weekday = Weekday::from_days_from_sunday(day.weekday().num_days_from_sunday());
        self.names_month(day)
            && self.days.pattern.day_match(day.year(), day.month(), day.day(), weekday).unwrap_or(false)
    }

    /// The first time of day that it names from this one on.
    fn time_from(&self, from: NaiveTime) -> Option<NaiveTime> {
        self.hours.iter().filter(|&&hour| hour >= from.hour()).find_map(|&hour| {
            let least = if hour == from.hour() { from.minute() } else { 0 };
            self.minutes.iter().filter(|&&minute| minute >= least).find_map(|&minute| {
                let same = hour == from.hour() && minute == from.minute();
                let least = if same { from.second() } else { 0 };
                let second = self.seconds.iter().find(|&&second| second >= least)?;
                NaiveTime::from_hms_opt(hour, minute, *second)
            })
        })
    }

    /// The last time of day that it names up to this one.
    fn time_until(&self, until: NaiveTime) -> Option<NaiveTime> {
        self.hours.iter().rev().filter(|&&hour| hour <= until.hour()).find_map(|&hour| {
            let most = if hour == until.hour() { until.minute() } else { 59 };
            self.minutes.iter().rev().filter(|&&minute| minute <= most).find_map(|&minute| {
                let same = hour == until.hour() && minute == until.minute();
                let most = if same { until.second() } else { 59 };
                let second = self.seconds.iter().rev().find(|&&second| second <= most)?;
                NaiveTime::from_hms_opt(hour, minute, *second)
            })
        })
    }
}

fn first_of_next_month(day: NaiveDate) -> Option<NaiveDate> {
    day.with_day(1)?.checked_add_months(chrono::Months::new(1))
}

/// Two expressions are the same when they are written the same, but for blanks.
impl PartialEq for CronExpression {
    fn eq(&self, other: &CronExpression) -> bool {
        self.text == other.text
    }
}

impl Eq for CronExpression {}

/// The text: what croner makes of it fills pages.
impl fmt::Debug for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CronExpression").field(&self.text).finish()
    }
}

/// The text, with single blanks between the fields.
impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        crate::parse::date(text).expect(text).naive_utc()
    }

    fn cron(text: &str) -> CronExpression {
        CronExpression::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn the_times_around_an_instant_are_found() {
        for (text, now, before, after) in [
            ("0 0 * * *", "2026-01-30T00:00", "2026-01-29", "2026-01-31"),
            ("0 0 * * *", "2026-01-30T00:00:00.5", "2026-01-30", "2026-01-31"),
            ("0 0 29 2 *", "2026-01-30", "2024-02-29", "2028-02-29"),
            ("0 0 29 2 *", "2097-01-30", "2096-02-29", "2104-02-29"),
            ("0 0 * 2 5#5", "2025-01-01", "2008-02-29", "2036-02-29"),
            ("0 0 L * *", "2026-02-10", "2026-01-31", "2026-02-28"),
            ("*/40 9-10 * * * 15,45", "2026-01-30T09:40:15", "2026-01-30T09:00:45", "2026-01-30T09:40:45"),
            ("*/40 9-10 * * * 15,45", "2026-01-30T10:40:45", "2026-01-30T10:40:15", "2026-01-31T09:00:15"),
            ("59 23 31 12 *", "2026-01-01", "2025-12-31T23:59", "2026-12-31T23:59"),
        ] {
            assert_eq!(cron(text).before(at(now)), Some(at(before)), "{text} before {now}");
            assert_eq!(cron(text).after(at(now)), Some(at(after)), "{text} after {now}");
        }
    }

    #[test]
    fn what_never_comes_is_not_looked_for_for_ever() {
        for text in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 2 *"] {
            assert_eq!(cron(text).after(at("2026-01-01")), None, "{text}");
            assert_eq!(cron(text).before(at("2026-01-01")), None, "{text}");
        }
    }

    #[test]
    fn the_ends_of_time_are_no_panic() {
        assert_eq!(cron("* * * * *").after(NaiveDateTime::MAX), None);
        assert_eq!(cron("* * * * *").before(NaiveDateTime::MIN), None);
    }
}
