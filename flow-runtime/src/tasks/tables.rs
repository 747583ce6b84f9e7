//! Tables: from a lake or the disk into a database, and back.

use super::{LocalFile, Parquetize, stem};
use crate::context::{Context, Unit};
use crate::error::{Result, TaskError};
use crate::operators::Connection;
use crate::task;
use flow_data::{
    BigQuery, ColumnType, CsvOptions, Field, Format, Input, Lake, LoadJob, LoadOptions, LoadReport, LoadSource, Misfit,
    Mode, Partition, SOURCE_COLUMN, Schema, Select, TableColumn, TableLoadOptions, UnloadOptions, Unloaded, Uploaded,
    Warehouse, Write,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What a load does, and with which table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// The table: `name`, or `schema.name` (Postgres), `dataset.name` (BigQuery).
    pub table: String,
    /// What happens to the rows that are there. `None`: those of an earlier load of the same source are replaced, by the column
    /// `_source` that every row gets: where it was downloaded from, or else the object or file.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// A name for the load; a second one of that name changes nothing.
    #[serde(default)]
    pub key: Option<String>,
    /// What the columns of a CSV file hold. `None`: what the first rows do.
    #[serde(default)]
    pub schema: Option<Schema>,
    /// How a CSV file is written. One that is written otherwise than databases take it becomes Parquet first, below the home folder.
    #[serde(default)]
    pub csv: CsvOptions,
    /// What becomes of what does not fit in a CSV file. All but a refusal is a matter of the Parquet file that it becomes first.
    #[serde(default)]
    pub misfit: Misfit,
    /// Over how many connections Postgres is fed.
    #[serde(default)]
    pub connections: usize,
    /// Lets the database convert where the table's type is another; otherwise that stops the load.
    #[serde(default)]
    pub convert: bool,
    /// See [`Load::unlogged`].
    #[serde(default)]
    pub unlogged: bool,
    /// See [`Load::raw_csv`].
    #[serde(default)]
    pub raw_csv: bool,
}

impl Load {
    /// Into this table. Rows of an earlier load of the same file are replaced.
    pub fn into(table: impl Into<String>) -> Load {
        Load {
            table: table.into(),
            mode: None,
            key: None,
            schema: None,
            csv: CsvOptions::default(),
            misfit: Misfit::Fail,
            connections: 1,
            convert: false,
            unlogged: false,
            raw_csv: false,
        }
    }

    /// The rows are added, once for each run: a retry, or the task cleared, does not add them again.
    #[must_use]
    pub fn append(self) -> Load {
        Load { mode: Some(Mode::Append), ..self }
    }

    /// All other rows go.
    #[must_use]
    pub fn replace(self) -> Load {
        Load { mode: Some(Mode::Replace), ..self }
    }

    /// A row takes the place of the one with the same values in these columns.
    #[must_use]
    pub fn upsert<S: Into<String>>(self, key: impl IntoIterator<Item = S>) -> Load {
        Load { mode: Some(Mode::Upsert(key.into_iter().map(Into::into).collect())), ..self }
    }

    /// Rows with this value in this column are replaced.
    #[must_use]
    pub fn partition(self, column: impl Into<String>, value: impl Into<String>) -> Load {
        Load { mode: Some(Mode::Partition { column: column.into(), value: value.into() }), ..self }
    }

    /// A CSV file has these columns.
    #[must_use]
    pub fn schema(self, schema: Schema) -> Load {
        Load { schema: Some(schema), ..self }
    }

    /// A CSV file is written like this: another encoding, other quotes, no header ..
    #[must_use]
    pub fn csv(self, csv: CsvOptions) -> Load {
        Load { csv, ..self }
    }

    /// Fields of a CSV file stand between these, not between commas.
    #[must_use]
    pub fn separator(mut self, separator: char) -> Load {
        self.csv.separator = Some(separator);
        self
    }

    /// This becomes of what does not fit in a CSV file; otherwise that stops the load.
    #[must_use]
    pub fn misfit(self, misfit: Misfit) -> Load {
        Load { misfit, ..self }
    }

    /// A row of a CSV file that does not fit goes to a file of its own, beside the Parquet file that is made of the others, below the
    /// home folder. How many they are is in the log.
    #[must_use]
    pub fn quarantine(self) -> Load {
        self.misfit(Misfit::Quarantine)
    }

    /// Postgres is fed over so many connections.
    #[must_use]
    pub fn connections(self, connections: usize) -> Load {
        Load { connections, ..self }
    }

    /// The database may convert where the table's type is another; otherwise that stops the load.
    #[must_use]
    pub fn convert(self) -> Load {
        Load { convert: true, ..self }
    }

    /// Postgres keeps a staging table out of the write-ahead log, which is faster, unless that takes the place of the table.
    #[must_use]
    pub fn unlogged(self) -> Load {
        Load { unlogged: true, ..self }
    }

    /// Postgres gets the text of a CSV file as it is, and looks at the values itself. Blank is null; nothing else is.
    /// It is less strict than a stated type: it rounds `1.005` where two digits after the point are kept, takes a moment
    /// without a zone for one of the session's zone in a `timestamptz`, drops the offset in a `timestamp`, and takes `24:00:00`.
    ///
    /// No column can be added to such a text, so say what becomes of the rows that are there: [`Load::append`], [`Load::replace`] or
    /// [`Load::upsert`].
    #[must_use]
    pub fn raw_csv(self) -> Load {
        Load { raw_csv: true, ..self }
    }

    /// Is a CSV file such as a database takes it?
    fn takes_csv(&self) -> bool {
        self.csv == CsvOptions::default() && self.misfit == Misfit::Fail
    }

    /// Refuses a load of Parquet whose options only a text file would heed.
    fn check_parquet(&self, file: &str) -> Result<()> {
        let stated = [
            ("`schema`", self.schema.is_some()),
            ("`csv` (or `separator`)", self.csv != CsvOptions::default()),
            ("`misfit` (or `quarantine`)", self.misfit != Misfit::Fail),
            ("`raw_csv`", self.raw_csv),
        ];
        let stated: Vec<_> = stated.into_iter().filter(|(_, stated)| *stated).map(|(name, _)| name).collect();
        if stated.is_empty() {
            return Ok(());
        }
        let why = "is Parquet, whose types are its own, and a load of it heeds no";
        let how = "leave that out; `parquetize_with` takes such options where the file is made";
        Err(TaskError::fail(format!("{file} {why} {}: {how}", stated.join(", "))))
    }

    /// What a text file becomes before it is loaded, where it is not.
    fn parquetize(&self) -> Parquetize {
        let (schema, csv) = (self.schema.clone(), self.csv.clone());
        Parquetize { schema, csv, misfit: self.misfit, ..Parquetize::default() }
    }

    fn options(&self, ctx: &Context, source: &str) -> TableLoadOptions {
        let mut options = TableLoadOptions::default();
        (options.connections, options.convert) = (self.connections, self.convert);
        (options.unlogged, options.raw_csv) = (self.unlogged, self.raw_csv);
        options.memory = ctx.memory();
        options.mode =
            self.mode.clone().unwrap_or_else(|| Mode::Partition { column: SOURCE_COLUMN.into(), value: source.into() });
        let run = || {
            let index = ctx.map_index().map_or(String::new(), |index| format!("[{index}]"));
            format!("{}/{}/{}{index}", ctx.dag_id(), ctx.run_id(), ctx.task_id())
        };
        options.key = self.key.clone().or_else(|| (options.mode == Mode::Append).then(run));
        options
    }

    async fn run(&self, ctx: &Context, into: &Target, input: Input, source: &str) -> Result<LoadReport> {
        let unit = if matches!(input, Input::Csv(..)) { Unit::Bytes } else { into.counts };
        let options = self.options(ctx, source);
        Ok(into.warehouse.load(&input, &self.table, &options, &ctx.counting(unit)).await?)
    }
}

/// A database that is loaded into.
struct Target {
    warehouse: Warehouse,
    /// What its progress counts of a Parquet file.
    counts: Unit,
}

/// The database of a connection; objects are reached with the options of theirs.
fn target(ctx: &Context, connection: &Connection, objects: Option<Lake>) -> Result<Target> {
    let place = ctx.place(connection.expose())?;
    let warehouse = place.warehouse()?.with_scratch(ctx.home().join("fetched"));
    let counts = if place.url().starts_with("bigquery:") { Unit::Bytes } else { Unit::Rows };
    Ok(match objects {
        Some(objects) => Target { warehouse: warehouse.with_objects(objects), counts },
        None => Target { warehouse, counts },
    })
}

/// Loads a Parquet file of the lake into a table of Postgres, SQLite or BigQuery, all of it or nothing. Rows of an earlier load of the
/// same source are replaced: they carry in the column `_source` where they came from, the URL of the download, or else that of
/// the object. So a second run changes nothing. BigQuery reads `gs://` by itself. See [`flow_data::Warehouse::load`].
///
/// # Errors
/// The table does not fit, and how; a value that the database cannot hold; the store or the database refuses, or cannot be reached.
#[task]
pub async fn load(ctx: &Context, object: &Uploaded, warehouse: Connection, table: String) -> Result<LoadReport> {
    load_object(ctx, object, &warehouse, &Load::into(table)).await
}

/// [`load`] in another way: append, replace, upsert ..
///
/// # Errors
/// As those of [`load`].
#[task]
pub async fn load_with(ctx: &Context, object: &Uploaded, warehouse: Connection, how: Load) -> Result<LoadReport> {
    load_object(ctx, object, &warehouse, &how).await
}

async fn load_object(ctx: &Context, object: &Uploaded, connection: &Connection, how: &Load) -> Result<LoadReport> {
    how.check_parquet(&object.url)?;
    let place = ctx.place(&object.url)?;
    let lake = place.lake();
    if !lake.is_still(object).await? {
        let why = "is no longer the object that was uploaded: it was deleted, or replaced";
        let how = "clear the task that uploaded it; if two files have one name, give them two by `upload_as`";
        return Err(TaskError::fail(format!("{} {why}; {how}", object.url)));
    }
    let into = target(ctx, connection, Some(lake))?;
    let source = object.source.as_deref().unwrap_or(&object.url);
    how.run(ctx, &into, Input::object(place.url()), source).await
}

/// Copies a file of the disk into a table of Postgres by COPY: CSV, whose types are guessed from the first rows and then held to, or
/// Parquet in its own types. Rows of an earlier copy of the same file are replaced (they carry where it came from in the
/// column `_source`). The same serves for SQLite.
///
/// # Errors
/// As those of [`load`].
#[task]
pub async fn copy_to_postgres(
    ctx: &Context,
    file: LocalFile,
    database: Connection,
    table: String,
) -> Result<LoadReport> {
    load_local(ctx, &file, &database, &Load::into(table)).await
}

/// [`copy_to_postgres`] in another way: with stated types, append, replace, upsert .. Into BigQuery too, where a CSV file
/// becomes Parquet on its way.
///
/// # Errors
/// As those of [`load`].
#[task]
pub async fn load_file(ctx: &Context, file: LocalFile, warehouse: Connection, how: Load) -> Result<LoadReport> {
    load_local(ctx, &file, &warehouse, &how).await
}

async fn load_local(ctx: &Context, file: &LocalFile, connection: &Connection, how: &Load) -> Result<LoadReport> {
    let into = target(ctx, connection, None)?;
    let path = file.path(ctx)?;
    let input = if path.extension().is_some_and(|ending| ending == "parquet") {
        how.check_parquet(&path.display().to_string())?;
        Input::parquet(path)
    } else if !how.takes_csv() {
        if how.raw_csv {
            let why = "`raw_csv` gives the file to Postgres as it is, and goes with no `csv`, `separator`, `misfit` or `quarantine`";
            return Err(TaskError::fail(format!("{why}: leave one of them out")));
        }
        let (ctx, file, first) = (ctx.clone(), file.clone(), how.parquetize());
        // Its log is that of the try: what was kept out is told there.
        let span = tracing::Span::current();
        let write = move || span.in_scope(|| first.write(&ctx, &file));
        Input::parquet(tokio::task::spawn_blocking(write).await??.path)
    } else {
        let schema = match how.schema.clone() {
            Some(schema) => schema,
            None => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || Schema::infer(path)).await??
            }
        };
        Input::csv(path, &schema)
    };
    how.run(ctx, &into, input, &file.known_by(ctx)).await
}

/// How files are loaded into BigQuery by its own load job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BigQueryLoad {
    /// `dataset.table`, or one partition of it: `dataset.table$20210101`.
    pub table: String,
    /// The rest.
    #[serde(default)]
    pub options: LoadOptions,
}

impl BigQueryLoad {
    /// Rows are added to this table.
    pub fn into(table: impl Into<String>) -> BigQueryLoad {
        BigQueryLoad { table: table.into(), options: LoadOptions::default() }
    }

    /// Other rows go: of the table, or of the partition that is named.
    #[must_use]
    pub fn replace(mut self) -> BigQueryLoad {
        self.options.write = Write::Replace;
        self
    }

    /// A new table has a partition for each day of this column.
    #[must_use]
    pub fn by_day(mut self, column: impl Into<String>) -> BigQueryLoad {
        self.options.partition = Some(Partition::day(column));
        self
    }

    /// A new table is sorted by these columns.
    #[must_use]
    pub fn cluster<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> BigQueryLoad {
        self.options.cluster = columns.into_iter().map(Into::into).collect();
        self
    }
}

/// Loads a Parquet object of `gs://` by BigQuery's own load job, which costs nothing, once for each run of the task: a retry finds the
/// job of the try before it. `project` is `bigquery://PROJECT`, or a connection. See [`flow_data::BigQuery::load`].
///
/// # Errors
/// The job's list of errors; an object that is not in `gs://`; credentials.
#[task]
pub async fn load_bigquery(
    ctx: &Context,
    object: &Uploaded,
    project: Connection,
    how: BigQueryLoad,
) -> Result<LoadJob> {
    let (source, place) = (ctx.place(&object.url)?, ctx.place(project.expose())?);
    let bigquery = BigQuery::open(place.url(), &place.lake())?;
    let work = async {
        let mut options = how.options.clone();
        if options.fields.is_none() && options.schema.is_none() && options.format == Format::Parquet {
            let mut fields = source.lake().parquet_footer(source.url()).await?.0;
            // Of a partition it is that of the table.
            let table = how.table.split('$').next().unwrap_or_default();
            if let Some(there) = bigquery.table(table).await? {
                fields.iter_mut().for_each(|field| agree(field, &there.columns, options.relax_columns));
            }
            options.fields = Some(fields);
        }
        // Kept, so that a later try means the same job; forgotten when the task is cleared.
        let id: String = ctx.step("id of the job", || async { anyhow::Ok(job_id(ctx)) }).await?;
        anyhow::Ok(bigquery.load(LoadSource::Objects(&[source.url()]), &how.table, &id, &options, ctx).await?)
    };
    ctx.until_cancelled(work).await
}

/// What a table requires is its own affair; a file need not say the same, unless it is to change that. A column that is new to a table is
/// never required by it: <https://cloud.google.com/bigquery/docs/managing-table-schemas#adding_columns_to_a_tables_schema_definition>.
fn agree(field: &mut Field, there: &[TableColumn], relax: bool) {
    let same = there.iter().find(|column| column.name.eq_ignore_ascii_case(&field.name));
    let is_required = same.is_some_and(|column| column.mode == "REQUIRED");
    field.nullable = !is_required || relax && field.nullable;
}

/// Letters that an id may have, of what the run is called, and a hash of all of it.
fn job_id(ctx: &Context) -> String {
    let whole =
        serde_json::json!([ctx.dag_id(), ctx.run_id(), ctx.task_id(), ctx.map_index(), ctx.try_number(), ctx.began()]);
    let hash: String = Sha256::digest(whole.to_string()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(80).collect()
    };
    format!("{}-{}-{hash}", plain(ctx.dag_id()), plain(ctx.task_id()))
}

/// Writes what a query gives to a Parquet file in the home folder, as the rows come. One word is a table.
/// See [`flow_data::Warehouse::unload`].
///
/// # Errors
/// The database refuses or cannot be reached; a column that fits no Parquet file.
#[task]
pub async fn unload(ctx: &Context, warehouse: Connection, query: String) -> Result<Unloaded> {
    unload_rows(ctx, &warehouse, &query, &Unload::default()).await
}

/// How rows are unloaded: [`Unload::default`] keeps each column in the type that its own is nearest to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Unload {
    /// Columns that are to be kept as something else.
    pub fields: Vec<Field>,
    /// The most rows in one row group of the file; 0 is 131,072.
    pub row_group_rows: usize,
}

impl Unload {
    /// This column is to be kept as this: a `numeric` of any digits must be stated, a `smallint` may be an `int8`. A value that does
    /// not fit is an error.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, kind: ColumnType) -> Unload {
        self.fields.push(Field::new(name, kind));
        self
    }

    /// A row group of the file has so many rows at most: fewer cost whoever reads it less memory, more make the file smaller.
    #[must_use]
    pub fn row_group_rows(self, rows: usize) -> Unload {
        Unload { row_group_rows: rows, ..self }
    }
}

/// [`unload`] with stated types, or in row groups of another size.
///
/// # Errors
/// As those of [`unload`]; a value that does not fit its stated type.
#[task]
pub async fn unload_with(ctx: &Context, warehouse: Connection, query: String, how: Unload) -> Result<Unloaded> {
    unload_rows(ctx, &warehouse, &query, &how).await
}

async fn unload_rows(ctx: &Context, connection: &Connection, query: &str, how: &Unload) -> Result<Unloaded> {
    let warehouse = target(ctx, connection, None)?.warehouse;
    let is_table = !query.trim().contains(char::is_whitespace);
    let select = if is_table { Select::Table(query.trim().into()) } else { Select::Query(query.into()) };
    let whole = serde_json::json!([ctx.dag_id(), ctx.run_id(), ctx.task_id(), ctx.map_index()]).to_string();
    let hash: String = Sha256::digest(whole).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let path = ctx.home().join("unloaded").join(format!("{}-{hash}.parquet", stem(ctx.task_id().as_ref())));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = UnloadOptions::default();
    (options.fields, options.row_group_rows) = (how.fields.clone(), how.row_group_rows);
    options.row_group_bytes = ctx.memory().map_or(0, |memory| (memory / 2).max(1) as usize);
    let made = warehouse.unload(&select, path, &options, &ctx.counting(Unit::Rows)).await?;
    // Not where it is now: the next run's file is of the same source.
    let index = ctx.map_index().map_or(String::new(), |index| format!("[{index}]"));
    Ok(Unloaded { source: Some(format!("{}.{}{index}", ctx.dag_id(), ctx.task_id())), ..made })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_of_memory_reaches_a_load() {
        let memory = |ctx: &Context| Load::into("t").options(ctx, "s").memory;
        assert_eq!(memory(&Context::test()), None);
        assert_eq!(memory(&Context::test().with_memory(1_000_000)), Some(1_000_000));
    }

    #[test]
    fn columns_agree_with_those_that_are_there() {
        let column = |name: &str, mode: &str| TableColumn {
            name: name.into(),
            kind: "INTEGER".into(),
            mode: mode.into(),
            has_default: false,
        };
        let there = [column("a", "REQUIRED"), column("b", "NULLABLE")];
        let agreed = |name: &str, nullable, relax| {
            let mut field = Field { name: name.into(), kind: ColumnType::Int64, nullable };
            agree(&mut field, &there, relax);
            field.nullable
        };
        for relax in [false, true] {
            assert!(!agreed("A", false, relax), "it is required by both");
            assert!(agreed("b", false, relax), "a table is never made stricter");
            assert!(agreed("new", false, relax), "no table takes a new column that is required");
        }
        assert!(!agreed("a", true, false));
        assert!(agreed("a", true, true));
    }

    #[test]
    fn a_load_of_bigquery_states_what_differs() {
        let stated = serde_json::json!({ "table": "d.t", "options": { "write": "replace" } });
        let how: BigQueryLoad = serde_json::from_value(stated).unwrap();
        assert_eq!(how, BigQueryLoad::into("d.t").replace());
        let misspelt = serde_json::json!({ "table": "d.t", "options": { "wirte": "replace" } });
        let error = serde_json::from_value::<BigQueryLoad>(misspelt).unwrap_err().to_string();
        assert!(error.contains("wirte"), "{error}");
    }
}
