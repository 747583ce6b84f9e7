//! Parquet to typed columns, some rows at a time.
//!
//! The pages are decoded to Arrow arrays directly: a polars series of every type that a file may hold would need most of polars'
//! features, and each of them costs build time.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use polars_arrow::array::{Array, BinaryViewArray, ListArray};
use polars_arrow::datatypes::{ArrowDataType, Field as ArrowField, TimeUnit};
use polars_parquet::parquet::metadata::{ColumnChunkMetadata, FileMetadata};
use polars_parquet::read::schema::parquet_to_arrow_schema;
use polars_parquet::read::{
    BasicDecompressor, Filter, PageReader, ParquetType, PrimitiveConvertedType, PrimitiveLogicalType,
    column_iter_to_arrays, n_columns, read_metadata,
};

use super::unfit;
use super::weight::{Weight, decoded, is_text};
use crate::batches::Rows;
use crate::field::{ColumnType, Field, Unit};
use crate::schema::Schema;
use crate::{Error, Result};

/// How many rows are in memory at once, if they are not too heavy.
const BATCH_ROWS: usize = 1 << 17;
/// About how much memory they take at most, unless said.
pub(crate) const BATCH_BYTES: u64 = 64 << 20;
/// How many come first: whoever takes them waits for nothing else.
const FIRST_ROWS: usize = 1 << 13;

/// The columns of a Parquet file, in the coarse types that a CSV file has too: all whole numbers are [`Type::Int`](crate::Type::Int),
/// all times [`Type::Time`](crate::Type::Time), however fine. Reads the file's footer only. Blocks.
///
/// # Errors
/// The file cannot be read, is no Parquet file, or has a column of a type that fits none (a list, bytes):
/// [`read_parquet_fields`] knows those.
pub fn read_parquet_schema(parquet: impl AsRef<Path>) -> Result<Schema> {
    let path = parquet.as_ref();
    let columns = read_parquet_fields(path)?.into_iter().map(|field| match field.kind.coarse() {
        Some(kind) => Ok((field.name, kind)),
        None => {
            let message = format!("column `{}` holds {}, which a schema cannot state", field.name, field.kind);
            Err(Error::columns(path.display().to_string(), message))
        }
    });
    Ok(Schema::new(columns.collect::<Result<Vec<_>>>()?))
}

/// The columns of a Parquet file in their exact types. Reads the file's footer only. Blocks.
///
/// # Errors
/// The file cannot be read, is no Parquet file, or has a column that fits no table: a struct, a map, a list of lists, an
/// interval, a duration of Arrow, whose unit Parquet does not keep.
pub fn read_parquet_fields(parquet: impl AsRef<Path>) -> Result<Vec<Field>> {
    Ok(ParquetBatches::open(parquet.as_ref())?.fields)
}

/// A Parquet file as typed batches.
pub(crate) struct ParquetBatches {
    /// What each batch holds, in order.
    pub(crate) fields: Vec<Field>,
    pub(crate) rows: u64,
    path: PathBuf,
    file: File,
    metadata: FileMetadata,
    arrow: Vec<ArrowField>,
    /// The group that is being read, and the row in it that comes next.
    group: usize,
    row: usize,
    done: u64,
    most_bytes: u64,
    /// That of the group, once a row of it was wanted.
    weight: Option<Weight>,
    /// How many times as much the last rows took as the file had told: texts may lie there without what they share.
    heavier: f64,
}

impl ParquetBatches {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let metadata = read_metadata(&mut file)
            .map_err(|e| Error::format(path, format!("this cannot be read as Parquet: {e}")))?;
        let (fields, arrow) = described(&metadata, path)?;
        let rows = rows_of(&metadata);
        let path = path.to_owned();
        let (group, row, done, most_bytes, weight, heavier) = (0, 0, 0, BATCH_BYTES, None, 1.0);
        Ok(Self { fields, rows, path, file, metadata, arrow, group, row, done, most_bytes, weight, heavier })
    }

    /// The rows of a batch take about so many bytes at most.
    pub(crate) fn within(self, bytes: u64) -> Self {
        Self { most_bytes: bytes, ..self }
    }

    /// What the rows of a group take. Looks at the pages where some may take much more than others.
    fn weigh(&mut self, group: usize) -> Result<Weight> {
        let about = &self.metadata.row_groups[group];
        let mut weight = Weight::told(about);
        if weight.may_differ(self.most_bytes) {
            let texts = about.parquet_columns().iter().filter(|leaf| is_text(leaf));
            for (nth, leaf) in texts.enumerate() {
                let bytes = chunk(&mut self.file, &self.path, leaf)?;
                let weighed = weight.weigh(nth, leaf, about.num_rows(), bytes);
                weighed.map_err(|e| Error::format(&self.path, format!("this cannot be read as Parquet: {e}")))?;
            }
        }
        Ok(weight)
    }

    /// The next rows of the group.
    fn batch(&mut self) -> Result<Rows> {
        let (group, start) = (self.group, self.row);
        let weight = match self.weight.take() {
            Some(weight) => weight,
            None => self.weigh(group)?,
        };
        let most = if self.done == 0 { FIRST_ROWS } else { BATCH_ROWS };
        let most = most.min(self.metadata.row_groups[group].num_rows() - start);
        let rows = weight.rows(start, most, self.most_bytes as f64, self.heavier);
        let arrays = self.read(group, start, start + rows)?;
        let took: usize = arrays.iter().map(|array| decoded(array.as_ref())).sum();
        self.heavier = (took as f64 / weight.of(start, start + rows).max(1.0)).max(1.0);
        self.weight = Some(weight);
        self.row += rows;
        self.done += rows as u64;
        Ok(Rows { arrays, rows, position: self.done })
    }

    fn read(&mut self, group: usize, start: usize, end: usize) -> Result<Vec<Box<dyn Array>>> {
        let group = &self.metadata.row_groups[group];
        let mut leaves = group.parquet_columns().iter();
        let mut arrays = Vec::with_capacity(self.arrow.len());
        for (field, stated) in self.arrow.iter().zip(&self.fields) {
            let mut pages = Vec::new();
            let mut types = Vec::new();
            for leaf in leaves.by_ref().take(n_columns(&field.dtype)) {
                let bytes = chunk(&mut self.file, &self.path, leaf)?;
                let reader = PageReader::new(Cursor::new(bytes.into()), leaf, Vec::new(), usize::MAX);
                pages.push(BasicDecompressor::new(reader, Vec::new()));
                types.push(&leaf.descriptor().descriptor.primitive_type);
            }
            let failed = |e: String| Error::format(&self.path, format!("column `{}`: {e}", stated.name));
            let filter = Some(Filter::new_ranged(start, end));
            let (mut parts, _) =
                column_iter_to_arrays(pages, types, field.clone(), filter).map_err(|e| failed(e.to_string()))?;
            let array = match parts.len() {
                1 => parts.remove(0),
                _ => {
                    let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
                    polars_arrow::compute::concatenate::concatenate(&parts).map_err(|e| failed(e.to_string()))?
                }
            };
            if array.len() != end - start {
                return Err(failed(format!("{} of {} rows were read", array.len(), end - start)));
            }
            arrays.push(as_stated(array, &stated.kind).map_err(failed)?);
        }
        Ok(arrays)
    }
}

/// A column of a group as it lies in the file.
fn chunk(file: &mut File, path: &Path, leaf: &ColumnChunkMetadata) -> Result<Vec<u8>> {
    let range = leaf.byte_range();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(range.start)).map_err(Error::io(path))?;
    let wanted = range.end - range.start;
    let got = file.take(wanted).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if got as u64 != wanted {
        return Err(Error::format(path, "the file is cut short, or changed while it was read"));
    }
    Ok(bytes)
}

/// What a file says of its columns.
fn described(metadata: &FileMetadata, path: &Path) -> Result<(Vec<Field>, Vec<ArrowField>)> {
    let mut fields = Vec::new();
    let mut arrow = Vec::new();
    let said = unfit::arrow_schema(metadata);
    for parquet in metadata.schema().fields() {
        let name = parquet.name().to_owned();
        let place = || path.display().to_string();
        let mut one = parquet_to_arrow_schema(std::slice::from_ref(parquet));
        let Some((_, mut field)) = one.shift_remove_index(0) else {
            return Err(Error::columns(place(), format!("column `{name}` holds nothing at all")));
        };
        if fields.iter().any(|f: &Field| f.name == name) {
            return Err(Error::columns(place(), format!("two columns are called `{name}`")));
        }
        let Some(kind) = kind_of(parquet, &mut field.dtype) else {
            let what = unfit::words(parquet, &field.dtype);
            return Err(Error::columns(place(), format!("column `{name}` holds {what}")));
        };
        let element = if let ColumnType::List(of) = &kind { of } else { &kind };
        if let (ColumnType::Int64, Some(what)) = (element, unfit::duration(&name, said.as_ref())) {
            return Err(Error::columns(place(), format!("column `{name}` holds {what}")));
        }
        fields.push(Field { name, kind, nullable: field.is_nullable });
        arrow.push(field);
    }
    Ok((fields, arrow))
}

fn rows_of(metadata: &FileMetadata) -> u64 {
    metadata.row_groups.iter().map(|group| group.num_rows() as u64).sum()
}

/// What the last bytes of a file tell.
pub(crate) enum Footer {
    /// Its columns, and how many rows it has.
    Read(Vec<Field>, u64),
    /// They were too few; so many are needed.
    Needs(u64),
}

/// Reads the footer from the last bytes of a file.
pub(crate) fn read_footer(last: &[u8], path: &Path) -> Result<Footer> {
    // https://parquet.apache.org/docs/file-format/: the metadata, their length in four bytes, `PAR1`.
    let Some(end) = last.len().checked_sub(8).map(|at| &last[at..]).filter(|end| end.ends_with(b"PAR1")) else {
        return Err(Error::format(path, "this cannot be read as Parquet: it does not end like it"));
    };
    let needed = u32::from_le_bytes([end[0], end[1], end[2], end[3]]) as usize + 8;
    if needed > last.len() {
        return Ok(Footer::Needs(needed as u64));
    }
    let metadata = read_metadata(&mut Cursor::new(last))
        .map_err(|e| Error::format(path, format!("this cannot be read as Parquet: {e}")))?;
    Ok(Footer::Read(described(&metadata, path)?.0, rows_of(&metadata)))
}

impl Iterator for ParquetBatches {
    type Item = Result<Rows>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.row >= self.metadata.row_groups.get(self.group)?.num_rows() {
            self.group += 1;
            (self.row, self.weight) = (0, None);
        }
        let batch = self.batch();
        if batch.is_err() {
            self.group = usize::MAX;
        }
        Some(batch)
    }
}

/// The type of a column, and how it is to be decoded.
fn kind_of(parquet: &ParquetType, dtype: &mut ArrowDataType) -> Option<ColumnType> {
    use ArrowDataType as A;
    let primitive = leaf(parquet)?;
    if primitive.logical_type == Some(PrimitiveLogicalType::Unknown) {
        // Nothing but null was ever written.
        *dtype = A::Null;
        return Some(ColumnType::Text);
    }
    let converted = primitive.converted_type;
    Some(match dtype {
        A::Boolean => ColumnType::Bool,
        A::Int8 => ColumnType::Int8,
        A::Int16 => ColumnType::Int16,
        A::Int32 => ColumnType::Int32,
        A::Int64 => ColumnType::Int64,
        A::UInt8 => ColumnType::Uint8,
        A::UInt16 => ColumnType::Uint16,
        A::UInt32 => ColumnType::Uint32,
        A::UInt64 => ColumnType::Uint64,
        A::Float32 => ColumnType::Float32,
        A::Float64 => ColumnType::Float64,
        A::Decimal(precision @ 1..=38, scale) if *scale <= *precision => {
            ColumnType::Decimal { precision: *precision as u8, scale: *scale as u8 }
        }
        A::Utf8View => ColumnType::Text,
        A::BinaryView => match (primitive.logical_type, converted) {
            (Some(PrimitiveLogicalType::Json), _) | (_, Some(PrimitiveConvertedType::Json)) => ColumnType::Json,
            (Some(PrimitiveLogicalType::Enum), _) | (_, Some(PrimitiveConvertedType::Enum)) => ColumnType::Text,
            _ => ColumnType::Bytes,
        },
        A::FixedSizeBinary(16) if primitive.logical_type == Some(PrimitiveLogicalType::Uuid) => ColumnType::Uuid,
        A::FixedSizeBinary(_) if primitive.logical_type.is_none() => ColumnType::Bytes,
        A::Date32 => ColumnType::Date,
        A::Time32(unit) | A::Time64(unit) => ColumnType::Time(unit_of(*unit)?),
        A::Timestamp(unit, zone) => ColumnType::Timestamp { unit: unit_of(*unit)?, utc: zone.is_some() },
        A::LargeList(of) if !of.dtype.is_nested() => {
            let mut inner = of.dtype.clone();
            let kind = kind_of(parquet, &mut inner)?;
            of.dtype = inner;
            ColumnType::List(Box::new(kind))
        }
        _ => return None,
    })
}

/// What the pages of a column without branches hold.
fn leaf(parquet: &ParquetType) -> Option<&polars_parquet::parquet::schema::types::PrimitiveType> {
    match parquet {
        ParquetType::PrimitiveType(primitive) => Some(primitive),
        ParquetType::GroupType { fields, .. } => match &fields[..] {
            [one] => leaf(one),
            _ => None,
        },
    }
}

fn unit_of(unit: TimeUnit) -> Option<Unit> {
    match unit {
        TimeUnit::Second => None,
        TimeUnit::Millisecond => Some(Unit::Milli),
        TimeUnit::Microsecond => Some(Unit::Micro),
        TimeUnit::Nanosecond => Some(Unit::Nano),
    }
}

/// Text that the file keeps as bytes becomes text.
fn as_stated(array: Box<dyn Array>, kind: &ColumnType) -> Result<Box<dyn Array>, String> {
    match kind {
        ColumnType::Text | ColumnType::Json => match array.as_any().downcast_ref::<BinaryViewArray>() {
            Some(bytes) => {
                let text = bytes.to_utf8view().map_err(|e| format!("a text is not UTF-8: {e}"))?;
                Ok(text.boxed())
            }
            None => Ok(array),
        },
        ColumnType::List(of) => match array.as_any().downcast_ref::<ListArray<i64>>() {
            Some(list) => {
                let values = as_stated(list.values().clone(), of)?;
                let dtype = ListArray::<i64>::default_datatype(values.dtype().clone());
                Ok(ListArray::new(dtype, list.offsets().clone(), values, list.validity().cloned()).boxed())
            }
            None => Err("a list is not kept as one".into()),
        },
        _ => Ok(array),
    }
}
