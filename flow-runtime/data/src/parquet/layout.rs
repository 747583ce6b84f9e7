//! What the columns of a Parquet file are written as.

use polars::prelude::PolarsResult;
use polars_arrow::array::Array;
use polars_arrow::compute::aggregate::estimated_bytes_size;
use polars_arrow::datatypes::{ArrowDataType, ArrowSchema, Field as ArrowField, TimeUnit};
use polars_parquet::parquet::metadata::SchemaDescriptor;
use polars_parquet::read::{ParquetType, PrimitiveConvertedType, PrimitiveLogicalType};
use polars_parquet::write::{WriteOptions, to_parquet_type};

use crate::field::{ColumnType, Field, Unit};

/// No page of polars becomes larger, whatever it is told.
const MAX_PAGE: usize = (1 << 31) - (1 << 25);

/// The arrays that a column is written from. Readers of any age know their types.
pub(crate) fn arrow(kind: &ColumnType) -> ArrowDataType {
    use ArrowDataType as A;
    let fine = |unit: Unit| match unit {
        Unit::Milli => TimeUnit::Millisecond,
        Unit::Micro => TimeUnit::Microsecond,
        Unit::Nano => TimeUnit::Nanosecond,
    };
    match kind {
        ColumnType::Bool => A::Boolean,
        ColumnType::Int8 => A::Int8,
        ColumnType::Int16 => A::Int16,
        ColumnType::Int32 => A::Int32,
        ColumnType::Int64 => A::Int64,
        ColumnType::Uint8 => A::UInt8,
        ColumnType::Uint16 => A::UInt16,
        ColumnType::Uint32 => A::UInt32,
        ColumnType::Uint64 => A::UInt64,
        ColumnType::Float32 => A::Float32,
        ColumnType::Float64 => A::Float64,
        ColumnType::Decimal { precision, scale } => A::Decimal((*precision).into(), (*scale).into()),
        ColumnType::Text | ColumnType::Json => A::LargeUtf8,
        ColumnType::Bytes => A::LargeBinary,
        ColumnType::Uuid => A::FixedSizeBinary(16),
        ColumnType::Date => A::Date32,
        ColumnType::Time(Unit::Milli) => A::Time32(TimeUnit::Millisecond),
        ColumnType::Time(unit) => A::Time64(fine(*unit)),
        ColumnType::Timestamp { unit, utc } => A::Timestamp(fine(*unit), utc.then(|| "UTC".into())),
        ColumnType::List(of) => A::LargeList(Box::new(ArrowField::new("element".into(), arrow(of), true))),
    }
}

/// The columns as a file tells them, to readers of Arrow and to others.
pub(crate) fn described(fields: &[Field]) -> PolarsResult<(ArrowSchema, SchemaDescriptor)> {
    let columns = fields.iter().map(|f| ArrowField::new(f.name.as_str().into(), arrow(&f.kind), f.nullable));
    let schema = ArrowSchema::from_iter(columns);
    let types = schema.iter_values().zip(fields).map(|(arrow, field)| {
        let mut parquet = to_parquet_type(arrow)?;
        mark(&mut parquet, &field.kind);
        Ok(parquet)
    });
    let types = types.collect::<PolarsResult<Vec<_>>>()?;
    Ok((schema, SchemaDescriptor::new("root".into(), types)))
}

/// How one column of a row group is written. polars joins the smallest and largest values of several pages by their bytes
/// without a sign, by which a negative decimal is beyond a positive one; readers would pass over groups that have what they
/// look for. So decimals that are kept as bytes (of more than 18 digits) have one page in a group, or none of these values.
pub(crate) fn paged(options: WriteOptions, array: &dyn Array) -> WriteOptions {
    paged_within(options, array, MAX_PAGE)
}

fn paged_within(mut options: WriteOptions, array: &dyn Array, most: usize) -> WriteOptions {
    let kind = match array.dtype() {
        ArrowDataType::LargeList(of) => of.dtype(),
        kind => kind,
    };
    if !matches!(kind, ArrowDataType::Decimal(19.., _)) {
        return options;
    }
    // polars counts a byte more for each row.
    if estimated_bytes_size(array) + array.len() <= most {
        options.data_page_size = Some(most);
    } else {
        (options.statistics.min_value, options.statistics.max_value) = (false, false);
    }
    options
}

/// Marks what Arrow has no type of its own for, where the values are: a list is a group in a group.
fn mark(parquet: &mut ParquetType, kind: &ColumnType) {
    let kind = match kind {
        ColumnType::List(of) => of,
        other => other,
    };
    match parquet {
        ParquetType::GroupType { fields, .. } => fields.iter_mut().for_each(|field| mark(field, kind)),
        ParquetType::PrimitiveType(primitive) => match kind {
            ColumnType::Uuid => primitive.logical_type = Some(PrimitiveLogicalType::Uuid),
            ColumnType::Json => {
                primitive.logical_type = Some(PrimitiveLogicalType::Json);
                primitive.converted_type = Some(PrimitiveConvertedType::Json);
            }
            _ => {}
        },
    }
}

#[cfg(test)]
mod tests {
    use polars_arrow::array::PrimitiveArray;
    use polars_parquet::write::{CompressionOptions, StatisticsOptions, Version};

    use super::*;

    #[test]
    fn decimals_that_are_bytes_have_one_page_or_no_bounds() {
        let options = WriteOptions {
            statistics: StatisticsOptions::default(),
            version: Version::V1,
            compression: CompressionOptions::Uncompressed,
            data_page_size: None,
        };
        let decimals = |digits| PrimitiveArray::from_vec(vec![-1i128, 1]).to(ArrowDataType::Decimal(digits, 2));
        assert_eq!(paged_within(options, &decimals(18), 10), options);
        assert_eq!(paged_within(options, &decimals(19), 34), WriteOptions { data_page_size: Some(34), ..options });
        let statistics = StatisticsOptions { min_value: false, max_value: false, ..options.statistics };
        assert_eq!(paged_within(options, &decimals(19), 33), WriteOptions { statistics, ..options });
    }
}
