//! Small files to work on.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use flow_data::{Schema, Type};
use polars::prelude::{DataFrame, ParquetReader, SerReader};
use polars_arrow::array::{Array, new_empty_array};
use polars_arrow::compute::concatenate::concatenate_unchecked;
use polars_parquet::read::{
    BasicDecompressor, ColumnChunkMetadata, PageReader, column_iter_to_arrays, infer_schema, read_metadata,
};

/// Writes a file and returns its path.
pub fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A Parquet file as polars reads it.
pub fn read(parquet: &Path) -> DataFrame {
    ParquetReader::new(std::fs::File::open(parquet).unwrap()).finish().unwrap()
}

/// The columns of a Parquet file, none of which is a list, as arrays: polars has no columns for all of their types here.
pub fn arrays(parquet: &Path) -> Vec<Box<dyn Array>> {
    let bytes = std::fs::read(parquet).unwrap();
    let metadata = read_metadata(&mut Cursor::new(&bytes)).unwrap();
    let schema = infer_schema(&metadata).unwrap();
    let column = |at: usize| {
        let field = schema.get_at_index(at).unwrap().1;
        let group = |columns: &[ColumnChunkMetadata]| {
            let range = columns[at].byte_range();
            let chunk = bytes[range.start as usize..range.end as usize].to_vec();
            let pages = PageReader::new(Cursor::new(chunk.into()), &columns[at], Vec::new(), usize::MAX);
            let pages = vec![BasicDecompressor::new(pages, Vec::new())];
            let types = vec![&columns[at].descriptor().descriptor.primitive_type];
            column_iter_to_arrays(pages, types, field.clone(), None).unwrap().0
        };
        let pieces: Vec<_> = metadata.row_groups.iter().flat_map(|g| group(g.parquet_columns())).collect();
        match pieces.is_empty() {
            true => new_empty_array(field.dtype.clone()),
            false => concatenate_unchecked(&pieces).unwrap(),
        }
    };
    (0..schema.len()).map(column).collect()
}

/// The smallest and largest decimal, kept as bytes, of a column in each row group, by the file's footer.
pub fn bounds(parquet: &Path, at: usize) -> Vec<[i128; 2]> {
    let metadata = read_metadata(&mut std::fs::File::open(parquet).unwrap()).unwrap();
    let number = |bytes: Vec<u8>| bytes[1..].iter().fold(i128::from(bytes[0] as i8), |n, b| n << 8 | i128::from(*b));
    let of_group = |columns: &[ColumnChunkMetadata]| {
        let statistics = columns[at].statistics(&metadata.footer_buf).unwrap().unwrap();
        let statistics = statistics.expect_as_fixedlen();
        [&statistics.min_value, &statistics.max_value].map(|bytes| number(bytes.clone().unwrap()))
    };
    metadata.row_groups.iter().map(|group| of_group(group.parquet_columns())).collect()
}

/// The values of a column in words.
pub fn column(frame: &DataFrame, name: &str) -> Vec<String> {
    let series = frame.column(name).unwrap().as_materialized_series();
    series.iter().map(|value| value.to_string()).collect()
}

/// One member of a gzip file.
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that repeat nowhere near, so that a piece at the wrong place shows.
pub fn noise(length: usize) -> Vec<u8> {
    /// Made once: it takes a while.
    static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut state = 7u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(32 << 20).collect()
    });
    NOISE[..length].to_vec()
}

/// The columns of [`trips`].
pub fn trip_schema() -> Schema {
    Schema::new([
        ("id", Type::Int),
        ("picked_up", Type::Timestamp),
        ("day", Type::Date),
        ("distance", Type::Float),
        ("shared", Type::Bool),
        ("flag", Type::Text),
    ])
}

/// A CSV file with every type, blanks in every column but the first, and text that wants quoting.
pub fn trips(rows: usize) -> String {
    let mut text = String::from("id,picked_up,day,distance,shared,flag\n");
    for n in 0..rows {
        let (minute, day) = (n / 60 % 60, n % 28 + 1);
        match n % 4 {
            0 => text.push_str(&format!(
                "{n},2021-01-{day:02} 08:{minute:02}:{:02},2021-01-{day:02},{n}.25,true,N\n",
                n % 60
            )),
            1 => text.push_str(&format!(
                "{n},2021-01-{day:02}T08:{minute:02}:00Z,2021-01-{day:02},.5,f,\"a \"\"b\"\", c\"\n"
            )),
            2 => text.push_str(&format!("{n},,,,,\n")),
            _ => {
                text.push_str(&format!("{n},2021-01-{day:02} 08:00:00.123456,2021-01-{day:02},-1e-3,0,\"ä\n\t\\N\"\n"))
            }
        }
    }
    text
}
