//! Loads into BigQuery.
//!
//! The file goes to a staging table first, by a load job, which costs nothing; then one transaction brings its rows to where
//! they belong, and writes down that it did. BigQuery knows the id of that job once, and what was written down stays after
//! it has forgotten the id.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::bigquery::{SAME, columns_of, comparison, literal, named, text, type_of};
use super::drift::{self, There};
use super::loading::Job;
use super::warehouse::{LOADS_TABLE, LoadReport, Mode};
use crate::bigquery::{Named, Sent, count};
use crate::files::hex;
use crate::progress::decided;
use crate::settled::leave;
use crate::{BigQuery, ColumnType, Error, Field, Lake, LoadOptions, LoadSource, Result, Write};

/// A staging table that a crash leaves vanishes after this. A load job may take six hours:
/// <https://cloud.google.com/bigquery/quotas#load_jobs>.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// The longest beginning of a table's name that its staging tables have.
const NAME_BYTES: usize = 60;

pub(super) async fn load(mut job: Job<'_>, lake: &Lake) -> Result<LoadReport> {
    if job.batches.is_raw {
        let message = "BigQuery would read the types of CSV text in its own way; load the file parsed";
        return Err(Error::Invalid(message.into()));
    }
    let client = BigQuery::open(job.url, lake)?;
    let table = named(&client, job.table)?;
    let loads = table.beside(LOADS_TABLE);
    if let Some(key) = &job.options.key
        && let Some(done) = recorded(&client, &loads, &table, key).await?
    {
        return Ok(job.report(done.rows, done.replaced, done.updated, true));
    }
    let there = columns_of(&client, &table).await?;
    if !there.is_empty() {
        job.check_drift(&drift::compare(job.table, &job.fields, &there, &comparison(job.options.convert)))?;
    }
    // Not before it is known to be needed: it reads the whole file.
    let made = match job.batches.maker.take() {
        Some(maker) => Some(maker.make(&job.batches.path).await?),
        None => None,
    };
    if let Some(made) = &made {
        job.batches.rows = Some(made.rows);
    }
    let object: Vec<_> = job.batches.object.iter().map(String::as_str).collect();
    let source = match (&made, object.is_empty()) {
        (_, false) => LoadSource::Objects(&object),
        (Some(made), true) => LoadSource::File(&made.parquet),
        (None, true) => LoadSource::File(&job.batches.path),
    };
    let nonce = format!("{:016x}", fastrand::u64(..));
    let begin: String = table.table().chars().take(NAME_BYTES).collect();
    let place = table.beside(format!("_flow_{begin}_{nonce}"));
    let staging = Staging { client, table: place, at_work: Mutex::default(), dropped: false };
    let outcome = Box::pin(staged(&job, &staging, source, &table, &there, &nonce)).await;
    if outcome.is_ok() {
        decided();
    }
    staging.drop_now().await;
    outcome
}

async fn staged(
    job: &Job<'_>,
    staging: &Staging,
    source: LoadSource<'_>,
    table: &Named,
    there: &[There],
    nonce: &str,
) -> Result<LoadReport> {
    let client = &staging.client;
    client.create(&staging.table, &job.batches.fields, Some(LIFETIME)).await?;
    let options = LoadOptions {
        fields: Some(job.batches.fields.clone()),
        write: Write::IfEmpty,
        only_existing: true,
        ..LoadOptions::default()
    };
    let id = format!("flow-stage-{nonce}");
    let arrived = Box::pin(client.load(source, &staging.table.to_string(), &id, &options, job.progress)).await?.rows;
    job.check_rows(job.batches.rows.unwrap_or(arrived), arrived)?;
    let columns = Columns::of(job, there)?;
    check(job, staging, &columns).await?;

    let loads = table.beside(LOADS_TABLE);
    client.create(table, &job.fields, None).await?;
    client.create(&loads, &loads_fields(), None).await?;
    let key = job.options.key.clone().unwrap_or_else(|| format!("load {nonce}"));
    let id = match &job.options.key {
        Some(key) => format!("flow-load-{}", &hex(&Sha256::digest(format!("{table}\0{key}")))[..40]),
        None => format!("flow-load-{nonce}"),
    };
    take_turns(client, &loads, table).await?;
    let sql = statement(job, &columns, table, &staging.table, &loads, &key);
    let mut done = client.run(&id, &sql, &staging.at_work).await?;
    let mut counts = recorded(client, &loads, table, &key).await?;
    if counts.is_none() {
        // A job of long ago, whose table was dropped since, or its record: what it did is no more.
        done = client.run(&format!("flow-load-{nonce}"), &sql, &staging.at_work).await?;
        counts = recorded(client, &loads, table, &key).await?;
    }
    *staging.at_work.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let counts = counts.ok_or_else(|| Error::Database {
        url: crate::redact(job.url),
        message: format!("the job `{}` has ended well, and {loads} knows nothing of it", done.id),
        permanent: true,
    })?;
    // Of a key, another's load may have come first: then its rows count. (An own job whose answer was lost is found, too.)
    let own = done.job["configuration"]["query"]["query"] == sql.as_str();
    Ok(job.report(counts.rows, counts.replaced, counts.updated, !own))
}

/// A table for the rows on their way.
struct Staging {
    client: BigQuery,
    table: Named,
    /// The job that brings its rows to where they belong.
    at_work: Mutex<Option<Sent>>,
    dropped: bool,
}

impl Staging {
    /// What is left when this fails vanishes by itself.
    async fn drop_now(mut self) {
        let at_work = self.at_work.get_mut().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(id) = at_work {
            // Its end was not heard of.
            let _ended = self.client.cancel(&id, &self.table.sql()).await;
        }
        *self.at_work.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        let outcome = self.client.drop_table(&self.table).await;
        self.dropped = true;
        if let Err(error) = outcome {
            tracing::warn!("{} is left for {} hours: {error}", self.table, LIFETIME.as_secs() / 3600);
        }
    }
}

impl Staging {
    /// How many rows there are of which this holds.
    async fn count(&self, clause: String) -> Result<u64> {
        let sql = format!("SELECT count(*) AS n FROM {} WHERE {clause}", self.table.sql());
        count(&self.client.query(&sql).await?, &self.table)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.dropped {
            let (client, table) = (self.client.clone(), self.table.clone());
            let at_work = self.at_work.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            leave(async move {
                if let Some(id) = at_work {
                    let _ended = client.cancel(&id, &table.sql()).await;
                }
                let _gone = client.drop_table(&table).await;
            });
        }
    }
}

/// The columns of a load as they stand in a statement.
struct Columns {
    /// Their names, and what each is of in the table if the file has another type.
    all: Vec<(String, Option<String>)>,
    /// What stands for the last one, which the file lacks.
    fill: Option<String>,
    partition: Option<Part>,
}

/// A partition: its column, and its value beside that of the table and that of the file.
struct Part {
    column: String,
    there: String,
    own: String,
}

impl Columns {
    fn of(job: &Job<'_>, there: &[There]) -> Result<Self> {
        let mut columns = Self { all: Vec::new(), fill: None, partition: None };
        let kind_there = |field: &Field| match there.iter().find(|t| SAME(&t.name, &field.name)) {
            Some(there) => Ok(there.kind.clone()),
            None => type_of(field),
        };
        for (n, field) in job.fields.iter().enumerate() {
            let kind = kind_there(field)?;
            if let Some(fill) = job.fill.filter(|_| n + 1 == job.fields.len()) {
                columns.fill = Some(literal(&kind, fill)?);
            }
            let other = type_of(field)? != kind;
            columns.all.push((quote(&field.name), other.then_some(kind)));
        }
        if let Mode::Partition { column, value } = &job.options.mode
            && let Some(field) = job.fields.iter().find(|f| f.name == *column)
        {
            let (there, own) = (literal(&kind_there(field)?, value)?, literal(&type_of(field)?, value)?);
            columns.partition = Some(Part { column: quote(column), there, own });
        }
        Ok(columns)
    }

    fn names(&self) -> String {
        self.all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// What is selected for each from the staging table, which is called `s`.
    fn selected(&self) -> Vec<String> {
        let last = self.all.len() - 1;
        let one = |(n, (name, other)): (usize, &(String, Option<String>))| match (&self.fill, other) {
            (Some(fill), _) if n == last => fill.clone(),
            (_, None) => format!("s.{name}"),
            (_, Some(kind)) => format!("CAST(s.{name} AS {kind})"),
        };
        self.all.iter().enumerate().map(one).collect()
    }
}

/// The key under which a table has a row that every load changes: of two transactions that do, BigQuery gives up the later one,
/// which is tried again. Without it, two that only add rows would not see each other.
const TURN: &str = "";

/// Sees to it that the row is there. (Two of them are as good.)
async fn take_turns(client: &BigQuery, loads: &Named, table: &Named) -> Result<()> {
    if recorded(client, loads, table, TURN).await?.is_none() {
        let (to, table, turn) = (loads.sql(), text(&table.to_string()), text(TURN));
        let sql = format!("INSERT INTO {to} ({LOADS}) SELECT {table}, {turn}, 0, 0, 0, CURRENT_TIMESTAMP");
        client.query(&sql).await?;
    }
    Ok(())
}

/// The rows themselves, before they are let in.
async fn check(job: &Job<'_>, staging: &Staging, columns: &Columns) -> Result<()> {
    let from = staging.table.sql();
    match &job.options.mode {
        Mode::Partition { column, value } if job.fill.is_none() => {
            let Some(Part { column: name, own, .. }) = &columns.partition else { return Ok(()) };
            let others = staging.count(format!("{name} IS DISTINCT FROM {own}")).await?;
            job.check_others(others, column, value)
        }
        Mode::Upsert(key) => {
            let quoted: Vec<_> = key.iter().map(|k| quote(k)).collect();
            let nulls: Vec<_> = quoted.iter().map(|k| format!("{k} IS NULL")).collect();
            job.check_null_keys(staging.count(nulls.join(" OR ")).await?, key)?;
            let keys = quoted.join(", ");
            let twice = format!("SELECT {keys} FROM {from} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1");
            let twice = staging.client.query(&twice).await?;
            let shown = twice
                .rows
                .first()
                .map(|row| format!("({})", row.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")));
            job.check_twice(shown, key)
        }
        _ => Ok(()),
    }
}

/// All that a load changes, in one transaction: <https://cloud.google.com/bigquery/docs/transactions>.
fn statement(job: &Job<'_>, columns: &Columns, table: &Named, staging: &Named, loads: &Named, key: &str) -> String {
    let (to, from) = (table.sql(), staging.sql());
    let selected = columns.selected();
    let insert = format!("INSERT INTO {to} ({}) SELECT {} FROM {from} s", columns.names(), selected.join(", "));
    let same = |keys: &[String]| {
        let value =
            |key: &String| job.fields.iter().zip(&selected).find(|(f, _)| f.name == *key).map(|(_, value)| value);
        let same = keys.iter().filter_map(|key| Some(format!("t.{} = {}", quote(key), value(key)?)));
        same.collect::<Vec<_>>().join(" AND ")
    };
    let nothing = "0".to_owned();
    let (replaced, updated, changes) = match &job.options.mode {
        Mode::Append => (nothing.clone(), nothing, vec![insert]),
        Mode::Replace => {
            (format!("(SELECT count(*) FROM {to})"), nothing, vec![format!("DELETE FROM {to} WHERE true"), insert])
        }
        Mode::Partition { .. } => {
            let of = match &columns.partition {
                Some(Part { column, there, .. }) => format!("FROM {to} WHERE {column} = {there}"),
                None => format!("FROM {to} WHERE false"),
            };
            (format!("(SELECT count(*) {of})"), nothing, vec![format!("DELETE {of}"), insert])
        }
        Mode::Upsert(keys) => {
            let same = same(keys);
            let there = format!("(SELECT count(*) FROM {from} s WHERE EXISTS (SELECT 1 FROM {to} t WHERE {same}))");
            let set = job.fields.iter().zip(&selected).filter(|(f, _)| !keys.contains(&f.name));
            let set: Vec<_> = set.map(|(f, value)| format!("{} = {value}", quote(&f.name))).collect();
            let update = (!set.is_empty())
                .then(|| format!("UPDATE {to} AS t SET {} FROM {from} AS s WHERE {same}", set.join(", ")));
            let insert = format!("{insert} WHERE NOT EXISTS (SELECT 1 FROM {to} t WHERE {same})");
            (nothing, there, update.into_iter().chain([insert]).collect())
        }
    };
    let (table, key) = (text(&table.to_string()), text(key));
    // First of all, for it counts what the rest changes.
    let record = format!(
        "UPDATE {to} SET `loaded_at` = CURRENT_TIMESTAMP WHERE `table_name` = {table} AND `key` = {turn};\n\
         INSERT INTO {to} ({LOADS}) SELECT {table}, {key}, (SELECT count(*) FROM {from}), {replaced}, {updated}, CURRENT_TIMESTAMP",
        to = loads.sql(),
        turn = text(TURN),
    );
    let changes = changes.join(";\n");
    format!("BEGIN TRANSACTION;\n{record};\n{changes};\nCOMMIT TRANSACTION;")
}

/// The columns of the table of loads.
const LOADS: &str = "`table_name`, `key`, `rows`, `replaced`, `updated`, `loaded_at`";

fn loads_fields() -> Vec<Field> {
    let moment = ColumnType::Timestamp { unit: crate::field::Unit::Micro, utc: true };
    let kinds = [ColumnType::Text, ColumnType::Text, ColumnType::Int64, ColumnType::Int64, ColumnType::Int64, moment];
    let names = LOADS.split(", ").map(|name| name.trim_matches('`'));
    names.zip(kinds).map(|(name, kind)| Field { name: name.into(), kind, nullable: false }).collect()
}

struct Counts {
    rows: u64,
    replaced: u64,
    updated: u64,
}

/// What an earlier load of this key did.
async fn recorded(client: &BigQuery, loads: &Named, table: &Named, key: &str) -> Result<Option<Counts>> {
    if columns_of(client, loads).await?.is_empty() {
        return Ok(None);
    }
    let (of, key) = (text(&table.to_string()), text(key));
    let sql = format!(
        "SELECT `rows`, `replaced`, `updated` FROM {} WHERE `table_name` = {of} AND `key` = {key}",
        loads.sql()
    );
    let answer = client.query(&sql).await?;
    let Some(row) = answer.rows.first() else { return Ok(None) };
    let number = |n: usize| {
        row.get(n).and_then(Value::as_u64).ok_or_else(|| Error::Database {
            url: format!("bigquery://{loads}"),
            message: "a count in it is no number; was the table changed by hand?".into(),
            permanent: true,
        })
    };
    Ok(Some(Counts { rows: number(0)?, replaced: number(1)?, updated: number(2)? }))
}

fn quote(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}
