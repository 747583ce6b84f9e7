//! What a commit does.

use super::{Store, archive, at, begin, commit, full, ordered, plain, rows, write, xcom};
use crate::store::{
    Cause, CauseKind, Ending, Epoch, InstanceRow, RETURN_VALUE, RunCommit, RunPk, StoreError, XComFilter, XComRow,
    XComValue,
};
use flow_core::{RunStatus, TaskState};
use std::sync::Arc;

fn row_of(xcom: &crate::store::XComWrite) -> XComRow {
    XComRow {
        task_id: xcom.task_id.to_string(),
        map_index: xcom.map_index,
        key: xcom.key.to_string(),
        value: xcom.value.clone(),
        timestamp: xcom.timestamp,
    }
}

/// A row with every field, one with none, and ids that look like something else, come back as they were.
pub async fn every_field_of_an_instance_comes_back(store: Store) {
    let held = begin(&store, "one").await;
    let mut want = vec![
        full("aufgabe.ä\"\\'🚕", -1, u32::MAX),
        plain("", -1, TaskState::None, 0),
        plain("42", i32::MAX, TaskState::Running, 1),
        plain("null", i32::MIN, TaskState::Running, 1),
        plain("[1]", 0, TaskState::Running, 1),
    ];
    use CauseKind::*;
    for (i, kind) in [Error, Panic, Timeout, Lost, Cancelled, Skipped, Input, Output].into_iter().enumerate() {
        let cause = Some(Cause { kind, message: String::new(), place: None });
        want.push(InstanceRow { cause, ..plain("kinds", i as i32, TaskState::Failed, 1) });
    }
    store.commit(&[rows(held, want.iter().cloned().map(write))]).await.unwrap();
    want.sort_by(|a, b| (&a.task_id, a.map_index).cmp(&(&b.task_id, b.map_index)));
    assert_eq!(store.instances(held.0).await.unwrap(), want);
    // The same rows once more: now as a replacement that takes every field away again.
    let bare: Vec<_> = want.iter().map(|r| plain(&r.task_id, r.map_index, TaskState::None, 0)).collect();
    store.commit(&[ordered(rows(held, bare.iter().cloned().map(write)))]).await.unwrap();
    assert_eq!(store.instances(held.0).await.unwrap(), bare);
}

/// All 14 states.
pub async fn every_state_comes_back(store: Store) {
    let held = begin(&store, "one").await;
    let want: Vec<_> =
        (TaskState::ALL.into_iter().enumerate()).map(|(i, state)| plain("t", i as i32, state, 1)).collect();
    store.commit(&[rows(held, want.iter().cloned().map(write))]).await.unwrap();
    assert_eq!(store.instances(held.0).await.unwrap(), want);
}

/// By task id (by its bytes), then map index; other runs are not mixed in.
pub async fn instances_are_sorted(store: Store) {
    let (held, other) = (begin(&store, "one").await, begin(&store, "two").await);
    let keys = [("b", 10), ("b", 9), ("b", -1), ("ä", 0), ("Z", 0), ("a", 0), ("a1", 0), ("a.b", 0)];
    let written = keys.map(|(task, map)| write(plain(task, map, TaskState::Running, 1)));
    store.commit(&[rows(held, written), rows(other, [write(plain("c", 0, TaskState::Running, 1))])]).await.unwrap();
    let got = store.instances(held.0).await.unwrap();
    let got: Vec<_> = got.iter().map(|r| (&*r.task_id, r.map_index)).collect();
    assert_eq!(got, [("Z", 0), ("a", 0), ("a.b", 0), ("a1", 0), ("b", -1), ("b", 9), ("b", 10), ("ä", 0)]);
    assert_eq!(store.instances(other.0).await.unwrap().len(), 1);
}

/// `Running` sets the start, once more where the run begins anew; a finished state the end, an unfinished one takes the end away.
pub async fn the_status_moves_the_dates(store: Store) {
    use RunStatus::{Failed, Queued, Running, Success};
    let held = begin(&store, "one").await;
    let steps = [
        (Some(Running), 0, None),
        (None, 0, None),
        (Some(Running), 0, None),
        (Some(Failed), 0, Some(3)),
        (Some(Success), 0, Some(4)),
        (None, 0, Some(4)),
        // Cleared: it waits, and begins anew.
        (Some(Queued), 0, None),
        (Some(Running), 7, None),
        (Some(Success), 7, Some(8)),
        // Cleared while somebody has it.
        (Some(Running), 9, None),
    ];
    let mut last = Queued;
    for (i, (status, start, end)) in steps.into_iter().enumerate() {
        let now = at(i as i64);
        let change = RunCommit { status: status.map(|s| (s, now)), ..commit(held) };
        store.commit(&[ordered(change)]).await.unwrap();
        last = status.unwrap_or(last);
        let run = store.run("taxi", "one").await.unwrap().unwrap().run;
        let want = (last, Some(at(start)), end.map(at));
        assert_eq!((run.state, run.start_date, run.end_date), want, "step {i}");
    }
    // A run that never ran has no start, and one that came with a start keeps it.
    let held = begin(&store, "never ran").await;
    store.commit(&[RunCommit { status: Some((Failed, at(1))), ..commit(held) }]).await.unwrap();
    let run = store.run("taxi", "never ran").await.unwrap().unwrap().run;
    assert_eq!((run.start_date, run.end_date), (None, Some(at(1))));
}

/// How a run is being ended comes with a state, be it the one that it has, and goes with the next; what has no state leaves it.
pub async fn how_a_run_is_ended_is_kept_with_its_state(store: Store) {
    let held = begin(&store, "one").await;
    let cause = Cause { kind: CauseKind::Cancelled, message: "somebody said \"no\" ä".into(), place: None };
    let how = Ending { state: RunStatus::Failed, cause };
    let running = Some((RunStatus::Running, at(1)));
    let ending = RunCommit { status: running, ending: Some(how.clone()), ..commit(held) };
    let none = RunCommit { instances: vec![write(plain("t", -1, TaskState::Scheduled, 0))], ..commit(held) };
    let goes_on = RunCommit { status: running, ..commit(held) };
    let failed = RunCommit { status: Some((RunStatus::Failed, at(2))), ..commit(held) };
    for (change, want) in [
        (goes_on.clone(), None),
        (ending.clone(), Some(&how)),
        (none, Some(&how)),
        (goes_on, None),
        (ending, Some(&how)),
        (failed, None),
    ] {
        let said = format!("{change:?}");
        store.commit(&[change]).await.unwrap();
        let run = store.run("taxi", "one").await.unwrap().unwrap();
        assert_eq!((run.ending.as_ref(), run.run.start_date), (want, Some(at(1))), "{said}");
    }
}

/// After a takeover the old epoch can change nothing, nor can one that was never given; the new one can.
pub async fn an_old_epoch_changes_nothing(store: Store) {
    let (run, old) = begin(&store, "one").await;
    store.commit(&[rows((run, old), [write(plain("t", -1, TaskState::Running, 1))])]).await.unwrap();
    let new = store.acquire_run(run, "you").await.unwrap();
    let before = (store.run("taxi", "one").await.unwrap(), store.instances(run).await.unwrap());
    for given in [old, Epoch(3), Epoch(0), Epoch(-1)] {
        let stale = RunCommit {
            status: Some((RunStatus::Failed, at(1))),
            instances: vec![
                archive(plain("t", -1, TaskState::Failed, 2)),
                write(plain("u", -1, TaskState::Running, 1)),
            ],
            xcoms: vec![xcom("t", -1, "1")],
            ..commit((run, given))
        };
        let refused = store.commit(&[stale]).await;
        assert_eq!(refused, Err(StoreError::Fenced { run: run.0, given: given.0, present: 2 }));
        assert_eq!((store.run("taxi", "one").await.unwrap(), store.instances(run).await.unwrap()), before);
        assert_eq!(store.tries(run, None).await.unwrap(), before.1);
        assert_eq!(store.xcoms(run, XComFilter::default()).await.unwrap(), []);
    }
    store.commit(&[rows((run, new), [write(plain("t", -1, TaskState::Success, 1))])]).await.unwrap();
    assert_eq!(store.instances(run).await.unwrap(), [plain("t", -1, TaskState::Success, 1)]);
}

/// Three runs in one commit, the epoch of any one of them old: nothing is applied to any.
pub async fn one_old_epoch_refuses_all_runs(store: Store) {
    for stale in 0..3 {
        let mut held = Vec::new();
        for i in 0..3 {
            held.push(begin(&store, &format!("{stale} {i}")).await);
        }
        store.acquire_run(held[stale].0, "you").await.unwrap();
        let all: Vec<_> = (held.iter())
            .map(|&held| RunCommit {
                status: Some((RunStatus::Running, at(1))),
                xcoms: vec![xcom("t", -1, "1")],
                ..rows(held, [write(plain("t", -1, TaskState::Running, 1))])
            })
            .collect();
        let refused = store.commit(&all).await;
        assert_eq!(refused, Err(StoreError::Fenced { run: held[stale].0.0, given: 1, present: 2 }));
        for (i, &(run, _)) in held.iter().enumerate() {
            assert_eq!(store.instances(run).await.unwrap(), []);
            assert_eq!(store.xcoms(run, XComFilter::default()).await.unwrap(), []);
            let found = store.run("taxi", &format!("{stale} {i}")).await.unwrap().unwrap();
            assert_eq!((found.run.state, found.run.start_date), (RunStatus::Queued, None));
        }
    }
}

/// A commit that names a run which is not there is refused whole.
pub async fn one_unknown_run_refuses_all_runs(store: Store) {
    let held = begin(&store, "one").await;
    let rows = |held| rows(held, [write(plain("t", -1, TaskState::Running, 1))]);
    for unknown in [RunPk(4711), RunPk(0), RunPk(-1)] {
        let refused = store.commit(&[rows(held), rows((unknown, Epoch(1)))]).await;
        assert_eq!(refused, Err(StoreError::NoSuchRun(unknown.0)));
        assert_eq!(store.instances(held.0).await.unwrap(), []);
    }
    // Of several culprits the first is named.
    let old = (held.0, Epoch(7));
    let refused = store.commit(&[rows(old), rows((RunPk(4711), Epoch(1)))]).await;
    assert_eq!(refused, Err(StoreError::Fenced { run: held.0.0, given: 7, present: 1 }));
    let refused = store.commit(&[rows((RunPk(4711), Epoch(1))), rows(old)]).await;
    assert_eq!(refused, Err(StoreError::NoSuchRun(4711)));
}

/// The present row moves to the history, with every field, when the next try begins; not when it never had a try, nor
/// when nobody asks.
pub async fn a_try_is_archived(store: Store) {
    let held = begin(&store, "one").await;
    let first = full("t", 3, 1);
    let second = plain("t", 3, TaskState::Running, 2);
    let ended = InstanceRow { end_date: Some(at(9)), ..plain("t", 3, TaskState::Success, 2) };
    let scheduled = write(plain("t", 3, TaskState::Scheduled, 0));
    let steps = [
        (scheduled, vec![plain("t", 3, TaskState::Scheduled, 0)]),
        (archive(plain("t", 3, TaskState::Running, 1)), vec![plain("t", 3, TaskState::Running, 1)]),
        (write(first.clone()), vec![first.clone()]),
        (archive(second.clone()), vec![first.clone(), second]),
        (write(ended.clone()), vec![first, ended]),
    ];
    for (i, (change, want)) in steps.into_iter().enumerate() {
        store.commit(&[ordered(rows(held, [change]))]).await.unwrap();
        assert_eq!(store.tries(held.0, Some("t")).await.unwrap(), want, "step {i}");
        assert_eq!(store.instances(held.0).await.unwrap(), want[want.len() - 1..], "step {i}");
    }
}

/// A cleared instance keeps its try number until it begins again: its first copy in the history stays.
pub async fn a_try_is_archived_once(store: Store) {
    let held = begin(&store, "one").await;
    let ended = full("t", -1, 1);
    let cleared = plain("t", -1, TaskState::None, 1);
    let again = plain("t", -1, TaskState::Running, 2);
    for change in [write(ended.clone()), archive(cleared.clone())] {
        store.commit(&[ordered(rows(held, [change]))]).await.unwrap();
    }
    assert_eq!(store.tries(held.0, None).await.unwrap(), [ended.clone(), cleared]);
    store.commit(&[rows(held, [archive(again.clone())])]).await.unwrap();
    assert_eq!(store.tries(held.0, None).await.unwrap(), [ended, again]);
}

/// By task, map index, try number; one task alone on request.
pub async fn tries_are_sorted(store: Store) {
    let held = begin(&store, "one").await;
    let keys = [("b", 2), ("b", 0), ("a", -1)];
    for try_number in [1, 2, 10] {
        let all = keys.map(|(task, map)| archive(plain(task, map, TaskState::Failed, try_number)));
        store.commit(&[rows(held, all)]).await.unwrap();
    }
    let want = |keys: &[(&str, i32)]| -> Vec<_> {
        keys.iter().flat_map(|&(task, map)| [1, 2, 10].map(|n| plain(task, map, TaskState::Failed, n))).collect()
    };
    assert_eq!(store.tries(held.0, None).await.unwrap(), want(&[("a", -1), ("b", 0), ("b", 2)]));
    assert_eq!(store.tries(held.0, Some("b")).await.unwrap(), want(&[("b", 0), ("b", 2)]));
    assert_eq!(store.tries(held.0, Some("c")).await.unwrap(), []);
}

/// Values come back in order, small and large ones, and the later one of the same key replaces the earlier.
pub async fn xcoms_come_back_and_are_replaced(store: Store) {
    let (held, other) = (begin(&store, "one").await, begin(&store, "two").await);
    let mut large = xcom("b", 1, "");
    large.value =
        XComValue { type_name: "Frame".into(), size: i64::MAX as u64, sha256: "a".repeat(64).into(), inline: None };
    let mut keyed = xcom("b", 0, r#"{"a":"\u0000 \"quoted\" ü 🚕"}"#);
    keyed.key = "schlüssel".into();
    let numeric = xcom("42", -1, "1e400");
    let long = xcom("long", -1, &format!("\"{}\"", "ß".repeat(50_000)));
    let all = [large, xcom("b", 0, "null"), keyed, xcom("a", -1, "[1, 2.50]"), numeric, long];
    store.commit(&[RunCommit { xcoms: all.to_vec(), ..commit(held) }]).await.unwrap();
    let mut want: Vec<_> = all.iter().map(row_of).collect();
    want.sort_by(|a, b| (&a.task_id, a.map_index, &a.key).cmp(&(&b.task_id, b.map_index, &b.key)));
    assert_eq!(store.xcoms(held.0, XComFilter::default()).await.unwrap(), want);
    let unmapped = XComFilter { map_index: Some(-1), ..XComFilter::default() };
    assert!(store.xcoms(held.0, unmapped).await.unwrap().iter().eq(want.iter().filter(|x| x.map_index == -1)));
    let of_b: Vec<_> = want.iter().filter(|x| x.task_id == "b").cloned().collect();
    assert_eq!(store.xcoms(held.0, XComFilter::of_task("b")).await.unwrap(), of_b);
    assert_eq!(store.xcoms(other.0, XComFilter::default()).await.unwrap(), []);

    let mut next = xcom("b", 1, "[]");
    next.timestamp = at(77);
    next.value.type_name = Arc::from("Vec<Höhe>");
    store.commit(&[RunCommit { xcoms: vec![next.clone()], ..commit(held) }]).await.unwrap();
    let place = want.iter().position(|x| (x.task_id.as_str(), x.map_index, x.key.as_str()) == ("b", 1, RETURN_VALUE));
    want[place.expect("it was there")] = row_of(&next);
    assert_eq!(store.xcoms(held.0, XComFilter::default()).await.unwrap(), want);
}

/// Several changes of one run in one commit, between those of another, are applied one after the other.
pub async fn commits_of_one_run_are_applied_in_order(store: Store) {
    let (held, other) = (begin(&store, "one").await, begin(&store, "two").await);
    let ended = InstanceRow { end_date: Some(at(1)), ..plain("t", -1, TaskState::Failed, 1) };
    let next = plain("t", -1, TaskState::Running, 2);
    store
        .commit(&[
            RunCommit {
                status: Some((RunStatus::Running, at(0))),
                ..rows(held, [write(plain("t", -1, TaskState::Running, 1))])
            },
            rows(other, [write(plain("u", -1, TaskState::Running, 1))]),
            RunCommit {
                status: Some((RunStatus::Failed, at(1))),
                xcoms: vec![xcom("t", -1, "1")],
                ..rows(held, [write(ended.clone())])
            },
            RunCommit {
                is_order: true,
                status: Some((RunStatus::Running, at(2))),
                xcoms: vec![xcom("t", -1, "2")],
                ..rows(held, [archive(next.clone())])
            },
        ])
        .await
        .unwrap();
    assert_eq!(store.tries(held.0, None).await.unwrap(), [ended, next]);
    assert_eq!(store.xcoms(held.0, XComFilter::default()).await.unwrap(), [row_of(&xcom("t", -1, "2"))]);
    assert_eq!(store.instances(other.0).await.unwrap().len(), 1);
    let run = store.run("taxi", "one").await.unwrap().unwrap().run;
    assert_eq!((run.state, run.start_date, run.end_date), (RunStatus::Running, Some(at(2)), None));
}

/// No commits at all, and a commit without a change (which is still refused under an old epoch).
pub async fn an_empty_commit_is_nothing(store: Store) {
    store.commit(&[]).await.unwrap();
    let (run, epoch) = begin(&store, "one").await;
    let before = store.run("taxi", "one").await.unwrap();
    store.commit(&[commit((run, epoch))]).await.unwrap();
    assert_eq!(store.run("taxi", "one").await.unwrap(), before);
    store.acquire_run(run, "you").await.unwrap();
    let refused = store.commit(&[commit((run, epoch))]).await;
    assert_eq!(refused, Err(StoreError::Fenced { run: run.0, given: 1, present: 2 }));
}

/// 10,000 instances in one commit, then all of them archived and replaced in another.
pub async fn ten_thousand_rows_at_once(store: Store) {
    const N: i32 = 10_000;
    let held = begin(&store, "one").await;
    let all = |state, n| (0..N).map(move |i| InstanceRow { start_date: Some(at(i.into())), ..plain("t", i, state, n) });
    store.commit(&[rows(held, all(TaskState::Failed, 1).map(write))]).await.unwrap();
    assert!(store.instances(held.0).await.unwrap().into_iter().eq(all(TaskState::Failed, 1)));
    let second = RunCommit {
        is_order: true,
        xcoms: (0..N).map(|i| xcom("t", i, &i.to_string())).collect(),
        ..rows(held, all(TaskState::Success, 2).map(archive))
    };
    store.commit(&[second]).await.unwrap();
    assert!(store.instances(held.0).await.unwrap().into_iter().eq(all(TaskState::Success, 2)));
    let want = all(TaskState::Failed, 1).zip(all(TaskState::Success, 2)).flat_map(|(a, b)| [a, b]);
    assert!(store.tries(held.0, None).await.unwrap().into_iter().eq(want));
    let values = store.xcoms(held.0, XComFilter::of_task("t")).await.unwrap();
    assert!((0..N).map(|i| Some(Arc::from(i.to_string()))).eq(values.into_iter().map(|x| x.value.inline)));
}
