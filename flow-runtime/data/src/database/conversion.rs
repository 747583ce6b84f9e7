//! What becomes of the values of a column that a database is let convert, in words for whoever decides that.

use crate::field::{ColumnType, Field};

use super::affinity::Affinity;

/// What a database does with the values of a file whose type is another than the table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    /// It cannot.
    None,
    /// It keeps each value or refuses it.
    Keeps,
    /// It does this to some of them.
    Changes(&'static str),
}

use Conversion::{Changes, Keeps, None};

const ROUNDS: &str = "rounds";
const NO_TIME: &str = "leaves out the time of day";
const NO_ZONE: &str = "leaves out the zone";
const SESSION_ZONE: &str = "takes the zone of its session for";

/// Postgres reads the text of each value: <https://www.postgresql.org/docs/current/datatype.html>.
pub(super) fn postgres(there: &str, field: &Field) -> Conversion {
    // Of `timestamp(3) without time zone`, what it is, and whether it has a precision.
    let (bare, digits) = match (there.find('('), there.find(')')) {
        (Some(from), Some(to)) if from < to => (format!("{}{}", &there[..from], &there[to + 1..]), true),
        _ => (there.to_owned(), false),
    };
    match (&field.kind, bare.strip_suffix("[]")) {
        (ColumnType::List(of), Some(element)) => of_postgres(element, digits, of),
        (kind, _) => of_postgres(&bare, digits, kind),
    }
}

fn of_postgres(there: &str, digits: bool, kind: &ColumnType) -> Conversion {
    use ColumnType as C;
    let text = matches!(there, "text" | "character varying" | "citext");
    let rounds = if digits { Changes(ROUNDS) } else { Keeps };
    let number = matches!(kind, C::Float32 | C::Float64 | C::Decimal { .. }) || is_whole(kind);
    match (kind, there) {
        (_, _) if text => Keeps,
        (_, "character") => Changes("pads with blanks"),
        (_, "name") => Changes("cuts at 63 bytes"),
        // What is read is up to the type, also to one that somebody made.
        (C::Text | C::Json, "numeric") | (C::Text | C::Json, "real" | "double precision") => Changes(ROUNDS),
        // A text may say more than there is room for, which nobody refuses; one without a zone gets that of the session.
        (C::Text | C::Json, "date") => Changes(NO_TIME),
        (C::Text | C::Json, "timestamp without time zone" | "time without time zone") => Changes(NO_ZONE),
        (C::Text | C::Json, "timestamp with time zone" | "time with time zone") => Changes(SESSION_ZONE),
        (C::Text | C::Json, _) => rounds,
        (C::Float64 | C::Decimal { .. }, "real") => Changes(ROUNDS),
        (C::Decimal { .. }, "double precision") => Changes(ROUNDS),
        (C::Int32 | C::Int64 | C::Uint32 | C::Uint64, "real") => Changes(ROUNDS),
        (C::Int64 | C::Uint64, "double precision") => Changes(ROUNDS),
        (_, "real" | "double precision") if number => Keeps,
        (C::Float32 | C::Float64 | C::Decimal { .. }, "numeric") => rounds,
        (_, "numeric") if is_whole(kind) => Keeps,
        // A text with a point in it is no whole number to it.
        (C::Decimal { scale: 1.., .. }, _) => None,
        (_, "smallint" | "integer" | "bigint") if number => Keeps,
        (C::Date, "timestamp without time zone" | "timestamp with time zone") => Keeps,
        (C::Timestamp { .. }, "date") => Changes(NO_TIME),
        (C::Timestamp { utc: true, .. }, "timestamp without time zone") => Changes(NO_ZONE),
        (C::Timestamp { utc: false, .. }, "timestamp with time zone") => Changes(SESSION_ZONE),
        (C::Timestamp { .. }, "timestamp without time zone" | "timestamp with time zone") => rounds,
        (C::Time(_), "time without time zone" | "interval") => rounds,
        (C::Time(_), "time with time zone") => Changes(SESSION_ZONE),
        _ => None,
    }
}

fn is_whole(kind: &ColumnType) -> bool {
    use ColumnType as C;
    matches!(kind, C::Int8 | C::Int16 | C::Int32 | C::Int64 | C::Uint8 | C::Uint16 | C::Uint32 | C::Uint64)
}

/// SQLite refuses nothing, but in a table that is `STRICT`: <https://www.sqlite.org/datatype3.html#type_affinity>.
pub(super) fn sqlite(there: &str, field: &Field) -> Conversion {
    use ColumnType as C;
    let whole = is_whole(&field.kind);
    let text = !whole && !matches!(field.kind, C::Float32 | C::Float64 | C::Bytes | C::Bool);
    match Affinity::of(there) {
        Affinity::Integer | Affinity::Numeric | Affinity::Real if text => {
            Changes("makes a number of each text that looks like one, for")
        }
        Affinity::Real if matches!(field.kind, C::Int64 | C::Uint64) => Changes(ROUNDS),
        Affinity::Text if matches!(field.kind, C::Float32 | C::Float64) => Changes(ROUNDS),
        _ => Keeps,
    }
}

/// What `CAST` does: <https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_functions#cast>.
pub(super) fn bigquery(there: &str, own: &str) -> Conversion {
    let number = |kind: &str| matches!(kind, "INT64" | "FLOAT64" | "NUMERIC" | "BIGNUMERIC");
    match (own, there) {
        (_, "JSON" | "GEOGRAPHY" | "STRUCT") | ("JSON", _) => None,
        (own, there) if own.starts_with("ARRAY") || there.starts_with("ARRAY") => None,
        ("STRING", "NUMERIC" | "BIGNUMERIC" | "FLOAT64") => Changes(ROUNDS),
        ("INT64", "BOOL") => Changes("makes true of all but 0, for"),
        ("STRING", _) | (_, "STRING") | ("BOOL", "INT64") => Keeps,
        ("INT64" | "NUMERIC", "BIGNUMERIC") | ("INT64", "NUMERIC") => Keeps,
        (own, there) if number(own) && number(there) => Changes(ROUNDS),
        ("DATE", "DATETIME" | "TIMESTAMP") => Keeps,
        ("DATETIME" | "TIMESTAMP", "DATE") => Changes(NO_TIME),
        ("TIMESTAMP", "DATETIME") => Changes(NO_ZONE),
        ("DATETIME", "TIMESTAMP") => Changes("takes UTC for the zone of"),
        ("DATETIME" | "TIMESTAMP", "TIME") => Changes("leaves out the day"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Unit;

    #[test]
    fn what_a_database_would_do_is_known() {
        let moment = |utc| ColumnType::Timestamp { unit: Unit::Micro, utc };
        let decimal = ColumnType::Decimal { precision: 9, scale: 2 };
        for (there, kind, want) in [
            ("jsonb", ColumnType::Text, Keeps),
            ("mood", ColumnType::Text, Keeps),
            ("character(5)", ColumnType::Text, Changes("pads with blanks")),
            ("integer", ColumnType::Int64, Keeps),
            ("integer[]", ColumnType::List(Box::new(ColumnType::Int64)), Keeps),
            ("real", ColumnType::Float64, Changes(ROUNDS)),
            ("numeric(9,1)", decimal.clone(), Changes(ROUNDS)),
            ("integer", decimal, None),
            ("timestamp(3) without time zone", moment(false), Changes(ROUNDS)),
            ("timestamp without time zone", moment(true), Changes(NO_ZONE)),
            ("date", moment(false), Changes(NO_TIME)),
            ("date", ColumnType::Text, Changes(NO_TIME)),
            ("timestamp(3) without time zone", ColumnType::Text, Changes(NO_ZONE)),
            ("timestamp with time zone", ColumnType::Json, Changes(SESSION_ZONE)),
            ("time with time zone", ColumnType::Text, Changes(SESSION_ZONE)),
            ("interval(0)", ColumnType::Text, Changes(ROUNDS)),
            ("character varying(5)", ColumnType::Text, Keeps),
            ("name", ColumnType::Text, Changes("cuts at 63 bytes")),
            ("timestamp with time zone", ColumnType::Date, Keeps),
            ("integer", ColumnType::Bool, None),
            ("bytea", ColumnType::Uuid, None),
            ("uuid", ColumnType::Bytes, None),
            ("mood", ColumnType::Int64, None),
        ] {
            assert_eq!(postgres(there, &Field::new("a", kind.clone())), want, "{there} {kind}");
        }
        let number = Changes("makes a number of each text that looks like one, for");
        assert_eq!(sqlite("STRING", &Field::new("a", ColumnType::Text)), number);
        assert_eq!(sqlite("BIGINT", &Field::new("a", ColumnType::Float64)), Keeps);
        assert_eq!(bigquery("INT64", "FLOAT64"), Changes(ROUNDS));
        assert_eq!(bigquery("BOOL", "INT64"), Changes("makes true of all but 0, for"));
        assert_eq!(bigquery("INT64", "BOOL"), Keeps);
        assert_eq!((bigquery("JSON", "STRING"), bigquery("BYTES", "INT64")), (None, None));
    }
}
