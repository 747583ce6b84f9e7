//! Uploads on a condition: what must not be replaced.

use super::server::{Reply, Request, Server};
use flow_runtime::connection::{Connections, Place};
use flow_runtime::prelude::*;
use flow_runtime::tasks::{self, LocalFile, Upload};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file of this text.
fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> LocalFile {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    LocalFile::new(path)
}

#[tokio::test]
async fn an_upload_on_a_condition_writes_what_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    let lake = folder.path().join("lake").display().to_string();
    for place in ["memory://conditions", lake.as_str()] {
        for (to, text) in [("x/", "1"), ("x/", "two"), ("x/{stem}.csv", "three"), ("y/{hash}", "4")] {
            let file = file(&folder, "a#1.csv", text);
            let to = format!("{place}/{to}");
            let sent = tasks::upload_with(&ctx, file, to.clone(), Upload::default().if_unchanged()).await.unwrap();
            assert_eq!(sent.bytes, text.len() as u64);
            let name = if place == lake { "/x/a#1.csv" } else { "/x/a%231.csv" };
            assert!(sent.url.ends_with(name) || to.ends_with("{hash}"), "{sent:?}");
        }
    }
    // A folder is one by whatever name.
    for text in ["6", "seven"] {
        let to = format!("file://{lake}/x");
        let sent = tasks::upload_with(&ctx, file(&folder, "c.csv", text), to, Upload::default().if_unchanged()).await;
        assert_eq!(sent.unwrap().bytes, text.len() as u64);
    }
    // The plain way is as it was.
    let replaced = tasks::upload_as(&ctx, file(&folder, "b.csv", "5"), "memory://conditions/x/{name}".into()).await;
    assert!(replaced.unwrap().url.ends_with("/x/b.csv"));
}

/// A store in which another try writes as soon as this one has looked.
fn outrun() -> Server {
    let written = Arc::new(AtomicBool::new(false));
    Server::start(move |request: &Request| match request.method.as_str() {
        "HEAD" if written.swap(true, Ordering::SeqCst) => Reply::new(200, "theirs")
            .with("ETag", "\"2\"")
            .with("Last-Modified", "Fri, 01 Jan 2021 00:00:00 GMT")
            .with("x-amz-meta-sha256", "00".repeat(32)),
        "HEAD" => Reply::new(404, ""),
        "PUT" if request.header("if-none-match") == Some("*") => {
            Reply::new(412, "<Error><Code>PreconditionFailed</Code></Error>")
        }
        "PUT" => Reply::new(200, "").with("ETag", "\"1\""),
        _ => Reply::new(400, "that is not asked for"),
    })
}

#[tokio::test]
async fn a_late_try_replaces_nothing() {
    let server = outrun();
    let lake = Place::new("s3://lake")
        .option("aws_endpoint", &server.url)
        .option("aws_region", "us-east-1")
        .option("aws_access_key_id", "an-id")
        .option("aws_secret_access_key", "a-planted-key");
    let folder = tempfile::tempdir().unwrap();
    let connections: Connections = [("lake".to_string(), lake)].into_iter().collect();
    let ctx = Context::test().with_home(folder.path()).with_connections(connections);
    let file = || file(&folder, "day.csv", "id\n1\n");
    let how = Upload::default().if_unchanged();
    let error = tasks::upload_with(&ctx, file(), "conn:lake/out/".into(), how).await.unwrap_err();
    assert!(matches!(TaskError::of(&error), Some(TaskError::Fail(_))), "there is no further try: {error:?}");
    let error = error.to_string();
    assert!(
        error.starts_with("s3://lake/out/day.csv: ") && error.contains("wrote there since this try began"),
        "{error}"
    );
    let asked: Vec<_> = server.requests().iter().map(|r| format!("{} {}", r.method, r.target)).collect();
    assert_eq!(asked[..2], ["HEAD /lake/out/day.csv", "PUT /lake/out/day.csv"], "it looks first");
    // Not unless it is asked for.
    tasks::upload(&ctx, file(), "conn:lake/out".into()).await.unwrap();
}
