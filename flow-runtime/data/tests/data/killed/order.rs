//! What a process is told to do, and how it is ended.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flow_data::{
    BigQuery, Error, Format, Input, Lake, LoadOptions, LoadSource, Misfit, Mode, ParquetOptions, Progress, Schema,
    Select, TableLoadOptions, Type, UnloadOptions, Version, Warehouse, When, download_to, parquetize, settled,
};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection, query_scalar};

use crate::files::trip_schema;

/// A step of a pipeline, as another process is told of it.
#[derive(Serialize, Deserialize)]
pub enum Order {
    Download { url: String, path: PathBuf },
    Parquetize { csv: PathBuf, parquet: PathBuf },
    Upload { home: String, local: PathBuf, url: String, unchanged: Option<Version> },
    BigQuery { home: String, host: String, objects: Vec<String>, file: Option<PathBuf>, table: String, id: String },
    Load { url: String, parquet: PathBuf, mode: String, connections: usize },
    Warehouse { home: String, host: String, file: PathBuf, scratch: PathBuf, mode: String, key: Option<String> },
    Unload { home: String, host: String, file: PathBuf },
    Select { url: String, file: PathBuf },
}

/// How a process ended.
pub struct End {
    /// The step came to its end.
    pub is_whole: bool,
    /// What it made, in words.
    pub result: Option<String>,
    /// How long it was at it.
    pub took: Duration,
    /// The last report of its progress.
    pub reported: Option<(u64, u64)>,
    /// How long it went on after it was cancelled: threads that work, files and connections that are open, here and on the server.
    pub rest: Option<Duration>,
}

impl Order {
    pub fn undisturbed(&self) -> End {
        let end = self.run(None, |mut child| assert!(child.wait().unwrap().success(), "the child failed"));
        assert!(end.is_whole);
        end
    }

    /// As the kernel kills, after this time.
    pub fn killed(&self, after: Duration) -> End {
        self.run(None, |mut child| {
            std::thread::sleep(after);
            child.kill().unwrap();
            child.wait().unwrap();
        })
    }

    /// Cancelled after this time: by dropping its future, or by its progress alone.
    pub fn cancelled(&self, after: Duration, dropped: bool) -> End {
        self.run(Some((after, dropped)), |mut child| assert!(child.wait().unwrap().success(), "the child failed"))
    }

    fn run(&self, cancel: Option<(Duration, bool)>, end: impl FnOnce(Child)) -> End {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "killed::order::child", "--ignored", "--nocapture"]);
        command.env("KILLED_CHILD", serde_json::to_string(self).unwrap());
        if let Some((after, dropped)) = cancel {
            command.env("KILLED_CANCEL", format!("{} {dropped}", after.as_micros()));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun = lines.by_ref().any(|line| line.unwrap() == "begun");
        assert!(begun, "the child ended before it began");
        let since = Instant::now();
        // Somebody has to read, or the child would wait for that.
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        end(child);
        let took = since.elapsed();
        let lines = rest.join().unwrap();
        let said = |word: &str| lines.iter().rev().find_map(|line| Some(line.strip_prefix(word)?.trim().to_owned()));
        let pair = |text: String| text.split_once(' ').map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
        let result = said("whole");
        End {
            is_whole: result.is_some(),
            took: said("took").map_or(took, |micros| Duration::from_micros(micros.parse().unwrap())),
            reported: said("at").and_then(pair),
            rest: said("rest").map(|micros| Duration::from_micros(micros.parse().unwrap())),
            result,
        }
    }

    /// Does it. Returns what the result is, in words that do not tell a first try from another.
    async fn obey(self, progress: Arc<Told>) -> Result<String, Error> {
        let progress: Arc<dyn Progress> = progress;
        Ok(match self {
            Self::Download { url, path } => {
                let done = download_to(&url, &path, &*progress).await?;
                format!("{} bytes, {}", done.bytes, done.sha256)
            }
            Self::Parquetize { csv, parquet } => {
                let work = move || {
                    let mut options = ParquetOptions::default();
                    options.misfit = Misfit::Quarantine;
                    options.row_group_rows = 10_000;
                    parquetize(csv, parquet, &trip_schema(), &options, &*progress)
                };
                let done = tokio::task::spawn_blocking(work).await.unwrap()?;
                format!("{} bytes, {} rows, {} kept out", done.bytes, done.rows, done.quarantined)
            }
            Self::Upload { home, local, url, unchanged } => {
                let when = unchanged.map_or(When::Always, When::Unchanged);
                let lake = Lake::new().with("HOME", &home).with_notes(format!("{home}/uploads"));
                let done = lake.upload_when(local, &url, &when, &*progress).await?;
                format!("{} bytes, {}", done.bytes, done.sha256)
            }
            Self::BigQuery { home, host, objects, file, table, id } => {
                let key = format!("{home}/.google/credentials/google_credentials.json");
                let lake = Lake::new().with("HOME", &home).with("BIGQUERY_EMULATOR_HOST", &host);
                let bigquery = BigQuery::new(&lake.with("GOOGLE_SERVICE_ACCOUNT", &key))?;
                let schema = Some(Schema::new([("id", Type::Int), ("note", Type::Text)]));
                let options = LoadOptions { format: Format::Csv, schema, ..LoadOptions::default() };
                let urls: Vec<_> = objects.iter().map(String::as_str).collect();
                let source = file.as_deref().map_or(LoadSource::Objects(&urls), LoadSource::File);
                let done = bigquery.load(source, &table, &id, &options, &*progress).await?;
                format!("{} rows by {}", done.rows, done.job)
            }
            Self::Load { url, parquet, mode, connections } => {
                let mut options = TableLoadOptions::default();
                (options.connections, options.key) = (connections, Some("the load".into()));
                options.mode = parsed(&mode);
                let done = Warehouse::open(&url)?.load(&Input::parquet(parquet), "t", &options, &*progress).await?;
                format!("{} rows, {} replaced, {} updated", done.rows, done.replaced, done.updated)
            }
            Self::Warehouse { home, host, file, scratch, mode, key } => {
                let mut options = TableLoadOptions::default();
                (options.mode, options.key) = (parsed(&mode), key);
                let schema = Schema::new([("id", Type::Int), ("note", Type::Text)]);
                let is_csv = file.extension().is_some_and(|end| end == "csv");
                let input = if is_csv { Input::csv(file, &schema) } else { Input::parquet(file) };
                let warehouse = in_bigquery(&home, &host).with_scratch(scratch);
                let done = warehouse.load(&input, "t", &options, &*progress).await?;
                match options.key {
                    Some(_) => format!("{} rows, {} replaced, {} updated", done.rows, done.replaced, done.updated),
                    // What a try without a name finds, that before it may have done.
                    None => format!("{} rows", done.rows),
                }
            }
            Self::Unload { home, host, file } => {
                let table = Select::Table("t".into());
                let done =
                    in_bigquery(&home, &host).unload(&table, file, &UnloadOptions::default(), &*progress).await?;
                format!("{} rows in {} bytes", done.rows, done.bytes)
            }
            Self::Select { url, file } => {
                let (query, mut options) = (Select::Query("SELECT id, note FROM t".into()), UnloadOptions::default());
                options.row_group_rows = 10_000;
                let done = Warehouse::open(&url)?.unload(&query, file, &options, &*progress).await?;
                format!("{} rows in {} bytes", done.rows, done.bytes)
            }
        })
    }
}

fn parsed(mode: &str) -> Mode {
    match mode {
        "append" => Mode::Append,
        "replace" => Mode::Replace,
        "upsert" => Mode::Upsert(vec!["id".into()]),
        "partition" => Mode::Partition { column: "_part".into(), value: "p".into() },
        _ => panic!("no such mode: {mode}"),
    }
}

fn in_bigquery(home: &str, host: &str) -> Warehouse {
    let key = format!("{home}/.google/credentials/google_credentials.json");
    let lake = Lake::new().with("HOME", home).with("BIGQUERY_EMULATOR_HOST", host);
    let warehouse = Warehouse::open("bigquery://project-1/trips").unwrap();
    warehouse.with_lake(lake.with("GOOGLE_SERVICE_ACCOUNT", &key))
}

/// Tells the parent, and hears from the clock.
#[derive(Default)]
struct Told {
    cancelled: AtomicBool,
    /// Reports that came after that.
    late: AtomicUsize,
}

impl Progress for Told {
    fn report(&self, done: u64, total: Option<u64>) {
        if self.cancelled() {
            self.late.fetch_add(1, Ordering::SeqCst);
        }
        tell(&format!("at {done} {}", total.unwrap_or(u64::MAX)));
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}

/// Past the harness: the parent reads the pipe.
fn tell(line: &str) {
    // It may be that nobody reads any more.
    let _ = std::io::stdout().write_all(format!("\n{line}\n").as_bytes());
}

#[test]
#[ignore = "run by the tests that kill it"]
fn child() {
    let Ok(order) = std::env::var("KILLED_CHILD") else { return };
    let order: Order = serde_json::from_str(&order).unwrap();
    let cancel = std::env::var("KILLED_CANCEL").ok();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut watch = Watch::over(&order).await;
        let (told, idle) = (Arc::new(Told::default()), open());
        tell("begun");
        let is_blocking = matches!(order, Order::Parquetize { .. });
        let begun = Instant::now();
        let mut work = Box::pin(order.obey(told.clone()));
        let Some(cancel) = cancel else { return whole(begun, work.await) };
        let (micros, dropped) = cancel.split_once(' ').unwrap();
        let after = Duration::from_micros(micros.parse().unwrap());
        tokio::select! {
            biased;
            outcome = &mut work => return whole(begun, outcome),
            () = tokio::time::sleep(after) => {}
        }
        let since = Instant::now();
        told.cancelled.store(true, Ordering::SeqCst);
        if dropped == "true" {
            drop(work);
        } else {
            match work.await {
                // It had ended before it asked.
                Ok(result) => return whole(begun, Ok(result)),
                Err(error) => assert!(matches!(error, Error::Cancelled), "{error:?}"),
            }
        }
        while open().difference(&idle).next().is_some() {
            assert!(since.elapsed() < Duration::from_secs(60), "at work still: {:?}", open().difference(&idle));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        watch.until_all_are_gone().await;
        let late = told.late.load(Ordering::SeqCst);
        // A function that blocks ends with the batch that is under way, and a dropped future at once. One that asks may get on
        // until it asks.
        let most = if is_blocking { 1 } else { 0 };
        assert!(late <= most || (dropped != "true" && !is_blocking), "{late} reports came after the end");
        tell(&format!("rest {}", since.elapsed().as_micros()));
        settled().await;
    });
}

/// Looks at the sessions of a step on the database's server.
struct Watch(Option<(PgConnection, String)>);

impl Watch {
    async fn over(order: &Order) -> Self {
        let (Order::Load { url, .. } | Order::Select { url, .. }) = order else { return Self(None) };
        let Some(name) = url.split_once("application_name=").map(|(_, rest)| rest.split('&').next().unwrap()) else {
            return Self(None);
        };
        let own = url.replace("application_name=", "application_name=watch_");
        Self(Some((PgConnection::connect(&own).await.unwrap(), name.to_owned())))
    }

    async fn until_all_are_gone(&mut self) {
        let Some((conn, name)) = &mut self.0 else { return };
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        while query_scalar::<_, i64>(sql).bind(&*name).fetch_one(&mut *conn).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn whole(since: Instant, outcome: Result<String, Error>) {
    tell(&format!("took {}", since.elapsed().as_micros()));
    tell(&format!("whole {}", outcome.unwrap()));
}

/// What this process has open that work could be done on, and its threads that do some. Nothing where the kernel does not tell.
fn open() -> BTreeSet<String> {
    let list = |folder: &str| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files =
        list("/proc/self/fd").filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string()));
    let files =
        files.filter(|target| target.starts_with('/') && !target.starts_with("/proc") || target.starts_with("socket:"));
    let threads = list("/proc/self/task").filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok());
    let threads = threads.filter(|name| name.starts_with("flow-data") || name.starts_with("sqlx"));
    files.chain(threads).collect()
}
