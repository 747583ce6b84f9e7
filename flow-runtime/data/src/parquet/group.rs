//! Row groups: typed columns to pages, as small as other writers make them.
//!
//! polars' own writer leaves numbers with a fraction plain, which makes a file of amounts a third larger and slower to
//! compress; it lists the different moments of a column even where hardly any comes twice, which makes them a third larger
//! than they are plain; and it marks text with a type that readers of older Arrow versions do not know.

use std::io::Write;

use polars::prelude::{PolarsError, PolarsResult};
use polars_arrow::array::{Array, DictionaryArray, PrimitiveArray};
use polars_arrow::compute::concatenate::concatenate_unchecked;
use polars_arrow::datatypes::{ArrowDataType, IntegerType};
use polars_arrow::types::NativeType;
use polars_parquet::parquet::error::ParquetError;
use polars_parquet::parquet::metadata::KeyValue;
use polars_parquet::write::{
    CompressionOptions, Compressor, DynIter, DynStreamingIterator, Encoding, FallibleStreamingIterator, FileWriter,
    StatisticsOptions, Version, WriteOptions, array_to_columns, get_dtype_encoding,
};

use super::layout::{described, paged};
use crate::{Field, Progress};

/// A dictionary is given up beyond so many values: it would not be smaller than the values themselves.
const MAX_DISTINCT: usize = 1 << 16;
/// When so many values were looked at, half of them must have repeated, and so at the end.
const TRIAL: usize = 1 << 13;

/// Writes columns as row groups.
pub(super) struct GroupWriter<W: Write> {
    writer: FileWriter<W>,
    distinct: Distinct,
}

impl<W: Write> GroupWriter<W> {
    pub(super) fn new(out: W, fields: &[Field]) -> PolarsResult<Self> {
        let options = WriteOptions {
            statistics: StatisticsOptions::default(),
            version: Version::V1,
            compression: CompressionOptions::Zstd(None),
            data_page_size: None,
        };
        let (schema, described) = described(fields)?;
        let writer = FileWriter::new_with_parquet_schema(out, schema, described, options);
        Ok(Self { writer, distinct: Distinct::new() })
    }

    /// Writes the file's columns, each in some pieces, as one row group of so many rows. Looks before each page whether that is
    /// wanted.
    pub(super) fn write(
        &mut self,
        columns: Vec<Vec<Box<dyn Array>>>,
        rows: usize,
        progress: &dyn Progress,
    ) -> PolarsResult<()> {
        let wanted = move || match progress.cancelled() {
            true => Err(PolarsError::ComputeError("cancelled".into())),
            false => Ok(()),
        };
        let options = self.writer.options();
        let types = self.writer.parquet_schema().fields().to_vec();
        let mut pages = Vec::with_capacity(types.len());
        for (pieces, page_type) in columns.into_iter().zip(types) {
            wanted()?;
            let array = concatenate_unchecked(&pieces)?;
            drop(pieces);
            let array = narrow(array);
            // What has 64 bits is listed here, or written plain; the rest is decided by polars.
            let (listed, is_wide) = match (downcast::<f64>(array.as_ref()), downcast::<i64>(array.as_ref())) {
                (Some(floats), _) => (dictionary(floats, f64::to_bits, &mut self.distinct)?, true),
                (_, Some(numbers)) => (dictionary(numbers, |n| n as u64, &mut self.distinct)?, true),
                _ => (None, false),
            };
            let encodings = match listed {
                None if is_wide => vec![Encoding::Plain],
                _ => get_dtype_encoding(array.dtype()),
            };
            let array = listed.unwrap_or(array);
            let options = paged(options, array.as_ref());
            for leaf in array_to_columns(array, page_type, options, &encodings)? {
                // Here they are compressed, one after the other.
                let leaf = leaf.map(move |page| wanted().and(page).map_err(|e| failed(&e)));
                let compressed = Compressor::new(leaf, options.compression, Vec::new());
                pages.push(Ok(DynStreamingIterator::new(compressed.map_err(PolarsError::from))));
            }
        }
        self.writer.write(rows as u64, DynIter::new(pages.into_iter()))
    }

    /// Writes the footer with some keys and values. Returns the size of the file.
    pub(super) fn finish(mut self, metadata: &[(&str, String)]) -> PolarsResult<u64> {
        let pair = |(key, value): &(&str, String)| KeyValue { key: (*key).to_owned(), value: Some(value.clone()) };
        self.writer.end(Some(metadata.iter().map(pair).collect()))
    }
}

fn failed(error: &PolarsError) -> ParquetError {
    ParquetError::FeatureNotSupported(error.to_string())
}

/// Decimals that are written as whole numbers of 32 or 64 bits, as those: their writer lists no decimals.
fn narrow(array: Box<dyn Array>) -> Box<dyn Array> {
    let (ArrowDataType::Decimal(digits, _), Some(decimals)) = (array.dtype(), downcast::<i128>(array.as_ref())) else {
        return array;
    };
    let validity = decimals.validity().cloned();
    match digits {
        ..=9 => {
            let numbers: Vec<_> = decimals.values_iter().map(|n| *n as i32).collect();
            PrimitiveArray::from_vec(numbers).with_validity(validity).boxed()
        }
        ..=18 => {
            let numbers: Vec<_> = decimals.values_iter().map(|n| *n as i64).collect();
            PrimitiveArray::from_vec(numbers).with_validity(validity).boxed()
        }
        _ => array,
    }
}

fn downcast<T: NativeType>(array: &dyn Array) -> Option<&PrimitiveArray<T>> {
    array.as_any().downcast_ref()
}

/// The same numbers as a list of the different ones and their places in it, if most repeat.
fn dictionary<T: NativeType>(
    numbers: &PrimitiveArray<T>,
    bits: impl Fn(T) -> u64,
    distinct: &mut Distinct,
) -> PolarsResult<Option<Box<dyn Array>>> {
    distinct.clear();
    let mut values = Vec::new();
    let mut keys = Vec::with_capacity(numbers.len());
    let nulls = numbers.null_count();
    for (n, value) in numbers.values_iter().enumerate() {
        // The place of a null is read by nobody, but must be one.
        if nulls > 0 && numbers.is_null(n) {
            keys.push(0);
            continue;
        }
        let (place, is_new) = distinct.place_of(bits(*value));
        if is_new {
            values.push(*value);
        }
        keys.push(place);
        if values.len() > MAX_DISTINCT || (n == TRIAL && values.len() > TRIAL / 2) {
            return Ok(None);
        }
    }
    if values.is_empty() || values.len() > (numbers.len() - nulls).div_ceil(2) {
        return Ok(None);
    }
    let inner = numbers.dtype().clone();
    let dtype = ArrowDataType::Dictionary(IntegerType::UInt32, Box::new(inner.clone()), false);
    let keys = PrimitiveArray::from_vec(keys).with_validity(numbers.validity().cloned());
    let values = PrimitiveArray::try_new(inner, values.into(), None)?;
    Ok(Some(DictionaryArray::try_new(dtype, keys, values.boxed())?.boxed()))
}

/// Different numbers by their bits, and their places in order of appearance.
struct Distinct {
    /// Bits, and the place plus one, found by hash and the next free slot; zero is free. Twice as large as ever needed.
    slots: Vec<(u64, u32)>,
    /// Slots in use, by place.
    used: Vec<u32>,
}

impl Distinct {
    const SLOTS: usize = MAX_DISTINCT * 4;

    fn new() -> Self {
        Self { slots: vec![(0, 0); Self::SLOTS], used: Vec::new() }
    }

    fn clear(&mut self) {
        for slot in self.used.drain(..) {
            self.slots[slot as usize] = (0, 0);
        }
    }

    /// The place of a number, and whether it is new.
    #[inline]
    fn place_of(&mut self, bits: u64) -> (u32, bool) {
        let hash = (bits ^ (bits >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut slot = (hash >> (64 - Self::SLOTS.trailing_zeros())) as usize;
        loop {
            match self.slots[slot] {
                (_, 0) => {
                    self.used.push(slot as u32);
                    let place = self.used.len() as u32;
                    self.slots[slot] = (bits, place);
                    return (place - 1, true);
                }
                (other, place) if other == bits => return (place - 1, false),
                _ => slot = (slot + 1) % Self::SLOTS,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use polars_arrow::array::Utf8Array;

    use super::*;
    use crate::ColumnType;

    fn listed<T: NativeType>(numbers: Vec<Option<T>>, bits: impl Fn(T) -> u64) -> Option<Box<dyn Array>> {
        let mut distinct = Distinct::new();
        // What an earlier column left must not be found.
        (0..1_000).for_each(|n| assert!(distinct.place_of(n).1));
        dictionary(&PrimitiveArray::from(numbers), bits, &mut distinct).unwrap()
    }

    #[test]
    fn a_dictionary_holds_the_same_numbers() {
        let given: Vec<_> = (0..20_000)
            .map(|n| (n % 7 != 0).then_some(f64::from(n % 100) / 4.0))
            .chain([Some(-0.0), Some(0.0), Some(f64::NAN)])
            .collect();
        let array = listed(given.clone(), f64::to_bits).unwrap();
        let array = array.as_any().downcast_ref::<DictionaryArray<u32>>().unwrap();
        let values = array.values().as_any().downcast_ref::<PrimitiveArray<f64>>().unwrap();
        let back: Vec<_> = array.keys().iter().map(|key| key.map(|k| values.value(*k as usize).to_bits())).collect();
        assert_eq!(back, given.iter().map(|v| v.map(f64::to_bits)).collect::<Vec<_>>());
        assert_eq!(values.len(), 102);
    }

    /// A column of texts may take longer than anybody waits.
    #[test]
    fn whether_a_group_is_wanted_is_asked_before_each_page() {
        struct Looks(AtomicUsize);
        impl Progress for Looks {
            fn report(&self, _: u64, _: Option<u64>) {}

            fn cancelled(&self) -> bool {
                self.0.fetch_add(1, Ordering::Relaxed) == 5
            }
        }
        let texts: Vec<_> = (0..8_000).map(|n| format!("{n:01000}")).collect();
        let column = vec![Utf8Array::<i64>::from_slice(&texts).boxed()];
        let mut file = Vec::new();
        let mut writer = GroupWriter::new(&mut file, &[Field::new("a", ColumnType::Text)]).unwrap();
        let looks = Looks(AtomicUsize::new(0));
        let error = writer.write(vec![column], texts.len(), &looks).unwrap_err();
        assert!(error.to_string().contains("cancelled"), "{error}");
        assert_eq!(looks.0.into_inner(), 6, "nothing is done after that");
    }

    #[test]
    fn numbers_that_hardly_repeat_stay_as_they_are() {
        assert!(listed((0..20_000).map(Some).collect(), |n: i64| n as u64).is_none());
        assert!(listed(vec![None::<f64>; 10], f64::to_bits).is_none());
        assert!(listed((0..100).map(|n| Some(n % 60)).collect(), |n: i64| n as u64).is_none());
        assert!(listed((0..100).map(|n| Some(n % 50)).collect(), |n: i64| n as u64).is_some());
    }
}
