//! Queries over tables: what they give is kept without ever being whole in memory, and of a kept table they read what they
//! need.
//!
//! All of these block, and none may be called on an async thread: polars has a runtime of its own.

use std::fs::File;
use std::io;
use std::path::Path;

use polars::lazy::dsl::{FileWriteFormat, SinkDestination, SinkTarget, UnifiedSinkArgs};
use polars::prelude::{
    DataFrame, Engine, LazyFrame, ParquetCompression, ParquetReader, ParquetWriteOptions, PlRefPath, PolarsError,
    ScanArgsParquet, SerReader,
};

use super::{FrameFile, HEAD, begin, frame_path, hash, head, keep, shapes};
use crate::{Error, Result};

/// Rows of one group in the file: always as many, so that the same rows are the same file.
const GROUP: usize = 122_880;

/// Keeps what a query gives, as [`write_frame`](crate::write_frame) keeps a table. The rows stream into the file: of a query
/// whose steps need no more (a sort does, say) only some are in memory at a time. Blocks.
///
/// # Errors
/// The query goes wrong, the folder cannot be written, or a column has a type that Parquet has not.
pub fn write_query(query: LazyFrame, folder: &Path) -> Result<FrameFile> {
    let part = begin(folder)?;
    let wrong = wrong(folder);
    let target = SinkTarget::Path(PlRefPath::try_from_path(part.path()).map_err(&wrong)?);
    let options = ParquetWriteOptions {
        compression: ParquetCompression::Zstd(None),
        row_group_size: Some(GROUP),
        ..ParquetWriteOptions::default()
    };
    let sink = query.sink(
        SinkDestination::File { target },
        FileWriteFormat::Parquet(options.into()),
        UnifiedSinkArgs::default(),
    );
    sink.and_then(|sink| sink.collect_with_engine(Engine::Streaming)).map_err(&wrong)?;
    let file = File::open(part.path()).map_err(Error::io(part.path()))?;
    file.sync_all().map_err(Error::io(part.path()))?;
    let (sha256, bytes) = hash(&file, part.path())?;
    let mut reader = ParquetReader::new(file);
    let rows = reader.num_rows().map_err(&wrong)? as u64;
    let first = reader.with_slice(Some((0, HEAD))).finish().map_err(&wrong)?;
    keep(part, folder, &sha256)?;
    Ok(FrameFile { sha256, bytes, rows, columns: shapes(&first), head: head(&first) })
}

/// What a query gives, in memory. Blocks.
///
/// # Errors
/// The query goes wrong.
pub fn run_query(query: LazyFrame) -> Result<DataFrame> {
    let ran = query.collect_with_engine(Engine::Streaming).map_err(wrong(Path::new("memory")))?;
    Ok(ran.unwrap_single())
}

/// A query over a kept table, which reads the columns and the groups of rows that it needs. That the file is there and has
/// its size is looked at now. Its SHA-256 is not, for that would be to read all of it: what is damaged in its midst is told if it
/// cannot be decoded. The file is mapped into memory: if somebody cuts it while it is read, the system ends this process.
///
/// # Errors
/// The file is not there, or has another size than what was written.
pub fn scan_frame(folder: &Path, file: &FrameFile) -> Result<LazyFrame> {
    let path = frame_path(folder, &file.sha256);
    let bytes = path.metadata().map_err(Error::io(&path))?.len();
    if bytes != file.bytes {
        let message = format!("this file is damaged: it has {bytes} bytes, and {} were written", file.bytes);
        return Err(Error::format(&path, message));
    }
    // The path is no pattern, and the names of its folders are no columns.
    let mut args = ScanArgsParquet { glob: false, ..ScanArgsParquet::default() };
    args.hive_options.enabled = Some(false);
    let scan = PlRefPath::try_from_path(&path).and_then(|path| LazyFrame::scan_parquet(path, args));
    scan.map_err(|e| Error::format(&path, format!("this cannot be read as Parquet: {e}")))
}

/// What polars says of a query whose rows go there.
fn wrong(to: &Path) -> impl Fn(PolarsError) -> Error {
    move |error| match &error {
        // A full disk, say: the kind tells whether time may heal it.
        PolarsError::IO { error: source, .. } => {
            let words = format!("the query goes wrong: {error}");
            Error::Io { path: to.to_owned(), source: io::Error::new(source.kind(), words) }
        }
        _ => Error::Invalid(format!("the query goes wrong: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{read_frame, write_frame};
    use polars::prelude::{IntoLazy, col, df, lit};
    use std::ops::Range;

    const ROWS: i64 = 3 * GROUP as i64;

    fn table() -> DataFrame {
        df!["n" => (0..ROWS).collect::<Vec<_>>(), "name" => (0..ROWS).map(|n| format!("no {n}")).collect::<Vec<_>>()]
            .unwrap()
    }

    /// Where a column of a group of rows lies in the file.
    fn place(path: &Path, group: usize, column: usize) -> Range<u64> {
        let metadata = polars_parquet::read::read_metadata(&mut File::open(path).unwrap()).unwrap();
        metadata.row_groups[group].parquet_columns()[column].byte_range()
    }

    /// In a copy that takes its place: polars maps files into memory, and a query that is over may have its map still.
    fn spoil(path: &Path, place: Range<u64>) {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[place.start as usize..place.end as usize].fill(0xAA);
        let copy = path.with_extension("spoilt");
        std::fs::write(&copy, bytes).unwrap();
        std::fs::rename(copy, path).unwrap();
    }

    #[test]
    fn what_a_query_gives_is_kept_as_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let query = || table().lazy().filter(col("n").gt_eq(lit(2))).select([col("name"), col("n") * lit(2)]);
        let kept = write_query(query(), folder.path()).unwrap();
        assert_eq!(write_query(query(), folder.path()).unwrap(), kept, "the same is one file");
        assert_eq!(kept.rows, ROWS as u64 - 2);
        let columns: Vec<_> = kept.columns.iter().map(|c| (&*c.name, &*c.kind)).collect();
        assert_eq!(columns, [("name", "str"), ("n", "i64")]);
        assert_eq!((kept.head.len(), &kept.head[0]), (HEAD, &vec![Some("no 2".into()), Some("4".into())]));
        let path = frame_path(folder.path(), &kept.sha256);
        assert_eq!(path.metadata().unwrap().len(), kept.bytes);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
        let given = run_query(query()).unwrap();
        assert!(read_frame(folder.path(), &kept.sha256).unwrap().equals(&given));
        assert!(run_query(scan_frame(folder.path(), &kept).unwrap()).unwrap().equals(&given));
    }

    #[test]
    fn nothing_is_a_table_too() {
        let folder = tempfile::tempdir().unwrap();
        let kept = write_query(table().lazy().filter(lit(false)), folder.path()).unwrap();
        assert_eq!((kept.rows, kept.head.len(), kept.columns.len()), (0, 0, 2));
        assert_eq!(run_query(scan_frame(folder.path(), &kept).unwrap()).unwrap().shape(), (0, 2));
    }

    /// Where it does not look, all is spoilt.
    #[test]
    fn a_query_reads_the_columns_and_the_groups_that_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let kept = write_query(table().lazy(), folder.path()).unwrap();
        let path = frame_path(folder.path(), &kept.sha256);
        let scan = || scan_frame(folder.path(), &kept).unwrap();
        for group in 0..3 {
            spoil(&path, place(&path, group, 1));
        }
        let sum = run_query(scan().select([col("n").sum()])).unwrap();
        assert_eq!(sum.column("n").unwrap().get(0).unwrap().try_extract::<i64>().unwrap(), ROWS * (ROWS - 1) / 2);
        run_query(scan()).unwrap_err();
        for group in 1..3 {
            spoil(&path, place(&path, group, 0));
        }
        let first = || scan().filter(col("n").lt(lit(3))).select([col("n")]);
        assert_eq!(run_query(first()).unwrap().height(), 3);
        run_query(scan().select([col("n")])).unwrap_err();
        let error = read_frame(folder.path(), &kept.sha256).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
    }

    #[test]
    fn a_file_that_is_gone_or_cut_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let kept = write_frame(&table(), folder.path()).unwrap();
        let path = frame_path(folder.path(), &kept.sha256);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let told = || scan_frame(folder.path(), &kept).map(|_| ()).unwrap_err().to_string();
        assert!(told().contains("damaged") && told().contains(&kept.sha256), "{}", told());
        std::fs::remove_file(&path).unwrap();
        assert!(told().contains(&kept.sha256), "{}", told());
    }

    #[test]
    fn a_folder_is_no_pattern_and_no_column() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("month=1").join("[a]*");
        let kept = write_query(table().lazy(), &odd).unwrap();
        assert!(run_query(scan_frame(&odd, &kept).unwrap()).unwrap().equals(&table()));
    }

    #[test]
    fn a_query_that_goes_wrong_says_why_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let wrong = || table().lazy().select([col("nobody")]);
        for error in [write_query(wrong(), folder.path()).unwrap_err(), run_query(wrong()).unwrap_err()] {
            assert!(error.is_permanent() && error.to_string().contains("nobody"), "{error}");
        }
        let missing = folder.path().join("not there.parquet");
        let scan = || {
            let path = PlRefPath::try_from_path(&missing).unwrap();
            LazyFrame::scan_parquet(path, ScanArgsParquet::default()).unwrap()
        };
        for error in [write_query(scan(), folder.path()).unwrap_err(), run_query(scan()).unwrap_err()] {
            assert!(error.is_permanent() && error.to_string().contains("not there.parquet"), "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
