//! `bash`: what it gives, what it logs, and that nothing of it is left.

use crate::engine::{World, row, until, value};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::executor::{Again, RunRequest};
use flow_runtime::operators::{self, Bash};
use flow_runtime::prelude::*;
use flow_runtime::run_event::RunEvent;
use serde_json::{Map, json};
use std::path::Path;
use std::sync::Arc;

#[task]
fn shout(said: String) -> String {
    said.to_uppercase()
}

#[task]
fn plan(name: String) -> Bash {
    Bash::new(format!("echo {name} $GREETING in $(basename $PWD)")).env("GREETING", "hello").cwd("/").shell("sh")
}

#[dag(start_date = "2026-01-01")]
fn saying() {
    let said = operators::bash("echo one; echo two >&2; printf 'three  \n\n'");
    shout(said);
    operators::bash("echo $FLOW_DAG_ID/$FLOW_RUN_ID/$FLOW_TASK_ID/$FLOW_TRY_NUMBER/$FLOW_DATA_INTERVAL_START")
        .id("knows");
    operators::bash_with(plan("ada"));
    operators::bash("true").id("silent");
    operators::bash("exit 99").id("skips");
    operators::bash::expand(each(["echo 1 $FLOW_MAP_INDEX", "echo 2 $FLOW_MAP_INDEX"])).id("mapped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_line_is_the_value_and_every_line_is_logged() {
    let world = World::new().await;
    let ran = world.run(saying::dag(), "bash-says").await;
    assert_eq!(ran.run.state, RunStatus::Success, "{:#?}", ran.instances);
    assert_eq!((value(&ran, "bash"), value(&ran, "shout")), (json!("three"), json!("THREE")));
    let knows = value(&ran, "knows").as_str().unwrap().to_string();
    assert!(knows.starts_with("saying/bash-says/knows/1/20"), "{knows}");
    assert_eq!((value(&ran, "bash_with"), value(&ran, "silent")), (json!("ada hello in /"), json!("")));
    let skips = row(&ran, "skips");
    assert_eq!(
        (skips.state, &*skips.cause.as_ref().unwrap().message),
        (TaskState::Skipped, "the command ended with code 99")
    );
    let mapped = ran.values.iter().filter(|xcom| xcom.task_id == "mapped");
    let mapped: Vec<&str> = mapped.map(|xcom| xcom.value.inline.as_deref().unwrap()).collect();
    assert_eq!(mapped, ["\"1 0\"", "\"2 1\""]);
    let events = world.events.lock();
    let logged = |wanted: &str| {
        events
            .iter()
            .any(|e| matches!(e, RunEvent::Log { task_id, message, .. } if **task_id == *"bash" && message == wanted))
    };
    assert!(logged("one") && logged("two") && logged("three  "));
}

#[dag(defaults(retries = 0))]
fn failing(key: Secret<String>) {
    operators::bash("echo the file is gone >&2; exit 3").id("code");
    operators::bash("kill -SEGV $$").id("signal");
    operators::bash_with(Bash::new("true").cwd("/no/such/folder")).id("folder");
    operators::bash_with(Bash::new("true").shell("no-such-shell")).id("shell");
    operators::bash_with_secret(Bash::new("echo is $KEY; echo ${#KEY}"), "KEY", key).id("key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_how_it_ended_and_a_secret_is_not_shown() {
    let world = World::new().await;
    let ran = world.try_run(failing::dag(), "bash-fails", json!({"key": "planted-in-bash"})).await.unwrap();
    let message = |task| row(&ran, task).cause.clone().unwrap().message;
    assert_eq!(message("code"), "the command ended with code 3; it said: the file is gone");
    assert_eq!(message("signal"), "the command was ended by SIGSEGV (11)");
    assert_eq!(message("folder"), "the command cannot run in `/no/such/folder`: there is no such folder");
    assert!(message("shell").starts_with("the shell `no-such-shell` cannot be started"), "{}", message("shell"));
    assert_eq!(value(&ran, "key"), json!("15"));
    let told = format!("{:?}", world.events.lock());
    assert!(told.contains("is ***") && !told.contains("planted-in-bash"));
}

/// Deaf to SIGTERM, with a child in the group and one that has left it; all have the mark in their arguments.
fn deaf(mark: &str) -> String {
    format!(
        "trap '' TERM; sh -c 'sleep 600; :' {mark} & setsid sh -c 'trap \"\" TERM; sleep 600; :' {mark} & echo begun; while :; \
         do sleep 1; done # {mark}"
    )
}

/// The processes with this word in their arguments.
fn with_mark(mark: &str) -> usize {
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = folders.filter_map(|f| std::fs::read(f.path().join("cmdline")).ok());
    commands.filter(|c| String::from_utf8_lossy(c).contains(mark)).count()
}

fn mark(name: &str) -> String {
    format!("bash-{name}-{}", std::process::id())
}

#[task]
fn command(mark: String) -> String {
    deaf(&mark)
}

#[dag]
fn never_ending(mark: String) {
    operators::bash(command(mark));
}

#[dag]
fn timing_out(mark: String) {
    operators::bash(command(mark)).timeout("500ms");
}

#[task]
fn leaves(mark: String) -> String {
    format!("setsid sh -c 'sleep 600; :' {mark} & sleep 600 & echo done")
}

#[dag]
fn leaving(mark: String) {
    operators::bash(leaves(mark));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_killed_with_its_children() {
    let (world, mark) = (World::new().await, mark("timeout"));
    let ran = world.try_run(timing_out::dag(), "bash-timeout", json!({"mark": mark})).await.unwrap();
    let cause = row(&ran, "bash").cause.clone().unwrap();
    assert!(cause.message.contains("timeout of 500ms"), "{cause:?}");
    until("nothing is left", || with_mark(&mark) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_leaves_behind_ends_with_it() {
    let (world, mark) = (World::new().await, mark("leaves"));
    let ran = world.try_run(leaving::dag(), "bash-leaves", json!({"mark": mark})).await.unwrap();
    assert_eq!((ran.run.state, value(&ran, "bash")), (RunStatus::Success, json!("done")));
    until("nothing is left", || with_mark(&mark) == 0).await;
}

fn begun(world: &World) -> bool {
    let events = world.events.lock();
    events.iter().any(|e| matches!(e, RunEvent::Log { message, .. } if message == "begun"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_ends_it() {
    for at_once in [false, true] {
        let (mut world, mark) = (World::new().await, mark(&format!("stop-{at_once}")));
        world.settings.grace = std::time::Duration::from_millis(300);
        let params = json!({"mark": mark});
        let (run, stop) = (world.try_run(never_ending::dag(), "bash-stop", params), world.stop.clone());
        let stopping = async {
            until("it has begun", || begun(&world)).await;
            assert!(with_mark(&mark) >= 2);
            if at_once { stop.at_once.cancel() } else { stop.graceful.cancel() }
        };
        let (ran, ()) = tokio::join!(run, stopping);
        assert!(ran.unwrap().interrupted);
        // They were told by SIGKILL, and need a moment to die.
        until("nothing is left", || with_mark(&mark) == 0).await;
    }
}

#[tokio::test]
async fn told_to_end_it_may_end_by_itself() {
    let ctx = Context::test();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bash = Bash::new("trap 'echo > tidied; exit 0' TERM; echo > ready; sleep 600 & wait");
    let bash = bash.cwd(folder.path().display().to_string());
    let stopping = async {
        until("it is ready", || at("ready").exists()).await;
        ctx.cancel().cancel();
    };
    let (error, ()) = tokio::join!(bash.run(&ctx), stopping);
    assert_eq!(error.unwrap_err().to_string(), "the command was told to end");
    assert!(at("tidied").exists());
    assert_eq!(operators::bash(&Context::test(), "echo 7".into()).await.unwrap(), "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_has_left_behind_is_ended_before_the_next_try() {
    let (world, mark) = (World::new().await, mark("orphan"));
    let dag = Arc::new(never_ending::dag());
    let request = RunRequest {
        run_id: Some("bash-orphan".into()),
        params: [("mark".to_string(), json!(mark))].into_iter().collect(),
        ..RunRequest::default()
    };
    // The same command by other hands: a process that died left it behind.
    let engine = world.engine();
    let first = tokio::spawn({
        let (dag, observer, stop) = (dag.clone(), world.observer(), world.stop.clone());
        async move { engine.run(dag, request, observer, stop).await }
    });
    until("it has begun", || begun(&world)).await;
    let orphan = orphaned(&mark, world.home.path());
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let stored = world.stored(&dag, "bash-orphan").await;
    until("its own are gone", || with_mark(&mark) == 1).await;
    let engine = world.engine();
    let resumed = engine.resume(dag, stored, Map::new(), Again::Nothing, world.observer(), world.stop.clone());
    assert_eq!(resumed.await.unwrap().run.state, RunStatus::Failed, "it has no retries");
    until("nothing is left", || with_mark(&mark) == 0).await;
    drop(orphan);
}

/// A process with the environment of the command.
fn orphaned(mark: &str, home: &Path) -> std::process::Child {
    assert!(home.is_absolute());
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    let of_command = folders.filter_map(|f| {
        let arguments = std::fs::read(f.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&arguments).contains(mark).then(|| std::fs::read(f.path().join("environ")).ok())?
    });
    let environment =
        of_command.map(|e| String::from_utf8_lossy(&e).into_owned()).find(|e| e.contains("FLOW_COMMAND="));
    let environment = environment.expect("the command is there");
    let word = environment.split('\0').find_map(|v| v.strip_prefix("FLOW_COMMAND=")).unwrap();
    // Of the same try; the number of the command is another.
    let word = format!("{}-0-0", word.split('-').next().unwrap());
    std::process::Command::new("sh").args(["-c", "sleep 600; :", mark]).env("FLOW_COMMAND", word).spawn().unwrap()
}
