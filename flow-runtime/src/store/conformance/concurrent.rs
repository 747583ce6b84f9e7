//! Many callers at the same time.

use super::{Store, at, begin, commit, plain, rows, write, xcom};
use crate::store::{Epoch, InstanceRow, RunCommit, StoreError, XComFilter};
use flow_core::{RunStatus, TaskState};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tokio::task::{JoinSet, yield_now};

const TASKS: i32 = 8;

/// Eight tasks on runs of their own and on one common run: every commit is there at the end.
pub async fn eight_tasks_commit_at_the_same_time(store: Store) {
    const EACH: i32 = 50;
    let common = begin(&store, "common").await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let own = begin(&store, &task.to_string()).await;
            for i in 0..EACH {
                let row = || write(plain(&format!("t{task}"), i, TaskState::Success, 1));
                let value = xcom("v", i, "1");
                let both = [rows(common, [row()]), RunCommit { xcoms: vec![value], ..rows(own, [row()]) }];
                store.commit(&both).await.unwrap();
                // What was committed can be read at once.
                assert_eq!(store.instances(own.0).await.unwrap().len(), i as usize + 1);
            }
            assert_eq!(store.xcoms(own.0, XComFilter::default()).await.unwrap().len(), EACH as usize);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(store.instances(common.0).await.unwrap().len(), (TASKS * EACH) as usize);
}

/// Commits that are refused go between others that are not: each caller gets its own answer, with its own numbers.
pub async fn a_fenced_commit_does_not_spoil_the_others(store: Store) {
    const EACH: i32 = 30;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let (run, mut held) = begin(&store, &task.to_string()).await;
            let stale = task % 2 == 0;
            if stale {
                for _ in 0..task + 1 {
                    store.acquire_run(run, "you").await.unwrap();
                }
                held = Epoch(1);
            }
            for i in 0..EACH {
                let done = store.commit(&[rows((run, held), [write(plain("t", i, TaskState::Success, 1))])]).await;
                let fenced = StoreError::Fenced { run: run.0, given: 1, present: i64::from(task) + 2 };
                assert_eq!(done, if stale { Err(fenced) } else { Ok(vec![]) });
            }
            let found = store.instances(run).await.unwrap().len();
            assert_eq!(found, if stale { 0 } else { EACH as usize });
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// Eight takeovers of one run at the same time get eight epochs, and the last one alone may commit.
pub async fn takeovers_at_the_same_time_differ(store: Store) {
    let (run, _) = begin(&store, "one").await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move { store.acquire_run(run, &task.to_string()).await.unwrap() });
    }
    let mut epochs = tasks.join_all().await;
    epochs.sort();
    assert!(epochs.iter().map(|e| e.0).eq(2..=i64::from(TASKS) + 1), "{epochs:?}");
    for epoch in epochs {
        let done = store.commit(&[commit((run, epoch))]).await;
        assert_eq!(done.is_ok(), epoch.0 == i64::from(TASKS) + 1, "{epoch:?}: {done:?}");
    }
}

/// A caller that goes away after any number of polls leaves a whole commit or none, and does not hurt its neighbour.
pub async fn a_dropped_commit_is_whole_or_nothing(store: Store) {
    const ROUNDS: i32 = 60;
    let (held, neighbour) = (begin(&store, "dropped").await, begin(&store, "neighbour").await);
    for i in 0..ROUNDS {
        let pair = ["a", "b"].map(|task| write(plain(task, i, TaskState::Success, 1)));
        let doomed = [RunCommit { xcoms: vec![xcom("v", i, "1")], ..rows(held, pair) }];
        let safe = [rows(neighbour, [write(plain("t", i, TaskState::Success, 1))])];
        let mut other = pin!(store.commit(&safe));
        let mut answered = poll_once(other.as_mut());
        {
            let mut doomed = pin!(store.commit(&doomed));
            // More polls each round: dropped before, in and after its transaction. No poll: dropped unstarted.
            for _ in 0..i {
                if poll_once(doomed.as_mut()).is_some() {
                    break;
                }
                yield_now().await;
            }
        }
        if answered.is_none() {
            answered = Some(other.await);
        }
        assert_eq!(answered, Some(Ok(vec![])), "round {i}");
    }
    // A last commit under the same epoch: the store works on, and what was handed in before is decided.
    store.commit(&[RunCommit { status: Some((RunStatus::Success, at(1))), ..commit(held) }]).await.unwrap();
    assert_eq!(store.instances(neighbour.0).await.unwrap().len(), ROUNDS as usize);
    let found = store.instances(held.0).await.unwrap();
    let of = |task: &str| -> Vec<i32> { found.iter().filter(|r| &*r.task_id == task).map(|r| r.map_index).collect() };
    let values: Vec<i32> =
        store.xcoms(held.0, XComFilter::default()).await.unwrap().iter().map(|x| x.map_index).collect();
    assert_eq!(of("a"), of("b"));
    assert_eq!(of("a"), values);
    assert!(!values.contains(&0), "a future that was never polled did something");
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// One task rewrites 100 rows again and again with a growing number, others read: all rows always bear one number.
pub async fn a_reader_never_sees_half_a_commit(store: Store) {
    const LAST: u32 = 40;
    let held = begin(&store, "one").await;
    let generation =
        |n| rows(held, (0..100).map(|i| write(InstanceRow { max_tries: n, ..plain("t", i, TaskState::Running, 1) })));
    store.commit(&[generation(0)]).await.unwrap();
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let store = store.clone();
        readers.spawn(async move {
            let mut seen = 0;
            while seen < LAST {
                let rows = store.instances(held.0).await.unwrap();
                let numbers: Vec<u32> = rows.iter().map(|r| r.max_tries).collect();
                assert!(numbers.len() == 100 && numbers.iter().all(|n| *n == numbers[0]), "{numbers:?}");
                assert!(numbers[0] >= seen, "time went back from {seen} to {}", numbers[0]);
                seen = numbers[0];
                yield_now().await;
            }
        });
    }
    for n in 1..=LAST {
        store.commit(&[generation(n)]).await.unwrap();
    }
    while let Some(done) = readers.join_next().await {
        done.unwrap();
    }
}
