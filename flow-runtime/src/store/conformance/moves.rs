//! Where a commit may bring an instance, or a run, and where only a person may.

use super::{Store, at, begin, commit, ordered, plain, rows, write};
use crate::store::{RunCommit, StoreError};
use flow_core::{RunStatus, TaskState};
use std::sync::Arc;

/// Every pair of states: what [`TaskState::may_pass_to`] allows is done, all else is refused, and a person may do anything.
pub async fn no_instance_moves_where_it_cannot_come_by_itself(store: Store) {
    let held = begin(&store, "one").await;
    let pairs = TaskState::ALL.into_iter().flat_map(|from| TaskState::ALL.map(|to| (from, to)));
    let mut refused = 0;
    for (i, (from, to)) in pairs.enumerate() {
        let i = i as i32;
        store.commit(&[rows(held, [write(plain("t", i, from, 1))])]).await.unwrap();
        let moved = rows(held, [write(plain("t", i, to, 1))]);
        let done = store.commit(std::slice::from_ref(&moved)).await;
        let what = format!("instance t[{i}] of run {} would go from {from} to {to}", held.0.0);
        let want = if from.may_pass_to(to) { Ok(vec![]) } else { Err(StoreError::IllegalMove(what)) };
        assert_eq!(done, want, "{from} to {to}");
        if done.is_err() {
            refused += 1;
            store.commit(&[ordered(moved)]).await.unwrap();
        }
    }
    assert_eq!(refused, 92);
    let want = TaskState::ALL.iter().flat_map(|_| TaskState::ALL);
    assert!(store.instances(held.0).await.unwrap().iter().map(|row| row.state).eq(want));
}

/// The same of runs.
pub async fn no_run_moves_where_it_cannot_come_by_itself(store: Store) {
    use RunStatus::{Failed, Queued, Running, Success};
    let states = [Queued, Running, Success, Failed];
    for (from, to) in states.into_iter().flat_map(|from| states.map(|to| (from, to))) {
        let run_id = format!("{from} to {to}");
        let held = begin(&store, &run_id).await;
        let is = |status| RunCommit { status: Some((status, at(1))), ..commit(held) };
        store.commit(&[is(from)]).await.unwrap();
        let done = store.commit(&[is(to)]).await;
        let what = format!("run {} would go from {from} to {to}", held.0.0);
        let want = if from.may_pass_to(to) { Ok(vec![]) } else { Err(StoreError::IllegalMove(what)) };
        assert_eq!(done, want, "{run_id}");
        if done.is_err() {
            assert_eq!(store.run("taxi", &run_id).await.unwrap().unwrap().run.state, from);
            store.commit(&[ordered(is(to))]).await.unwrap();
        }
        assert_eq!(store.run("taxi", &run_id).await.unwrap().unwrap().run.state, to);
    }
}

/// Of what is asked for in one call nothing is done, and what others ask for at the same time is. What an earlier commit of the
/// call has ended, a later one cannot let go on; and an order for one run is none for another.
pub async fn an_illegal_move_refuses_all_of_its_call_and_nothing_else(store: Store) {
    let (one, other) = (begin(&store, "one").await, begin(&store, "other").await);
    let is = |held, task: &str, state| rows(held, [write(plain(task, -1, state, 1))]);
    let states = async |of: (crate::store::RunPk, _)| -> Vec<(Arc<str>, TaskState)> {
        store.instances(of.0).await.unwrap().into_iter().map(|row| (row.task_id, row.state)).collect()
    };
    store.commit(&[is(one, "a", TaskState::Success), is(other, "a", TaskState::Running)]).await.unwrap();
    let order = ordered(is(other, "a", TaskState::None));
    let (bad, good) = ([order, is(one, "a", TaskState::Running)], [is(other, "b", TaskState::Success)]);
    let (refused, done) = tokio::join!(store.commit(&bad), store.commit(&good));
    assert!(matches!(refused, Err(StoreError::IllegalMove(_))), "{refused:?}");
    assert_eq!(done, Ok(vec![]));
    assert_eq!(states(one).await, [("a".into(), TaskState::Success)]);
    assert_eq!(states(other).await, [("a".into(), TaskState::Running), ("b".into(), TaskState::Success)]);

    let both = [is(other, "a", TaskState::Failed), is(other, "a", TaskState::Running)];
    let refused = store.commit(&both).await;
    assert!(matches!(refused, Err(StoreError::IllegalMove(_))), "{refused:?}");
    assert_eq!(states(other).await[0], ("a".into(), TaskState::Running));
}
