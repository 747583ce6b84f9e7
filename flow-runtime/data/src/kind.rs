//! What a column of a text file can be stated to hold, and the names of that.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::parse::{self, MOST_DIGITS, Unfit};
use crate::{Error, Result};

/// What a column holds. Every type has a null; in a CSV file it is written as nothing at all.
///
/// In JSON a type is its name, which [`Display`](fmt::Display) writes and [`FromStr`] reads. That takes the names of Postgres
/// and BigQuery, too, in any case.
///
/// ```
/// use flow_data::Type;
///
/// assert_eq!("decimal(12,2)".parse::<Type>().unwrap(), Type::Decimal(12, 2));
/// assert_eq!("NUMERIC(12, 2)".parse::<Type>().unwrap(), Type::Decimal(12, 2));
/// assert_eq!("timestamp with time zone".parse::<Type>().unwrap(), Type::Timestamptz);
/// assert_eq!(Type::Decimal(12, 2).to_string(), "decimal(12,2)");
/// assert_eq!(
///     "money".parse::<Type>().unwrap_err().to_string(),
///     "`money` is no type of a column: state bool, int, float, decimal(12,2), date, time, timestamp, timestamptz, uuid, json \
///      or text"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// `true` or `false` (also `t`, `f`, `1`, `0`, in any case). SQL: `boolean`.
    Bool,
    /// A whole number of 64 bits. SQL: `bigint`.
    Int,
    /// A number of 64 bits with a fraction, the nearest to what stands there; also `inf` and `NaN`. One that is beyond all of
    /// them, `1e400`, does not fit. SQL: `double precision`.
    Float,
    /// So many digits, 38 at most, of which so many come after the point: `Decimal(12, 2)`. Every digit is kept, and none is
    /// rounded: a number with more digits after the point does not fit, unless they are zeros. An exponent is taken at its
    /// word, `1.5e3` is 1500. SQL: `numeric(12,2)`.
    Decimal(u8, u8),
    /// A day, `2021-01-31`. SQL: `date`.
    Date,
    /// A time of the day, in microseconds: `08:05`, `08:05:00`, with a fraction. A finer one than microseconds does not fit,
    /// unless it is zeros, and `24:00:00` neither. SQL: `time`.
    Time,
    /// A day and a time without a zone, in microseconds: `2021-01-31 08:05:00`, with `T` instead of the blank, with a
    /// fraction, or with an offset (`Z`, `+01:00`), which is then turned to UTC. A finer one than microseconds does not fit,
    /// unless it is zeros. SQL: `timestamp`.
    Timestamp,
    /// A moment in time, kept in UTC: written as a [`Type::Timestamp`], but never without its offset (`Z`, `+01:00`, `+0100`,
    /// `+01`). SQL: `timestamptz`; BigQuery: `TIMESTAMP`.
    Timestamptz,
    /// A UUID as Postgres reads it: `a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11`, in any case, in braces, without hyphens. SQL: `uuid`.
    Uuid,
    /// JSON, kept as the text that stands there. Of JSON lines it is the value itself, a text with its quotes. SQL: `json`.
    Json,
    /// Any text. An empty text is written as `""`. SQL: `text`.
    Text,
}

impl Type {
    /// The type in an error's words.
    pub(crate) fn wanted(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Bool => "a truth value (true, false, t, f, 1, 0)",
            Self::Int => "a whole number of 64 bits",
            Self::Float => "a number",
            Self::Decimal(digits, after) => {
                return format!("a number of at most {digits} digits, {after} of them after the point").into();
            }
            Self::Date => "a date such as 2021-01-31",
            Self::Time => "a time of day such as 08:05:00",
            Self::Timestamp => "a timestamp such as 2021-01-31 08:05:00",
            Self::Timestamptz => "a timestamp with its zone such as 2021-01-31 08:05:00+01:00",
            Self::Uuid => "a UUID such as a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            Self::Json => "JSON",
            Self::Text => "text in UTF-8",
        })
    }

    /// The same of a text that is not of the type.
    pub(crate) fn wanted_of(self, text: &[u8]) -> Cow<'static, str> {
        let text = text.trim_ascii();
        match self {
            Self::Float if parse::is_too_large(text) => "a number that 64 bits hold (the greatest is 1.8e308)".into(),
            Self::Decimal(digits, after) => match parse::checked_decimal(text, digits, after) {
                Err(Unfit::TooFine) => {
                    format!("a number of at most {after} digits after the point (it is not rounded)").into()
                }
                Err(Unfit::TooLarge) => {
                    format!("a number of at most {} digits before the point", digits - after).into()
                }
                Err(Unfit::NoNumber) | Ok(_) => self.wanted(),
            },
            Self::Timestamptz if parse::Days::default().timestamp(text).is_some() => {
                "a timestamp with its zone: an offset such as +01:00, or Z, is to follow".into()
            }
            _ => self.wanted(),
        }
    }

    /// Refuses digits that there cannot be.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Decimal(digits, after) if digits == 0 || digits > MOST_DIGITS || after > digits => {
                Err(Error::Invalid(format!(
                    "`{self}` is no type of a column: a decimal has 1 to {MOST_DIGITS} digits, and no more of them after the \
                     point"
                )))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Decimal(digits, after) => return write!(f, "decimal({digits},{after})"),
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::Text => "text",
        })
    }
}

impl FromStr for Type {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = text.trim().to_ascii_lowercase();
        Ok(match name.as_str() {
            "bool" | "boolean" => Self::Bool,
            "int" | "integer" | "bigint" | "int64" => Self::Int,
            "float" | "double precision" | "float64" => Self::Float,
            "date" => Self::Date,
            "time" | "time without time zone" => Self::Time,
            "timestamp" | "timestamp without time zone" | "datetime" => Self::Timestamp,
            "timestamptz" | "timestamp with time zone" => Self::Timestamptz,
            "uuid" => Self::Uuid,
            "json" => Self::Json,
            "text" | "string" => Self::Text,
            "decimal" | "numeric" => {
                // Postgres takes any digits then, BigQuery 38 with 9 after the point.
                let message =
                    format!("`{text}` has no digits: state how many, and how many after the point, {name}(12,2)");
                return Err(Error::Invalid(message));
            }
            _ => {
                let kind = digits_of(&name).ok_or_else(|| unknown(text))?;
                kind.check()?;
                kind
            }
        })
    }
}

/// `decimal(12,2)`, `numeric(12)`.
fn digits_of(name: &str) -> Option<Type> {
    let rest = name.strip_prefix("decimal").or_else(|| name.strip_prefix("numeric"))?;
    let inner = rest.trim_start().strip_prefix('(')?.strip_suffix(')')?;
    let (digits, after) = inner.split_once(',').unwrap_or((inner, "0"));
    Some(Type::Decimal(digits.trim().parse().ok()?, after.trim().parse().ok()?))
}

fn unknown(text: &str) -> Error {
    Error::Invalid(format!(
        "`{text}` is no type of a column: state bool, int, float, decimal(12,2), date, time, timestamp, timestamptz, uuid, json \
         or text"
    ))
}

impl Serialize for Type {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_that_is_read_back() {
        let kinds = [Type::Bool, Type::Int, Type::Float, Type::Decimal(38, 0), Type::Decimal(38, 38), Type::Date];
        let more = [Type::Time, Type::Timestamp, Type::Timestamptz, Type::Uuid, Type::Json, Type::Text];
        for kind in kinds.into_iter().chain(more) {
            assert_eq!(kind.to_string().parse::<Type>().unwrap(), kind);
            assert_eq!(serde_json::from_str::<Type>(&serde_json::to_string(&kind).unwrap()).unwrap(), kind);
        }
        for (text, want) in [
            (" Numeric ( 12 , 2 ) ", Type::Decimal(12, 2)),
            ("numeric(5)", Type::Decimal(5, 0)),
            ("BIGINT", Type::Int),
            ("DATETIME", Type::Timestamp),
            ("double precision", Type::Float),
        ] {
            assert_eq!(text.parse::<Type>().unwrap(), want, "{text}");
        }
    }

    #[test]
    fn a_name_that_says_too_little_is_refused() {
        for (text, said) in [
            ("numeric", "`numeric` has no digits: state how many, and how many after the point, numeric(12,2)"),
            ("decimal(39,2)", "a decimal has 1 to 38 digits"),
            ("decimal(0,0)", "a decimal has 1 to 38 digits"),
            ("decimal(2,3)", "no more of them after the point"),
            ("decimal(2,-1)", "`decimal(2,-1)` is no type of a column"),
            ("decimal(12,2", "is no type"),
            ("timestamp(3)", "is no type"),
            ("", "`` is no type"),
        ] {
            let error = text.parse::<Type>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
            let json = serde_json::from_str::<Type>(&format!("{text:?}")).unwrap_err().to_string();
            assert!(json.contains(said), "{text}: {json}");
        }
    }

    #[test]
    fn what_was_wanted_is_told_of_the_text() {
        let wanted = |kind: Type, text: &str| kind.wanted_of(text.as_bytes()).into_owned();
        let money = Type::Decimal(5, 2);
        assert_eq!(wanted(money, "x"), "a number of at most 5 digits, 2 of them after the point");
        assert_eq!(wanted(money, " 1.005 "), "a number of at most 2 digits after the point (it is not rounded)");
        assert_eq!(wanted(money, "1000"), "a number of at most 3 digits before the point");
        let naive = wanted(Type::Timestamptz, "2021-01-31 08:05");
        assert_eq!(naive, "a timestamp with its zone: an offset such as +01:00, or Z, is to follow");
        assert_eq!(wanted(Type::Timestamptz, "x"), "a timestamp with its zone such as 2021-01-31 08:05:00+01:00");
        assert_eq!(wanted(Type::Time, "24:00:00"), "a time of day such as 08:05:00");
    }
}
