//! `why`: everything that keeps something waiting is named, with what is in the way.

use crate::program::{Place, Running};
use crate::rest_but;
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
