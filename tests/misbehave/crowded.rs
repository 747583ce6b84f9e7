//! Why a task that may run does not: which limit it is, and who holds it.

use crate::program::Place;

#[test]
fn the_limit_that_holds_a_task_back_is_named() {
    for (dag, why) in [
        ("one_at_a_time", "its run has as many tasks in flight as it may (max_active_tasks of one_at_a_time is 1)"),
        ("few_slots", "needs 2 of the 2 slots of the pool api, 1 of them free: stays is in flight"),
    ] {
        let place = Place::new();
        place.write("flow.toml", "[pools]\napi = 2\n");
        let mut run = place.start(&["run", dag, "--run-id", "one"]);
        run.until("stays", "running");
        let tasks = place.json(&["tasks", "one"]);
        let behind = tasks.as_array().unwrap().iter().find(|task| task["task_id"] == "behind").unwrap();
        assert_eq!((behind["state"].as_str(), behind["why"].as_str()), (Some("scheduled"), Some(why)), "{tasks:#}");
        run.signal("INT");
        assert_eq!(run.end().1, Some(3));
    }
}
