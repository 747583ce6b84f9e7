//! Whole tables in memory, and the files that they are kept in.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use polars::prelude::{AnyValue, DataFrame, ParquetCompression, ParquetReader, ParquetWriter, SerReader};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::database::Shape;
use crate::{Error, Result};

#[cfg(feature = "lazy")]
pub(crate) mod query;

/// How many rows a [`FrameFile`] shows.
const HEAD: usize = 5;
/// Longest text of a cell that it shows, in characters.
const LONGEST: usize = 60;

/// A table that was kept as Parquet: where, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameFile {
    /// SHA-256 of the file, 64 lower-case hexadecimal digits: its name.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// How many rows.
    pub rows: u64,
    /// The columns, with their types in the words of polars.
    pub columns: Vec<Shape>,
    /// The first rows, at most five, each value as text, null as `None`; a long text ends in `…`.
    pub head: Vec<Vec<Option<String>>>,
}

/// Where a table of this SHA-256 is kept under a folder: `ab/abcd...parquet`.
pub fn frame_path(folder: &Path, sha256: &str) -> PathBuf {
    folder.join(sha256.get(..2).unwrap_or("00")).join(format!("{sha256}.parquet"))
}

/// Keeps a table as Parquet under a folder, in a file named after its content: the same twice is one file. It appears whole or
/// not at all, and outlives a power cut. Blocks.
///
/// # Errors
/// The folder cannot be written, or a column has a type that Parquet has not.
pub fn write_frame(frame: &DataFrame, folder: &Path) -> Result<FrameFile> {
    let part = begin(folder)?;
    let (sha256, bytes) = write_parquet(frame, part.as_file(), part.path())?;
    keep(part, folder, &sha256)?;
    Ok(FrameFile { sha256, bytes, rows: frame.height() as u64, columns: shapes(frame), head: head(frame) })
}

/// A file that becomes a table's, or nothing.
fn begin(folder: &Path) -> Result<NamedTempFile> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    tempfile::Builder::new().prefix("frame-").suffix(".part").tempfile_in(folder).map_err(Error::io(folder))
}

/// Gives it the name of its content, once it is on the disk.
fn keep(part: NamedTempFile, folder: &Path, sha256: &str) -> Result<()> {
    let target = frame_path(folder, sha256);
    let home = target.parent().unwrap_or(folder);
    std::fs::create_dir_all(home).map_err(Error::io(home))?;
    part.persist(&target).map_err(|e| Error::io(&target)(e.error))?;
    if cfg!(unix) {
        File::open(home).and_then(|folder| folder.sync_all()).map_err(Error::io(home))?;
    }
    Ok(())
}

/// Writes it through to the disk; gives the SHA-256 and the size of the file.
fn write_parquet(frame: &DataFrame, file: &File, path: &Path) -> Result<(String, u64)> {
    let mut hashed = Hashed { file: BufWriter::new(file), hash: Sha256::new(), bytes: 0 };
    // The columns are shared, not copied.
    let mut columns = frame.clone();
    let written = ParquetWriter::new(&mut hashed).with_compression(ParquetCompression::Zstd(None)).finish(&mut columns);
    written.map_err(|e| Error::format(path, format!("this table cannot be written as Parquet: {e}")))?;
    hashed.file.flush().and_then(|()| file.sync_all()).map_err(Error::io(path))?;
    Ok((hex(hashed.hash), hashed.bytes))
}

/// Reads a table that [`write_frame`] has kept. Blocks.
///
/// # Errors
/// The file is not there, cannot be read, or is not what was written.
pub fn read_frame(folder: &Path, sha256: &str) -> Result<DataFrame> {
    let path = frame_path(folder, sha256);
    let file = File::open(&path).map_err(Error::io(&path))?;
    if hash(&file, &path)?.0 != sha256 {
        return Err(Error::format(&path, "this file is damaged: it is not what was written (its SHA-256 differs)"));
    }
    let read = ParquetReader::new(file).finish();
    read.map_err(|e| Error::format(&path, format!("this cannot be read as Parquet: {e}")))
}

/// The SHA-256 and the size of a file.
fn hash(mut file: &File, path: &Path) -> Result<(String, u64)> {
    let mut hashed = Hashed { file: io::sink(), hash: Sha256::new(), bytes: 0 };
    io::copy(&mut file, &mut hashed).map_err(Error::io(path))?;
    Ok((hex(hashed.hash), hashed.bytes))
}

fn shapes(frame: &DataFrame) -> Vec<Shape> {
    frame.columns().iter().map(|c| Shape { name: c.name().to_string(), kind: c.dtype().to_string() }).collect()
}

fn head(frame: &DataFrame) -> Vec<Vec<Option<String>>> {
    let text = |value: AnyValue<'_>| match value {
        AnyValue::Null => None,
        value => {
            let text = value.str_value();
            let long = text.chars().count() > LONGEST;
            Some(if long { text.chars().take(LONGEST).chain(['…']).collect() } else { text.into_owned() })
        }
    };
    let row = |n| frame.columns().iter().map(|column| column.get(n).ok().and_then(text)).collect();
    (0..frame.height().min(HEAD)).map(row).collect()
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hashes what it writes.
struct Hashed<W> {
    file: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polars::prelude::df;

    fn table() -> DataFrame {
        df!["id" => [Some(1i64), None, Some(3)], "name" => ["a", "b", &"x".repeat(100)]].unwrap()
    }

    #[test]
    fn a_table_comes_back_and_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let kept = write_frame(&table(), folder.path()).unwrap();
        assert_eq!(write_frame(&table(), folder.path()).unwrap(), kept, "the same is one file");
        assert_eq!(kept.rows, 3);
        let columns: Vec<_> = kept.columns.iter().map(|c| (&*c.name, &*c.kind)).collect();
        assert_eq!(columns, [("id", "i64"), ("name", "str")]);
        assert_eq!(kept.head[1], [None, Some("b".to_string())]);
        assert_eq!(kept.head[2][1].as_deref(), Some(&*format!("{}…", "x".repeat(60))));
        assert!(read_frame(folder.path(), &kept.sha256).unwrap().equals_missing(&table()));
        let path = frame_path(folder.path(), &kept.sha256);
        assert_eq!(path.metadata().unwrap().len(), kept.bytes);
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!((files, std::fs::read_dir(folder.path()).unwrap().count()), (1, 1), "no part is left");
    }

    #[test]
    fn a_damaged_or_missing_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let kept = write_frame(&table(), folder.path()).unwrap();
        let path = frame_path(folder.path(), &kept.sha256);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = read_frame(folder.path(), &kept.sha256).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = read_frame(folder.path(), &kept.sha256).unwrap_err().to_string();
        assert!(error.contains(&kept.sha256), "{error}");
    }

    #[test]
    fn an_empty_table_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let empty = table().head(Some(0));
        let kept = write_frame(&empty, folder.path()).unwrap();
        assert_eq!((kept.rows, kept.head.len(), kept.columns.len()), (0, 0, 2));
        assert!(read_frame(folder.path(), &kept.sha256).unwrap().equals(&empty));
    }
}
