//! The types of Postgres that binary COPY is spoken with.

use crate::field::{ColumnType, Unit};

/// A type of a column as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PgType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// With digits and scale, unless it takes any.
    Numeric(Option<(u8, u8)>),
    Text,
    Varchar,
    Json,
    Jsonb,
    Bytea,
    Uuid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Array(Box<PgType>),
}

impl PgType {
    /// Reads what `format_type(atttypid, atttypmod)` writes. `None` is a type that is not spoken: one of another
    /// extension, or one that rounds or cuts what it is given, such as `timestamp(0)`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(of) = text.strip_suffix("[]") {
            return Some(Self::Array(Box::new(Self::parse(of)?)));
        }
        Some(match text {
            "boolean" => Self::Bool,
            "smallint" => Self::Int2,
            "integer" => Self::Int4,
            "bigint" => Self::Int8,
            "real" => Self::Float4,
            "double precision" => Self::Float8,
            "numeric" => Self::Numeric(None),
            "text" => Self::Text,
            "character varying" => Self::Varchar,
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            "bytea" => Self::Bytea,
            "uuid" => Self::Uuid,
            "date" => Self::Date,
            "time without time zone" => Self::Time,
            "timestamp without time zone" => Self::Timestamp,
            "timestamp with time zone" => Self::Timestamptz,
            // A text that is too long is refused, not cut.
            _ if text.starts_with("character varying(") => Self::Varchar,
            _ => {
                let (precision, scale) = text.strip_prefix("numeric(")?.strip_suffix(')')?.split_once(',')?;
                Self::Numeric(Some((precision.parse().ok()?, scale.parse().ok()?)))
            }
        })
    }

    /// The same for a column that is read: what has been rounded or padded is what it is. `None`: its binary form is not
    /// spoken.
    pub(super) fn read(text: &str) -> Option<Self> {
        if let Some(of) = text.strip_suffix("[]") {
            return Some(Self::Array(Box::new(Self::read(of)?)));
        }
        Self::parse(text).or_else(|| {
            let (kind, rest) = text.split_once('(').unwrap_or((text, ""));
            let zone = rest.split_once(')').map_or("", |(_digits, zone)| zone);
            match (kind, zone) {
                ("timestamp" | "time", zone) => Self::parse(&format!("{kind}{zone}")),
                ("character" | "bpchar" | "name" | "citext", "") => Some(Self::Text),
                _ => None,
            }
        })
    }

    /// True when every value of a column fits, to the last digit.
    pub(super) fn takes(&self, kind: &ColumnType) -> bool {
        use ColumnType as C;
        match (kind, self) {
            (C::Bool, Self::Bool)
            | (C::Int8 | C::Int16 | C::Uint8, Self::Int2 | Self::Int4 | Self::Int8)
            | (C::Int32 | C::Uint16, Self::Int4 | Self::Int8)
            | (C::Int64 | C::Uint32, Self::Int8)
            | (C::Float32, Self::Float4 | Self::Float8)
            | (C::Float64, Self::Float8)
            | (C::Text, Self::Text | Self::Varchar)
            | (C::Json, Self::Json | Self::Jsonb | Self::Text | Self::Varchar)
            | (C::Bytes, Self::Bytea)
            | (C::Uuid, Self::Uuid)
            | (C::Date, Self::Date)
            | (C::Time(_), Self::Time)
            | (C::Timestamp { utc: false, .. }, Self::Timestamp)
            | (C::Timestamp { utc: true, .. }, Self::Timestamptz) => true,
            (C::List(of), Self::Array(to)) => to.takes(of),
            (_, Self::Numeric(None)) => digits(kind).is_some(),
            (_, Self::Numeric(Some((precision, scale)))) => {
                // Postgres has more digits than a byte counts when two numbers of them are added.
                let fits = |before: u8| u16::from(before) + u16::from(*scale) <= u16::from(*precision);
                digits(kind).is_some_and(|(before, after)| after <= *scale && fits(before))
            }
            _ => false,
        }
    }

    /// What a Parquet file keeps it as. A number of any digits must be stated.
    pub(super) fn kind(&self) -> Option<ColumnType> {
        Some(match self {
            Self::Bool => ColumnType::Bool,
            Self::Int2 => ColumnType::Int16,
            Self::Int4 => ColumnType::Int32,
            Self::Int8 => ColumnType::Int64,
            Self::Float4 => ColumnType::Float32,
            Self::Float8 => ColumnType::Float64,
            Self::Numeric(Some((precision @ 1..=38, scale))) if scale <= precision => {
                ColumnType::Decimal { precision: *precision, scale: *scale }
            }
            Self::Numeric(_) => return None,
            Self::Text | Self::Varchar => ColumnType::Text,
            Self::Json | Self::Jsonb => ColumnType::Json,
            Self::Bytea => ColumnType::Bytes,
            Self::Uuid => ColumnType::Uuid,
            Self::Date => ColumnType::Date,
            Self::Time => ColumnType::Time(Unit::Micro),
            Self::Timestamp => ColumnType::Timestamp { unit: Unit::Micro, utc: false },
            Self::Timestamptz => ColumnType::Timestamp { unit: Unit::Micro, utc: true },
            Self::Array(of) => ColumnType::List(Box::new(of.kind()?)),
        })
    }

    /// The number that the database knows the type by.
    pub(super) fn oid(&self) -> u32 {
        match self {
            Self::Bool => 16,
            Self::Bytea => 17,
            Self::Int8 => 20,
            Self::Int2 => 21,
            Self::Int4 => 23,
            Self::Text => 25,
            Self::Json => 114,
            Self::Float4 => 700,
            Self::Float8 => 701,
            Self::Varchar => 1043,
            Self::Date => 1082,
            Self::Time => 1083,
            Self::Timestamp => 1114,
            Self::Timestamptz => 1184,
            Self::Numeric(_) => 1700,
            Self::Uuid => 2950,
            Self::Jsonb => 3802,
            // An array's elements are never arrays.
            Self::Array(_) => 0,
        }
    }
}

/// How many digits a number has before and after the point, at most.
fn digits(kind: &ColumnType) -> Option<(u8, u8)> {
    use ColumnType as C;
    Some(match kind {
        C::Int8 | C::Uint8 => (3, 0),
        C::Int16 | C::Uint16 => (5, 0),
        C::Int32 | C::Uint32 => (10, 0),
        C::Int64 => (19, 0),
        C::Uint64 => (20, 0),
        C::Decimal { precision, scale } => (precision - scale, *scale),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_created_takes_what_it_was_created_for() {
        use ColumnType as C;
        let plain = [C::Bool, C::Int8, C::Int16, C::Int32, C::Int64, C::Uint8, C::Uint16, C::Uint32, C::Uint64]
            .into_iter()
            .chain([C::Float32, C::Float64, C::Text, C::Json, C::Bytes, C::Uuid, C::Date, C::Time(Unit::Nano)])
            .chain([C::Decimal { precision: 38, scale: 38 }, C::Timestamp { unit: Unit::Milli, utc: true }]);
        for kind in plain.flat_map(|kind| [kind.clone(), C::List(Box::new(kind))]) {
            let there = PgType::parse(&kind.postgres()).unwrap();
            assert!(there.takes(&kind), "{kind}");
            assert!(there.kind().is_some(), "{kind}");
        }
    }

    #[test]
    fn what_is_read_may_have_been_rounded() {
        for (there, want) in [
            ("timestamp(0) without time zone", Some(PgType::Timestamp)),
            ("timestamp(3) with time zone[]", Some(PgType::Array(Box::new(PgType::Timestamptz)))),
            ("time(0) without time zone", Some(PgType::Time)),
            ("time(0) with time zone", None),
            ("character(5)", Some(PgType::Text)),
            ("numeric(5,2)", Some(PgType::Numeric(Some((5, 2))))),
            ("bit(3)", None),
            ("interval(3)", None),
            ("inet", None),
        ] {
            assert_eq!(PgType::read(there), want, "{there}");
        }
    }

    #[test]
    fn nothing_is_rounded_or_cut() {
        let takes = |there: &str, kind: ColumnType| PgType::parse(there).is_some_and(|t| t.takes(&kind));
        assert!(takes("numeric(12,3)", ColumnType::Decimal { precision: 11, scale: 2 }));
        assert!(!takes("numeric(12,3)", ColumnType::Decimal { precision: 12, scale: 2 }));
        assert!(!takes("numeric(12,1)", ColumnType::Decimal { precision: 5, scale: 2 }));
        assert!(takes("numeric(255,217)", ColumnType::Decimal { precision: 38, scale: 0 }));
        assert!(!takes("numeric(255,250)", ColumnType::Decimal { precision: 38, scale: 0 }));
        assert!(takes("numeric(20,0)", ColumnType::Uint64) && !takes("numeric(19,0)", ColumnType::Uint64));
        assert!(!takes("timestamp(0) without time zone", ColumnType::Timestamp { unit: Unit::Micro, utc: false }));
        assert!(!takes("integer", ColumnType::Int64) && !takes("real", ColumnType::Float64));
        assert!(!takes("character(3)", ColumnType::Text) && takes("character varying(3)", ColumnType::Text));
        assert!(!takes("timestamp with time zone", ColumnType::Timestamp { unit: Unit::Micro, utc: false }));
    }
}
