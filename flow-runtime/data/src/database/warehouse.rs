//! One door to every database that files are loaded into.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::drift::Drift;
use super::feed::Batches;
use super::loading::Job;
use super::made::Maker;
use super::{
    Answer, FIRST_ROWS, Kind, Summary, bigquery, bq_load, kind, pg_load, postgres, sqlite, statement, table, unload,
    unload_bigquery, unload_sqlite,
};
use crate::bigquery::Address;
use crate::parquet::BATCH_BYTES;
use crate::progress::{Fetching, while_wanted};
use crate::redact::redact;
use crate::schema::Schema;
use crate::{Error, Field, Lake, Progress, Result};

/// The table that remembers which loads were done, beside the tables that were loaded.
pub const LOADS_TABLE: &str = "_flow_data_loads";

/// What a load does to the rows that are there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They stay.
    #[default]
    Append,
    /// They go. In Postgres, a new table takes the place of one that has nothing but columns: no index, no view on it, no
    /// rights granted. From one that has, the rows are deleted.
    Replace,
    /// A row of the file takes the place of the one with the same values in these columns; other rows stay. The file
    /// may have each key once, and so may the table (which is not looked at in BigQuery); a key has no null. A table that is
    /// created has these columns as its primary key.
    Upsert(Vec<String>),
    /// Those with this value in this column go; other rows stay. Every row of the file must have the value; a file
    /// without the column gets it.
    Partition {
        /// The column.
        column: String,
        /// The value as text; the database reads it in the column's type.
        value: String,
    },
}

/// How a file is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TableLoadOptions {
    /// What happens to the rows that are there.
    pub mode: Mode,
    /// A name for this load. A second load of the table with the same name changes nothing and returns what the first did,
    /// whatever its file and mode, and a warning in the log says so. Names are kept in [`LOADS_TABLE`].
    pub key: Option<String>,
    /// Over how many connections Postgres is fed; 0 and 1 are the same. With more, the rows go to a staging table and come
    /// in any order. That pays where the staging table takes the place of the table ([`Mode::Replace`], a table that is
    /// new); elsewhere the server writes every row twice.
    pub connections: usize,
    /// Postgres: a staging table is not in the write-ahead log, which is faster, unless it takes the place of the table.
    pub unlogged: bool,
    /// Lets the database convert where the table's type is another, by its own rules: Postgres reads the text of each value,
    /// SQLite goes by the affinity of the column, BigQuery does a `CAST`. It may round. Otherwise that stops the load.
    pub convert: bool,
    /// Postgres: the text of a CSV file goes to the database as it is, and the database checks the values. Blank is
    /// null; nothing else is. Postgres is less strict than a stated type: it rounds `1.005` where two digits after the point
    /// are kept, takes a moment without a zone for one of the session's zone in a `timestamptz`, drops the offset in a
    /// `timestamp`, and takes `24:00:00`.
    pub raw_csv: bool,
    /// About how many bytes of the rows of a Parquet file are in memory at one time, or of a CSV file on its way to BigQuery; `None` is
    /// 128 MiB. Besides, each column of a row group is there as it lies in the file, packed, while it is read.
    pub memory: Option<u64>,
}

impl TableLoadOptions {
    /// What rows may take at one time.
    fn memory(&self) -> u64 {
        self.memory.unwrap_or(2 * BATCH_BYTES)
    }

    /// While some rows are sent, the next are read.
    pub(super) fn half_memory(&self) -> u64 {
        self.memory() / 2
    }
}

/// A file to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A Parquet file, in its own types.
    Parquet(PathBuf),
    /// A CSV file, plain or gzipped, and what its columns hold.
    Csv(PathBuf, Schema),
    /// A Parquet file in a store, by its URL. BigQuery reads it from `gs://` by itself; for any other database, and from
    /// any other store, it is fetched first.
    Object(String),
}

impl Input {
    /// A Parquet file.
    pub fn parquet(path: impl AsRef<Path>) -> Self {
        Self::Parquet(path.as_ref().to_owned())
    }

    /// A CSV file.
    pub fn csv(path: impl AsRef<Path>, schema: &Schema) -> Self {
        Self::Csv(path.as_ref().to_owned(), schema.clone())
    }

    /// A Parquet file in a store.
    pub fn object(url: impl Into<String>) -> Self {
        Self::Object(url.into())
    }
}

/// What a load did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// The database, its password redacted.
    pub url: String,
    /// The table, as it was given.
    pub table: String,
    /// How many rows the file had. All of them are in the table.
    pub rows: u64,
    /// How many rows went.
    pub replaced: u64,
    /// How many rows got new values ([`Mode::Upsert`]); the others of `rows` are new.
    pub updated: u64,
    /// The name of the load.
    pub key: Option<String>,
    /// True when a load of this name was done before, and this one did nothing.
    pub repeated: bool,
}

impl LoadReport {
    /// Why nothing was loaded, and what to do if it should be. `has`: the rows of the file, if they are known.
    fn told_again(&self, has: Option<u64>) -> String {
        let Self { url, table, rows, key, .. } = self;
        let other = has.filter(|has| has != rows).map_or(String::new(), |has| format!("; the file has {has} now"));
        format!(
            "nothing was loaded into `{table}` of {url}: a load with the key `{}` was done before, of {rows} rows{other}. To \
             load all the same, give another key, or delete the row of this one from {LOADS_TABLE}",
            key.as_deref().unwrap_or_default()
        )
    }
}

/// Rows to write to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// All of a table or view.
    Table(String),
    /// What a query gives.
    Query(String),
}

/// How rows are written to a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UnloadOptions {
    /// Columns that are to be kept as something else than what their types are nearest to, by name: a `numeric` of any
    /// digits must be stated; a `smallint` may be an `int8`, a `timestamp` one of nanoseconds. A value that does not fit
    /// is an error.
    pub fields: Vec<Field>,
    /// The most rows in one row group; 0 is 131,072.
    pub row_group_rows: usize,
    /// A row group is ended earlier when its rows are so many bytes; 0 is 64 MiB. About so much is in memory, and once more while it is
    /// encoded.
    pub row_group_bytes: usize,
}

/// What a query's rows were written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unloaded {
    /// Where the file is.
    pub path: PathBuf,
    /// How many rows it has.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its columns in order.
    pub fields: Vec<Field>,
    /// Where its rows came from, if somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A database that files are loaded into, chosen by its URL: Postgres, SQLite or BigQuery.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), flow_data::Error> {
/// use flow_data::{Input, TableLoadOptions, Mode, Schema, Type, Warehouse};
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// let csv = folder.join("trips.csv");
/// std::fs::write(&csv, "id,fare\n1,8.5\n2,\n").unwrap();
/// let file = Input::csv(&csv, &Schema::new([("id", Type::Int), ("fare", Type::Float)]));
///
/// let warehouse = Warehouse::open(&format!("sqlite://{}/trips.db", folder.display()))?;
/// let mut options = TableLoadOptions::default();
/// options.mode = Mode::Upsert(vec!["id".into()]);
/// options.key = Some("january".into());
/// let first = warehouse.load(&file, "trips", &options, &()).await?;
/// assert_eq!((first.rows, first.updated, first.repeated), (2, 0, false));
/// let again = warehouse.load(&file, "trips", &options, &()).await?;
/// assert_eq!((again.rows, again.repeated), (2, true));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Warehouse {
    url: String,
    kind: Kind,
    lake: Lake,
    /// For objects, if it is another.
    objects: Option<Lake>,
    scratch: Option<PathBuf>,
}

impl Warehouse {
    /// Names a database: `postgres://user:password@host/name`, `sqlite://path` or `sqlite:path`, or a dataset:
    /// `bigquery://project/dataset`, with `?location=EU` if it is not in `US` (`bigquery:///dataset`: in the project of the
    /// credentials). Does not connect.
    ///
    /// # Errors
    /// The URL names no database.
    pub fn open(url: &str) -> Result<Self> {
        let kind = kind(url)?;
        if let Kind::BigQuery = kind {
            Address::parse(url)?;
        }
        Ok(Self { url: url.to_owned(), kind, lake: Lake::new(), objects: None, scratch: None })
    }

    /// With the options of this lake for objects ([`Input::Object`]), and for BigQuery its credentials.
    #[must_use]
    pub fn with_lake(self, lake: Lake) -> Self {
        Self { lake, ..self }
    }

    /// Objects are reached with the options of this lake, and the database with those of the other.
    #[must_use]
    pub fn with_objects(self, objects: Lake) -> Self {
        Self { objects: Some(objects), ..self }
    }

    /// Objects that have to be fetched, and what a CSV file becomes for BigQuery, lie in this folder meanwhile; in the system's for
    /// what is temporary, unless said.
    #[must_use]
    pub fn with_scratch(self, folder: impl Into<PathBuf>) -> Self {
        Self { scratch: Some(folder.into()), ..self }
    }

    /// Loads a file into a table, all of it or nothing, in one transaction.
    ///
    /// A missing table is created with the file's columns: exact types, and `NOT NULL` where the file says so. One that is
    /// there must fit, which is seen before anything is loaded: [`Drift`] is what the error shows. After the load the rows
    /// that arrived are counted against those of the file, before the transaction ends.
    ///
    /// BigQuery gets Parquet alone: a CSV file becomes one first, in the folder of [`Warehouse::with_scratch`], by the same rules as
    /// those of [`parquetize`](crate::parquetize). Its rows go to a staging table by a load job; what brings them to their table is one
    /// transaction, whose reading BigQuery charges for ([`BigQuery::load`](crate::BigQuery::load) loads without). The table is created before it, and
    /// stays empty should that fail; a staging table that a crash leaves vanishes after twelve hours. Dropping the future asks
    /// BigQuery to end the transaction, which may be done by then ([`settled`](crate::settled()) waits for that).
    ///
    /// `progress` counts rows of a Parquet file, or bytes of a CSV file on disk or of what is sent to BigQuery; before, it hears how much
    /// of an object is [`fetched`](Progress::fetched). Dropping the future, or
    /// `progress`, ends the load and leaves the table as it was. So does a crash; a staging table that a crash leaves is dropped by the next load of the
    /// table.
    ///
    /// # Errors
    /// The file cannot be read, or holds a value that the database cannot; file and table do not fit; a key or partition is
    /// not what [`Mode`] asks for; the database refuses or cannot be reached.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn load(
        &self,
        file: &Input,
        table: &str,
        options: &TableLoadOptions,
        progress: &dyn Progress,
    ) -> Result<LoadReport> {
        if let Some(key) = &options.key {
            table::check_source(key)?;
        }
        self.load_if(file, table, options, progress, |_| Ok(())).await
    }

    /// The same, if the columns of the file are such as they should be.
    pub(super) async fn load_if(
        &self,
        file: &Input,
        table: &str,
        options: &TableLoadOptions,
        progress: &dyn Progress,
        fits: impl Fn(&[Field]) -> Result<()>,
    ) -> Result<LoadReport> {
        let load = async {
            let (batches, fetched) = self.batches(file, options, progress).await?;
            fits(&batches.fields)?;
            let loaded = self.run(table, batches, options, progress).await;
            match (file, fetched) {
                (Input::Object(url), Some(folder)) => loaded.map_err(|e| e.known_as(&folder.path().join(OBJECT), url)),
                _ => loaded,
            }
        };
        while_wanted(progress, Box::pin(load)).await
    }

    /// Opens a file. The folder, if there is one, has to be there while it is read.
    async fn batches(
        &self,
        file: &Input,
        options: &TableLoadOptions,
        progress: &dyn Progress,
    ) -> Result<(Batches, Option<TempDir>)> {
        let url = match file {
            _ if options.raw_csv => return Ok((Batches::raw(file).await?, None)),
            Input::Parquet(path) => return Ok((Batches::parquet(path, options.half_memory()).await?, None)),
            Input::Csv(path, schema) if matches!(self.kind, Kind::BigQuery) => {
                let maker = Maker { schema: schema.clone(), folder: self.scratch()?, memory: options.memory() };
                return Ok((Batches::to_make(path, maker).await?, None));
            }
            Input::Csv(path, schema) => return Ok((Batches::csv(path, schema).await?, None)),
            Input::Object(url) => url,
        };
        let objects = self.objects.as_ref().unwrap_or(&self.lake);
        if matches!(self.kind, Kind::BigQuery) && url.starts_with("gs://") {
            if url.contains('*') {
                return Err(Error::Invalid(format!(
                    "`{}`: BigQuery takes `*` for any letters; name one object",
                    redact(url)
                )));
            }
            return Ok((Batches::object(objects, url).await?, None));
        }
        let folder = self.scratch()?;
        let path = folder.path().join(OBJECT);
        objects.fetch(url, &path, &Fetching(progress)).await?;
        let batches = Batches::parquet(&path, options.half_memory()).await.map_err(|e| e.known_as(&path, url))?;
        Ok((batches, Some(folder)))
    }

    /// A folder for a file that is needed while it is loaded.
    fn scratch(&self) -> Result<TempDir> {
        let folder = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        sweep(&folder);
        TempDir::with_prefix_in(FETCHED, &folder).map_err(Error::io(&folder))
    }

    async fn run(
        &self,
        table: &str,
        batches: Batches,
        options: &TableLoadOptions,
        progress: &dyn Progress,
    ) -> Result<LoadReport> {
        let has = batches.rows;
        let job = Job::new(&self.url, self.kind, table, batches, options, progress)?;
        let report = match self.kind {
            Kind::Postgres => while_wanted(progress, Box::pin(pg_load::load(job))).await?,
            Kind::Sqlite => while_wanted(progress, Box::pin(sqlite::load(job))).await?,
            Kind::BigQuery => while_wanted(progress, Box::pin(bq_load::load(job, &self.lake))).await?,
        };
        let LoadReport { rows, replaced, repeated, url, .. } = &report;
        match repeated {
            false => tracing::info!(rows, replaced, repeated, "loaded into `{table}` of {url}"),
            true => tracing::warn!(rows, repeated, "{}", report.told_again(has)),
        }
        Ok(report)
    }

    /// Writes a table, or what a query gives, to a Parquet file, as the rows come. The types are those that a load of the file
    /// would create again: `smallint` is `int16`, `numeric(12,2)` is `decimal(12,2)`, `json` and `jsonb` are JSON, an
    /// array is a list. In SQLite the type with which a column was declared counts, and where none was, that of all its values (which reads
    /// them twice); a value that is something else is an error. The file appears whole, replacing an earlier one.
    ///
    /// BigQuery runs a query for a table too, for whose reading it charges, and its answer comes by REST, page by page: the rows are
    /// those of one moment, and counted against those that it has told of. `NUMERIC` is `decimal(38,9)`; a `BIGNUMERIC` must be
    /// stated; a record is JSON, and so are those of a list of records; `GEOGRAPHY`, `INTERVAL` and `RANGE` are to be selected as
    /// text. An answer has [at most 10 GB](https://cloud.google.com/bigquery/quotas#query_jobs): for more, and where millions of
    /// rows are a habit, `EXPORT DATA` writes Parquet to a bucket.
    ///
    /// `progress` counts rows. Dropping the future, or `progress`, ends the query and leaves no file.
    ///
    /// # Errors
    /// A column has a type that fits no Parquet file, or a value (infinity, NaN in a `numeric`) that fits none; the
    /// database refuses or cannot be reached; the file cannot be written.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn unload(
        &self,
        select: &Select,
        parquet: impl AsRef<Path>,
        options: &UnloadOptions,
        progress: &dyn Progress,
    ) -> Result<Unloaded> {
        match self.kind {
            Kind::Postgres => {
                let unload = unload::unload(&self.url, select, parquet.as_ref(), options, progress);
                while_wanted(progress, unload).await
            }
            Kind::Sqlite => {
                let unload = unload_sqlite::unload(&self.url, select, parquet.as_ref(), options, progress);
                while_wanted(progress, unload).await
            }
            Kind::BigQuery => {
                let parquet = parquet.as_ref();
                let unload = unload_bigquery::unload(&self.url, &self.lake, select, parquet, options, progress);
                while_wanted(progress, Box::pin(unload)).await
            }
        }
    }

    /// How a table and the columns of a file differ; `None` if there is no such table. Loads nothing.
    ///
    /// # Errors
    /// The database refuses or cannot be reached.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn compare(&self, table: &str, fields: &[Field]) -> Result<Option<Drift>> {
        match self.kind {
            Kind::Postgres => postgres::compare(&self.url, table, fields).await,
            Kind::Sqlite => sqlite::compare(&self.url, table, fields).await,
            Kind::BigQuery => bigquery::compare(&self.url, &self.lake, table, fields).await,
        }
    }

    /// Counts a table's rows, of one source or of all, and shows its columns and first rows.
    ///
    /// # Errors
    /// There is no such table, or the database refuses or cannot be reached.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn summarise(&self, table: &str, source: Option<&str>) -> Result<Summary> {
        match self.kind {
            Kind::Postgres => postgres::summarise(&self.url, table, source, FIRST_ROWS).await,
            Kind::Sqlite => sqlite::summarise(&self.url, table, source, FIRST_ROWS).await,
            Kind::BigQuery => bigquery::summarise(&self.url, &self.lake, table, source, FIRST_ROWS).await,
        }
    }

    /// How many rows a table has, of all or of those with this value in this column; `None` if there is no such table. The
    /// value is a text, which the database reads in the column's type.
    ///
    /// # Errors
    /// There is no such column, or the database refuses or cannot be reached.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn count(&self, table: &str, of: Option<(&str, &str)>) -> Result<Option<u64>> {
        match self.kind {
            Kind::Postgres => postgres::rows_of(&self.url, table, of).await,
            Kind::Sqlite => sqlite::rows_of(&self.url, table, of).await,
            Kind::BigQuery => bigquery::rows_of(&self.url, &self.lake, table, of).await,
        }
    }

    /// Runs one statement or several, with `;` between, in one transaction: all of it is done, or nothing. Gives the rows of the
    /// last one. A missing SQLite file is created. In BigQuery, several are a script, and a transaction only if it says so.
    ///
    /// What cannot run in a transaction (`VACUUM`, `CREATE DATABASE`) is refused by the database. Dropping the future leaves
    /// everything as it was; Postgres may notice that only when it next has something to say, and BigQuery never.
    ///
    /// # Errors
    /// The database refuses or cannot be reached; more than 10,000 rows or 16 MiB: those are data to load, not to answer.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn execute(&self, statement: &str) -> Result<Answer> {
        statement::execute(&self.url, self.kind, &self.lake, statement).await
    }

    /// As [`Warehouse::execute`], and takes back whatever was written; a missing SQLite file is an error. BigQuery is asked
    /// one `SELECT`.
    ///
    /// # Errors
    /// As [`Warehouse::execute`].
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn ask(&self, query: &str) -> Result<Answer> {
        statement::ask(&self.url, self.kind, &self.lake, query).await
    }
}

/// How the name of every folder begins that an object is fetched into.
const FETCHED: &str = "flow-fetched-";
/// The object in it.
const OBJECT: &str = "object.parquet";
/// A folder that a killed process left is removed when it is as old as this.
const LEFT: Duration = Duration::from_secs(24 * 3600);

/// Removes what killed processes have left. What cannot be removed, or looked at, stays.
fn sweep(folder: &Path) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(FETCHED);
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        if ours && changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > LEFT)) {
            let _gone = std::fs::remove_dir_all(entry.path());
        }
    }
}
