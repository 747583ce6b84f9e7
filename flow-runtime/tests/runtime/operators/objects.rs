//! Objects of a lake that a run waits for.

use super::server::{Reply, Server};
use flow_runtime::connection::Place;
use flow_runtime::data::{self, Object};
use flow_runtime::prelude::*;
use flow_runtime::sensors;

/// An object of this name.
async fn put(folder: &tempfile::TempDir, name: &str, to: &str) {
    let path = folder.path().join(name);
    std::fs::write(&path, "id\n1\n").unwrap();
    data::upload(&path, to, &()).await.unwrap();
}

#[dag]
fn arrivals(prefix: String) {
    sensors::new_objects(prefix).timeout("1s").poke_interval("1s");
}

/// The interval of a run by hand is the instant in which it is made: nothing that is there was written since.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_about_no_date_takes_any_object() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "a.csv", "memory://by-hand/in/").await;
    let run = arrivals::test().param("prefix", "memory://by-hand/in/").run().await.succeeded();
    assert_eq!(run.value::<Vec<Object>>("new_objects").len(), 1);
    // One that is about a date has objects since then.
    let later = arrivals::test().param("prefix", "memory://by-hand/in/").logical_date("2999-01-01");
    later.run().await.failed();
}

#[tokio::test]
async fn objects_since_a_date_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test();
    let since = async |date: &str| sensors::objects_since(&ctx, "memory://since/in/".into(), date.into()).await;
    assert_eq!(since("2020-01-31").await.unwrap(), None, "there is none");
    for name in ["b.csv", "a.csv"] {
        put(&folder, name, "memory://since/in/").await;
    }
    let found = since("2020-01-31").await.unwrap().unwrap();
    let urls: Vec<_> = found.iter().map(|object| object.url.as_str()).collect();
    assert_eq!(urls, ["memory://since/in/a.csv", "memory://since/in/b.csv"]);
    assert_eq!(since("2999-01-31T12:00").await.unwrap(), None, "they are older");
    let error = since("soon").await.unwrap_err();
    assert!(matches!(TaskError::of(&error), Some(TaskError::Fail(_))), "{error}");
}

#[dag]
fn looking(database: String) {
    sensors::object_exists("conn:lake/f").timeout("10ms").poke_interval("1ms");
    sensors::new_objects("conn:lake/in/").timeout("10ms").poke_interval("1ms");
    sensors::row_count(database, "t", 1).timeout("10ms").poke_interval("1ms");
    sensors::partition_present(database, "t", "day", "2026-01-31").timeout("10ms").poke_interval("1ms");
    sensors::sql(database, "select 1").timeout("10ms").poke_interval("1ms");
}

/// They fail all the same, for there is nobody: but not by the error of a look.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_not_there_yet_and_what_is_refused_never_will_be() {
    let lake = |endpoint: &str| {
        let place = Place::new("s3://lake").option("aws_endpoint", endpoint).option("aws_access_key_id", "me");
        place.option("aws_secret_access_key", "hush")
    };
    let gone = looking::test().param("database", "postgres://127.0.0.1:1/nowhere");
    let gone = gone.connection("lake", lake("http://127.0.0.1:1")).run().await.failed();
    for task in ["object_exists", "new_objects", "row_count", "partition_present", "sql"] {
        assert!(gone.cause(task).contains("has not come in 10ms"), "{task}: {}", gone.cause(task));
    }
    let server = Server::start(|_| Reply::new(403, ""));
    let refused = looking::test().param("database", "sqlite::memory:").connection("lake", lake(&server.url));
    let refused = refused.run().await.failed();
    for task in ["object_exists", "new_objects"] {
        assert!(refused.cause(task).contains("403"), "{task}: {}", refused.cause(task));
    }
}
