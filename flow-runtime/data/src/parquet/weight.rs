//! How many rows of a row group fit into so much memory.

use std::io::Cursor;

use polars_arrow::array::{Array, BinaryViewArray, ListArray, Utf8ViewArray};
use polars_arrow::compute::aggregate::estimated_bytes_size;
use polars_parquet::parquet::error::ParquetResult;
use polars_parquet::parquet::metadata::{ColumnChunkMetadata, RowGroupMetadata};
use polars_parquet::parquet::page::CompressedPage;
use polars_parquet::read::{PageReader, PhysicalType};

/// What a text takes in an array besides its letters, if it is long.
const VIEW: f64 = 16.0;
/// A column of a group is read whole for every batch. Batches much smaller than that would save nothing and read it very often.
const OF_COLUMN: f64 = 0.25;

/// What the rows of a row group take in memory, as far as the file tells.
pub(super) struct Weight {
    /// What each row takes, whatever its texts are.
    each: f64,
    /// Where the pages of each column of texts end: the row, and how many bytes they hold up to there.
    texts: Vec<Vec<(f64, f64)>>,
    /// The largest column, packed.
    largest: f64,
}

impl Weight {
    /// As the footer tells: all rows have texts of one length.
    pub(super) fn told(group: &RowGroupMetadata) -> Self {
        let rows = group.num_rows() as f64;
        let mut weight = Self { each: 0.0, texts: Vec::new(), largest: 0.0 };
        for leaf in group.parquet_columns() {
            weight.largest = weight.largest.max(leaf.compressed_size() as f64);
            // A column that lists its values may have them in a few bytes.
            let width = match leaf.physical_type() {
                PhysicalType::Boolean => 1.0 / 8.0,
                PhysicalType::Int32 | PhysicalType::Float => 4.0,
                PhysicalType::Int64 | PhysicalType::Double => 8.0,
                PhysicalType::Int96 => 12.0,
                PhysicalType::FixedLenByteArray(width) => width as f64,
                PhysicalType::ByteArray => VIEW,
            };
            weight.each += width * leaf.num_values() as f64 / rows.max(1.0);
            if is_text(leaf) {
                weight.texts.push(vec![(rows, leaf.uncompressed_size() as f64)]);
            }
        }
        weight
    }

    /// May rows be heavier than others, and does it matter?
    pub(super) fn may_differ(&self, most_bytes: u64) -> bool {
        let texts: f64 = self.texts.iter().flatten().map(|(_, bytes)| bytes).sum();
        texts > most_bytes as f64
    }

    /// The same with what the pages tell of a column of texts, which is given as it lies in the file.
    pub(super) fn weigh(
        &mut self,
        nth: usize,
        leaf: &ColumnChunkMetadata,
        rows: usize,
        bytes: Vec<u8>,
    ) -> ParquetResult<()> {
        let rows_per_value = rows as f64 / (leaf.num_values() as f64).max(1.0);
        let (mut values, mut unpacked) = (0, 0);
        let mut ends = Vec::new();
        for page in PageReader::new(Cursor::new(bytes.into()), leaf, Vec::new(), usize::MAX) {
            if let CompressedPage::Data(page) = page? {
                values += page.num_values();
                unpacked += page.uncompressed_size();
                ends.push((values as f64 * rows_per_value, unpacked as f64));
            }
        }
        self.texts[nth] = ends;
        Ok(())
    }

    /// How many rows from this one on, of so many at most, take about so much, where they are so many times as heavy as the file
    /// tells: one at least.
    pub(super) fn rows(&self, start: usize, most: usize, most_bytes: f64, heavier: f64) -> usize {
        let most_bytes = most_bytes.max(self.largest * OF_COLUMN) / heavier;
        if self.of(start, start + most) <= most_bytes {
            return most;
        }
        let (mut fits, mut too_many) = (1, most);
        while too_many - fits > 1 {
            let middle = fits.midpoint(too_many);
            match self.of(start, start + middle) <= most_bytes {
                true => fits = middle,
                false => too_many = middle,
            }
        }
        fits
    }

    /// What these rows take.
    pub(super) fn of(&self, start: usize, end: usize) -> f64 {
        let (start, end) = (start as f64, end as f64);
        let texts = self.texts.iter().map(|pages| up_to(pages, end) - up_to(pages, start));
        self.each * (end - start) + texts.sum::<f64>()
    }
}

/// Of which columns are the values as long as they like?
pub(super) fn is_text(leaf: &ColumnChunkMetadata) -> bool {
    leaf.physical_type() == PhysicalType::ByteArray
}

/// The bytes of all rows before this one.
fn up_to(pages: &[(f64, f64)], row: f64) -> f64 {
    let at = pages.partition_point(|(end, _)| *end < row);
    let (start, before) = at.checked_sub(1).map_or((0.0, 0.0), |last| pages[last]);
    match pages.get(at) {
        Some((end, bytes)) if *end > start => before + (bytes - before) * (row - start) / (end - start),
        _ => before,
    }
}

/// What a decoded column takes. A text that the file lists once is there once, however many rows have it.
pub(super) fn decoded(array: &dyn Array) -> usize {
    let any = array.as_any();
    let views = |rows: usize, letters: usize, kept: usize| rows * VIEW as usize + letters.min(kept);
    if let Some(texts) = any.downcast_ref::<Utf8ViewArray>() {
        views(texts.len(), texts.total_bytes_len(), texts.total_buffer_len())
    } else if let Some(bytes) = any.downcast_ref::<BinaryViewArray>() {
        views(bytes.len(), bytes.total_bytes_len(), bytes.total_buffer_len())
    } else if let Some(lists) = any.downcast_ref::<ListArray<i64>>() {
        decoded(lists.values().as_ref()) + lists.len() * size_of::<i64>()
    } else {
        estimated_bytes_size(array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_heavy_as_their_pages() {
        // 100 rows of a byte each, then 10 of a thousand.
        let texts = vec![vec![(50.0, 50.0), (100.0, 100.0), (110.0, 10_100.0)]];
        let weight = Weight { each: 1.0, texts, largest: 0.0 };
        assert_eq!(weight.of(0, 100), 200.0);
        assert_eq!(weight.of(100, 101), 1_001.0);
        assert_eq!(weight.rows(0, 50, 1_000.0, 1.0), 50);
        assert_eq!(weight.rows(0, 110, 1_000.0, 1.0), 100);
        assert_eq!(weight.rows(100, 10, 3_003.0, 1.0), 3);
        assert_eq!(weight.rows(100, 10, 1.0, 1.0), 1, "a row is never cut");
        let packed = Weight { largest: 8_008.0, ..weight };
        assert_eq!(packed.rows(100, 10, 1.0, 1.0), 2, "the column is there whole anyway");
        let packed = Weight { largest: 16_016.0, ..packed };
        assert_eq!(packed.rows(100, 10, 1.0, 2.0), 2, "and it is no heavier for that");
    }
}
