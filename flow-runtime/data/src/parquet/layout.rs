//! What the columns of a Parquet file are written as.

use polars::prelude::PolarsResult;
use polars_arrow::datatypes::{ArrowDataType, ArrowSchema, Field as ArrowField, TimeUnit};
use polars_parquet::parquet::metadata::SchemaDescriptor;
use polars_parquet::read::{ParquetType, PrimitiveConvertedType, PrimitiveLogicalType};
use polars_parquet::write::to_parquet_type;

use crate::field::{ColumnType, Field, Unit};

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
