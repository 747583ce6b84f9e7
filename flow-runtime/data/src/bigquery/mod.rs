//! BigQuery by its REST API: loads, queries, tables.

mod address;
mod call;
mod job;
mod load;
mod query;
mod results;
mod table;
mod upload;

use std::fmt;
use std::sync::Arc;

use object_store::gcp::GcpCredentialProvider;
use serde::{Deserialize, Serialize};

use crate::google::{Found, Tokens};
use crate::http::client;
use crate::lake::{Lake, emulator};
use crate::{Error, Field, Result, Schema};

pub(crate) use self::address::Address;
pub(crate) use self::call::number;
pub(crate) use self::job::{Sent, count};
pub(crate) use self::query::{as_json, micros};
pub(crate) use self::results::{Pages, Row};
pub(crate) use self::table::{Named, column, kind_of};
pub use self::table::{TableColumn, TableInfo};

/// Where BigQuery is, unless an option says otherwise.
const BASE: &str = "https://bigquery.googleapis.com";

/// A project in BigQuery, and whose rights are shown to it.
///
/// The credentials are those of `gs://` in a [`Lake`]. Options, of the lake or the environment: `GOOGLE_CLOUD_PROJECT` (else the
/// project of the service account), `BIGQUERY_LOCATION` (`EU`, `europe-west1`; needed where it is not `US`), and
/// `BIGQUERY_EMULATOR_HOST` for an emulator, which is asked without credentials unless some are stated.
///
/// Every request is made again, a few times and with growing waits, when a connection breaks, a server is busy (429, 5xx,
/// `rateLimitExceeded`, `backendError`) or a token has ended.
///
/// ```no_run
/// # async fn example() -> Result<(), flow_data::Error> {
/// use flow_data::{BigQuery, Lake, LoadOptions, LoadSource, Partition, Write};
///
/// let bigquery = BigQuery::new(&Lake::new())?;
/// let options = LoadOptions {
///     write: Write::Replace,
///     partition: Some(Partition::day("picked_up")),
///     cluster: vec!["zone".into()],
///     ..LoadOptions::default()
/// };
/// let files = ["gs://lake/raw/yellow_2021-01.parquet"];
/// let job = "taxi-2021-01-load";
/// let loaded = bigquery.load(LoadSource::Objects(&files), "trips.yellow", job, &options, &()).await?;
/// let answer = bigquery.query("SELECT count(*) AS n FROM trips.yellow").await?;
/// assert_eq!(answer.rows[0][0], loaded.rows);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct BigQuery {
    client: reqwest::Client,
    base: String,
    project: String,
    location: Option<String>,
    /// That of tables that name none.
    dataset: Option<String>,
    rights: Rights,
}

#[derive(Clone)]
enum Rights {
    None,
    Account(Arc<Tokens>),
    Other(GcpCredentialProvider),
}

impl fmt::Debug for BigQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BigQuery({})", self.project)
    }
}

impl BigQuery {
    /// With the options and credentials of a lake.
    ///
    /// # Errors
    /// The credentials cannot be read, or no project is stated.
    pub fn new(lake: &Lake) -> Result<Self> {
        let found = lake.google_credentials("bigquery_emulator_host")?;
        let of_key = match &found {
            Found::Key { key, .. } => key.project_id.clone(),
            _ => None,
        };
        let project = lake.option("google_cloud_project").or(of_key).ok_or_else(|| {
            Error::Invalid("BigQuery needs a project: set GOOGLE_CLOUD_PROJECT, or use a service account's key".into())
        })?;
        let rights = match (&found, found.tokens()?) {
            (_, Some(tokens)) => Rights::Account(tokens),
            (Found::None | Found::Key { .. }, None) => Rights::None,
            _ => Rights::Other(found.provider().map_err(|e| Error::Invalid(format!("Google's credentials: {e}")))?),
        };
        let base = lake.option("bigquery_emulator_host").map_or_else(|| BASE.to_owned(), |host| emulator(&host));
        Ok(Self { client: client()?, base, project, location: lake.option("bigquery_location"), dataset: None, rights })
    }

    /// What a URL names: `bigquery://PROJECT/DATASET?location=EU`, with the credentials of a lake. Without a project
    /// (`bigquery:///DATASET`) it is that of the credentials; tables that name no dataset are those of this one, if there is one.
    ///
    /// # Errors
    /// As [`BigQuery::new`]; the URL is none of this form.
    pub fn open(url: &str, lake: &Lake) -> Result<Self> {
        let Address { project, dataset, location } = Address::parse(url)?;
        let mut lake = lake.clone();
        if !project.is_empty() {
            lake = lake.with("google_cloud_project", project);
        }
        if let Some(location) = location {
            lake = lake.with("bigquery_location", location);
        }
        let dataset = (!dataset.is_empty()).then(|| dataset.to_owned());
        Ok(Self { dataset, ..Self::new(&lake)? })
    }

    /// The table of this name: `table` of the dataset that was stated, `dataset.table`, `project.dataset.table`.
    pub(crate) fn named(&self, table: &str) -> Result<Named> {
        match (&self.dataset, table.contains('.')) {
            (Some(dataset), false) => Named::parse(&format!("{dataset}.{table}"), &self.project),
            _ => Named::parse(table, &self.project),
        }
    }

    /// The same for another project.
    #[must_use]
    pub fn with_project(self, project: impl Into<String>) -> Self {
        Self { project: project.into(), ..self }
    }

    /// The project in which jobs run.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// An address below the project.
    fn at(&self, path: &str) -> String {
        format!("{}/bigquery/v2/projects/{}/{path}", self.base, self.project)
    }

    /// What an error names.
    fn about(&self, what: &str) -> String {
        format!("bigquery://{}/{what}", self.project)
    }
}

/// What is loaded.
#[derive(Debug, Clone, Copy)]
pub enum LoadSource<'a> {
    /// Objects of `gs://`, each of which may hold one `*`.
    Objects(&'a [&'a str]),
    /// A local file, sent along in pieces.
    File(&'a std::path::Path),
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Parquet.
    #[default]
    Parquet,
    /// CSV with a header.
    Csv,
    /// JSON, a record each line.
    JsonLines,
}

/// What happens to the rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// They stay.
    #[default]
    Append,
    /// They go, in the same instant: of the table, or of the partition that is named.
    Replace,
    /// There must be none.
    IfEmpty,
}

/// How a table is cut by time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// `HOUR`, `DAY`, `MONTH` or `YEAR`.
    pub by: String,
    /// The column that says when; `None`: the time of the load.
    pub column: Option<String>,
}

impl Partition {
    /// A partition for each day of a column.
    pub fn day(column: impl Into<String>) -> Self {
        Self { by: "DAY".into(), column: Some(column.into()) }
    }
}

/// How files are loaded. As JSON it has the fields that are said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadOptions {
    /// What the files are.
    pub format: Format,
    /// The columns; `None`: those of the table, or of a Parquet file. [`read_parquet_schema`](crate::read_parquet_schema()) tells
    /// those of a file.
    pub schema: Option<Schema>,
    /// The columns of a Parquet file in their exact types, as [`read_parquet_fields`](crate::read_parquet_fields()) tells them; comes before
    /// `schema`.
    pub fields: Option<Vec<Field>>,
    /// What happens to the rows that are there.
    pub write: Write,
    /// The table must be there already.
    pub only_existing: bool,
    /// How a new table is cut by time.
    pub partition: Option<Partition>,
    /// By which columns a new table is sorted within.
    pub cluster: Vec<String>,
    /// Columns that the table has not are added to it ([`Write::Append`], or a named partition).
    pub add_columns: bool,
    /// Columns that the table requires may become nullable.
    pub relax_columns: bool,
}

/// A load that took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadJob {
    /// The job that did it: the id that was given, or with `-2`, `-3` .. after jobs that failed.
    pub job: String,
    /// `project.dataset.table`.
    pub table: String,
    /// How many rows it wrote.
    pub rows: u64,
    /// How many bytes it read; 0 if it does not tell.
    pub bytes: u64,
    /// An earlier call had submitted the job.
    pub reused: bool,
}
