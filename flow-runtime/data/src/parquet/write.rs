//! CSV and JSON lines to Parquet.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::gather::write_gathered;
use crate::batches::TextBatches;
use crate::csv::Chunks;
use crate::files::{self, Part, part_path};
use crate::json::JsonLines;
use crate::misfit::{Misfit, Misfits, Tolerance};
use crate::quarantine::{self, Quarantine};
use crate::schema::{Column, Schema};
use crate::{CsvOptions, Error, Progress, Result, infer};

/// How a Parquet file is made of a text file, and laid out. It is always compressed with zstd and carries statistics; its
/// metadata tell the SHA-256 of the text file (`source.sha256`), as it lay on disk, and its number of rows (`source.rows`).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ParquetOptions {
    /// The most rows in one row group; 131,072 unless said.
    pub row_group_rows: usize,
    /// A row group is ended earlier when it takes so much memory; 64 MiB unless said. About three times as much is there at one time:
    /// the next group is gathered while one is encoded, of which a part is there in both forms. It counts as 64 KiB for each column if
    /// it is less: what the footer says of smaller ones would take more than they save.
    pub row_group_bytes: usize,
    /// How the CSV file is written.
    pub csv: CsvOptions,
    /// What becomes of what does not fit; it fails unless said.
    pub misfit: Misfit,
    /// How many rows that do not fit are put up with.
    pub tolerance: Tolerance,
    /// Reads the whole file twice. The first time finds the stated columns that have values of another type: whole numbers
    /// become numbers with a fraction if that loses no digit, all else becomes text. [`ParquetFile::columns`] tells.
    pub widen: bool,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self {
            row_group_rows: 1 << 17,
            row_group_bytes: 64 << 20,
            csv: CsvOptions::default(),
            misfit: Misfit::Fail,
            tolerance: Tolerance::default(),
            widen: false,
        }
    }
}

impl ParquetOptions {
    /// The same with row groups small enough for a call that is to take about so many bytes of memory for its rows. Many columns need
    /// more than a small budget: see [`ParquetOptions::row_group_bytes`].
    #[must_use]
    pub fn within(mut self, memory: u64) -> Self {
        // One group is gathered while another is encoded, and of that a part is there in both forms.
        let third = usize::try_from(memory / 3).unwrap_or(usize::MAX);
        self.row_group_bytes = self.row_group_bytes.min(third);
        self
    }
}

/// A Parquet file that was written. The rows of the text file are `rows + quarantined`: none is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParquetFile {
    /// Where it is.
    pub path: PathBuf,
    /// How many rows it has.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// How many rows were kept out, by [`Misfit::Quarantine`].
    #[serde(default)]
    pub quarantined: u64,
    /// Where they are, if there are any: `PARQUET.rejected.csv`. Its columns are the row's number, the column that did not fit (blank
    /// if the row as a whole did not), the reason, and the row as it was. Bytes that are not UTF-8 are written `\xff`.
    #[serde(default)]
    pub quarantine: Option<PathBuf>,
    /// How many values became null, or were dropped, by [`Misfit::Null`].
    #[serde(default)]
    pub nulled: u64,
    /// Where the rows came from, if somebody said so: [`ParquetFile::of`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl ParquetFile {
    /// The same file of rows that came from there: a URL without a password. It goes along with what is made of the file.
    #[must_use]
    pub fn of(self, source: impl Into<String>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

/// Turns a CSV file, plain or packed with gzip or zstd, into a Parquet file. The columns come in the order of the schema;
/// columns of the file that the schema does not state follow as text. Values are checked as [`Type`](crate::Type) says;
/// blank is null. How the file is written, and what becomes of what does not fit, stand in the options.
///
/// `progress` counts bytes of the CSV file on disk, of its size. The memory in use does not grow with the file, but
/// for its footer: 2 KB for each column of each row group.
/// The Parquet file appears whole, replacing an earlier one; two writers of one file take turns. The quarantine file appears
/// whole before it, or, if no row was kept out, that of an earlier call goes. Blocks, and computes on several threads:
/// never call it on an async thread.
///
/// ```
/// # fn main() -> Result<(), flow_data::Error> {
/// use flow_data::{Misfit, ParquetOptions, Schema, Type, parquetize};
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// let csv = folder.join("trips.csv");
/// std::fs::write(&csv, "id;fare\n1;8\n2;eight\n3\n").unwrap();
///
/// let schema = Schema::new([("id", Type::Int), ("fare", Type::Float)]);
/// let mut options = ParquetOptions::default();
/// options.csv.separator = Some(';');
/// options.misfit = Misfit::Quarantine;
/// let file = parquetize(&csv, folder.join("trips.parquet"), &schema, &options, &())?;
/// assert_eq!((file.rows, file.quarantined), (1, 2));
/// assert_eq!(
///     std::fs::read_to_string(file.quarantine.unwrap()).unwrap(),
///     "row,column,reason,record\n\
///      2,\"fare\",\"fare: `eight` is not a number\",\"2;eight\"\n\
///      3,\"\",\"has 1 fields, the header has 2\",\"3\"\n",
/// );
/// # Ok(()) }
/// ```
///
/// # Errors
/// A stated column is missing, or none is stated and the file seems to be no CSV ([`Schema::infer`]); a value is not of its type, or a record has too few or too many fields, and the options do not
/// say otherwise, or say that fewer are put up with; the file cannot be read or written; it is the Parquet file, or the
/// quarantine file beside that, by this name or another ([`Error::Invalid`], and it stays as it is); `progress` cancelled.
pub fn parquetize(
    csv: impl AsRef<Path>,
    parquet: impl AsRef<Path>,
    schema: &Schema,
    options: &ParquetOptions,
    progress: &dyn Progress,
) -> Result<ParquetFile> {
    let csv = csv.as_ref();
    keep(csv, parquet.as_ref())?;
    let mut schema = Cow::Borrowed(schema);
    if options.widen {
        let total = csv.metadata().map_err(Error::io(csv))?.len();
        let (header, chunks) = Chunks::open(csv, &schema, &options.csv)?;
        schema = Cow::Owned(infer::widen(chunks, &header.reading, &schema, total, progress)?);
    }
    let batches = TextBatches::open_csv(csv, &schema, &options.csv, options.misfit)?;
    write(csv, batches, parquet.as_ref(), options, progress)
}

/// Turns a file of JSON lines, plain or packed with gzip or zstd, into a Parquet file, as [`parquetize`] does with CSV. Each
/// line is an object, its keys are the columns; a key that is missing is null, lists and objects are kept as JSON text.
/// Keys that the schema does not state become columns of text if they come in the first MiB; one that comes later, or
/// twice in one line, does not fit. Of [`CsvOptions`] only the encoding, the formats and the nulls matter.
///
/// # Errors
/// As [`parquetize`]. A line that is no object does not fit.
pub fn parquetize_json(
    json: impl AsRef<Path>,
    parquet: impl AsRef<Path>,
    schema: &Schema,
    options: &ParquetOptions,
    progress: &dyn Progress,
) -> Result<ParquetFile> {
    let json = json.as_ref();
    keep(json, parquet.as_ref())?;
    let mut schema = Cow::Borrowed(schema);
    if options.widen {
        let total = json.metadata().map_err(Error::io(json))?.len();
        let (reading, lines) = JsonLines::open(json, &schema, &options.csv)?;
        schema = Cow::Owned(infer::widen(lines, &reading, &schema, total, progress)?);
    }
    let batches = TextBatches::open_json(json, &schema, &options.csv, options.misfit)?;
    write(json, batches, parquet.as_ref(), options, progress)
}

/// Refuses a source that [`write()`] would destroy.
fn keep(source: &Path, parquet: &Path) -> Result<()> {
    let rejected = quarantine::path_of(parquet);
    files::apart(source, &[parquet.to_owned(), part_path(parquet), part_path(&rejected), rejected])
}

fn write(
    source: &Path,
    mut batches: TextBatches,
    path: &Path,
    options: &ParquetOptions,
    progress: &dyn Progress,
) -> Result<ParquetFile> {
    let columns = batches.columns.clone();
    let total = batches.bytes;
    let part = Part::create(path, progress)?;
    let mut quarantine = Quarantine::of(path);
    let mut misfits = Misfits::default();
    let (mut read, mut quarantined) = (0, 0);
    let (rows, bytes) = write_gathered(&part, &columns, options, progress, |groups| {
        for batch in &mut batches {
            let batch = batch?;
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            read += batch.read;
            if batch.misfits.rows > 0 {
                quarantined += batch.misfits.rejected.len() as u64;
                quarantine.push(&batch.misfits.rejected, progress)?;
                misfits.add(batch.misfits);
                misfits.check(source, options.tolerance, None)?;
            }
            let position = batch.rows.position;
            groups.push(batch.rows)?;
            progress.report(position, Some(total));
        }
        misfits.check(source, options.tolerance, Some(read))?;
        let hash = batches.hash.hex().ok_or_else(|| Error::lost_thread("reading a file"))?;
        Ok(vec![("source.sha256", hash), ("source.rows", read.to_string())])
    })?;
    if rows + quarantined != read {
        let message = format!("{read} rows were read, {rows} written and {quarantined} kept out; this is a defect");
        return Err(Error::format(source, message));
    }
    let quarantine = quarantine.commit()?;
    part.commit()?;
    if quarantine.is_none() {
        quarantine::remove(path)?;
    }
    match misfits.first {
        None => tracing::info!(rows, bytes, "wrote {}", path.display()),
        Some(first) => tracing::warn!(
            rows,
            bytes,
            quarantined,
            nulled = misfits.values,
            "wrote {}; {} rows did not fit, the first: {first}",
            path.display(),
            misfits.rows,
        ),
    }
    let nulled = misfits.values;
    Ok(ParquetFile { path: path.to_owned(), rows, bytes, columns, quarantined, quarantine, nulled, source: None })
}
