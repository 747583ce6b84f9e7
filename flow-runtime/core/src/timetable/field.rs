//! The fields of a cron expression: from Airflow's dialect (croniter's) to the one that croner reads.
//!
//! | croniter takes | croner reads |
//! |---|---|
//! | ranges around the end: `22-2`, `fri-mon`, also with steps | lists of ranges: `22-23,0-2` |
//! | a start with a step: `5/15` | a range up to the end: `5-59/15` |
//! | the last Friday: `L5`, `Lfri` | `5L` |
//! | the nearest working day: `W15` as well as `15W` | `15W` |
//! | a range of days up to the last: `20-L` | `20-31` |
//!
//! What croner takes and croniter does not is refused where it could mean something else (`1,,2`, `/5`, `+5`, and a
//! bare `L` for the day of week), and taken where it means one thing only (`LW`, `1,3#2`). One thing is not copied: to
//! croniter a range from a value to itself, `5-5`, is the whole field.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// What a field is, and the values it takes.
pub(super) struct Field {
    pub name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

/// The place of the day of month.
pub(super) const DAY: usize = 2;
/// The place of the day of week.
pub(super) const WEEKDAY: usize = 4;

/// The fields, as they are written.
pub(super) const FIELDS: [Field; 6] = [
    Field { name: "minute", low: 0, high: 59, names: &[] },
    Field { name: "hour", low: 0, high: 23, names: &[] },
    Field { name: "day of month", low: 1, high: 31, names: &[] },
    Field {
        name: "month",
        low: 1,
        high: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    },
    Field { name: "day of week", low: 0, high: 6, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] },
    Field { name: "second", low: 0, high: 59, names: &[] },
];

impl Field {
    /// Spells a field for croner; `Err` with why it is wrong, as far as croner could not tell.
    pub fn spell(&self, written: &str) -> Result<String, String> {
        let parts = written.split(',').map(|part| self.spell_part(&part.to_uppercase()));
        Ok(parts.collect::<Result<Vec<String>, String>>()?.join(","))
    }

    fn spell_part(&self, part: &str) -> Result<String, String> {
        match part.chars().next() {
            None => return Err("there is nothing between two commas".into()),
            Some('/') => return Err("there is nothing before the step".into()),
            Some('+') => return Err("a number has no sign".into()),
            _ => {}
        }
        match self.name {
            "day of week" if part == "L" => return Err("write which one is the last, like `L5`".into()),
            "day of week" if part.starts_with('L') => return Ok(format!("{}L", &part[1..])),
            // Sunday is also 7, but croner begins no range with it.
            "day of week" if part.starts_with("7-") => return self.spell_part(&part.replacen('7', "0", 1)),
            "day of month" if part.starts_with('W') => return Ok(format!("{}W", &part[1..])),
            "day of month" if part.ends_with("-L") => return Ok(part.replace("-L", "-31")),
            _ => {}
        }
        if let Some((start, step)) = part.split_once('/')
            && start != "*"
            && !start.contains('-')
        {
            return Ok(format!("{start}-{}/{step}", self.high));
        }
        Ok(self.around_the_end(part).unwrap_or_else(|| part.to_owned()))
    }

    /// The values of a range whose start is beyond its end, as a list; `None` for anything else.
    fn around_the_end(&self, part: &str) -> Option<String> {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let (start, end) = range.split_once('-')?;
        let (start, end, step) = (self.number(start)?, self.number(end)?, step.parse::<usize>().ok()?);
        if start <= end || start > self.high || end < self.low || step == 0 {
            return None;
        }
        let values = (start..=self.high).chain(self.low..=end).step_by(step);
        Some(values.map(|value| value.to_string()).collect::<Vec<_>>().join(","))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| *name == text).and_then(|place| u32::try_from(place).ok());
        named.map(|place| self.low + place).or_else(|| text.parse().ok())
    }
}

/// Puts spelt fields together and asks croner, which wants the seconds first; Airflow's users write them last. `Err`
/// with what is wrong.
pub(super) fn read(spelt: &[String]) -> Result<Cron, String> {
    let (from_minutes, seconds) = spelt.split_at(5);
    let text = format!("{} {}", seconds.first().map_or("0", String::as_str), from_minutes.join(" "));
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).build();
    parser
        .parse(&text)
        .map_err(|error| error.to_string().trim_start_matches("Component error: ").trim_end_matches('.').to_lowercase())
}

/// The place of the first field that is wrong even where all others say `*`, and why.
pub(super) fn wrong(spelt: &[String]) -> Option<(usize, String)> {
    (0..spelt.len()).find_map(|place| {
        let mut alone = vec!["*".to_owned(); 6];
        alone[place].clone_from(&spelt[place]);
        read(&alone).err().map(|reason| (place, reason))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spell(name: &str, written: &str) -> Result<String, String> {
        let place = FIELDS.iter().position(|field| field.name == name).expect(name);
        let mut all = vec!["*".to_owned(); 6];
        all[place] = FIELDS[place].spell(written)?;
        match wrong(&all) {
            None => read(&all).map(|_| all[place].clone()),
            Some((wrong, why)) => {
                assert_eq!(wrong, place);
                Err(why)
            }
        }
    }

    #[test]
    fn what_croniter_takes_is_spelt_for_croner() {
        for (name, written, spelt) in [
            ("hour", "22-2", "22,23,0,1,2"),
            ("hour", "20-4/3", "20,23,2"),
            ("day of week", "fri-mon", "5,6,0,1"),
            ("day of week", "sat-sun", "6,0"),
            ("day of week", "6-7", "6-7"),
            ("day of week", "7-2", "0-2"),
            ("day of week", "Lfri", "FRIL"),
            ("day of week", "L5,1#2", "5L,1#2"),
            ("month", "nov-feb", "11,12,1,2"),
            ("month", "jan-mar", "JAN-MAR"),
            ("day of month", "w15", "15W"),
            ("day of month", "20-l", "20-31"),
            ("day of month", "?", "?"),
            ("minute", "5/15", "5-59/15"),
            ("day of week", "mon/2", "MON-6/2"),
            ("minute", "*/100", "*/100"),
        ] {
            assert_eq!(spell(name, written).as_deref(), Ok(spelt), "{written}");
        }
    }

    #[test]
    fn what_croniter_refuses_is_refused() {
        for (name, written, why) in [
            ("minute", "1,,2", "nothing between two commas"),
            ("minute", "/5", "nothing before the step"),
            ("minute", "+5", "no sign"),
            ("minute", "1-5/0", "step cannot be zero"),
            ("minute", "60", "out of bounds"),
            ("minute", "-1", "invalid start of range"),
            ("minute", "?", "illegal character"),
            ("hour", "30-2", "out of bounds"),
            ("day of week", "+5", "no sign"),
            ("day of week", "L", "like `L5`"),
            ("day of week", "L8", "out of bounds"),
            ("day of week", "1#0", "out of bounds"),
            ("day of week", "friday", "illegal character"),
            ("day of month", "l-3", "invalid start of range"),
        ] {
            let error = spell(name, written).expect_err(written);
            assert!(error.contains(why), "{written}: {error}");
        }
    }
}
