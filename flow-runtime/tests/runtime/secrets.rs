//! Secrets are planted, and looked for in everything that a run leaves behind.

use crate::engine::{World, object, row};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::executor::RunRequest;
use flow_runtime::prelude::*;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

const PASSWORD: &str = "hunter2-hunter2";
const URL: &str = "postgres://ada:geheim-pass%40word@db.example/trips";

#[task]
fn careless(password: Secret<String>, url: Secret<String>) -> Result<u32> {
    info!(field = password.expose().as_str(), "the password is {}", password.expose());
    warn!("{password:?} at {}", url.expose());
    bail!("cannot connect to {} with {}", url.expose(), password.expose())
}

#[task]
fn panics(password: Secret<String>) {
    panic!("wrong password {}", password.expose());
}

#[task]
fn leaks(password: Secret<String>) -> String {
    format!("pw={}", password.expose())
}

#[task]
fn shows(ctx: &Context) -> Vec<String> {
    ctx.params().keys().cloned().collect()
}

#[dag]
fn sensitive(password: Secret<String>, url: Secret<String>, #[default("plain")] open: String) {
    careless(password, url);
    panics(password);
    leaks(password);
    takes(open);
    shows();
}

#[task]
fn takes(open: String) -> String {
    open
}

/// Every file under a folder that holds the text.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(text) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_secret_is_found_nowhere() {
    let world = World::new().await;
    let params = json!({"password": PASSWORD, "url": URL});
    let report = world.try_run(sensitive::dag(), "secrets", params).await.unwrap();
    assert_eq!(report.run.state, RunStatus::Failed);
    assert_eq!(report.run.conf["password"], "***");
    let events = serde_json::to_string(&*world.events.lock()).unwrap();
    let report_text = format!("{report:?}");
    world.store.close().await;
    for secret in [PASSWORD, URL, "geheim-pass%40word", "geheim-pass@word"] {
        assert_eq!(files_with(world.home.path(), secret), Vec::<String>::new(), "{secret}");
        assert!(!events.contains(secret), "{secret} in {events}");
        assert!(!report_text.contains(secret), "{secret} in {report_text}");
    }
    // They were not found because they were taken out, not because nothing was written.
    let log = flow_runtime::telemetry::read_log(world.home.path(), "sensitive", "secrets", "careless", -1, 1).unwrap();
    assert_eq!(log.iter().filter(|line| line.contains("***")).count(), 3, "{log:?}");
    assert_eq!(row(&report, "careless").cause.as_ref().unwrap().message, "cannot connect to *** with ***");
    assert_eq!(row(&report, "panics").cause.as_ref().unwrap().message, "wrong password ***");
    let leak = row(&report, "leaks");
    assert_eq!(leak.state, TaskState::Failed);
    assert!(leak.cause.as_ref().unwrap().message.contains("holds a secret param"), "{:?}", leak.cause);
    assert!(files_with(world.home.path(), "\"plain\"").len() == 1, "what is open is stored");
    let shown = report.values.iter().find(|v| v.task_id == "shows").unwrap();
    assert_eq!(shown.value.inline.as_deref(), Some("[\"open\"]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_must_be_given_its_secrets_again() {
    let world = World::new().await;
    let params = json!({"password": PASSWORD, "url": URL});
    world.try_run(sensitive::dag(), "secrets-again", params.clone()).await.unwrap();
    let error = world.try_resume(sensitive::dag(), "secrets-again").await.unwrap_err().to_string();
    assert!(error.contains("the param `password` holds a secret, which was not stored"), "{error}");
    let stored = world.stored(&sensitive::dag(), "secrets-again").await;
    let dag = Arc::new(sensitive::dag());
    let engine = world.engine();
    let report = engine
        .resume(
            dag,
            stored,
            object(params),
            flow_runtime::executor::Again::Failed,
            world.observer(),
            Default::default(),
        )
        .await
        .unwrap();
    assert_eq!(row(&report, "careless").cause.as_ref().unwrap().message, "cannot connect to *** with ***");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_the_wrong_type_is_refused_without_being_shown() {
    let world = World::new().await;
    let request =
        RunRequest { params: object(json!({"password": {"inner": PASSWORD}, "url": 7})), ..RunRequest::default() };
    let engine = world.engine();
    let error =
        engine.run(Arc::new(sensitive::dag()), request, world.observer(), Default::default()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("password") && !text.contains(PASSWORD), "{text}");
}
