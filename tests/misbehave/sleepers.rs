//! Many who sleep at the same time: their process dies meanwhile, and all of them wake in the next one. (Number 36.)

use crate::program::{Place, Running};
use crate::ticks::text;
use flow_runtime::chrono::{TimeDelta, Utc};
use serde_json::Value;
use std::collections::BTreeMap;

/// How many of its instances are in which state.
fn states(place: &Place, run: &str) -> BTreeMap<String, usize> {
    let mut states = BTreeMap::new();
    for task in place.json(&["tasks", run]).as_array().unwrap().iter().filter(|task| task["task_id"] == "sleeps_until")
    {
        *states.entry(text(task, "state").to_string()).or_default() += 1;
    }
    states
}

/// What the system says of a process: `Threads`, `VmRSS`.
fn says(running: &Running, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Reads on until as many have fallen asleep; says whether none has woken before.
fn all_sleep(running: &mut Running, sleepers: usize) -> bool {
    let mut asleep = 0;
    while asleep < sleepers {
        let event = running.next().expect("it goes on");
        let is_one = event["event"] == "task_state" && event["task_id"] == "sleeps_until";
        match text(&event, "state") {
            "deferred" if is_one => asleep += 1,
            "success" if is_one => return false,
            _ => {}
        }
    }
    true
}

/// With `SLEEPERS=100000` so many.
#[test]
fn all_who_sleep_wake_once_in_the_process_after_the_one_that_was_killed() {
    let sleepers: usize = std::env::var("SLEEPERS").map_or(2000, |text| text.parse().expect("a number"));
    // So long it may take until all of them sleep: a thousand or two in a second, and on a machine that is slower, longer.
    for seconds in [3, 10, 30, 100, 300, 1000].into_iter().filter(|seconds| seconds * 2000 >= sleepers as i64) {
        let place = Place::new();
        let at = (Utc::now() + TimeDelta::seconds(seconds)).to_rfc3339();
        let params = [format!("n={sleepers}"), format!("at={at}")];
        let mut running = place.start(&["run", "dormitory", "--run-id", "one", "-p", &params[0], "-p", &params[1]]);
        if !all_sleep(&mut running, sleepers) {
            running.kill();
            continue;
        }
        let (threads, memory) = (says(&running, "Threads:"), says(&running, "VmRSS:"));
        running.kill();
        assert_eq!(states(&place, "one"), [("deferred".to_string(), sleepers)].into());
        #[expect(clippy::print_stdout, reason = "whoever runs it by hand reads what it has seen")]
        {
            println!("{sleepers} sleep: {threads} threads, {} MB", memory / 1000);
        }
        // One for each core, those of the database, and none for a sleeper.
        assert!(threads < 100, "{threads} threads");

        let woken = place.start(&["run", "--resume", "one"]);
        let (events, code) = woken.end();
        assert_eq!(code, Some(0), "{:#?}", events.last());
        let tasks = place.json(&["tasks", "one"]);
        let slept: Vec<&Value> =
            tasks.as_array().unwrap().iter().filter(|task| task["task_id"] == "sleeps_until").collect();
        assert_eq!(slept.len(), sleepers);
        for task in slept {
            let tries = task["tries"].as_array().unwrap();
            assert!(task["state"] == "success" && task["try_number"] == 1 && tries.len() == 1, "{task:#}");
            assert!(text(task, "end_date") >= &at[..19], "it has slept until then: {task:#}");
        }
        return;
    }
    panic!("{sleepers} do not fall asleep in time");
}
