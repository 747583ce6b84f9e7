//! `why`: everything that keeps something waiting is named, with what is in the way.

use crate::program::{Place, Running};
use crate::rest_but;
use crate::ticks::soon;
use serde_json::Value;
use std::time::{Duration, Instant};

fn place() -> Place {
    let place = Place::new();
    place.write("flow.toml", "[pools]\napi = 2\n");
    place
}

/// What is said of a task (or, without one, of a run or a DAG).
fn said<'v>(answer: &'v Value, task: Option<&str>) -> Vec<&'v str> {
    let of_task = answer.as_array().into_iter().flatten().filter(|one| one["task_id"].as_str() == task);
    of_task.map(|one| one["why"].as_str().unwrap()).collect()
}

/// Asks until the answer is as it will be.
fn once_said(place: &Place, args: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        // The run that is asked for may not be there yet.
        let answer = serde_json::from_str(&place.dags(&[args, &["--json"]].concat()).out).unwrap_or_default();
        if holds(&answer) {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{args:?}: {answer:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A scheduler under way; a test that fails leaves none behind.
struct Scheduler(Option<Running>);

impl Drop for Scheduler {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.kill();
        }
    }
}

#[test]
fn of_a_dag_what_its_schedule_and_its_state_say() {
    let place = place();
    let why = place.dags(&["why", "prints"]);
    assert_eq!((why.code, &*why.out), (Some(0), "prints has no schedule: it runs when somebody asks\n"));
    place.ok(&["pause", "in_line"]);
    let answer = place.json(&["why", "in_line"]);
    let dag = said(&answer, None);
    assert_eq!(dag[0], "is paused: nothing of it is begun until somebody unpauses the DAG");
    assert_eq!(dag[1], "has a run that is due since 2026-01-01 00:00:00 UTC, and not made yet");
    assert_eq!(dag[2], "makes no runs by itself: no scheduler works on this home folder");
    assert_eq!(answer[1]["reason"]["reason"], "run_due");
    let days = place.ok(&["why", "days"]);
    assert!(days.contains("days has a run that is due since") || days.contains("days runs next in"), "{days}");
    let all = place.ok(&["why"]);
    assert!(all.contains("prints has no schedule") && all.contains("in_line is paused"), "{all}");
    assert!(all.contains("broken can have no run by the program and the settings of this command: "), "{all}");
    let wrong = place.dags(&["why", "in_line", "stays"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("name a run"), "{wrong:?}");
}

#[test]
fn of_a_run_whose_process_died_who_could_go_on_with_it() {
    let place = place();
    let mut run = place.start(&["run", "one_at_a_time", "--run-id", "one"]);
    run.until("stays", "running");
    let why = place.ok(&["why", "one", "behind"]);
    assert_eq!(why, "behind: its run has as many tasks in flight as it may (max_active_tasks of one_at_a_time is 1)\n");
    let why = place.dags(&["why", "one", "stays"]);
    assert_eq!((&*why.out, &*why.err), ("", "stays does not wait: it is running\n"));
    run.kill();
    let answer = place.json(&["why", "one"]);
    assert!(said(&answer, None)[0].contains("no process works on it, and no scheduler"), "{answer:#}");
    assert_eq!(said(&answer, Some("stays")), ["its process ended while it ran"]);
    assert_eq!(said(&answer, Some("behind")), ["waits for the run to be resumed"]);
    place.ok(&["mark", "one", "failed"]);
    let why = place.dags(&["why", "one"]);
    assert_eq!((why.code, &*why.out, &*why.err), (Some(0), "", "nothing of it waits: the run is failed\n"));
}

#[test]
fn of_a_key_who_has_it_and_when_the_next_may_start() {
    let place = place();
    let run = place.start(&["run", "one_key", "--run-id", "one"]);
    let key = "as many tries with the key `load trips` are in flight as may be at one time (1): stays is in flight";
    let rate = "as many tries with the key `api` were started as may be (1 in 1h): the next is at";
    let begins =
        |answer: &Value, task, with: &str| said(answer, Some(task)).first().is_some_and(|s| s.starts_with(with));
    let answer =
        once_said(&place, &["why", "one"], |answer| begins(answer, "behind", key) && begins(answer, "later", rate));
    assert_eq!(said(&answer, Some("elsewhere")), [""; 0], "another key");
    // In another process as well, and when the first has ended.
    run.signal("INT");
    assert_eq!(run.end().1, Some(3));
    let run = place.start(&["run", "one_key", "--run-id", "two"]);
    once_said(&place, &["why", "two"], |answer| begins(answer, "quick", rate) && begins(answer, "later", rate));
    run.signal("INT");
    assert_eq!(run.end().1, Some(3));
}

#[test]
fn beside_a_scheduler_who_is_in_the_way() {
    let place = place();
    rest_but(&place, &["in_line"]);
    let mut scheduler = Scheduler(Some(place.start(&["scheduler"])));
    let (first, second) = ("scheduled__2026-01-01T00:00:00+00:00", "scheduled__2026-01-01T00:00:01+00:00");
    let is_there = |answer: &Value| said(answer, Some("wide")).len() == 1 && said(answer, Some("stays")).len() == 1;
    let answer = once_said(&place, &["why", second], is_there);
    let before =
        format!("waits for stays to succeed in the run before, {first}, where it is running (depends_on_past)");
    assert_eq!(said(&answer, Some("stays")), [before]);
    let pool = format!("needs 2 of the 2 slots of the pool api, 0 of them free: wide of run {first} is in flight");
    assert_eq!(said(&answer, Some("wide")), [pool.as_str()]);
    assert_eq!(answer[0]["reason"]["run_id"].as_str(), Some(first), "{answer:#}");
    // All of it at once.
    let all = place.ok(&["why", "in_line"]);
    let full = format!("(max_active_runs is 2): the next is made when one of these has ended: {first} and {second}");
    assert!(all.contains(&full) && all.contains(&pool) && !all.contains("no scheduler"), "{all}");
    assert_eq!(place.json(&["tasks", second])[1]["why"].as_str(), Some(&*pool));
    let scheduler = scheduler.0.take().unwrap();
    scheduler.signal("INT");
    assert_eq!(scheduler.end().1, Some(0));
}

/// Changes the records as another program would have written them.
fn rewrite(place: &Place, sql: &'static str) {
    use sqlx::Connection as _;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite://{}", place.home().join("flow.db").display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

/// Of a run whose process died: a function of its tasks was there when it was made.
const A_FUNCTION_GOES: &str = "
    INSERT INTO dag_version (hash, dag_id, json) SELECT 'before', dag_id, replace(json, '::stays', '::went')
        FROM dag_version WHERE dag_id IN ('in_line', 'one_at_a_time');
    UPDATE dag_run SET dag_version = 'before' WHERE dag_id IN ('in_line', 'one_at_a_time')";

/// What a scheduler has said by itself.
fn notes(events: &[Value]) -> Vec<&str> {
    events.iter().filter(|event| event["event"] == "note").filter_map(|event| event["message"].as_str()).collect()
}

#[test]
fn of_a_run_that_a_scheduler_has_given_up_why_it_had_to() {
    let place = place();
    rest_but(&place, &[]);
    let mut run = place.start(&["run", "one_at_a_time", "--run-id", "one"]);
    run.until("stays", "running");
    run.kill();
    rewrite(&place, A_FUNCTION_GOES);
    let gone = "task `behind`: the function `misbehave::crowded::stays` is gone".replace("stays", "went");
    let cannot =
        "cannot go on by the program and the settings of this command: what run `one` was made from has changed: ";
    // Nobody has to have tried it.
    let answer = place.json(&["why", "one"]);
    let said_of_it = said(&answer, None);
    assert!(said_of_it[0].starts_with(cannot) && said_of_it[0].contains(&gone), "{answer:#}");
    assert!(said_of_it[1].contains("no process works on it, and no scheduler"), "{answer:#}");

    let mut scheduler = place.start(&["scheduler"]);
    while !notes(&scheduler.seen).iter().any(|note| note.contains("run `one` of DAG `one_at_a_time` cannot go on")) {
        assert!(scheduler.next().is_some(), "{:#?}", scheduler.seen);
    }
    let scheduler = Scheduler(Some(scheduler));
    assert!(notes(&scheduler.0.as_ref().unwrap().seen).iter().any(|note| note.contains(&gone)));
    let answer = place.json(&["why", "one"]);
    let of_the_run = said(&answer, None);
    assert!(of_the_run.len() == 1 && of_the_run[0].starts_with(cannot) && of_the_run[0].contains(&gone), "{answer:#}");
    assert!(of_the_run[0].ends_with("`mark RUN failed` ends the run"), "{answer:#}");
    assert_eq!(answer[0]["reason"]["reason"], "cannot_go_on");
    assert_eq!(said(&answer, Some("behind")), ["waits for the run to be resumed"]);
    let of_dag = place.ok(&["why", "one_at_a_time"]);
    assert!(of_dag.contains(&format!("one_at_a_time one {cannot}")) && !of_dag.contains("next look"), "{of_dag}");
    place.ok(&["mark", "one", "failed"]);
    assert_eq!(place.dags(&["why", "one"]).err, "nothing of it waits: the run is failed\n");
}

#[test]
fn of_a_task_of_a_run_that_is_left_no_slot() {
    let place = place();
    let mut run = place.start(&["run", "held_up", "--run-id", "one"]);
    run.until("waits_to_go", "running");
    run.kill();
    // As if it had died before it had decided anything.
    rewrite(&place, "DELETE FROM task_instance");
    let why = place.ok(&["why", "one", "waits_to_go"]);
    assert_eq!(why.lines().last(), Some("waits_to_go: waits for the run to be resumed"));
}

#[test]
fn of_a_dag_whose_runs_cannot_go_on_that_they_take_no_place() {
    let place = place();
    rest_but(&place, &["in_line"]);
    let scheduler = Scheduler(Some(place.start(&["scheduler"])));
    let full = "in_line has as many runs as it may";
    soon("it has as many as it may", || place.ok(&["why", "in_line"]).contains(full));
    drop(scheduler);
    assert!(place.ok(&["why", "in_line"]).contains(full));
    rewrite(&place, A_FUNCTION_GOES);
    let all = place.ok(&["why", "in_line"]);
    assert!(
        !all.contains(full) && all.contains("in_line has a run that is due since 2026-01-01 00:00:02 UTC"),
        "{all}"
    );
    assert_eq!(all.matches(" cannot go on by ").count(), 2, "{all}");
    // And so it is.
    let _scheduler = Scheduler(Some(place.start(&["scheduler"])));
    soon("two others are made", || place.json(&["runs", "in_line"]).as_array().unwrap().len() == 4);
}

#[test]
fn of_a_dag_that_can_have_no_runs_what_it_lacks() {
    let place = Place::new().env("FLOW_PARAM_N", "bogus");
    rest_but(&place, &["crowd"]);
    let no_pool = "there is no pool `api` among default_pool";
    let can = "can have no run by the program and the settings of this command: ";
    let answer = place.json(&["why", "in_line"]);
    assert!(said(&answer, None)[1].starts_with(&format!("{can}task `wide`: {no_pool}")), "{answer:#}");
    assert_eq!(answer[1]["reason"]["reason"], "cannot_run");
    let asked_for = place.ok(&["why", "few_slots"]);
    assert!(asked_for.starts_with(&format!("few_slots {can}task `stays`: {no_pool}")), "{asked_for}");
    let next = place.dags(&["next", "in_line"]);
    assert!(next.code == Some(0) && next.err.contains(&format!("in_line {can}task `wide`: {no_pool}")), "{next:?}");

    // A param is looked at for each run: a scheduler passes its date over.
    place.write("flow.toml", "[pools]\napi = 2\n");
    let param = format!(
        "crowd {can}param `n` takes a whole number (u32), not `bogus` (env FLOW_PARAM_N); a scheduler goes by those"
    );
    let mut scheduler = place.start(&["scheduler"]);
    while !notes(&scheduler.seen).iter().any(|note| note.starts_with("DAG `crowd` has no run of 2026-01-01")) {
        assert!(scheduler.next().is_some(), "{:#?}", scheduler.seen);
    }
    let _scheduler = Scheduler(Some(scheduler));
    let why = place.ok(&["why", "crowd"]);
    assert!(why.starts_with(&param) && why.contains("\ncrowd has a run that is due since 2026-01-01"), "{why}");
    let next = place.dags(&["next", "crowd"]);
    assert!(next.out.contains("due") && next.err.contains(&param), "{next:?}");
    assert_eq!(place.json(&["runs", "crowd"]).as_array().unwrap().len(), 0);
    // Whoever asks for a run may give what is missing.
    assert!(!place.ok(&["why", "children"]).contains(can));
}
