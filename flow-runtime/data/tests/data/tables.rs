//! Tables made at random, as Parquet files and as statements of SQL, each by other means than the crate's own.

use std::fs::File;
use std::path::Path;

use flow_data::{ColumnType, Field, Unit};
use polars::prelude::PolarsError;
use polars_arrow::array::{
    Array, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray, Utf8ViewArray,
};
use polars_arrow::datatypes::{ArrowDataType as A, ArrowSchema, Field as ArrowField, TimeUnit};
use polars_arrow::offset::OffsetsBuffer;
use polars_parquet::parquet::error::ParquetError;
use polars_parquet::parquet::metadata::SchemaDescriptor;
use polars_parquet::read::{ParquetType, PrimitiveLogicalType};
use polars_parquet::write::{
    CompressionOptions, Compressor, DynIter, DynStreamingIterator, FallibleStreamingIterator, FileWriter,
    StatisticsOptions, Version, WriteOptions, array_to_columns, get_dtype_encoding, to_parquet_type,
};

/// A value of any column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// A whole number, the digits of a decimal, or days, or a time in the column's unit.
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
}

/// Numbers that look random and come again.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn within(&mut self, low: i128, high: i128) -> i128 {
        match self.below(6) {
            0 => low,
            1 => high,
            2 => i128::from(self.below(3)).clamp(low, high),
            _ => {
                let span = high.wrapping_sub(low).cast_unsigned() + 1;
                let far = (u128::from(self.next()) << 64) | u128::from(self.next());
                low.wrapping_add((far % span).cast_signed())
            }
        }
    }
}

/// One of each type.
pub fn all_types() -> Vec<ColumnType> {
    use ColumnType as C;
    let moment = |unit, utc| C::Timestamp { unit, utc };
    let decimal = |precision, scale| C::Decimal { precision, scale };
    let plain = vec![
        C::Bool,
        C::Int8,
        C::Int16,
        C::Int32,
        C::Int64,
        C::Uint8,
        C::Uint16,
        C::Uint32,
        C::Uint64,
        C::Float32,
        C::Float64,
        decimal(9, 2),
        decimal(18, 0),
        decimal(38, 10),
        decimal(38, 38),
        C::Text,
        C::Json,
        C::Bytes,
        C::Uuid,
        C::Date,
        C::Time(Unit::Milli),
        C::Time(Unit::Micro),
        C::Time(Unit::Nano),
        moment(Unit::Milli, false),
        moment(Unit::Micro, false),
        moment(Unit::Nano, true),
        moment(Unit::Micro, true),
    ];
    // The writer that the files are made with has no pages for lists of these.
    let listed = plain.iter().filter(|kind| !matches!(kind, C::Uuid)).cloned();
    let lists: Vec<_> = listed.map(|kind| C::List(Box::new(kind))).collect();
    plain.into_iter().chain(lists).collect()
}

/// A value of a type, the ends of its range among them.
pub fn value(random: &mut Random, kind: &ColumnType) -> Value {
    use ColumnType as C;
    const FIRST_DAY: i128 = -719_162;
    const LAST_DAY: i128 = 2_932_896;
    const TEXTS: [&str; 8] = ["", "a", "ä€😀", "NULL", "\\N", "a,\"b\"\n\t'", "{x}\\", " "];
    let days = |unit: Unit| match unit {
        Unit::Milli => 86_400_000i128,
        Unit::Micro => 86_400_000_000,
        Unit::Nano => 86_400_000_000_000,
    };
    match kind {
        C::Bool => Value::Bool(random.below(2) == 0),
        C::Int8 => Value::Int(random.within(i8::MIN.into(), i8::MAX.into())),
        C::Int16 => Value::Int(random.within(i16::MIN.into(), i16::MAX.into())),
        C::Int32 => Value::Int(random.within(i32::MIN.into(), i32::MAX.into())),
        C::Int64 => Value::Int(random.within(i64::MIN.into(), i64::MAX.into())),
        C::Uint8 => Value::Int(random.within(0, u8::MAX.into())),
        C::Uint16 => Value::Int(random.within(0, u16::MAX.into())),
        C::Uint32 => Value::Int(random.within(0, u32::MAX.into())),
        C::Uint64 => Value::Int(random.within(0, u64::MAX.into())),
        C::Float32 => Value::Float(float(random, f32::MAX.into()) as f32 as f64),
        C::Float64 => Value::Float(float(random, f64::MAX)),
        C::Decimal { precision, .. } => {
            let most = 10i128.pow(u32::from(*precision)) - 1;
            Value::Int(random.within(-most, most))
        }
        C::Text => match random.below(12) {
            0 => Value::Text("long ".repeat(300)),
            n => Value::Text(TEXTS[n as usize % TEXTS.len()].into()),
        },
        C::Json => Value::Text(["{\"a\":  [1, null]}", "[]", "\"x\\\"y\"", "1.50"][random.below(4) as usize].into()),
        C::Bytes => Value::Bytes((0..random.below(20)).map(|_| random.next() as u8).collect()),
        C::Uuid => Value::Bytes((0..16).map(|_| random.next() as u8).collect()),
        C::Date => Value::Int(random.within(FIRST_DAY, LAST_DAY)),
        // The databases keep microseconds.
        C::Time(Unit::Nano) => Value::Int(random.within(0, days(Unit::Micro) - 1) * 1_000),
        C::Time(unit) => Value::Int(random.within(0, days(*unit) - 1)),
        C::Timestamp { unit: Unit::Nano, .. } => {
            Value::Int(random.within(-9_000_000_000_000_000, 9_000_000_000_000_000) * 1_000)
        }
        C::Timestamp { unit, .. } => {
            Value::Int(random.within(FIRST_DAY * days(*unit), (LAST_DAY + 1) * days(*unit) - 1))
        }
        C::List(of) => Value::List((0..random.below(4)).map(|_| maybe(random, of, true)).collect()),
        other => panic!("{other} is not made here"),
    }
}

fn float(random: &mut Random, most: f64) -> f64 {
    match random.below(10) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => -0.0,
        4 => most,
        _ => (random.next() as f64 - 9e18) / 10f64.powi(random.below(30) as i32),
    }
}

fn maybe(random: &mut Random, kind: &ColumnType, nullable: bool) -> Value {
    if nullable && random.below(5) == 0 { Value::Null } else { value(random, kind) }
}

/// Rows for these columns.
pub fn rows(random: &mut Random, fields: &[Field], count: usize) -> Vec<Vec<Value>> {
    (0..count).map(|_| fields.iter().map(|f| maybe(random, &f.kind, f.nullable)).collect()).collect()
}

/// A value as SQL has it.
pub fn sql(value: &Value, kind: &ColumnType) -> String {
    use ColumnType as C;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    match (value, kind) {
        (Value::Null, _) => "NULL".into(),
        (Value::Bool(v), _) => v.to_string(),
        (Value::Float(v), C::Float32) => format!("'{}'::real", *v as f32),
        (Value::Float(v), _) => format!("'{v}'::double precision"),
        (Value::Int(v), C::Decimal { scale, .. }) => {
            let digits = format!("{:0>width$}", v.unsigned_abs(), width = usize::from(*scale) + 1);
            let (whole, part) = digits.split_at(digits.len() - usize::from(*scale));
            format!("'{}{whole}.{part}'::numeric", if *v < 0 { "-" } else { "" })
        }
        (Value::Int(v), C::Date) => format!("(date '1970-01-01' + ({v}))"),
        (Value::Int(v), C::Time(unit)) => format!("(time '00:00' + interval '{} microseconds')", micros(*v, *unit)),
        (Value::Int(v), C::Timestamp { unit, utc }) => {
            let micros = micros(*v, *unit);
            let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
            let from = if *utc { "timestamptz '1970-01-01 00:00:00Z'" } else { "timestamp '1970-01-01'" };
            format!("({from} + interval '{days} days {rest} microseconds')")
        }
        (Value::Int(v), _) => format!("'{v}'::numeric"),
        (Value::Text(v), C::Json) => format!("{}::json", quoted(v)),
        (Value::Text(v), _) => quoted(v),
        (Value::Bytes(v), C::Uuid) => format!("'{}'::uuid", hex(v)),
        (Value::Bytes(v), _) => format!("'\\x{}'::bytea", hex(v)),
        (Value::List(v), C::List(of)) => {
            let values: Vec<_> = v.iter().map(|v| sql(v, of)).collect();
            format!("ARRAY[{}]::{}[]", values.join(","), array_type(of))
        }
        (value, kind) => panic!("{value:?} is no {kind}"),
    }
}

fn micros(value: i128, unit: Unit) -> i128 {
    match unit {
        Unit::Milli => value * 1_000,
        Unit::Micro => value,
        Unit::Nano => value / 1_000,
    }
}

fn array_type(kind: &ColumnType) -> &'static str {
    use ColumnType as C;
    match kind {
        C::Bool => "boolean",
        C::Int8 | C::Int16 | C::Uint8 => "smallint",
        C::Int32 | C::Uint16 => "integer",
        C::Int64 | C::Uint32 => "bigint",
        C::Float32 => "real",
        C::Float64 => "double precision",
        C::Uint64 | C::Decimal { .. } => "numeric",
        C::Text => "text",
        C::Json => "json",
        C::Bytes => "bytea",
        C::Date => "date",
        C::Time(_) => "time",
        C::Timestamp { utc: false, .. } => "timestamp",
        C::Timestamp { utc: true, .. } => "timestamptz",
        other => panic!("no arrays of {other} here"),
    }
}

/// Writes the rows to a Parquet file, some of them in each row group.
pub fn write(path: &Path, fields: &[Field], rows: &[Vec<Value>], group: usize) {
    let schema: ArrowSchema = fields
        .iter()
        .map(|f| ArrowField::new(f.name.as_str().into(), dtype(&f.kind), f.nullable))
        .map(|f| (f.name.clone(), f))
        .collect();
    let types = schema.iter_values().zip(fields).map(|(arrow, field)| {
        let mut parquet = to_parquet_type(arrow).unwrap();
        mark(&mut parquet, &field.kind);
        parquet
    });
    let described = SchemaDescriptor::new("root".into(), types.collect());
    let options = WriteOptions {
        statistics: StatisticsOptions::default(),
        version: Version::V2,
        compression: CompressionOptions::Snappy,
        data_page_size: Some(1_000),
    };
    let file = File::create(path).unwrap();
    let mut writer = FileWriter::new_with_parquet_schema(file, schema, described, options);
    for rows in rows.chunks(group.max(1)) {
        let types = writer.parquet_schema().fields().to_vec();
        let mut pages = Vec::new();
        for (n, (field, parquet)) in fields.iter().zip(types).enumerate() {
            let column: Vec<_> = rows.iter().map(|row| &row[n]).collect();
            let array = array(&column, &field.kind);
            let encodings = get_dtype_encoding(array.dtype());
            for leaf in array_to_columns(array, parquet, options, &encodings).unwrap() {
                let leaf = leaf.map(|page| page.map_err(|e| ParquetError::FeatureNotSupported(e.to_string())));
                let compressed = Compressor::new(leaf, options.compression, Vec::new());
                pages.push(Ok(DynStreamingIterator::new(compressed.map_err(PolarsError::from))));
            }
        }
        writer.write(rows.len() as u64, DynIter::new(pages.into_iter())).unwrap();
    }
    writer.end(None).unwrap();
}

fn mark(parquet: &mut ParquetType, kind: &ColumnType) {
    let kind = if let ColumnType::List(of) = kind { of } else { kind };
    match parquet {
        ParquetType::GroupType { fields, .. } => fields.iter_mut().for_each(|field| mark(field, kind)),
        ParquetType::PrimitiveType(primitive) => match kind {
            ColumnType::Uuid => primitive.logical_type = Some(PrimitiveLogicalType::Uuid),
            ColumnType::Json => {
                primitive.logical_type = Some(PrimitiveLogicalType::Json);
                primitive.converted_type = None;
            }
            _ => {}
        },
    }
}

fn dtype(kind: &ColumnType) -> A {
    use ColumnType as C;
    let fine = |unit: &Unit| match unit {
        Unit::Milli => TimeUnit::Millisecond,
        Unit::Micro => TimeUnit::Microsecond,
        Unit::Nano => TimeUnit::Nanosecond,
    };
    match kind {
        C::Bool => A::Boolean,
        C::Int8 => A::Int8,
        C::Int16 => A::Int16,
        C::Int32 => A::Int32,
        C::Int64 => A::Int64,
        C::Uint8 => A::UInt8,
        C::Uint16 => A::UInt16,
        C::Uint32 => A::UInt32,
        C::Uint64 => A::UInt64,
        C::Float32 => A::Float32,
        C::Float64 => A::Float64,
        C::Decimal { precision, scale } => A::Decimal((*precision).into(), (*scale).into()),
        C::Text | C::Json => A::Utf8View,
        C::Bytes => A::BinaryView,
        C::Uuid => A::FixedSizeBinary(16),
        C::Date => A::Date32,
        C::Time(Unit::Milli) => A::Time32(TimeUnit::Millisecond),
        C::Time(unit) => A::Time64(fine(unit)),
        C::Timestamp { unit, utc } => A::Timestamp(fine(unit), utc.then(|| "UTC".into())),
        C::List(of) => A::LargeList(Box::new(ArrowField::new("element".into(), dtype(of), true))),
        other => panic!("{other} is not written here"),
    }
}

fn array(values: &[&Value], kind: &ColumnType) -> Box<dyn Array> {
    use ColumnType as C;
    macro_rules! numbers {
        ($t:ty) => {
            PrimitiveArray::<$t>::from_trusted_len_iter(values.iter().map(|v| match v {
                Value::Int(v) => Some(*v as $t),
                Value::Float(v) => Some(*v as $t),
                _ => None,
            }))
            .to(dtype(kind))
            .boxed()
        };
    }
    let text = |v: &&Value| if let Value::Text(v) = v { Some(v.clone()) } else { None };
    let bytes = |v: &&Value| if let Value::Bytes(v) = v { Some(v.clone()) } else { None };
    match kind {
        C::Bool => {
            let values: Vec<_> = values.iter().map(|v| if let Value::Bool(v) = v { Some(*v) } else { None }).collect();
            BooleanArray::from(values).boxed()
        }
        C::Int8 => numbers!(i8),
        C::Int16 => numbers!(i16),
        C::Int32 | C::Date | C::Time(Unit::Milli) => numbers!(i32),
        C::Int64 | C::Time(_) | C::Timestamp { .. } => numbers!(i64),
        C::Uint8 => numbers!(u8),
        C::Uint16 => numbers!(u16),
        C::Uint32 => numbers!(u32),
        C::Uint64 => numbers!(u64),
        C::Float32 => numbers!(f32),
        C::Float64 => numbers!(f64),
        C::Decimal { .. } => numbers!(i128),
        C::Text | C::Json => Utf8ViewArray::from_slice(values.iter().map(text).collect::<Vec<_>>()).boxed(),
        C::Bytes => BinaryViewArray::from_slice(values.iter().map(bytes).collect::<Vec<_>>()).boxed(),
        C::Uuid => {
            let values = values.iter().map(|v| bytes(v).map(|v| <[u8; 16]>::try_from(v).unwrap()));
            FixedSizeBinaryArray::from_iter(values, 16).boxed()
        }
        C::List(of) => {
            let mut all = Vec::new();
            let mut ends = vec![0i64];
            for value in values {
                if let Value::List(list) = value {
                    all.extend(list.iter());
                }
                ends.push(all.len() as i64);
            }
            let validity: Vec<_> = values.iter().map(|v| !matches!(v, Value::Null)).collect();
            let ends = OffsetsBuffer::try_from(ends).unwrap();
            ListArray::<i64>::new(dtype(kind), ends, array(&all, of), Some(validity.as_slice().into())).boxed()
        }
        other => panic!("{other} is not written here"),
    }
}

/// A file of rows `n, note n note n ..`.
pub fn notes(path: &Path, rows: usize) {
    let id = Field { name: "id".into(), kind: ColumnType::Int64, nullable: false };
    let fields = [id, Field::new("note", ColumnType::Text)];
    let row = |n| vec![Value::Int(n as i128), Value::Text(format!("note {n}").repeat(8))];
    write(path, &fields, &(0..rows).map(row).collect::<Vec<_>>(), 10_000);
}
