//! Row groups: typed columns to pages, as small as other writers make them.
//!
//! polars' own writer leaves numbers with a fraction plain, which makes a file of amounts a third larger and slower to
//! compress, and marks text with a type that readers of older Arrow versions do not know.

use std::io::Write;

use polars::prelude::{CompatLevel, DataFrame, Field, PolarsError, PolarsResult};
use polars_arrow::array::{Array, DictionaryArray, PrimitiveArray};
use polars_arrow::datatypes::{ArrowDataType, ArrowSchema, IntegerType};
use polars_parquet::parquet::error::ParquetError;
use polars_parquet::write::{
    CompressionOptions, Compressor, DynIter, DynStreamingIterator, Encoding, FallibleStreamingIterator, FileWriter,
    StatisticsOptions, Version, WriteOptions, array_to_columns, get_dtype_encoding,
};

use crate::schema::Column;

/// Readers of any age know what is written at this level.
const COMPAT: CompatLevel = CompatLevel::oldest();
/// A dictionary is given up beyond so many values: it would not be smaller than the values themselves.
const MAX_DISTINCT: usize = 1 << 16;
/// When so many values were looked at, most of them must have repeated.
const TRIAL: usize = 1 << 13;

/// Writes frames as row groups.
pub(super) struct GroupWriter<W: Write> {
    writer: FileWriter<W>,
}

impl<W: Write> GroupWriter<W> {
    pub(super) fn new(out: W, columns: &[Column]) -> PolarsResult<Self> {
        let fields = columns.iter().map(|c| Field::new(c.name.as_str().into(), c.kind.polars()).to_arrow(COMPAT));
        let options = WriteOptions {
            statistics: StatisticsOptions::default(),
            version: Version::V1,
            compression: CompressionOptions::Zstd(None),
            data_page_size: None,
        };
        Ok(Self { writer: FileWriter::try_new(out, ArrowSchema::from_iter(fields), options)? })
    }

    /// Writes all of a frame, which has the file's columns, as one row group.
    pub(super) fn write(&mut self, frame: &DataFrame) -> PolarsResult<()> {
        let options = self.writer.options();
        let types = self.writer.parquet_schema().fields().to_vec();
        let mut pages = Vec::with_capacity(types.len());
        for (column, page_type) in frame.columns().iter().zip(types) {
            let array = column.as_materialized_series().rechunk().to_arrow(0, COMPAT);
            let encodings = get_dtype_encoding(array.dtype());
            let array = match array.as_any().downcast_ref::<PrimitiveArray<f64>>() {
                Some(floats) => dictionary(floats)?.unwrap_or(array),
                None => array,
            };
            let plain = [Encoding::Plain];
            let is_plain_float = matches!(array.dtype(), ArrowDataType::Float64);
            let encodings = if is_plain_float { &plain[..] } else { &encodings[..] };
            for leaf in array_to_columns(array, page_type, options, encodings)? {
                let leaf = leaf.map(|page| page.map_err(|e| ParquetError::FeatureNotSupported(e.to_string())));
                let compressed = Compressor::new(leaf, options.compression, Vec::new());
                pages.push(Ok(DynStreamingIterator::new(compressed.map_err(PolarsError::from))));
            }
        }
        self.writer.write(frame.height() as u64, DynIter::new(pages.into_iter()))
    }

    /// Writes the footer. Returns the size of the file.
    pub(super) fn finish(mut self) -> PolarsResult<u64> {
        self.writer.end(None)
    }
}

/// The same numbers as a list of the different ones and their places in it, if most repeat.
fn dictionary(floats: &PrimitiveArray<f64>) -> PolarsResult<Option<Box<dyn Array>>> {
    let mut distinct = Distinct::new();
    let mut keys = Vec::with_capacity(floats.len());
    for (n, value) in floats.iter().enumerate() {
        // The place of a null is read by nobody.
        keys.push(match value {
            Some(value) => distinct.place_of(*value),
            None => 0,
        });
        let seen = distinct.values.len();
        if seen > MAX_DISTINCT || (n == TRIAL && seen > TRIAL / 4 * 3) {
            return Ok(None);
        }
    }
    if distinct.values.is_empty() {
        return Ok(None);
    }
    let dtype = ArrowDataType::Dictionary(IntegerType::UInt32, Box::new(ArrowDataType::Float64), false);
    let keys = PrimitiveArray::from_vec(keys).with_validity(floats.validity().cloned());
    let array = DictionaryArray::try_new(dtype, keys, PrimitiveArray::from_vec(distinct.values).boxed())?;
    Ok(Some(array.boxed()))
}

/// Different numbers by their bits, in order of appearance.
struct Distinct {
    values: Vec<f64>,
    /// Places plus one, found by hash and the next free slot; zero is free. Twice as large as ever needed.
    slots: Vec<u32>,
}

impl Distinct {
    const SLOTS: usize = MAX_DISTINCT * 4;

    fn new() -> Self {
        Self { values: Vec::new(), slots: vec![0; Self::SLOTS] }
    }

    #[inline]
    fn place_of(&mut self, value: f64) -> u32 {
        let bits = value.to_bits();
        let hash = (bits ^ (bits >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut slot = (hash >> (64 - Self::SLOTS.trailing_zeros())) as usize;
        loop {
            match self.slots[slot] {
                0 => {
                    self.values.push(value);
                    let place = self.values.len() as u32;
                    self.slots[slot] = place;
                    return place - 1;
                }
                place if self.values[place as usize - 1].to_bits() == bits => return place - 1,
                _ => slot = (slot + 1) % Self::SLOTS,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_holds_the_same_numbers() {
        let given: Vec<_> = (0..20_000)
            .map(|n| (n % 7 != 0).then_some(f64::from(n % 100) / 4.0))
            .chain([Some(-0.0), Some(0.0), Some(f64::NAN)])
            .collect();
        let array = dictionary(&PrimitiveArray::from(given.clone())).unwrap().unwrap();
        let array = array.as_any().downcast_ref::<DictionaryArray<u32>>().unwrap();
        let values = array.values().as_any().downcast_ref::<PrimitiveArray<f64>>().unwrap();
        let back: Vec<_> = array.keys().iter().map(|key| key.map(|k| values.value(*k as usize).to_bits())).collect();
        assert_eq!(back, given.iter().map(|v| v.map(f64::to_bits)).collect::<Vec<_>>());
        assert_eq!(values.len(), 102);
    }

    #[test]
    fn numbers_that_hardly_repeat_stay_as_they_are() {
        let all: Vec<_> = (0..20_000).map(|n| Some(f64::from(n))).collect();
        assert!(dictionary(&PrimitiveArray::from(all)).unwrap().is_none());
        assert!(dictionary(&PrimitiveArray::from(vec![None::<f64>; 10])).unwrap().is_none());
    }
}
