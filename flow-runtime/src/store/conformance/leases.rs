//! Who holds a run, until when; and what must hold when a run is made.
//!
//! Time is no part of these: a lease of no length has ended when it is given, one of an hour has not by the end of a test.

use super::{Store, at, begin, commit, dag, dag_run, plain, rows, write};
use crate::store::{Epoch, RunCommit, RunPk, StoreError, Term, Terms};
use flow_core::{RunStatus, RunType, TaskState};
use std::time::Duration;
use tokio::task::JoinSet;

const TAKERS: u32 = 8;

const HOUR: Term = term(3600);
const NONE: Term = term(0);

const fn term(seconds: u64) -> Term {
    // Only a store without a clock goes by it.
    Term { length: Duration::from_secs(seconds), now: chrono::DateTime::UNIX_EPOCH }
}

/// The numbers of the runs that are held, and by whom.
async fn held(store: &Store) -> Vec<(RunPk, String)> {
    let held = store.held(HOUR.now).await.unwrap();
    assert!(held.iter().all(|run| run.until > HOUR.now), "{held:?}");
    held.into_iter().map(|run| (run.run, run.owner)).collect()
}

/// A second taker is told who holds it and until when, also when it is the holder itself; after a release anybody may have it.
/// Who releases under another epoch gives nothing back.
pub async fn a_held_run_is_refused_and_a_released_one_is_free(store: Store) {
    let ((run, _), (other, _)) = (begin(&store, "one").await, begin(&store, "two").await);
    assert_eq!(held(&store).await, []);
    let epoch = store.take_run(run, "ada, process 7", HOUR).await.unwrap();
    assert_eq!((epoch, held(&store).await), (Epoch(2), vec![(run, "ada, process 7".to_string())]));
    for taker in ["bob", "ada, process 7"] {
        let Err(StoreError::Held { run: told, owner, until }) = store.take_run(run, taker, HOUR).await else {
            panic!("{taker} took it")
        };
        assert_eq!((told, owner.as_str(), until > HOUR.now), (run.0, "ada, process 7", true));
    }
    assert_eq!(store.take_run(other, "bob", HOUR).await, Ok(Epoch(2)), "another run is another matter");
    for stale in [Epoch(1), Epoch(3)] {
        store.release(run, stale).await.unwrap();
    }
    assert_eq!(held(&store).await.len(), 2);
    store.release(run, epoch).await.unwrap();
    assert_eq!(held(&store).await, [(other, "bob".to_string())]);
    assert_eq!(store.take_run(run, "bob", HOUR).await, Ok(Epoch(3)));
    let found = store.run("taxi", "one").await.unwrap().unwrap();
    assert_eq!((found.owner.as_deref(), found.epoch), (Some("bob"), Epoch(3)));
    assert_eq!(store.take_run(RunPk(4711), "bob", HOUR).await, Err(StoreError::NoSuchRun(4711)));
    store.release(RunPk(4711), Epoch(1)).await.unwrap();
    // By force it is had at once, and is held by no lease any more.
    assert_eq!(store.acquire_run(run, "carl").await, Ok(Epoch(4)));
    assert_eq!(store.take_run(run, "ada", HOUR).await, Ok(Epoch(5)));
}

/// What has ended can be taken, and not be renewed.
pub async fn a_lease_that_has_ended_is_anybodys(store: Store) {
    let (run, _) = begin(&store, "one").await;
    let epoch = store.take_run(run, "ada", NONE).await.unwrap();
    assert_eq!(held(&store).await, []);
    assert!(store.renew(&[(run, epoch)], HOUR).await.unwrap().is_empty());
    assert_eq!(store.take_run(run, "bob", HOUR).await, Ok(Epoch(3)));
    assert!(matches!(store.take_run(run, "ada", HOUR).await, Err(StoreError::Held { .. })));
    // Renewed to no length, it has ended.
    assert_eq!(store.renew(&[(run, Epoch(3))], NONE).await.unwrap(), [run].into());
    assert_eq!(store.take_run(run, "ada", HOUR).await, Ok(Epoch(4)));
}

/// All at once, as far as they are the caller's still; through the store, and by the renewer that it has of its own.
pub async fn leases_are_renewed_together(store: Store) {
    let mut mine = Vec::new();
    for id in ["one", "two", "three", "four"] {
        let (run, _) = begin(&store, id).await;
        mine.push((run, store.take_run(run, "ada", HOUR).await.unwrap()));
    }
    let (taken, released) = (mine[1], mine[2]);
    store.acquire_run(taken.0, "bob").await.unwrap();
    store.release(released.0, released.1).await.unwrap();
    let want = [mine[0].0, mine[3].0].into();
    mine.push((RunPk(4711), Epoch(1)));
    assert_eq!(store.renew(&mine, HOUR).await.unwrap(), want);
    let mut renewer = crate::store::renewer(&store);
    assert_eq!(renewer.renew(&mine, HOUR).await.unwrap(), want);
    assert!(renewer.renew(&[], HOUR).await.unwrap().is_empty() && store.renew(&[], HOUR).await.unwrap().is_empty());
    renewer.release(mine[0].0, mine[0].1).await.unwrap();
    assert_eq!(held(&store).await, [(mine[3].0, "ada".to_string())]);
}

/// Whoever lost a run commits nothing, deletes nothing, and cannot give it back.
pub async fn a_stale_holder_changes_nothing(store: Store) {
    let (run, _) = begin(&store, "one").await;
    let old = store.take_run(run, "ada", NONE).await.unwrap();
    let new = store.take_run(run, "bob", HOUR).await.unwrap();
    let late = RunCommit {
        status: Some((RunStatus::Failed, at(1))),
        ..rows((run, old), [write(plain("t", -1, TaskState::Running, 1))])
    };
    let fenced = StoreError::Fenced { run: run.0, given: old.0, present: new.0 };
    assert_eq!(store.commit(&[late]).await, Err(fenced.clone()));
    assert_eq!(store.delete_run(run, old).await, Err(fenced));
    store.release(run, old).await.unwrap();
    assert_eq!(store.instances(run).await.unwrap(), []);
    assert_eq!(held(&store).await, [(run, "bob".to_string())]);
    store.commit(&[commit((run, new))]).await.unwrap();
}

/// Eight at the same time, again and again: exactly one has it, and the others are told that it is that one.
pub async fn of_many_takers_one_wins(store: Store) {
    let (run, _) = begin(&store, "one").await;
    for round in 0..10 {
        let mut takers = JoinSet::new();
        for taker in 0..TAKERS {
            let store = store.clone();
            takers.spawn(async move { (taker.to_string(), store.take_run(run, &taker.to_string(), HOUR).await) });
        }
        let (won, lost): (Vec<_>, Vec<_>) = takers.join_all().await.into_iter().partition(|(_, taken)| taken.is_ok());
        let [(winner, Ok(epoch))] = &won[..] else { panic!("round {round}: {won:?}") };
        assert_eq!(epoch.0, round + 2);
        for (_, taken) in &lost {
            assert!(matches!(taken, Err(StoreError::Held { owner, .. }) if owner == winner), "{taken:?}");
        }
        store.release(run, *epoch).await.unwrap();
    }
}

/// A run that is made under a lease is held from the first moment.
pub async fn a_run_is_born_held_or_free(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    let terms = |lease| Terms { owner: "ada", lease, ..Terms::default() };
    let (one, epoch) = store.make_run(&dag_run("taxi", "one"), &version, &terms(Some(HOUR))).await.unwrap();
    let (two, _) = store.make_run(&dag_run("taxi", "two"), &version, &terms(Some(NONE))).await.unwrap();
    let (three, _) = store.make_run(&dag_run("taxi", "three"), &version, &terms(None)).await.unwrap();
    assert_eq!((epoch, held(&store).await), (Epoch(1), vec![(one, "ada".to_string())]));
    assert!(matches!(store.take_run(one, "bob", HOUR).await, Err(StoreError::Held { .. })));
    for free in [two, three] {
        assert_eq!(store.take_run(free, "bob", HOUR).await, Ok(Epoch(2)));
    }
}

/// Queued and running runs of the DAG count, those that were named do not, nor what has ended, nor another DAG's.
pub async fn a_dag_has_no_more_unfinished_runs_than_it_may(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    let not_counted = ["stuck".to_string()];
    let terms = Terms { owner: "ada", max_active: Some(2), not_counted: &not_counted, ..Terms::default() };
    begin(&store, "stuck").await;
    let running = begin(&store, "running").await;
    store.commit(&[RunCommit { status: Some((RunStatus::Running, at(1))), ..commit(running) }]).await.unwrap();
    for id in ["a", "b"] {
        store.create_run(&dag_run("other", id), &version, "ada").await.unwrap();
    }
    store.make_run(&dag_run("taxi", "one"), &version, &terms).await.unwrap();
    let refused = Err(StoreError::TooManyActive { dag_id: "taxi".into(), most: 2 });
    assert_eq!(store.make_run(&dag_run("taxi", "two"), &version, &terms).await, refused);
    assert_eq!(store.run("taxi", "two").await, Ok(None));
    store.commit(&[RunCommit { status: Some((RunStatus::Failed, at(2))), ..commit(running) }]).await.unwrap();
    store.make_run(&dag_run("taxi", "two"), &version, &terms).await.unwrap();
    assert_eq!(store.make_run(&dag_run("taxi", "three"), &version, &terms).await, refused);
    // Whoever does not ask is not bound.
    store.create_run(&dag_run("taxi", "three"), &version, "ada").await.unwrap();
}

/// Eight with the same stale count: not one too many is made.
pub async fn of_many_makers_no_more_than_may_be(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    let mut makers = JoinSet::new();
    for maker in 0..TAKERS {
        let (store, version) = (store.clone(), version.clone());
        makers.spawn(async move {
            let terms = Terms { owner: "ada", max_active: Some(3), ..Terms::default() };
            store.make_run(&dag_run("taxi", &maker.to_string()), &version, &terms).await
        });
    }
    let (made, refused): (Vec<_>, Vec<_>) = makers.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 3, "{made:?}");
    let too_many = StoreError::TooManyActive { dag_id: "taxi".into(), most: 3 };
    assert!(refused.iter().all(|answer| *answer == Err(too_many.clone())), "{refused:?}");
}

/// Of several who have read the same past one makes the next run; the others read again. Runs of other makers are no part
/// of that past.
pub async fn a_run_follows_the_latest_that_was_read(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    let tick = |minutes: i64| {
        let mut run = dag_run("taxi", &format!("tick {minutes}"));
        run.run_type = RunType::Scheduled;
        run.run_after = at(minutes * 60_000_000);
        run
    };
    let after = |after| Terms { owner: "ada", after: Some(after), ..Terms::default() };
    let overtaken = Err(StoreError::Overtaken { dag_id: "taxi".into() });
    assert_eq!(store.make_run(&tick(1), &version, &after(Some(RunPk(1)))).await, overtaken);
    let (first, epoch) = store.make_run(&tick(1), &version, &after(None)).await.unwrap();
    let mut makers = JoinSet::new();
    for maker in 0..TAKERS {
        let (store, version, run) = (store.clone(), version.clone(), tick(i64::from(maker) + 2));
        makers.spawn(async move { store.make_run(&run, &version, &after(Some(first))).await });
    }
    let (made, refused): (Vec<_>, Vec<_>) = makers.join_all().await.into_iter().partition(Result::is_ok);
    let [Ok((second, second_epoch))] = made[..] else { panic!("{made:?}") };
    assert!(refused.iter().all(|answer| *answer == overtaken), "{refused:?}");
    let mut manual = dag_run("taxi", "by hand");
    manual.run_after = at(i64::from(u32::MAX));
    store.create_run(&manual, &version, "ada").await.unwrap();
    store.delete_run(first, epoch).await.unwrap();
    assert_eq!(store.make_run(&tick(20), &version, &after(Some(first))).await, overtaken);
    // A latest that was deleted is none any more.
    store.delete_run(second, second_epoch).await.unwrap();
    assert_eq!(store.make_run(&tick(20), &version, &after(Some(second))).await, overtaken);
    store.make_run(&tick(20), &version, &after(None)).await.unwrap();
}
