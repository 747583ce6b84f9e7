//! Steps that load into a table.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use flow_data::LOADS_TABLE;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection, raw_sql};
use tokio::runtime::Runtime;

use super::order::Order;
use super::{World, besides, ended_anywhere, sum, wait};
use crate::cluster;
use crate::tables::notes;

const ROWS: usize = 40_000;

struct Load {
    /// Sessions of the loads are told apart by the name in it.
    url: String,
    /// Of a Postgres server.
    schema: Option<Schema>,
    mode: &'static str,
    connections: usize,
    folder: tempfile::TempDir,
    parquet: PathBuf,
}

/// A schema of our own, and a session that watches.
struct Schema {
    name: String,
    runtime: Runtime,
    conn: RefCell<PgConnection>,
}

impl Load {
    fn postgres(mode: &'static str, connections: usize) -> Option<Self> {
        let server = cluster::url()?;
        let name = format!("killed_{mode}_{connections}");
        let url = format!("{server}?application_name={name}&options=-c%20search_path%3D{name}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let conn = runtime.block_on(async {
            let mut conn = PgConnection::connect(&server).await.unwrap();
            let sql = format!("CREATE SCHEMA {name}; SET search_path = {name}");
            raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
            conn
        });
        let schema = Some(Schema { name, runtime, conn: RefCell::new(conn) });
        Some(Self { url, schema, connections, ..Self::sqlite(mode) })
    }

    fn sqlite(mode: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let parquet = folder.path().join("notes.parquet");
        notes(&parquet, ROWS);
        std::fs::File::create(folder.path().join("t.db")).unwrap();
        let url = format!("sqlite://{}/t.db", folder.path().display());
        Self { url, schema: None, mode, connections: 1, folder, parquet }
    }

    fn ask(&self, sql: &str) -> Vec<Vec<String>> {
        let sql = AssertSqlSafe(sql.to_owned());
        let Some(Schema { runtime, conn, .. }) = &self.schema else {
            let rows = wait(async {
                let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
                raw_sql(sql).fetch_all(&mut conn).await.unwrap()
            });
            let text = |row: &SqliteRow, n| row.try_get_unchecked::<String, _>(n).unwrap_or_default();
            return rows.iter().map(|row| (0..row.len()).map(|n| text(row, n)).collect()).collect();
        };
        let rows = runtime.block_on(raw_sql(sql).fetch_all(&mut *conn.borrow_mut())).unwrap();
        let text = |row: &PgRow, n| row.try_get_raw(n).unwrap().as_str().unwrap_or_default().to_owned();
        rows.iter().map(|row| (0..row.len()).map(|n| text(row, n)).collect()).collect()
    }

    fn number(&self, sql: &str) -> i64 {
        self.ask(sql)[0][0].parse().unwrap()
    }

    fn tables(&self) -> Vec<String> {
        let sql = match &self.schema {
            Some(Schema { name, .. }) => {
                format!("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = '{name}'::regnamespace")
            }
            None => "SELECT name FROM sqlite_schema WHERE type = 'table'".into(),
        };
        self.ask(&sql).into_iter().flatten().collect()
    }
}

impl World for Load {
    fn name(&self) -> String {
        let database = if self.schema.is_some() { "Postgres" } else { "SQLite" };
        format!("{database} {} over {}", self.mode, self.connections)
    }

    fn reset(&mut self) {
        let part = if self.mode == "partition" { ", _part text NOT NULL DEFAULT 'p'" } else { "" };
        let id = if self.schema.is_some() { "bigint" } else { "INTEGER" };
        let sql = format!(
            "DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS {LOADS_TABLE}; CREATE TABLE t (id {id} NOT NULL, note text{part}); \
             INSERT INTO t (id, note) VALUES (1, 'old'), (-1, 'old')"
        );
        self.ask(&sql);
    }

    fn order(&self) -> Order {
        Order::Load {
            url: self.url.clone(),
            parquet: self.parquet.clone(),
            mode: self.mode.into(),
            connections: self.connections,
        }
    }

    fn seen(&self) -> Vec<String> {
        let rows = self.ask("SELECT id, note FROM t ORDER BY id, note");
        let text: String = rows.iter().map(|row| format!("{}\n", row.join("|"))).collect();
        vec![format!("{} rows, {}", rows.len(), sum(text.as_bytes()))]
    }

    fn check(&self) {
        let old = match self.mode {
            "append" => 2,
            "upsert" => 1,
            _ => 0,
        };
        assert_eq!(self.number("SELECT count(*) FROM t"), ROWS as i64 + old);
        let new = "SELECT count(*), count(DISTINCT id), sum(id), sum(length(note)) FROM t WHERE note <> 'old'";
        let letters: usize = (0..ROWS).map(|n| format!("note {n}").len() * 8).sum();
        assert_eq!(self.ask(new), [[ROWS, ROWS, ROWS * (ROWS - 1) / 2, letters].map(|n| n.to_string())]);
    }

    fn left(&self) -> Vec<String> {
        let Some(Schema { name, .. }) = &self.schema else {
            let mut left = besides(self.folder.path(), &["notes.parquet", "t.db"]);
            left.extend(self.tables().into_iter().filter(|name| name != "t" && name != LOADS_TABLE));
            return left;
        };
        // The server notices the end of a session when it next looks.
        let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
        for _ in 0..1_000 {
            if self.number(&sessions) == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut left: Vec<_> = (0..self.number(&sessions)).map(|n| format!("session {n}")).collect();
        left.extend(self.tables().into_iter().filter(|name| name != "t" && name != LOADS_TABLE));
        left
    }
}

/// Number 43, mode by mode. Over two connections the staging table is one that others see.
fn in_postgres(mode: &'static str) {
    for connections in [1, 2] {
        let Some(world) = Load::postgres(mode, connections) else { return };
        ended_anywhere(world);
    }
}

#[test]
fn a_copy_that_adds_and_is_ended_anywhere_is_done_once() {
    in_postgres("append");
}

#[test]
fn a_copy_that_swaps_and_is_ended_anywhere_is_done_once() {
    in_postgres("replace");
}

#[test]
fn a_copy_that_updates_and_is_ended_anywhere_is_done_once() {
    in_postgres("upsert");
}

#[test]
fn a_copy_into_a_partition_that_is_ended_anywhere_is_done_once() {
    in_postgres("partition");
}

#[test]
fn a_load_into_sqlite_that_adds_and_is_ended_anywhere_is_done_once() {
    ended_anywhere(Load::sqlite("append"));
}

#[test]
fn a_load_into_sqlite_that_replaces_and_is_ended_anywhere_is_done_once() {
    ended_anywhere(Load::sqlite("replace"));
}

#[test]
fn a_load_into_sqlite_that_updates_and_is_ended_anywhere_is_done_once() {
    ended_anywhere(Load::sqlite("upsert"));
}

#[test]
fn a_load_into_a_partition_of_sqlite_that_is_ended_anywhere_is_done_once() {
    ended_anywhere(Load::sqlite("partition"));
}
