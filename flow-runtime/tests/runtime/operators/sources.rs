//! What rows are known by: the same source takes the place of its rows, another does not.

use super::server::{Reply, Server};
use flow_runtime::data;
use flow_runtime::operators::Connection;
use flow_runtime::prelude::*;
use flow_runtime::tasks::{self, Load, LocalFile};

/// The database that all homes of a test share.
fn database(folder: &tempfile::TempDir) -> String {
    format!("sqlite://{}", folder.path().join("t.db").display())
}

async fn rows(database: &str) -> Vec<Vec<serde_json::Value>> {
    data::ask(database, "SELECT id, _source FROM t ORDER BY id").await.unwrap().rows
}

#[tokio::test]
async fn urls_that_differ_in_what_is_hidden_are_two_sources() {
    let server = Server::start(|request| {
        let day = request.target.split("key=2021-0").nth(1).map_or("9", |rest| &rest[..1]);
        Reply::new(200, format!("id\n{day}\n"))
    });
    let folder = tempfile::tempdir().unwrap();
    let (database, ctx) = (database(&folder), Context::test().with_home(folder.path()));
    let load = async |target: &str| {
        let csv = tasks::download(&ctx, server.at(target)).await.unwrap();
        let loaded =
            tasks::load_file(&ctx, (&csv).into(), Connection::new(database.as_str()), Load::into("t")).await.unwrap();
        (csv.url, loaded.replaced)
    };
    let (january, replaced) = load("/f?key=2021-01").await;
    assert!(january.starts_with(&server.at("/f?key=***#sha256=")) && replaced == 0, "{january}");
    assert_eq!(load("/f?key=2021-02").await.1, 0, "the rows of January are not its own");
    assert_eq!(load("/f?key=2021-01").await, (january.clone(), 1));
    // A signature is another one each time.
    let signed = |key: &str, sign: u8| format!("/f?key={key}&X-Amz-Date={sign}&X-Amz-Signature=a{sign}");
    assert_eq!(load(&signed("2021-01", 1)).await, (january, 1));
    assert_eq!(load(&signed("2021-03", 1)).await.1, 0);
    assert_eq!(load(&signed("2021-03", 2)).await.1, 1);
    assert_eq!(load("/f?X-Goog-Date=1&X-Goog-Signature=a").await, (server.at("/f"), 0));
    let ids: Vec<_> = rows(&database).await.into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(ids, [1, 2, 3, 9]);
}

#[dag]
fn monthly(url: String) {
    tasks::download(url);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_downloads_the_file_of_its_dates() {
    // One version, as of a server that tells none of its own: the cache tells them apart by their URLs.
    let server = Server::start(|request| match request.target.strip_prefix("/trips_") {
        Some(month) => Reply::new(200, format!("id\n{month}\n")).with("ETag", "\"1\""),
        None => Reply::new(404, "no such month"),
    });
    let home = tempfile::tempdir().unwrap();
    let url = server.at("/trips_{date:%Y-%m}?of={dag}");
    let mut seen = Vec::new();
    for date in ["2021-01-31", "2021-02-28", "2021-01-15"] {
        let run = monthly::test().home(home.path()).param("url", &url).logical_date(date).run().await.succeeded();
        let csv = run.value::<data::Download>("download");
        seen.push((csv.url.replace(&server.at(""), ""), std::fs::read_to_string(&csv.path).unwrap()));
    }
    let of = |month: &str| (format!("/trips_{month}?of=monthly"), format!("id\n{month}?of=monthly\n"));
    assert_eq!(seen, [of("2021-01"), of("2021-02"), of("2021-01")]);
    // Without a date there is none to be asked for; and braces that ask for none are the place's own.
    let run = monthly::test().param("url", &url).run().await;
    let why = run.cause("download");
    assert!(why.contains("no logical date"), "{why}");
    std::fs::write(home.path().join("{month}.csv"), "id\n1\n").unwrap();
    monthly::test().home(home.path()).param("url", "{month}.csv").run().await.succeeded();
}

#[tokio::test]
async fn a_file_of_the_disk_is_known_by_its_absolute_path() {
    let folder = tempfile::tempdir().unwrap();
    let database = database(&folder);
    let load = async |home: &str, path: &str| {
        let ctx = Context::test().with_home(folder.path().join(home));
        let into = Connection::new(database.as_str());
        tasks::load_file(&ctx, LocalFile::new(path), into, Load::into("t")).await.unwrap().replaced
    };
    for (home, row) in [("ha", 1), ("hb", 2)] {
        std::fs::create_dir(folder.path().join(home)).unwrap();
        std::fs::write(folder.path().join(home).join("day.csv"), format!("id\n{row}\n")).unwrap();
        assert_eq!(load(home, "day.csv").await, 0, "the file of another folder is another");
    }
    let absolute = folder.path().join("ha/day.csv").display().to_string();
    for same in ["./day.csv", "../ha/day.csv", &absolute] {
        assert_eq!(load("ha", same).await, 1, "{same}");
    }
    let source = |home: &str| folder.path().join(home).join("day.csv").display().to_string();
    let rows = rows(&database).await;
    assert_eq!(rows, [[1.into(), source("ha").into()], [2.into(), serde_json::Value::from(source("hb"))]]);
}
