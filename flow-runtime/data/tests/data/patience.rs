//! Stores that are slow, busy or gone: how long they are waited for, and what is said then.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flow_data::{
    DownloadOptions, Error, Input, Lake, ParquetOptions, Progress, Result, TableLoadOptions, Warehouse, download_with,
    parquetize,
};

use crate::files::{noise, trip_schema, trips, write};
use crate::server::{Reply, Request, Server, file};

const TAG: &str = "\"one\"";
const DATE: &str = "Fri, 01 Jan 2021 00:00:00 GMT";
/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

fn s3(url: &str) -> Lake {
    let options =
        [("AWS_ENDPOINT", url), ("AWS_ACCESS_KEY_ID", "me"), ("AWS_SECRET_ACCESS_KEY", "hush"), ("AWS_REGION", "r")];
    options.into_iter().collect()
}

/// Every kind of store at this server.
fn lakes(url: &str) -> [(Lake, &'static str); 3] {
    let azure = [
        ("AZURE_STORAGE_ACCOUNT_NAME", "acct"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "aHVzaGh1c2g="),
        ("AZURE_STORAGE_ENDPOINT", url),
    ];
    let azure = azure.into_iter().collect();
    [(s3(url), "s3://lake/f"), (Lake::new().with("STORAGE_EMULATOR_HOST", url), "gs://lake/f"), (azure, "az://lake/f")]
}

/// An object as a store gives it: with ranges, and for whom has seen this version of it.
fn object(request: &Request, content: &[u8], tag: &str) -> Reply {
    if request.header("if-match").is_some_and(|wanted| wanted != tag) {
        return Reply::new(412, "");
    }
    file(request, content, tag).with("Last-Modified", DATE)
}

fn gets(server: &Server) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.method == "GET").collect()
}

fn left(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn an_object_that_takes_longer_than_any_request_may_is_fetched() {
    let content = noise(200_000);
    let served = content.clone();
    let server = Server::start(move |request| {
        let drip = Some((2_000, Duration::from_millis(10)));
        Reply { drip, ..object(request, &served, TAG).with("x-amz-version-id", "v1") }
    });
    // Two minutes and three of them, otherwise.
    let lake = s3(&server.url).with("timeout", "300 ms").with_patience(Duration::from_millis(200));
    let folder = tempfile::tempdir().unwrap();
    let most = AtomicU64::new(0);
    let progress = |done, total| {
        assert_eq!(total, Some(200_000));
        assert!(most.fetch_max(done, Ordering::SeqCst) <= done, "nothing is fetched twice");
    };
    let fetched = lake.fetch("s3://lake/f", folder.path().join("f"), &progress).await.unwrap();
    assert!(std::fs::read(&fetched.path).unwrap() == content && fetched.bytes == 200_000);
    let asked = gets(&server);
    assert!(asked.len() > 2, "{}", asked.len());
    let starts: Vec<_> = asked.iter().map(|request| request.range_start().unwrap_or_default()).collect();
    assert!(starts[0] == 0 && starts.is_sorted_by(|a, b| a < b), "{starts:?}");
    // To name its version takes one more right.
    assert!(
        asked.iter().all(|request| request.header("if-match") == Some(TAG) && !request.target.contains("versionId"))
    );
    assert_eq!(left(folder.path()), 1, "no part file stays");
}

/// Half of the one and half of the other must never meet.
#[tokio::test]
async fn an_object_that_changes_while_it_is_fetched_is_fetched_anew() {
    let (old, new) = (noise(500_000), noise(500_001)[1..].to_vec());
    let want = new.clone();
    let cut = AtomicBool::new(false);
    let server = Server::start(move |request| match cut.load(Ordering::SeqCst) {
        false if request.method == "GET" => {
            cut.store(true, Ordering::SeqCst);
            object(request, &old, TAG).cut(300_000)
        }
        false => object(request, &old, TAG),
        true => object(request, &new, "\"two\""),
    });
    let folder = tempfile::tempdir().unwrap();
    s3(&server.url).fetch("s3://lake/f", folder.path().join("f"), &()).await.unwrap();
    assert!(std::fs::read(folder.path().join("f")).unwrap() == want);
}

#[tokio::test]
async fn an_object_that_changes_faster_than_it_comes_is_given_up() {
    let looks = AtomicU64::new(0);
    let server = Server::start(move |request| {
        let seen = looks.fetch_add(u64::from(request.method == "HEAD"), Ordering::SeqCst);
        let tag = format!("\"{}\"", seen + u64::from(request.method == "HEAD"));
        object(request, &noise(100_000), &tag).cut(50_000)
    });
    let folder = tempfile::tempdir().unwrap();
    let lake = s3(&server.url).with_patience(Duration::ZERO);
    let error = lake.fetch("s3://lake/f", folder.path().join("f"), &()).await.unwrap_err();
    assert!(error.to_string().contains("given up after 6 fruitless attempts"), "{error}");
    assert_eq!((gets(&server).len(), left(folder.path())), (6, 0));
}

/// Two attempts continue one content each time, and the next finds another.
#[tokio::test]
async fn an_object_that_changes_again_and_again_is_given_up_whatever_comes_between() {
    let looks = AtomicU64::new(0);
    let server = Server::start(move |request| {
        let look = u64::from(request.method == "HEAD");
        let seen = looks.fetch_add(look, Ordering::SeqCst) + look;
        object(request, &noise(100_000), &format!("\"{}\"", seen.div_ceil(2))).cut(10_000)
    });
    let folder = tempfile::tempdir().unwrap();
    let lake = s3(&server.url).with_patience(Duration::ZERO);
    let error = lake.fetch("s3://lake/f", folder.path().join("f"), &()).await.unwrap_err();
    assert!(error.to_string().contains("given up after 6 fruitless attempts"), "{error}");
    assert_eq!((gets(&server).len(), left(folder.path())), (13, 0));
}

/// The rest is asked for once, and all after that.
#[tokio::test]
async fn an_object_of_a_store_without_ranges_begins_anew() {
    let content = noise(100_000);
    let served = content.clone();
    let cut = AtomicBool::new(false);
    let server = Server::start(move |request| {
        let whole = Reply::new(200, served.clone()).with("ETag", TAG).with("Last-Modified", DATE);
        let cuts = request.method == "GET" && !cut.swap(true, Ordering::SeqCst);
        if cuts { whole.cut(50_000) } else { whole }
    });
    let (folder, lake) = (tempfile::tempdir().unwrap(), s3(&server.url).with_patience(Duration::ZERO));
    let (path, options) = (folder.path().join("f"), DownloadOptions { lake, ..DownloadOptions::default() });
    download_with("s3://lake/f", &path, &options, &()).await.unwrap();
    assert!(std::fs::read(path).unwrap() == content);
    let starts: Vec<_> = gets(&server).iter().map(Request::range_start).collect();
    assert_eq!(starts, [None, Some(50_000), None]);
}

#[tokio::test]
async fn a_busy_store_is_waited_for() {
    // More often than object_store would ask.
    const BUSY: usize = 12;
    let content = noise(1_000);
    let asked: Arc<Mutex<std::collections::HashMap<String, usize>>> = Arc::default();
    let served = content.clone();
    let server = Server::start(move |request| {
        let mut asked = asked.lock().unwrap();
        let times = asked.entry(request.target.clone()).or_default();
        *times += 1;
        match *times {
            times if times > BUSY => object(request, &served, TAG),
            times if times % 2 == 0 => Reply::new(429, ""),
            _ => Reply::new(503, ""),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let waits = lakes(&server.url).into_iter().map(|(lake, url)| {
        let (lake, path) = (lake.with_patience(Duration::from_secs(6)), folder.path().join(&url[..2]));
        let content = &content;
        async move {
            let there = lake.head(&format!("{url}1")).await.unwrap_or_else(|e| panic!("{url}: {e}"));
            assert_eq!(there.unwrap().bytes, 1_000, "{url}");
            let options = DownloadOptions { lake, ..DownloadOptions::default() };
            download_with(&format!("{url}2"), &path, &options, &()).await.unwrap_or_else(|e| panic!("{url}: {e}"));
            assert!(std::fs::read(path).unwrap() == *content, "{url}");
        }
    });
    futures::future::join_all(waits).await;
}

async fn gone(what: &str, work: impl Future<Output = Result<()>>) {
    let begun = Instant::now();
    let error = work.await.unwrap_err();
    let took = begun.elapsed();
    assert!(matches!(error, Error::Store { permanent: false, .. }), "{what}: {error:?}");
    assert!(error.to_string().contains("Connection refused"), "{what}: {error}");
    assert!(!format!("{error:?}").contains("hush"), "{what}: {error:?}");
    assert!((500..4_000).contains(&took.as_millis()), "{what}: {took:?}");
}

#[tokio::test]
async fn a_store_that_nobody_answers_for_is_given_up_when_it_was_said_and_why_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "local", noise(1_000));
    for (lake, url) in lakes(NOBODY) {
        let lake = lake.with_patience(Duration::from_millis(500));
        let options = DownloadOptions { lake: lake.clone(), ..DownloadOptions::default() };
        let path = folder.path().join("f");
        tokio::join!(
            gone("head", async { lake.head(url).await.map(drop) }),
            gone("list", async { lake.list(url).await.map(drop) }),
            gone("fetch", async { lake.fetch(url, folder.path().join("g"), &()).await.map(drop) }),
            gone("download", async { download_with(url, &path, &options, &()).await.map(drop) }),
            gone("upload", async { lake.upload(&local, url, &()).await.map(drop) }),
        );
        assert_eq!(left(folder.path()), 1, "{url}");
    }
}

#[tokio::test]
async fn what_is_refused_is_given_up_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for status in [400, 401, 403, 404] {
        let server = Server::start(move |_| Reply::new(status, ""));
        for (lake, url) in lakes(&server.url) {
            let begun = Instant::now();
            let error = lake.fetch(url, folder.path().join("f"), &()).await.unwrap_err();
            assert!(error.is_permanent(), "{url} {status}: {error:?}");
            assert!(begun.elapsed() < Duration::from_secs(3), "{url} {status}: {:?}", begun.elapsed());
        }
        assert_eq!(server.requests().len(), 3, "{status}: each was asked once");
    }
}

/// Hears what is fetched, and what is loaded.
#[derive(Default)]
struct Heard {
    bytes: Mutex<Vec<(u64, Option<u64>)>>,
    rows: AtomicU64,
}

impl Progress for Heard {
    fn report(&self, done: u64, _: Option<u64>) {
        self.rows.store(done, Ordering::SeqCst);
    }

    fn fetched(&self, done: u64, total: Option<u64>) {
        assert_eq!(self.rows.load(Ordering::SeqCst), 0, "rows come after it");
        self.bytes.lock().unwrap().push((done, total));
    }
}

#[tokio::test]
async fn a_load_tells_how_much_of_its_object_is_here_and_goes_on_where_it_broke_off() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "trips.csv", trips(20_000));
    let parquet = folder.path().join("trips.parquet");
    parquetize(&csv, &parquet, &trip_schema(), &ParquetOptions::default(), &()).unwrap();
    let content = std::fs::read(&parquet).unwrap();
    let (total, half) = (content.len() as u64, content.len() / 2);
    let server = Server::start(move |request| {
        let whole = object(request, &content, TAG);
        if request.method == "GET" && request.range_start().is_none() { whole.cut(half) } else { whole }
    });
    let lake = s3(&server.url).with_patience(Duration::ZERO);
    let database = format!("sqlite://{}", folder.path().join("t.db").display());
    let (warehouse, heard) = (Warehouse::open(&database).unwrap().with_lake(lake), Heard::default());
    let object = Input::object("s3://lake/trips.parquet");
    let report = warehouse.load(&object, "trips", &TableLoadOptions::default(), &heard).await.unwrap();
    assert_eq!((report.rows, heard.rows.load(Ordering::SeqCst)), (20_000, 20_000));
    let bytes = heard.bytes.into_inner().unwrap();
    assert!(bytes.is_sorted() && bytes.last() == Some(&(total, Some(total))), "{bytes:?}");
    assert_eq!(gets(&server).last().unwrap().range_start(), Some(half), "the rest alone");
}

/// Says no from some time on, and when.
struct Until(Instant);

impl Progress for Until {
    fn report(&self, _: u64, _: Option<u64>) {}

    fn cancelled(&self) -> bool {
        Instant::now() >= self.0
    }
}

#[tokio::test]
async fn who_waits_for_a_store_hears_that_it_is_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "local", noise(1_000));
    let lake = s3(NOBODY);
    let options = DownloadOptions { lake: lake.clone(), ..DownloadOptions::default() };
    let until = Until(Instant::now() + Duration::from_millis(600));
    let path = folder.path().join("f");
    let (url, to) = ("s3://lake/f", folder.path().join("g"));
    let works: [std::pin::Pin<Box<dyn Future<Output = Result<()>> + '_>>; 3] = [
        Box::pin(async { lake.fetch(url, &to, &until).await.map(drop) }),
        Box::pin(async { download_with(url, &path, &options, &until).await.map(drop) }),
        Box::pin(async { lake.upload(&local, url, &until).await.map(drop) }),
    ];
    let ends = works.map(async |work| {
        let outcome = work.await;
        assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
        // It is asked twenty times a second; the rest is for a busy machine.
        assert!(until.0.elapsed() < Duration::from_millis(200), "{:?}", until.0.elapsed());
    });
    futures::future::join_all(ends).await;
}
