//! A cron expression in a time zone.
//!
//! An expression that names some time in every hour steps by elapsed time, so that the hour that a clock repeats is
//! not left out. Any other goes by the clock on the wall: a local time that is skipped moves forward by as much as the
//! clock does, and of one that comes twice the second counts. That is Airflow's rule, also where ticks are lost:
//! of the times that a clock skips only the first is made up for, and the next is looked for from there on.

use super::{CronExpression, Steps, TimetableError};
use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use std::iter::successors;

/// A cron expression and the time zone whose clocks it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    expression: CronExpression,
    zone: Tz,
}

/// The time zone with this name in the tz database; UTC when none is given.
pub fn zone(name: Option<&str>) -> Result<Tz, TimetableError> {
    name.map_or(Ok(Tz::UTC), |name| name.trim().parse().map_err(|_| TimetableError::Zone(name.into())))
}

impl Cron {
    /// Reads an expression, and the name of a time zone (UTC when none is given).
    pub fn parse(text: &str, timezone: Option<&str>) -> Result<Cron, TimetableError> {
        let expression = CronExpression::parse(text).map_err(|why| TimetableError::Cron { text: text.into(), why })?;
        Ok(Cron { expression, zone: zone(timezone)? })
    }

    /// What the clocks of the zone show; `None` at the very ends of time.
    fn on_the_wall(&self, instant: DateTime<Utc>) -> Option<NaiveDateTime> {
        let utc = instant.naive_utc();
        utc.checked_add_offset(self.zone.offset_from_utc_datetime(&utc).fix())
    }

    /// The instant at which the clocks of the zone show a time.
    fn instant(&self, local: NaiveDateTime) -> Option<DateTime<Utc>> {
        const STEP: TimeDelta = TimeDelta::minutes(15);
        match self.zone.from_local_datetime(&local) {
            LocalResult::Single(instant) | LocalResult::Ambiguous(_, instant) => Some(instant.to_utc()),
            // As if the clock had not been put forward: it goes on from a time shortly before, which exists. No clock
            // was ever put forward by more than a day.
            LocalResult::None => (1..=100).find_map(|steps| {
                let earlier = local.checked_sub_signed(STEP * steps)?;
                let instant = self.zone.from_local_datetime(&earlier).latest()?;
                instant.to_utc().checked_add_signed(STEP * steps)
            }),
        }
    }
}

impl Steps for Cron {
    fn after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = self.on_the_wall(instant)?;
        let named = self.expression.after(local)?;
        if self.expression.names_every_hour() {
            return instant.checked_add_signed(named - local);
        }
        // Later on the wall is a later instant here: a skipped time moves forward, and a repeated one counts the second
        // time it comes.
        self.instant(named)
    }

    fn before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = self.on_the_wall(instant)?;
        let named = self.expression.before(local)?;
        if self.expression.names_every_hour() {
            return instant.checked_sub_signed(local - named);
        }
        // On a day when the clock is changed, an earlier time on the wall may be no earlier instant: one that was
        // skipped moves forward, past this one; one that comes twice is yet to come.
        successors(Some(named), |&named| self.expression.before(named))
            .map_while(|named| self.instant(named))
            .find(|&earlier| earlier < instant)
    }

    fn at_or_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = self.after(instant)?;
        Some(if self.before(next) == Some(instant) { instant } else { next })
    }

    fn at_or_before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let previous = self.before(instant)?;
        Some(if self.after(previous) == Some(instant) { instant } else { previous })
    }

    /// Mostly the tick before the latest: but what was before on the wall need not lead on to now.
    fn start_of_latest_interval(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let leads_here = |start: &DateTime<Utc>| self.after(*start).is_some_and(|end| end <= now);
        successors(self.before(now), |&start| self.before(start)).find(leads_here)
    }
}
