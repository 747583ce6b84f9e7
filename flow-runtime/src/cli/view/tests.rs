//! The view as text, event by event.

use super::*;
use crate::cli::style::Paint;
use crate::store::CauseKind;
use flow_core::TaskDef;
use std::time::Duration;

fn at(millis: u64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::from_millis(millis)
}

fn dag() -> Dag {
    let mut dag = Dag::new("taxi");
    dag.tasks = ["download", "parquetize", "upload", "load"].map(|id| TaskDef::new(id, id)).to_vec();
    (dag.tasks[1].upstream, dag.tasks[2].upstream, dag.tasks[3].upstream) = (vec![0], vec![1], vec![1, 2]);
    dag
}

fn task(task_id: &str, map_index: i32, state: TaskState, millis: u64) -> RunEvent {
    RunEvent::TaskState {
        task_id: task_id.into(),
        map_index,
        state,
        try_number: 1,
        tries: 4,
        duration: state.is_finished().then_some(2.1),
        due: (state == TaskState::UpForRetry).then(|| at(millis + 9_000)),
        cause: matches!(state, TaskState::Failed | TaskState::UpForRetry).then(|| Cause {
            kind: CauseKind::Error,
            message: "connection\nrefused".into(),
            place: None,
        }),
        why: (state == TaskState::UpstreamFailed).then(|| "download failed".into()),
        label: None,
        value: (state == TaskState::Success).then(|| "{\"rows\":3}".into()),
        timestamp: at(millis),
    }
}

fn begun(dag: &Dag) -> RunView {
    let mut view = RunView::new(dag);
    view.apply(
        &RunEvent::RunStarted { dag_id: "taxi".into(), dag_run_id: "r1".into(), resumed: false, timestamp: at(0) },
        at(0),
    );
    view
}

fn draw(view: &RunView, millis: u64) -> Vec<String> {
    view.draw(at(millis), 80, 24, Paint(false))
}

#[test]
fn a_run_on_its_way() {
    let mut view = begun(&dag());
    view.apply(&task("download", -1, TaskState::Success, 2_100), at(2_100));
    view.apply(&task("parquetize", -1, TaskState::Running, 2_100), at(2_100));
    for (done, millis) in [(0, 2_100), (12_000_000, 6_100)] {
        let event = RunEvent::Progress { task_id: "parquetize".into(), map_index: -1, done, total: Some(28_000_000) };
        view.apply(&event, at(millis));
    }
    assert_eq!(
        draw(&view, 12_000),
        [
            "taxi  r1  running  1/4 done  12.0s",
            "  ✔ download       2.1s  rows=3",
            "  ⠋ parquetize     9.9s  ━━━━━━──────────  42%  12.0M/28.0M  3.0M/s",
            "  · upload      waits for parquetize",
            "  · load        waits for parquetize, upload",
        ]
    );
}

#[test]
fn retries_failures_and_what_they_stop() {
    let mut view = begun(&dag());
    view.apply(&task("download", -1, TaskState::UpForRetry, 1_000), at(1_000));
    assert_eq!(draw(&view, 1_500)[1], "  ↻ download    try 2 of 4 in 9s: connection refused");
    view.apply(&task("download", -1, TaskState::Failed, 20_000), at(20_000));
    view.apply(&task("parquetize", -1, TaskState::UpstreamFailed, 20_000), at(20_000));
    let lines = draw(&view, 21_000);
    assert_eq!(lines[1], "  ✘ download       2.1s  try 1 of 4  connection refused");
    assert_eq!(lines[2], "  ⊘ parquetize  download failed");
}

#[test]
fn mapped_tasks_are_folded_to_one_line() {
    let mut dag = dag();
    dag.tasks[0].mapped = true;
    let mut view = begun(&dag);
    for i in 0..100 {
        view.apply(&task("download", i, TaskState::Scheduled, 0), at(0));
    }
    for i in 0..60 {
        view.apply(&task("download", i, TaskState::Running, 1_000), at(1_000));
    }
    for i in 0..57 {
        view.apply(&task("download", i, TaskState::Success, 2_000), at(2_000));
    }
    view.apply(&task("download", 57, TaskState::Failed, 2_000), at(2_000));
    assert_eq!(draw(&view, 3_000)[1], "  ⠋ download       2.0s  58/100 done, 2 running, 1 failed: connection refused");
    assert_eq!(draw(&view, 3_000)[2], "  · parquetize  waits for download");
}

#[test]
fn what_moves_stays_in_view_however_low_the_terminal() {
    let mut dag = Dag::new("wide");
    dag.tasks = (0..50).map(|i| TaskDef::new(format!("t{i:02}"), "t")).collect();
    let mut view = begun(&dag);
    view.apply(&task("t40", -1, TaskState::Running, 0), at(0));
    view.apply(&task("t00", -1, TaskState::Success, 0), at(0));
    let lines = view.draw(at(1_000), 40, 7, Paint(false));
    assert_eq!(lines.len(), 7);
    assert!(lines.iter().any(|l| l.contains("t40")) && !lines.iter().any(|l| l.contains("t00")), "{lines:?}");
    assert_eq!(lines[6], "  .. and 45 more tasks");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut view = begun(&dag());
    view.apply(&task("download", -1, TaskState::Success, 1), at(1));
    view.apply(&task("parquetize", -1, TaskState::UpForRetry, 1), at(1));
    for width in [20, 40, 80] {
        let lines = view.draw(at(2_000), width, 24, Paint(true));
        assert!(lines.iter().all(|l| console::measure_text_width(l) <= width), "{width}: {lines:?}");
    }
}
