//! What a column of SQLite makes of what it is given, which its declaration says:
//! <https://www.sqlite.org/datatype3.html#determination_of_column_affinity>.

use crate::field::ColumnType;

/// What a column turns values into, where that loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affinity {
    Integer,
    Text,
    /// None: what it is given stays as it is.
    Blob,
    Real,
    Numeric,
}

impl Affinity {
    /// The rules, in SQLite's order.
    pub(super) fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        if has(&["INT"]) {
            Self::Integer
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Self::Text
        } else if declared.is_empty() || has(&["BLOB"]) {
            Self::Blob
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            Self::Real
        } else {
            Self::Numeric
        }
    }
}

/// Does a column of this declaration keep every value of a file as it is, and as what it was meant? Days, moments and truth
/// have words of their own, which SQLite does not know: those are for them alone.
pub(super) fn takes(declared: &str, kind: &ColumnType) -> bool {
    use ColumnType as C;
    if declared.is_empty() || declared.eq_ignore_ascii_case(kind.sqlite()) {
        return true;
    }
    let word = declared.to_ascii_uppercase();
    let affinity = Affinity::of(&word);
    let special = affinity == Affinity::Numeric && ["DATE", "TIME", "BOOL"].iter().any(|own| word.contains(own));
    match kind {
        C::Int8 | C::Int16 | C::Int32 | C::Int64 | C::Uint8 | C::Uint16 | C::Uint32 | C::Uint64 => {
            matches!(affinity, Affinity::Integer | Affinity::Numeric) && !special
        }
        // A whole number in a column for numbers of any kind is kept as an integer, which is equal to it.
        C::Float32 | C::Float64 => matches!(affinity, Affinity::Real | Affinity::Numeric) && !special,
        C::Bytes => word.contains("BLOB") && affinity == Affinity::Blob,
        C::Bool => word == "BOOL",
        // A text that is no number stays one in a column for numbers, and a moment is none.
        C::Timestamp { .. } if word == "DATETIME" => true,
        // These are sent as text, which a column for text keeps to the letter.
        C::Text | C::Json | C::Decimal { .. } | C::Uuid | C::Date | C::Time(_) | C::Timestamp { .. } | C::List(_) => {
            affinity == Affinity::Text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Unit;

    #[test]
    fn a_declaration_takes_what_its_affinity_keeps() {
        let decimal = ColumnType::Decimal { precision: 9, scale: 2 };
        let moment = ColumnType::Timestamp { unit: Unit::Micro, utc: false };
        let kinds =
            [ColumnType::Int64, ColumnType::Float64, ColumnType::Text, ColumnType::Bytes, ColumnType::Bool, decimal];
        let kinds: Vec<_> = kinds.into_iter().chain([ColumnType::Date, moment]).collect();
        for (declared, want) in [
            ("", "int64 float64 text bytes bool decimal(9,2) date timestamp[us]"),
            ("bigint", "int64"),
            ("UNSIGNED BIG INT", "int64"),
            ("double precision", "float64"),
            ("FLOAT", "float64"),
            ("varchar(10)", "text decimal(9,2) date timestamp[us]"),
            ("clob", "text decimal(9,2) date timestamp[us]"),
            ("DECIMAL(10,2)", "int64 float64"),
            ("STRING", "int64 float64"),
            ("blob", "bytes"),
            ("bool", "bool"),
            ("boolean", "bool"),
            ("date", "date"),
            ("datetime", "timestamp[us]"),
            ("timestamp", "timestamp[us]"),
        ] {
            let taken: Vec<_> = kinds.iter().filter(|kind| takes(declared, kind)).map(ToString::to_string).collect();
            assert_eq!(taken.join(" "), want, "{declared}");
        }
    }
}
