//! Whoever brings an older database up to date dies half-way: nothing is lost, and the next one completes it. (Number 28.)

use crate::cluster;
use crate::postgres;
use crate::program::{Answer, Place};
use crate::ticks::{soon, text};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Where the records are.
#[derive(Clone)]
enum Records {
    File(PathBuf),
    Server(String),
}

impl Records {
    fn name(&self) -> &'static str {
        match self {
            Records::File(_) => "sqlite",
            Records::Server(_) => "postgres",
        }
    }

    fn url(&self) -> &str {
        match self {
            Records::File(_) => panic!("a file has no address"),
            Records::Server(url) => url,
        }
    }

    /// Asks the database itself, past this program: the first column of each row.
    fn ask(&self, sql: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_string()));
        runtime.block_on(async {
            match self {
                Records::File(path) => {
                    let wal = sqlx::sqlite::SqliteJournalMode::Wal;
                    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
                    let mut connection = sqlx::SqliteConnection::connect_with(&file.journal_mode(wal)).await.unwrap();
                    let rows = sql.fetch_all(&mut connection).await.unwrap();
                    connection.close().await.unwrap();
                    rows.iter().map(|row| row.try_get(0).unwrap()).collect()
                }
                Records::Server(url) => {
                    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
                    let rows = sql.fetch_all(&mut connection).await.unwrap();
                    connection.close().await.unwrap();
                    rows.iter().map(|row| row.try_get(0).unwrap()).collect()
                }
            }
        })
    }

    /// The tables with their columns, in the order in which they were made.
    fn tables(&self) -> Vec<(String, Vec<String>)> {
        let columns = self.ask(match self {
            Records::File(_) => {
                "SELECT of.name || ' ' || has.name FROM sqlite_schema AS of, pragma_table_info(of.name) AS has
                    WHERE of.type = 'table' AND of.name NOT LIKE 'sqlite%' ORDER BY of.rowid, has.cid"
            }
            Records::Server(_) => {
                "SELECT relname || ' ' || attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
                    WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname <> 'flow_schema'
                        AND attnum > 0 ORDER BY pg_class.oid, attnum"
            }
        });
        let mut tables: Vec<(String, Vec<String>)> = Vec::new();
        for (table, column) in columns.iter().map(|words| words.split_once(' ').unwrap()) {
            match tables.last_mut() {
                Some((last, columns)) if last == table => columns.push(column.into()),
                _ => tables.push((table.into(), vec![column.into()])),
            }
        }
        tables
    }

    /// All rows of these columns.
    fn rows(&self, tables: &[(String, Vec<String>)]) -> Vec<String> {
        let quote = match self {
            Records::File(_) => "quote",
            Records::Server(_) => "quote_nullable",
        };
        let rows = |(table, columns): &(String, Vec<String>)| {
            let columns: Vec<String> = columns.iter().map(|column| format!("{quote}({column})")).collect();
            format!("SELECT '{table}: ' || {} FROM {table} ORDER BY 1;", columns.join(" || ', ' || "))
        };
        // A connection to the server takes its time.
        self.ask(&tables.iter().map(rows).collect::<String>())
    }

    /// Everything there is but rows.
    fn inventory(&self) -> Vec<String> {
        self.ask(match self {
            Records::File(_) => "SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY 1",
            Records::Server(_) => {
                "SELECT concat_ws(' ', table_name, column_name, data_type, collation_name, is_nullable, column_default)
                    FROM information_schema.columns WHERE table_schema = 'public'
                UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
                UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
                UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                ORDER BY 1"
            }
        })
    }

    /// Says which schema it has.
    fn stamp(&self, seen: usize) {
        self.ask(&match self {
            Records::File(_) => format!("PRAGMA user_version = {seen}"),
            Records::Server(_) => format!("UPDATE flow_schema SET version = {seen}"),
        });
    }
}

/// The steps of the schema, in their order.
fn steps(store: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../flow-runtime/migrations").join(store);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut steps: Vec<_> = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with('0')).collect();
    steps.sort();
    steps.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// Lets much happen, and a process die in the middle of it.
fn lived(place: &Place) {
    place.ok(&["run", "prints", "--run-id", "one"]);
    place.ok(&["run", "crash_points", "--run-id", "two"]);
    assert_eq!(place.dags(&["run", "keeps_failing", "--run-id", "three"]).code, Some(1));
    place.ok(&["pause", "twenty_seconds"]);
    place.ok(&["emit", "it is time", "[7]"]);
    place.ok(&["assets", "emit", "goods"]);
    place.write("there", "");
    place.ok(&["backfill", "days", "--from", "2025-01-01", "--to", "2025-01-02", "--detach"]);
    let mut running = place.start(&["run", "with_url", "--run-id", "killed"]);
    running.until("slowly", "running");
    running.kill();
}

/// What a database of the schema of so many steps would hold, had it lived through the same.
fn older(lived: &Records, seen: usize) -> Records {
    let steps = steps(lived.name())[..seen].concat();
    match lived {
        Records::File(path) => {
            let old = Records::File(path.with_extension(seen.to_string()));
            old.ask(&format!("{steps} PRAGMA application_id = {}", 0x666c_6f77));
            let copies: Vec<String> = old.tables().iter().map(|table| copy("main", table, "there", "")).collect();
            let attach = format!("ATTACH '{}' AS there;", path.display());
            old.ask(&(attach + &copies.concat()));
            old.stamp(seen);
            old
        }
        Records::Server(url) => {
            let old = Records::Server(copy_of(url));
            let to = "SET search_path TO old;";
            old.ask(&format!(
                "CREATE SCHEMA old; {to} CREATE TABLE flow_schema (version BIGINT NOT NULL); INSERT INTO flow_schema VALUES ({seen}); {steps}"
            ));
            let in_old = Records::Server(format!("{}?options[search_path]=old", old.url()));
            let tables = in_old.tables();
            let copies = tables.iter().map(|table| {
                let number = if table.1.contains(&"id".to_string()) {
                    format!("SELECT setval(pg_get_serial_sequence('old.{}', 'id'), 1000)::text;", table.0)
                } else {
                    String::new()
                };
                copy("old", table, "public", "OVERRIDING SYSTEM VALUE") + &number
            });
            old.ask(&copies.collect::<String>());
            old.ask("DROP SCHEMA public CASCADE; ALTER SCHEMA old RENAME TO public");
            old
        }
    }
}

/// A copy of a database of the server, once those who were just there are gone.
fn copy_of(url: &str) -> String {
    let (server, name) = (Records::Server(cluster::url().unwrap()), url.rsplit('/').next().unwrap());
    let there = format!("SELECT pid::text FROM pg_stat_activity WHERE datname = '{name}'");
    soon("nobody is there", || server.ask(&there).is_empty());
    postgres::copy_of(url)
}

fn copy(into: &str, (table, columns): &(String, Vec<String>), from: &str, number: &str) -> String {
    let columns = columns.join(", ");
    format!("INSERT INTO {into}.{table} ({columns}) {number} SELECT {columns} FROM {from}.{table};")
}

/// The same database once more, with a place that works on it.
fn again(old: &Records) -> (Place, Records) {
    match old {
        Records::File(path) => {
            let place = Place::new();
            std::fs::create_dir(place.home()).unwrap();
            let file = place.home().join("flow.db");
            std::fs::copy(path, &file).unwrap();
            (place, Records::File(file))
        }
        Records::Server(url) => {
            let url = copy_of(url);
            (postgres::machine(&url), Records::Server(url))
        }
    }
}

/// An older database: what it holds, and what it is to become.
struct Case {
    old: Records,
    seen: usize,
    known: usize,
    tables: Vec<(String, Vec<String>)>,
    rows: Vec<String>,
    inventory: Vec<String>,
}

impl Case {
    fn new(lived: &Records, seen: usize) -> Case {
        let old = older(lived, seen);
        let tables = old.tables();
        let rows = old.rows(&tables);
        assert!(rows.len() > 20, "{rows:#?}");
        Case { old, seen, known: steps(lived.name()).len(), tables, rows, inventory: lived.inventory() }
    }

    /// Somebody died at it: all is as it was, or is done where that `may_be`, and the next one completes it.
    fn completes(&self, place: &Place, records: &Records, may_be_done: bool, about: &str) {
        let about = format!("{}, schema {}, {about}", records.name(), self.seen);
        let check = place.dags(&["db", "check", "--json"]);
        let found: Value = serde_json::from_str(&check.out).unwrap_or_else(|e| panic!("{about}: {e}: {check:?}"));
        let is_done = found["schema"] == self.known;
        assert!(is_done && may_be_done || found["schema"] == self.seen && check.code == Some(2), "{about}: {check:?}");
        assert_eq!(records.rows(&self.tables), self.rows, "{about}: nothing is lost");
        let done = place.json(&["db", "migrate"]);
        assert_eq!((&done["is_current"], &done["schema_before"]), (&json!(true), &found["schema"]), "{about}");
        assert_eq!(records.rows(&self.tables), self.rows, "{about}: all is there");
        assert_eq!(records.inventory(), self.inventory, "{about}: as if it had been made new");
    }

    /// One death at each point between two steps, and around the commit; on Postgres, where each takes its time, of the oldest alone,
    /// or with `MIGRATIONS=all` of each.
    fn dies_between(&self) {
        // The functions of Postgres come after the last step.
        let (is_server, after_it) = match self.old {
            Records::File(_) => (false, 0),
            Records::Server(_) => (true, 1),
        };
        let steps = (self.seen + 1..=self.known + after_it).map(|step| format!("migrate:{step}:before"));
        let mut points: Vec<String> =
            steps.chain(["migrated:1:before".to_string(), "migrated:1:after".to_string()]).collect();
        if is_server && self.seen > 1 && std::env::var("MIGRATIONS").as_deref() != Ok("all") {
            points = vec![points.swap_remove(1)];
        }
        for crash_at in points {
            let (place, records) = again(&self.old);
            let mut command = place.command(&["db", "migrate"]);
            let ended = command.env("FLOW_CRASH_AT", &crash_at).stdout(Stdio::null()).status().unwrap();
            assert_eq!(ended.signal(), Some(9), "{crash_at}: it never came");
            self.completes(&place, &records, crash_at == "migrated:1:after", &crash_at);
        }
    }

    /// What was recorded before is of use after.
    fn is_of_use(&self) {
        let (place, records) = again(&self.old);
        place.ok(&["db", "migrate"]);
        assert_eq!(place.json(&["xcom", "two", "sum"])["value"], 5);
        soon("the lease of the dead one ends", || {
            place.json(&["runs", "--state", "interrupted"]).as_array().unwrap().len() == 1
        });
        place.ok(&["run", "--resume", "killed"]);
        place.ok(&["run", "prints", "--run-id", "new"]);
        let runs = place.json(&["runs", "--limit", "0"]);
        let states: Vec<(&str, &str)> =
            runs.as_array().unwrap().iter().map(|run| (text(run, "dag_run_id"), text(run, "state"))).collect();
        for run in
            [("new", "success"), ("killed", "success"), ("three", "failed"), ("two", "success"), ("one", "success")]
        {
            assert!(states.contains(&run), "{states:?}");
        }
        self.is_refused_by_an_older_one(&place, &records);
    }

    /// A flow that knows one step less says what to do, and changes nothing.
    fn is_refused_by_an_older_one(&self, place: &Place, records: &Records) {
        records.stamp(self.known + 1);
        let before = records.rows(&records.tables());
        for args in [&["runs"][..], &["db", "migrate"], &["run", "prints"], &["scheduler"], &["clear", "one", "--yes"]]
        {
            let Answer { code, err, .. } = place.dags(args);
            let newer = format!(
                "was written by a newer flow (its schema is {}, this flow knows {})",
                self.known + 1,
                self.known
            );
            assert!(
                matches!(code, Some(2 | 4)) && err.contains(&newer) && err.contains("update flow"),
                "{args:?}: {err}"
            );
        }
        assert_eq!(records.rows(&records.tables()), before);
    }
}

fn each_older_schema(lived: &Records, test: impl Fn(&Case) + Sync) {
    // Nobody may be there while a database is copied.
    let cases: Vec<Case> = (1..steps(lived.name()).len()).map(|seen| Case::new(lived, seen)).collect();
    std::thread::scope(|scope| cases.iter().for_each(|case| drop(scope.spawn(|| test(case)))));
}

fn dies_between_steps(place: &Place, records: &Records) {
    lived(place);
    each_older_schema(records, |case| {
        case.dies_between();
        case.is_of_use();
    });
}

#[test]
fn a_migration_that_dies_between_two_steps_is_completed_by_the_next() {
    let place = Place::new();
    dies_between_steps(&place, &Records::File(place.home().join("flow.db")));
}

#[test]
fn a_migration_that_dies_between_two_steps_is_completed_by_the_next_on_postgres() {
    let Some(url) = postgres::database() else { return };
    dies_between_steps(&postgres::machine(&url), &Records::Server(url));
}

/// A process that the system kills as soon as it makes a file larger than so many blocks of 512 bytes.
fn cut_off(place: &Place, blocks: u64) -> ExitStatus {
    let script = format!("ulimit -c 0; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let program = place.command(&["db", "migrate"]);
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(program.get_program()).args(program.get_args());
    command.current_dir(place.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("it starts")
}

#[test]
fn a_migration_that_dies_inside_a_write_is_completed_by_the_next() {
    let place = Place::new();
    lived(&place);
    each_older_schema(&Records::File(place.home().join("flow.db")), |case| {
        let mut deaths = 0;
        // Below that it cannot even share its memory.
        for blocks in (72..).step_by(24) {
            let (place, records) = again(&case.old);
            let ended = cut_off(&place, blocks);
            case.completes(&place, &records, true, &format!("{blocks} blocks"));
            if ended.success() {
                break;
            }
            assert!(ended.signal().is_some(), "it was killed: {ended}");
            deaths += 1;
        }
        // A small step is soon written.
        assert!(deaths > 0, "schema {}: no deaths", case.seen);
    });
}

/// It waits for somebody who only reads, in the middle of a step, and is killed there. The next waits for its turn.
fn dies_inside_a_step(case: &Case) {
    let (place, records) = again(&case.old);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut reader = runtime.block_on(async {
        let mut reader = sqlx::PgConnection::connect(records.url()).await.unwrap();
        sqlx::raw_sql("BEGIN; LOCK TABLE dag_run IN ACCESS SHARE MODE").execute(&mut reader).await.unwrap();
        reader
    });
    let who_wait = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let start = || {
        let mut command = place.command(&["db", "migrate", "--json"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
    };
    let mut first = start();
    soon("it waits inside a step", || records.ask(who_wait).len() == 1);
    first.kill().unwrap();
    first.wait().unwrap();
    let mut next = start();
    soon("the next one waits for what is left of the first", || records.ask(who_wait).len() == 2);
    assert_eq!(place.dags(&["db", "check", "--json"]).code, Some(2), "schema {}: nothing is done", case.seen);
    runtime.block_on(async {
        sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
        reader.close().await.unwrap();
    });
    assert!(next.wait().unwrap().success(), "schema {}", case.seen);
    case.completes(&place, &records, true, "inside a step");
}

#[test]
fn a_migration_that_dies_inside_a_step_is_completed_by_the_next_on_postgres() {
    let Some(url) = postgres::database() else { return };
    lived(&postgres::machine(&url));
    each_older_schema(&Records::Server(url), dies_inside_a_step);
}
