//! What a column of a Parquet file holds that no table has, in words, and what to do about it.

use polars_arrow::datatypes::{ArrowDataType as A, ArrowSchema, TimeUnit};
use polars_parquet::parquet::metadata::FileMetadata;
use polars_parquet::parquet::schema::types::GroupConvertedType;
use polars_parquet::read::schema::{read_custom_key_value_metadata, read_schema_from_metadata};
use polars_parquet::read::{GroupLogicalType, ParquetType};

const ARROW_SCHEMA: &str = "ARROW:schema";
/// What is shorter is none: the library that reads it takes the first bytes for granted.
const SHORTEST: usize = 32;

/// What a column holds that is not supported, as the end of a sentence.
pub(super) fn words(parquet: &ParquetType, dtype: &A) -> String {
    const RECORD: &str = "select its fields as columns of their own before (`SELECT r.*`, polars: `unnest`)";
    const LIST: &str = "make a row of each before (SQL: `UNNEST`, polars: `explode`), or JSON text";
    let (what, advice) = match dtype {
        _ if is_map(parquet) => {
            ("a map of keys to values", "make a row of each pair before (SQL: `UNNEST`), or JSON text")
        }
        A::Struct(_) => ("a record (a struct)", RECORD),
        A::LargeList(of) => match &of.dtype {
            A::Struct(_) => ("a list of records", LIST),
            inner if inner.is_nested() => ("a list of lists or maps", LIST),
            inner => return format!("a list of {}, which no table has; {CAST}", leaf(inner)),
        },
        other => return format!("{}, which no table has; {CAST}", leaf(other)),
    };
    format!("{what}, which fits no table: {advice}")
}

const CAST: &str = "cast it to a number or to text before";

fn leaf(dtype: &A) -> String {
    match dtype {
        A::Interval(_) => "an interval of months, days and milliseconds".into(),
        A::Decimal(digits, scale) => format!("decimals of {digits} digits, {scale} of them after the point"),
        A::Float16 => "numbers of 16 bits with a fraction".into(),
        other => format!("{other:?}"),
    }
}

fn is_map(parquet: &ParquetType) -> bool {
    use GroupConvertedType::{Map, MapKeyValue};
    let ParquetType::GroupType { logical_type, converted_type, .. } = parquet else {
        return false;
    };
    *logical_type == Some(GroupLogicalType::Map) || matches!(converted_type, Some(Map | MapKeyValue))
}

/// The columns as the Arrow program said that wrote the file, if one did.
pub(super) fn arrow_schema(metadata: &FileMetadata) -> Option<ArrowSchema> {
    let mut said = read_custom_key_value_metadata(metadata.key_value_metadata());
    said.get(ARROW_SCHEMA).filter(|text| text.len() >= SHORTEST)?;
    // One that cannot be read is as good as none: the file's own types count.
    read_schema_from_metadata(&mut said).ok()?
}

/// What is wrong with a column of whole numbers that were spans of time, whose unit is nowhere among Parquet's types.
pub(super) fn duration(name: &str, said: Option<&ArrowSchema>) -> Option<String> {
    let unit = match unit_of(&said?.get(name)?.dtype)? {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    Some(format!(
        "a span of time (an Arrow duration) in {unit}, and Parquet keeps the number without its unit: cast it before to a number \
         whose name tells it (`{name}_{unit}`), or to text"
    ))
}

fn unit_of(dtype: &A) -> Option<TimeUnit> {
    match dtype {
        A::Duration(unit) => Some(*unit),
        A::LargeList(of) | A::List(of) | A::FixedSizeList(of, _) => unit_of(&of.dtype),
        A::Dictionary(_, of, _) => unit_of(of),
        _ => None,
    }
}
