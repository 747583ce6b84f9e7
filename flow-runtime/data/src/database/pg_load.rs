//! Loads into Postgres.
//!
//! One transaction holds all that changes: the table, if it is new, the rows, the record of the load. A staging table is
//! needed where rows must be looked at before they take the place of others, and where several connections copy; only
//! then can one outlive a crash, for the others must see it.

use futures::future::try_join_all;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row, query, query_scalar};
use tokio::sync::Mutex;

use super::copy::{CopyEncoder, Form};
use super::drift::{self, Comparison, There};
use super::feed::Feed;
use super::loading::Job;
use super::pgtype::PgType;
use super::postgres::{self, HOW, columns_of, connect_to_work, located, run};
use super::staging::{Cleanup, Staging, lock};
use super::table::{Table, literal, quote};
use super::warehouse::{LOADS_TABLE, LoadReport, Mode};
use crate::progress::decided;
use crate::redact::redact;
use crate::{Error, Field, Progress, Result};

/// What became of the rows.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    rows: u64,
    replaced: u64,
    updated: u64,
}

pub(super) async fn load(mut job: Job<'_>) -> Result<LoadReport> {
    if job.batches.is_raw && job.fill.is_some() {
        let message = "a CSV file that is handed on as text gets no column besides its own, and here each row is to say to which partition, or \
                       source, it belongs: append, replace or upsert instead, or load it parsed";
        return Err(Error::Invalid(message.into()));
    }
    let mut conn = connect_to_work(job.url).await?;
    let name = located(&mut conn, job.url, job.table).await?;
    let staging = Staging::new(&job, &name);
    let guard = Cleanup::new(job.url, &staging, job.options.connections > 1);
    match transact(&mut conn, &mut job, &name, &staging).await {
        Ok(report) => {
            guard.disarm();
            conn.close().await.map_err(postgres::failed(job.url))?;
            Ok(report)
        }
        Err(error) => {
            drop(conn);
            guard.now().await;
            Err(error)
        }
    }
}

async fn transact(conn: &mut PgConnection, job: &mut Job<'_>, name: &Table, staging: &Staging) -> Result<LoadReport> {
    let failed = postgres::failed(job.url);
    let missing = columns_of(conn, name).await.map_err(&failed)?.is_empty();
    // All that is waited for comes before the first look at the catalog: within a transaction the server remembers
    // that a name was not there.
    let mut tx = conn.begin().await.map_err(&failed)?;
    // While other connections copy, this one waits in its transaction.
    run(&mut tx, "SET LOCAL idle_in_transaction_session_timeout = 0").await.map_err(&failed)?;
    let loads = Table { schema: name.schema.clone(), name: LOADS_TABLE.into() };
    if let Some(key) = &job.options.key {
        lock(&mut tx, &format!("key {} {key}", name.sql())).await.map_err(&failed)?;
    }
    if let Some(turn) = job.turn() {
        lock(&mut tx, &format!("load {} {turn}", name.sql())).await.map_err(&failed)?;
    }
    if missing {
        lock(&mut tx, &format!("create {}", name.sql())).await.map_err(&failed)?;
    }
    if let Some(key) = &job.options.key
        && let Some(counts) = recorded(&mut tx, &loads, name, key).await.map_err(&failed)?
    {
        tx.rollback().await.map_err(&failed)?;
        return Ok(job.report(counts.rows, counts.replaced, counts.updated, true));
    }
    let mut there = columns_of(&mut tx, name).await.map_err(&failed)?;
    let created = there.is_empty();
    if created {
        create(&mut tx, job, name).await.map_err(&failed)?;
        there = columns_of(&mut tx, name).await.map_err(&failed)?;
    }
    let how = Comparison { convert: job.options.convert, ..HOW };
    job.check_drift(&drift::compare(job.table, &job.fields, &there, &how))?;
    let form = form_for(job, &there);
    let looked_at = match job.options.mode {
        Mode::Append => false,
        Mode::Replace | Mode::Upsert(_) => !created,
        Mode::Partition { .. } => !created && job.fill.is_none(),
    };
    staging.drop_leftovers(&mut tx, job.options.connections > 1).await.map_err(&failed)?;
    let counts = if looked_at || job.options.connections > 1 {
        staged(&mut tx, job, name, staging, form, created).await?
    } else {
        direct(&mut tx, job, name, form).await?
    };
    if let Some(key) = &job.options.key {
        record(&mut tx, &loads, name, key, counts).await.map_err(&failed)?;
    }
    decided();
    tx.commit().await.map_err(&failed)?;
    Ok(job.report(counts.rows, counts.replaced, counts.updated, false))
}

async fn create(conn: &mut PgConnection, job: &Job<'_>, name: &Table) -> sqlx::Result<()> {
    let key = match &job.options.mode {
        Mode::Upsert(key) => format!(", PRIMARY KEY ({})", list(key.iter().map(String::as_str))),
        _ => String::new(),
    };
    run(conn, &format!("CREATE TABLE {} ({}{key})", name.sql(), definition(&job.fields))).await.map(drop)
}

/// The definition of a table for these columns.
fn definition(fields: &[Field]) -> String {
    let column = |f: &Field| {
        let not_null = if f.nullable { "" } else { " NOT NULL" };
        format!("{} {}{not_null}", quote(&f.name), f.kind.postgres())
    };
    fields.iter().map(column).collect::<Vec<_>>().join(", ")
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quote).collect::<Vec<_>>().join(", ")
}

/// Rows are sent in binary form if every column takes what it is sent; it converts nothing. Otherwise as text.
fn form_for(job: &Job<'_>, there: &[There]) -> Form {
    if job.batches.is_raw {
        return Form::Csv;
    }
    let target = |field: &Field| {
        let there = there.iter().find(|t| t.name == field.name)?;
        PgType::parse(&there.kind).filter(|t| t.takes(&field.kind))
    };
    match job.fields.iter().map(target).collect() {
        Some(targets) => Form::Binary(targets),
        None => Form::Csv,
    }
}

/// Copies into the table itself.
async fn direct(tx: &mut PgConnection, job: &mut Job<'_>, name: &Table, form: Form) -> Result<Counts> {
    let failed = postgres::failed(job.url);
    let mut replaced = 0;
    if let Mode::Partition { column, value } = &job.options.mode {
        replaced = delete(tx, name, column, value).await.map_err(&failed)?;
    }
    let feed = feed(job, &form)?;
    let rows = copy(tx, job.url, &copy_sql(job, name, &form), &form, &feed, job.progress, job.batches.total).await?;
    job.check_rows(feed.into_inner().rows(), rows)?;
    if job.fill.is_none() {
        check_partition(tx, job, name).await?;
    }
    Ok(Counts { rows, replaced, updated: 0 })
}

async fn delete(tx: &mut PgConnection, name: &Table, column: &str, value: &str) -> sqlx::Result<u64> {
    run(tx, &format!("DELETE FROM {} WHERE {} = {}", name.sql(), quote(column), literal(value))).await
}

/// Refuses rows that belong to another partition: a second load would not find them.
async fn check_partition(tx: &mut PgConnection, job: &Job<'_>, rows: &Table) -> Result<()> {
    let Mode::Partition { column, value } = &job.options.mode else {
        return Ok(());
    };
    let other = format!("WHERE {} IS DISTINCT FROM {}", quote(column), literal(value));
    let failed = postgres::failed(job.url);
    let others = count(tx, rows, &other).await.map_err(failed)?;
    job.check_others(others, column, value)
}

async fn count(tx: &mut PgConnection, table: &Table, clause: &str) -> sqlx::Result<u64> {
    let sql = format!("SELECT count(*) FROM {} {clause}", table.sql());
    let count: i64 = query_scalar(AssertSqlSafe(sql)).fetch_one(tx).await?;
    Ok(count.max(0) as u64)
}

fn copy_sql(job: &Job<'_>, into: &Table, form: &Form) -> String {
    let names = list(job.fields.iter().map(|f| f.name.as_str()));
    format!("COPY {} ({names}) FROM STDIN {}", into.sql(), form.sql())
}

/// Starts encoding the file.
fn feed(job: &mut Job<'_>, form: &Form) -> Result<Mutex<Feed<Vec<u8>>>> {
    let columns = i16::try_from(job.batches.fields.len())
        .map_err(|_| Error::Invalid(format!("{} columns are too many", job.batches.fields.len())))?;
    let mut encoder = CopyEncoder::new(form.clone(), columns, job.fill);
    if let Some(converter) = job.batches.converter() {
        encoder = encoder.with_records(converter);
    }
    Ok(Mutex::new(Feed::text_or(job.batches.take(), encoder)))
}

/// Sends pieces until there are none. Several may do that at once.
async fn copy(
    conn: &mut PgConnection,
    url: &str,
    sql: &str,
    form: &Form,
    feed: &Mutex<Feed<Vec<u8>>>,
    progress: &dyn Progress,
    total: u64,
) -> Result<u64> {
    let failed = postgres::failed(url);
    let mut copy = conn.copy_in_raw(sql).await.map_err(&failed)?;
    copy.send(form.before()).await.map_err(&failed)?;
    loop {
        let next = feed.lock().await.next().await;
        match next {
            Ok(Some((piece, position))) => {
                copy.send(piece).await.map_err(&failed)?;
                progress.report(position, Some(total));
            }
            Ok(None) => break,
            Err(error) => {
                // The file's fault matters more than what the database says to the abort.
                let _ = copy.abort(error.to_string()).await;
                return Err(error);
            }
        }
    }
    copy.send(form.after()).await.map_err(&failed)?;
    copy.finish().await.map_err(&failed)
}

/// Copies into a staging table, which then takes the table's place, or whose rows do.
async fn staged(
    tx: &mut PgConnection,
    job: &mut Job<'_>,
    name: &Table,
    staging: &Staging,
    form: Form,
    created: bool,
) -> Result<Counts> {
    let failed = postgres::failed(job.url);
    // A table that takes the other's place would have to be written once more to be logged.
    let takes_place = match job.options.mode {
        Mode::Replace => created || is_plain(tx, name).await.map_err(&failed)?,
        Mode::Append | Mode::Partition { .. } => created,
        Mode::Upsert(_) => false,
    };
    let unlogged = if job.options.unlogged && !takes_place { "UNLOGGED " } else { "" };
    let columns = match created {
        // The table is to be seen by nobody else yet.
        true => definition(&job.fields),
        false => format!("LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY", name.sql()),
    };
    let create = format!("CREATE {unlogged}TABLE {} ({columns})", staging.table.sql());
    // Who has this may use the name.
    staging.own(tx).await.map_err(&failed)?;
    let sql = copy_sql(job, &staging.table, &form);
    let total = job.batches.total;
    let rows = if job.options.connections > 1 {
        let mut others = Vec::new();
        for _ in 0..job.options.connections {
            others.push(connect_to_work(job.url).await?);
        }
        // Not in this transaction: until it ends, nobody else could create a table of that name.
        run(&mut others[0], &format!("DROP TABLE IF EXISTS {}", staging.table.sql())).await.map_err(&failed)?;
        run(&mut others[0], &create).await.map_err(&failed)?;
        let feed = feed(job, &form)?;
        let (url, progress) = (job.url, job.progress);
        let copies = others.iter_mut().map(|conn| copy(conn, url, &sql, &form, &feed, progress, total));
        let rows = try_join_all(copies).await?.into_iter().sum();
        for conn in others {
            conn.close().await.map_err(&failed)?;
        }
        job.check_rows(feed.into_inner().rows(), rows)?;
        rows
    } else {
        run(tx, &create).await.map_err(&failed)?;
        let feed = feed(job, &form)?;
        let rows = copy(tx, job.url, &sql, &form, &feed, job.progress, total).await?;
        job.check_rows(feed.into_inner().rows(), rows)?;
        rows
    };
    let counts = merge(tx, job, name, &staging.table, rows, (created, takes_place)).await?;
    Ok(counts)
}

/// Brings the staged rows into the table.
async fn merge(
    tx: &mut PgConnection,
    job: &Job<'_>,
    name: &Table,
    staging: &Table,
    rows: u64,
    (created, takes_place): (bool, bool),
) -> Result<Counts> {
    let failed = postgres::failed(job.url);
    let mut counts = Counts { rows, ..Counts::default() };
    if job.fill.is_none() {
        check_partition(tx, job, staging).await?;
    }
    let columns = list(job.fields.iter().map(|f| f.name.as_str()));
    let insert = format!("INSERT INTO {} ({columns}) SELECT {columns} FROM {}", name.sql(), staging.sql());
    let arrived = match &job.options.mode {
        Mode::Upsert(key) if !created => {
            let (inserted, updated) = upsert(tx, job, name, staging, key).await?;
            counts.updated = updated;
            if inserted + updated > rows {
                let doubled = doubled(tx, name, staging, key).await.map_err(&failed)?;
                job.check_upserted(rows, inserted + updated, doubled, key)?;
            }
            inserted + updated
        }
        Mode::Replace if takes_place => {
            // Waits for those who read the table, and keeps them out for the moment that the change of names takes.
            run(tx, &format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", name.sql())).await.map_err(&failed)?;
            if !created && !is_plain(tx, name).await.map_err(&failed)? {
                let message =
                    "somebody made a view, an index or the like for the table while it was loaded; load it again";
                return Err(Error::Database { url: redact(job.url), message: message.into(), permanent: false });
            }
            counts.replaced = count(tx, name, "").await.map_err(&failed)?;
            swap(tx, name, staging).await.map_err(&failed)?;
            job.check_rows(rows, count(tx, name, "").await.map_err(&failed)?)?;
            return Ok(counts);
        }
        Mode::Append | Mode::Partition { .. } if created => {
            swap(tx, name, staging).await.map_err(&failed)?;
            return Ok(counts);
        }
        Mode::Replace => {
            counts.replaced = run(tx, &format!("DELETE FROM {}", name.sql())).await.map_err(&failed)?;
            run(tx, &insert).await.map_err(&failed)?
        }
        Mode::Partition { column, value } => {
            counts.replaced = delete(tx, name, column, value).await.map_err(&failed)?;
            run(tx, &insert).await.map_err(&failed)?
        }
        Mode::Append | Mode::Upsert(_) => run(tx, &insert).await.map_err(&failed)?,
    };
    job.check_rows(rows, arrived)?;
    run(tx, &format!("DROP TABLE {}", staging.sql())).await.map_err(&failed)?;
    Ok(counts)
}

/// True for a table of which nothing is known but its columns: whatever else it has (an index, a view on it, rights, a
/// trigger) would be lost if another took its place.
async fn is_plain(tx: &mut PgConnection, name: &Table) -> sqlx::Result<bool> {
    let sql = "SELECT relkind = 'r' AND relpersistence = 'p' AND NOT relhasindex AND NOT relhasrules AND NOT relhastriggers \
               AND NOT relhassubclass AND NOT relispartition AND NOT relrowsecurity AND relacl IS NULL \
               AND reloptions IS NULL AND reloftype = 0 AND reltablespace = 0 AND relreplident = 'd' \
               AND pg_get_userbyid(relowner) = current_user AND obj_description(c.oid, 'pg_class') IS NULL \
               AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid) \
               AND NOT EXISTS (SELECT FROM pg_publication_rel WHERE prrelid = c.oid) \
               AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 \
                               AND (attidentity <> '' OR attgenerated <> '' OR attacl IS NOT NULL)) \
               AND NOT EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_class'::regclass AND refobjid = c.oid \
                               AND deptype <> 'i' AND classid <> 'pg_attrdef'::regclass) \
               FROM pg_class c WHERE oid = to_regclass($1)";
    query_scalar(sql).bind(name.sql()).fetch_one(tx).await
}

/// The staging table becomes the table.
async fn swap(tx: &mut PgConnection, name: &Table, staging: &Table) -> sqlx::Result<()> {
    run(tx, &format!("DROP TABLE {}", name.sql())).await?;
    run(tx, &format!("ALTER TABLE {} RENAME TO {}", staging.sql(), quote(&name.name))).await?;
    Ok(())
}

/// Rows whose key is there get new values; the others are inserted. Returns inserted and updated.
async fn upsert(
    tx: &mut PgConnection,
    job: &Job<'_>,
    name: &Table,
    staging: &Table,
    key: &[String],
) -> Result<(u64, u64)> {
    let failed = postgres::failed(job.url);
    let keys = list(key.iter().map(String::as_str));
    let no_key: Vec<_> = key.iter().map(|k| format!("{} IS NULL", quote(k))).collect();
    let nulls = count(tx, staging, &format!("WHERE {}", no_key.join(" OR "))).await.map_err(&failed)?;
    job.check_null_keys(nulls, key)?;
    let twice = format!("SELECT ROW({keys})::text FROM {} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1", staging.sql());
    let twice: Option<String> = query_scalar(AssertSqlSafe(twice)).fetch_optional(&mut *tx).await.map_err(&failed)?;
    job.check_twice(twice, key)?;
    // Readers go on; writers wait, so that no key comes in between.
    run(tx, &format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", name.sql())).await.map_err(&failed)?;
    let same: Vec<_> = key.iter().map(|k| format!("t.{k} = s.{k}", k = quote(k))).collect();
    let same = same.join(" AND ");
    let set: Vec<_> = job.fields.iter().filter(|f| !key.contains(&f.name)).collect();
    let set: Vec<_> = set.iter().map(|f| format!("{n} = s.{n}", n = quote(&f.name))).collect();
    // A table that is all key has nothing to set; its rows count as updated all the same.
    let set = if set.is_empty() { format!("{k} = s.{k}", k = quote(&key[0])) } else { set.join(", ") };
    let (target, from) = (name.sql(), staging.sql());
    let update = format!("UPDATE {target} t SET {set} FROM {from} s WHERE {same}");
    let updated = run(tx, &update).await.map_err(&failed)?;
    let columns = list(job.fields.iter().map(|f| f.name.as_str()));
    let insert = format!(
        "INSERT INTO {target} ({columns}) SELECT {columns} FROM {from} s WHERE NOT EXISTS (SELECT FROM {target} t WHERE {same})"
    );
    let inserted = run(tx, &insert).await.map_err(&failed)?;
    Ok((inserted, updated))
}

/// A key of the file that the table has more than once, as it is shown.
async fn doubled(tx: &mut PgConnection, name: &Table, of: &Table, key: &[String]) -> sqlx::Result<Option<String>> {
    let keys = list(key.iter().map(String::as_str));
    let sql = format!(
        "SELECT ROW({keys})::text FROM {} WHERE ({keys}) IN (SELECT {keys} FROM {}) GROUP BY {keys} HAVING count(*) > 1 LIMIT 1",
        name.sql(),
        of.sql()
    );
    query_scalar(AssertSqlSafe(sql)).fetch_optional(tx).await
}

/// What an earlier load of this key did.
async fn recorded(tx: &mut PgConnection, loads: &Table, name: &Table, key: &str) -> sqlx::Result<Option<Counts>> {
    let there: bool = query_scalar("SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1))")
        .bind(loads.sql())
        .fetch_one(&mut *tx)
        .await?;
    if !there {
        return Ok(None);
    }
    let sql = format!("SELECT rows, replaced, updated FROM {} WHERE table_name = $1 AND key = $2", loads.sql());
    let row = query(AssertSqlSafe(sql)).bind(&name.name).bind(key).fetch_optional(tx).await?;
    let Some(row) = row else { return Ok(None) };
    let number = |n| row.try_get::<i64, _>(n).map(|n| n.max(0) as u64);
    Ok(Some(Counts { rows: number(0)?, replaced: number(1)?, updated: number(2)? }))
}

async fn record(tx: &mut PgConnection, loads: &Table, name: &Table, key: &str, counts: Counts) -> sqlx::Result<()> {
    lock(tx, &format!("create {}", loads.sql())).await?;
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {} (table_name text, key text, rows bigint NOT NULL, replaced bigint NOT NULL, \
         updated bigint NOT NULL, loaded_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (table_name, key))",
        loads.sql()
    );
    run(tx, &create).await?;
    let insert =
        format!("INSERT INTO {} (table_name, key, rows, replaced, updated) VALUES ($1, $2, $3, $4, $5)", loads.sql());
    query(AssertSqlSafe(insert))
        .bind(&name.name)
        .bind(key)
        .bind(counts.rows as i64)
        .bind(counts.replaced as i64)
        .bind(counts.updated as i64)
        .execute(tx)
        .await
        .map(drop)
}
