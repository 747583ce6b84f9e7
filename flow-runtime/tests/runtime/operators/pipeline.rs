//! The tasks of data pipelines, in runs: files, lakes, tables, sensors.

use super::server::{Reply, Server};
use crate::cluster;
use flow_runtime::connection::Place;
use flow_runtime::data::{Download, Input, LoadReport, ParquetFile, Schema, Type, Unloaded, Uploaded};
use flow_runtime::operators;
use flow_runtime::prelude::*;
use flow_runtime::run_event::RunEvent;
use flow_runtime::tasks::{self, BigQueryLoad, Load, LocalFile, Parquetize};
use flow_runtime::{data, sensors};
use std::path::Path;

const TRIPS: &str = "id;day;fare\n1;2021-01-01;8.5\n2;2021-01-02;nine\n3;2021-01-02;\n";

/// From the web to two tables, and back to a file.
#[dag]
fn whole(url: String, database: Secret<String>) {
    let csv = tasks::download(url);
    let columns = Schema::new([("id", Type::Int), ("day", Type::Date), ("fare", Type::Float)]);
    let parquet = tasks::parquetize_with(csv, Parquetize::csv(columns).separator(';').quarantine());
    let object = tasks::upload_as(parquet, "conn:lake/{dag}/{date:%Y/%m}/{stem}-{hash}.parquet");
    tasks::load(object, database, "trips");
    let added = tasks::load_with(object, database, Load::into("added").append());
    let again = tasks::load_with(object, database, Load::into("added").append()).id("again");
    let by_id = tasks::load_file(parquet, database, Load::into("by_id").upsert(["id"]));
    let count = tasks::sql(database, "select count(*) as n from added").after([added, again]);
    let day = sensors::partition_present(database, "by_id", "day", "2021-01-02").after(by_id);
    let many = sensors::row_count(database, "by_id", 2).after(by_id);
    sensors::new_objects("conn:lake/whole").after(object).after([day, many]).after(count);
}

fn server() -> Server {
    Server::start(|request| match request.target.as_str() {
        "/trips.csv" => Reply::new(200, TRIPS).with("ETag", "\"1\""),
        _ => Reply::new(404, "no"),
    })
}

async fn runs_whole(database: &str, lake: &str) {
    let server = server();
    let run = whole::test()
        .param("url", server.at("/trips.csv"))
        .param("database", database)
        .connection("lake", Place::new(lake))
        .logical_date("2021-03-01")
        .run()
        .await
        .succeeded();
    let parquet: ParquetFile = run.value("parquetize_with");
    assert_eq!((parquet.rows, parquet.quarantined), (2, 1));
    let wrote = run.events().iter().filter(|event| {
        matches!(event, RunEvent::Log { task_id, message, .. } if **task_id == *"parquetize_with" && message.starts_with("wrote "))
    });
    assert_eq!(wrote.count(), 1, "it is told once");
    let object: Uploaded = run.value("upload_as");
    let begin = format!("{lake}/whole/2021/03/trips-");
    assert!(
        object.url.starts_with(&begin) && object.url.ends_with(&format!("-{}.parquet", &object.sha256[..16])),
        "{object:?}"
    );
    let load = |task: &str| run.value::<LoadReport>(task);
    assert_eq!((load("load").rows, load("load").replaced), (2, 0));
    assert_eq!((load("load_file").rows, load("load_file").updated), (2, 0));
    // Two tasks are two loads; each is done once.
    assert!(!load("load_with").repeated && !load("again").repeated);
    assert_eq!(run.value::<operators::Answer>("sql").first().unwrap(), 4);
    assert_eq!((run.value::<u64>("partition_present"), run.value::<u64>("row_count")), (1, 2));
    assert_eq!(run.value::<Vec<data::Object>>("new_objects").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_of_stock_tasks_runs_whole() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}", folder.path().join("t.db").display());
    runs_whole(&sqlite, "memory://pipeline/raw").await;
    unloads(&sqlite, "memory://unloading-sqlite").await;
    if let Some(url) = cluster::url() {
        data::execute(&url, "CREATE SCHEMA pipeline").await.unwrap();
        let url = format!("{url}?options=-c%20search_path%3Dpipeline");
        runs_whole(&url, &folder.path().join("lake").display().to_string()).await;
        unloads(&url, "memory://unloading").await;
    }
}

#[dag]
fn unloading(database: Secret<String>) {
    let table = tasks::unload(database, "by_id");
    let rows = tasks::unload(database, "select id from by_id where id > 1 order by id").id("rows");
    tasks::copy_to_postgres(table, database, "copied");
    tasks::upload(rows, "conn:lake/out");
}

async fn unloads(url: &str, lake: &str) {
    let run = unloading::test().param("database", url).connection("lake", Place::new(lake)).run().await.succeeded();
    assert_eq!((run.value::<Unloaded>("unload").rows, run.value::<Unloaded>("rows").rows), (2, 1));
    assert_eq!(run.value::<LoadReport>("copy_to_postgres").rows, 2);
    assert!(run.value::<Uploaded>("upload").url.starts_with(&format!("{lake}/out/rows-")));
}

/// Where rows came from goes along with them, whatever they are made into on the way.
#[tokio::test]
async fn rows_are_known_by_where_they_came_from() {
    let server = Server::start(|request| Reply::new(200, format!("id\n{}\n", request.target.len())));
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    let database = || operators::Connection::new("sqlite://t.db");
    let mut objects = Vec::new();
    for (path, how) in [
        ("/a/data.csv", Parquetize::default()),
        ("/bb/data.csv", Parquetize::default()),
        ("/a/data.csv", Parquetize::default().quarantine()),
    ] {
        let csv = tasks::download(&ctx, server.at(path)).await.unwrap();
        let parquet = tasks::parquetize_with(&ctx, (&csv).into(), how).unwrap();
        let object = tasks::upload(&ctx, (&parquet).into(), "lake".into()).await.unwrap();
        assert_eq!(object.source.as_deref(), Some(server.at(path).as_str()));
        tasks::load(&ctx, &object, database(), "t".into()).await.unwrap();
        objects.push(object);
    }
    // Another way to read a file is no other source; another file of the same name is.
    let rows = data::ask(&ctx.in_home("sqlite://t.db"), "SELECT _source, id FROM t ORDER BY id").await.unwrap().rows;
    assert_eq!(rows.len(), 2, "{rows:?}");
    // The same content that was put there once more is as good; another that was put in its place is not taken for it.
    let again = Context::test().with_home(folder.path());
    let parquet = LocalFile::new(folder.path().join("lake/data.parquet"));
    tasks::upload_as(&again, parquet, "lake/data.parquet".into()).await.unwrap();
    tasks::load(&ctx, &objects[2], database(), "t".into()).await.unwrap();
    let error = tasks::load(&ctx, &objects[1], database(), "t".into()).await.unwrap_err().to_string();
    assert!(error.contains("is no longer the object that was uploaded") && error.contains("upload_as"), "{error}");
}

/// What a later run makes of a source is not taken for what an earlier one has made of it.
#[tokio::test]
async fn a_later_run_takes_nothing_from_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    let source = folder.path().join("in.csv");
    let url = source.display().to_string();
    std::fs::write(&source, "id\n1\n").unwrap();
    let csv = tasks::download(&ctx, url.clone()).await.unwrap();
    let parquet = tasks::parquetize(&ctx, (&csv).into()).unwrap();
    std::fs::write(&source, "id\n100\n101\n102\n").unwrap();
    let later = tasks::download(&ctx, url).await.unwrap();
    let of_later = tasks::parquetize(&ctx, (&later).into()).unwrap();
    assert_ne!(parquet.path, of_later.path);
    // The earlier run goes on with its own rows, and does not read what is no longer its own.
    let sent = tasks::upload(&ctx, (&parquet).into(), "lake".into()).await.unwrap();
    assert_eq!(sent.bytes, parquet.bytes);
    let error = tasks::parquetize(&ctx, (&csv).into()).unwrap_err().to_string();
    assert!(error.contains("is no longer what it was") && error.contains("clear the task"), "{error}");
    // A path is given in many ways.
    let run = of_a_param::test().home(folder.path()).param("file", "in.csv").run().await.succeeded();
    assert_eq!(run.value::<ParquetFile>("parquetize").rows, 3);
}

/// A budget of memory ends row groups earlier: the same rows are another file.
#[tokio::test]
async fn a_budget_of_memory_is_heeded() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    let text: String = (0..60_000).map(|n| format!("{n},{}\n", "x".repeat(90))).collect();
    std::fs::write(folder.path().join("in.csv"), format!("id,text\n{text}")).unwrap();
    let made = |ctx: &Context| tasks::parquetize(ctx, LocalFile::new("in.csv")).unwrap();
    let (whole, parts) = (made(&ctx), made(&ctx.with_memory(1_000_000)));
    assert_eq!((whole.rows, parts.rows), (60_000, 60_000));
    assert_ne!(parts.bytes, whole.bytes);
}

#[dag]
fn of_a_param(file: String) {
    tasks::parquetize(file);
}

/// A value cannot leave the folder that a template names, nor end the path.
#[tokio::test]
async fn a_template_keeps_its_values_in_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    for (name, want) in [("a#1.csv", "a%231.csv"), ("%2e%2e.csv", "%252e%252e.csv"), ("b?.csv", "b%3F.csv")] {
        std::fs::write(folder.path().join(name), "id\n1\n").unwrap();
        let sent = tasks::upload_as(&ctx, LocalFile::new(name), "memory://template/x/{name}".into()).await.unwrap();
        assert_eq!(sent.url, format!("memory://template/x/{want}"));
    }
}

/// What a task gives once a run is not given twice, whether it is tried again or cleared.
#[tokio::test]
async fn an_append_is_done_once_for_each_run() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    std::fs::write(folder.path().join("t.csv"), "id\n1\n2\n").unwrap();
    let load = async |how: Load| {
        let database = operators::Connection::new("sqlite://t.db");
        tasks::load_file(&ctx, LocalFile::new("t.csv"), database, how).await.unwrap()
    };
    let append = || Load::into("t").append();
    assert!(!load(append()).await.repeated);
    assert!(load(append()).await.repeated);
    assert_eq!(load(Load::into("t2")).await.replaced, 0);
    assert_eq!(load(Load::into("t2")).await.replaced, 2, "the rows of the same file");
    // The same text file, read in two ways, is two Parquet files.
    let plain = tasks::parquetize(&ctx, LocalFile::new("t.csv")).unwrap();
    let text =
        tasks::parquetize_with(&ctx, LocalFile::new("t.csv"), Parquetize::csv(Schema::new([("id", Type::Text)])))
            .unwrap();
    assert_ne!(plain.path, text.path);
    assert_eq!((plain.columns[0].kind, text.columns[0].kind), (Type::Int, Type::Text));
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    std::fs::write(folder.path().join("t.csv"), "id\n1\n").unwrap();
    let file = || LocalFile::new("t.csv");
    let error = tasks::upload_as(&ctx, file(), "lake/{date}.csv".into()).await.unwrap_err().to_string();
    assert!(error.contains("`{date}` is unknown; there are dag, run, task, name, stem"), "{error}");
    assert!(
        error.ends_with(
            "; this run has no logical date: give it one by `--logical-date 2021-01-31`, or let its schedule start it"
        ),
        "{error}"
    );
    let error = tasks::upload(&ctx, file(), "conn:lake".into()).await.unwrap_err().to_string();
    assert!(error.contains("no connection `lake`") && error.contains("there are none"), "{error}");
    let sha256 = "00".repeat(32);
    let error =
        tasks::download_checked(&ctx, folder.path().join("t.csv").display().to_string(), sha256).await.unwrap_err();
    assert!(error.to_string().contains("and not 0000"), "{error}");
    let object = tasks::upload(&ctx, file(), "lake".into()).await.unwrap();
    let project = operators::Connection::new("postgres://ada:hush-hush@h/x");
    let error = tasks::load_bigquery(&ctx, &object, project, BigQueryLoad::into("d.t")).await.unwrap_err().to_string();
    assert!(error.contains("no project of BigQuery") && !error.contains("hush-hush"), "{error}");
}

/// A try that is told to end stops in the middle of a file, and leaves the beginning for the next.
#[tokio::test]
async fn a_download_stops_when_it_is_told_and_goes_on_later() {
    let content = "x".repeat(1 << 20);
    let server = Server::start(move |request| {
        let mut reply = super::server::file(request, content.as_bytes(), "\"1\"");
        reply.drip = Some((64 << 10, std::time::Duration::from_millis(20)));
        reply
    });
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    let stopped = {
        let (ctx, url) = (ctx.clone(), server.at("/x.csv"));
        tokio::spawn(async move { tasks::download(&ctx, url).await })
    };
    while part(folder.path()).is_none_or(|bytes| bytes == 0) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    ctx.cancel().cancel();
    let error = stopped.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("told to end"), "{error}");
    let left = part(folder.path()).unwrap();
    assert!(left < 1 << 20, "{left}");
    let ctx = Context::test().with_home(folder.path());
    let whole = tasks::download(&ctx, server.at("/x.csv")).await.unwrap();
    assert_eq!((whole.bytes, part(folder.path())), (1 << 20, None));
    let ranges = server.requests().iter().filter(|request| request.header("range").is_some()).count();
    assert_eq!(ranges, 1, "it went on");
}

/// The size of the file that is on its way.
fn part(home: &Path) -> Option<u64> {
    let folders = home.join("downloads").read_dir().ok()?.flatten();
    let files = folders.flat_map(|folder| folder.path().read_dir().into_iter().flatten().flatten());
    files
        .filter(|file| file.path().extension().is_some_and(|e| e == "part"))
        .find_map(|file| Some(file.metadata().ok()?.len()))
}

/// Every file that a task gives serves where one is wanted, each of a list too.
#[dag]
fn of_many(urls: Vec<String>) {
    let files = tasks::download::expand(each(urls));
    let parquet = tasks::parquetize::expand(each(files));
    tasks::upload::expand(each(parquet), "lake");
}

#[test]
fn files_of_a_list_are_handed_on_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let urls: Vec<_> = ["a", "b"]
        .iter()
        .map(|name| {
            let path = folder.path().join(format!("{name}.csv"));
            std::fs::write(&path, "id\n1\n").unwrap();
            path.display().to_string()
        })
        .collect();
    let run = of_many::test().param("urls", urls).run_blocking().succeeded();
    let names: Vec<_> =
        run.values::<Uploaded>("upload").iter().map(|o| o.url.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(names, ["a.parquet", "b.parquet"]);
    let _: Vec<Download> = run.values("download");
    let _ = Input::object("x");
}
