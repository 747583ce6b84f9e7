//! A month as a value and a param: `2021-01`.

use flow_runtime::prelude::*;
use std::fmt;
use std::str::FromStr;

/// A month, written `2021-01`.
#[value]
#[derive(Copy, Eq, PartialOrd, Ord)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[0-9]{4}-(0[1-9]|1[0-2])$", "examples" = ["2021-01"]))]
pub struct Month {
    year: u16,
    /// From 1.
    month: u8,
}

impl Month {
    /// The month of this number, from 1.
    ///
    /// # Panics
    /// If there is no such month.
    pub const fn new(year: u16, month: u8) -> Month {
        assert!(year <= 9999 && month >= 1 && month <= 12, "no such month");
        Month { year, month }
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Month {
        match self.month {
            12 => Month { year: self.year + 1, month: 1 },
            month => Month { month: month + 1, ..self },
        }
    }

    /// Number of its days.
    pub const fn days(self) -> u64 {
        let leap = self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    /// This one and all after it up to the last.
    pub fn through(self, last: Month) -> impl Iterator<Item = Month> {
        std::iter::successors(Some(self), |month| Some(month.next())).take_while(move |month| *month <= last)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl From<Month> for String {
    fn from(month: Month) -> String {
        month.to_string()
    }
}

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Month, String> {
        let wrong = || format!("`{text}` is no month: write it like `2021-01`");
        let (year, month) = text.split_once('-').filter(|(y, m)| y.len() == 4 && m.len() == 2).ok_or_else(wrong)?;
        match (year.parse(), month.parse()) {
            (Ok(year), Ok(month @ 1..=12)) => Ok(Month { year, month }),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Month {
    type Error = String;

    fn try_from(text: String) -> Result<Month, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_each_other_over_the_year() {
        let months: Vec<String> =
            Month::new(2020, 11).through(Month::new(2021, 2)).map(|month| month.to_string()).collect();
        assert_eq!(months, ["2020-11", "2020-12", "2021-01", "2021-02"]);
        assert_eq!(Month::new(2021, 2).through(Month::new(2021, 1)).count(), 0);
    }

    #[test]
    fn they_have_days_and_are_read_from_texts() {
        let days = |text: &str| text.parse::<Month>().map(Month::days);
        assert_eq!(["2020-02", "2021-02", "2021-04", "2021-12"].map(days), [Ok(29), Ok(28), Ok(30), Ok(31)]);
        for text in ["", "2021", "2021-13", "2021-00", "21-01", "2021-1", "+021-01-"] {
            assert!(days(text).is_err(), "{text}");
        }
    }
}
