//! DAGs and runs.

use super::{Store, at, begin, commit, dag, dag_run, ordered, plain, rows, write, xcom};
use crate::store::{Epoch, RunCommit, RunFilter, RunOrder, RunPk, StoreError, StoredRun, XComFilter};
use chrono::{DateTime, TimeDelta, Utc};
use flow_core::{DagRun, DataInterval, RunStatus, RunType, TaskState};
use std::collections::BTreeMap;

/// A DAG comes back as it was, under the SHA-256 of its JSON, however often it is put.
pub async fn a_dag_is_kept_once(store: Store) {
    let (taxi, other) = (dag("taxi"), dag("other"));
    let hash = store.put_dag(&taxi).await.unwrap();
    assert_eq!(hash.len(), 64);
    assert!(hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{hash}");
    assert_eq!(store.put_dag(&taxi).await.unwrap(), hash);
    let other_hash = store.put_dag(&other).await.unwrap();
    assert_ne!(other_hash, hash);
    assert_eq!(store.dag_version(&hash).await.unwrap(), taxi);
    assert_eq!(store.dag_version(&other_hash).await.unwrap(), other);
}

/// An unknown hash is [`StoreError::NoSuchDagVersion`].
pub async fn an_unknown_dag_version_is_an_error(store: Store) {
    let hash = "0".repeat(64);
    assert_eq!(store.dag_version(&hash).await, Err(StoreError::NoSuchDagVersion(hash)));
}

/// Each build once, with the instant of its first sight, the oldest first; a version that is not there has none.
pub async fn builds_of_a_version_are_kept_since_they_were_first_seen(store: Store) {
    let (taxi, other) = (store.put_dag(&dag("taxi")).await.unwrap(), store.put_dag(&dag("other")).await.unwrap());
    for (version, build, seen) in
        [(&taxi, "ff", 5), (&taxi, "0a", 7), (&taxi, "ff", 9), (&other, "0a", 8), (&taxi, "0b", 7)]
    {
        store.put_build(version, build, at(seen)).await.unwrap();
    }
    let builds = async |version: &str| {
        let found = store.builds(version).await.unwrap();
        found.into_iter().map(|row| (row.build, row.first_seen)).collect::<Vec<_>>()
    };
    assert_eq!(builds(&taxi).await, [("ff".to_string(), at(5)), ("0a".into(), at(7)), ("0b".into(), at(7))]);
    assert_eq!(builds(&other).await, [("0a".to_string(), at(8))]);
    let unknown = store.put_build("none", "ff", at(1)).await;
    assert_eq!(unknown, Err(StoreError::NoSuchDagVersion("none".into())));
    assert_eq!(builds("none").await, []);
}

/// Every field of a run comes back, also the empty ones and text of any script.
pub async fn every_field_of_a_run_comes_back(store: Store) {
    let version = store.put_dag(&dag("täxi")).await.unwrap();
    let mut full = dag_run("täxi", "scheduled__2026-01-31T00:00:00+00:00 \"🚕\" '; --");
    full.run_type = RunType::Scheduled;
    full.state = RunStatus::Running;
    full.logical_date = Some(at(1));
    full.data_interval = Some(DataInterval { start: at(2), end: at(3) });
    full.start_date = Some(at(4));
    full.end_date = Some(at(5));
    full.conf.insert("schlüssel \"\\".into(), serde_json::json!({"a": [1, -2.5, null, "𝄞\n"], "b": {"c": true}}));
    full.conf.insert("token".into(), "***".into());
    let mut empty = dag_run("täxi", "");
    empty.run_type = RunType::AssetTriggered;
    for run in [full, empty] {
        let (pk, epoch) = store.create_run(&run, &version, "host:7 ä").await.unwrap();
        assert_eq!(epoch, Epoch(1));
        let found = store.run("täxi", &run.run_id).await.unwrap();
        let owner = Some("host:7 ä".into());
        let want = StoredRun { pk, run, dag_version: version.clone(), owner, epoch, ending: None };
        assert_eq!(found, Some(want.clone()));
        assert!(store.runs(&RunFilter::default()).await.unwrap().contains(&want));
    }
    for (i, run_type) in
        [RunType::Manual, RunType::Scheduled, RunType::Backfill, RunType::AssetTriggered].into_iter().enumerate()
    {
        let mut run = dag_run("täxi", &format!("type {i}"));
        run.run_type = run_type;
        store.create_run(&run, &version, "").await.unwrap();
        assert_eq!(store.run("täxi", &run.run_id).await.unwrap().unwrap().run.run_type, run_type);
    }
}

/// Dates before 1970, after 2100 and at the ends of the calendar keep their microseconds and their order.
pub async fn dates_of_any_century_come_back(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    let dates = [
        "0001-01-01T00:00:00.000001Z",
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00Z",
        "2000-02-29T12:00:00.000001Z",
        "2150-07-01T00:00:00.123456Z",
        "9999-12-31T23:59:59.999999Z",
    ];
    for date in dates {
        let mut run = dag_run("taxi", date);
        let date: DateTime<Utc> = date.parse().unwrap();
        run.run_after = date;
        run.logical_date = Some(date);
        run.data_interval = Some(DataInterval { start: date, end: date });
        store.create_run(&run, &version, "me").await.unwrap();
        assert_eq!(store.run("taxi", &run.run_id).await.unwrap().unwrap().run, run);
    }
    let listed = store.runs(&RunFilter::default()).await.unwrap();
    assert!(listed.iter().rev().map(|s| s.run.run_id.as_str()).eq(dates), "{listed:#?}");
}

/// Nanoseconds are cut, towards the past, also before 1970.
pub async fn what_is_finer_than_a_microsecond_is_cut(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    for (id, date, cut) in [
        ("after", "2026-01-31T09:30:00.000001999Z", "2026-01-31T09:30:00.000001Z"),
        ("before", "1969-12-31T23:59:59.999998001Z", "1969-12-31T23:59:59.999998Z"),
    ] {
        let mut run = dag_run("taxi", id);
        run.run_after = date.parse().unwrap();
        store.create_run(&run, &version, "me").await.unwrap();
        let found = store.run("taxi", id).await.unwrap().unwrap();
        assert_eq!(found.run.run_after, cut.parse::<DateTime<Utc>>().unwrap());
    }
}

/// The same run id twice in one DAG is refused and changes nothing; another DAG may have it.
pub async fn a_run_id_is_unique_in_its_dag(store: Store) {
    let (first, _) = begin(&store, "one").await;
    let version = store.put_dag(&dag("other")).await.unwrap();
    let mut again = dag_run("taxi", "one");
    again.state = RunStatus::Failed;
    let refused = store.create_run(&again, &version, "other").await;
    assert_eq!(refused, Err(StoreError::RunExists { dag_id: "taxi".into(), run_id: "one".into() }));
    let kept = store.run("taxi", "one").await.unwrap().unwrap();
    assert_eq!((kept.run.state, kept.owner.as_deref()), (RunStatus::Queued, Some("me")));
    let (second, _) = store.create_run(&dag_run("other", "one"), &version, "me").await.unwrap();
    assert!(second > first, "numbers of runs rise");
    assert_eq!(store.run("other", "one").await.unwrap().unwrap().pk, second);
}

/// A DAG has one run about an instant, and any number about none; other DAGs may have one about the same.
pub async fn a_logical_date_is_unique_in_its_dag(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    let about = |dag_id: &str, run_id: &str, minutes: Option<i64>| {
        let mut run = dag_run(dag_id, run_id);
        run.logical_date = minutes.map(|m| at(0) + TimeDelta::minutes(m));
        run
    };
    for run in
        [about("taxi", "a", Some(1)), about("taxi", "b", None), about("taxi", "c", None), about("other", "a", Some(1))]
    {
        store.create_run(&run, &version, "me").await.unwrap();
    }
    let refused = store.create_run(&about("taxi", "d", Some(1)), &version, "me").await;
    let logical_date = at(0) + TimeDelta::minutes(1);
    assert_eq!(refused, Err(StoreError::LogicalDateTaken { dag_id: "taxi".into(), logical_date }));
    assert_eq!(store.run("taxi", "d").await.unwrap(), None);
    store.create_run(&about("taxi", "d", Some(2)), &version, "me").await.unwrap();
}

/// A run of a DAG version that is not there is refused.
pub async fn a_run_needs_its_dag(store: Store) {
    let refused = store.create_run(&dag_run("taxi", "one"), "feed", "me").await;
    assert_eq!(refused, Err(StoreError::NoSuchDagVersion("feed".into())));
    assert_eq!(store.run("taxi", "one").await.unwrap(), None);
}

/// The run that was made last comes first, whatever it is about. Asked for as they are due, they come by `run_after`, the latest
/// first; of the same instant the one made last is first. A limit takes from the front.
pub async fn runs_come_newest_first(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    for (id, minutes) in [("b", 10), ("d", 30), ("a", -5), ("c1", 20), ("c2", 20)] {
        let mut run = dag_run("taxi", id);
        run.run_after = at(0) + TimeDelta::minutes(minutes);
        store.create_run(&run, &version, "me").await.unwrap();
    }
    let (made, due) = ("c2 c1 a d b", "d c2 c1 b a");
    for (order, limit, want) in [
        (RunOrder::Made, 0, made),
        (RunOrder::Made, 3, "c2 c1 a"),
        (RunOrder::Made, 9, made),
        (RunOrder::Due, 0, due),
        (RunOrder::Due, 3, "d c2 c1"),
        (RunOrder::Due, 9, due),
    ] {
        for dag_id in [None, Some("taxi".to_owned())] {
            let runs = store.runs(&RunFilter { dag_id, order, limit, ..RunFilter::default() }).await.unwrap();
            let got: Vec<&str> = runs.iter().map(|s| s.run.run_id.as_str()).collect();
            assert_eq!(got.join(" "), want, "{order:?}, limit {limit}");
        }
    }
}

/// Whenever they were made, runs are in the order of what they are about; those about nothing have no place in it.
pub async fn the_run_before_is_the_one_about_the_latest_earlier_instant(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    let made = [("taxi", "b", Some(2)), ("taxi", "none", None), ("taxi", "a", Some(1)), ("bus", "x", Some(3))];
    for (dag_id, id, minutes) in made {
        let mut run = dag_run(dag_id, id);
        run.logical_date = minutes.map(|minutes| at(0) + TimeDelta::minutes(minutes));
        store.create_run(&run, &version, "me").await.unwrap();
    }
    for (micros, want) in [(0, None), (60_000_000, None), (60_000_001, Some("a")), (120_000_000, Some("a"))]
        .into_iter()
        .chain([(120_000_001, Some("b")), (i64::from(u32::MAX), Some("b"))])
    {
        let before = store.run_before("taxi", at(micros)).await.unwrap();
        assert_eq!(before.map(|run| run.run.run_id).as_deref(), want, "{micros} us");
    }
}

/// Each part of a filter holds, alone and together.
pub async fn runs_are_filtered(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    let made = [
        ("taxi", "one", Queued),
        ("taxi", "two", Running),
        ("taxi", "three", Failed),
        ("bus", "one", Success),
        ("bus", "four", Running),
    ];
    for (dag_id, run_id, state) in made {
        let mut run = dag_run(dag_id, run_id);
        run.state = state;
        run.run_type = if run_id == "one" { RunType::Scheduled } else { RunType::Manual };
        run.logical_date = (run_id == "four").then(|| at(7));
        store.create_run(&run, &version, "me").await.unwrap();
    }
    let filter = |dag: Option<&str>, run: Option<&str>, states: &[RunStatus], limit| RunFilter {
        dag_id: dag.map(str::to_owned),
        run_id: run.map(str::to_owned),
        states: states.to_vec(),
        limit,
        ..RunFilter::default()
    };
    use RunStatus::{Failed, Queued, Running, Success};
    let cases = [
        (filter(Some("taxi"), None, &[], 0), "taxi/three taxi/two taxi/one"),
        (filter(None, Some("one"), &[], 0), "bus/one taxi/one"),
        (filter(Some("taxi"), Some("one"), &[], 0), "taxi/one"),
        (filter(None, None, &[Running], 0), "bus/four taxi/two"),
        (filter(None, None, &[Queued, Success, Failed], 0), "bus/one taxi/three taxi/one"),
        (filter(Some("taxi"), None, &[Running, Failed], 1), "taxi/three"),
        (filter(Some("bus"), Some("one"), &[Running], 0), ""),
        (filter(Some("tax_"), None, &[], 0), ""),
        (RunFilter { run_types: vec![RunType::Scheduled], ..RunFilter::default() }, "bus/one taxi/one"),
        (RunFilter { logical_date: Some(at(7)), ..RunFilter::default() }, "bus/four"),
        (RunFilter { logical_date: Some(at(8)), ..RunFilter::default() }, ""),
        (
            RunFilter { run_types: vec![RunType::Backfill, RunType::Manual], ..filter(Some("bus"), None, &[], 0) },
            "bus/four",
        ),
    ];
    for (filter, want) in cases {
        let runs = store.runs(&filter).await.unwrap();
        let got: Vec<String> = runs.iter().map(|s| format!("{}/{}", s.run.dag_id, s.run.run_id)).collect();
        assert_eq!(got.join(" "), want, "{filter:?}");
    }
}

/// Of an unknown run there is nothing to read, and it cannot be taken over.
pub async fn an_unknown_run_is_empty(store: Store) {
    begin(&store, "one").await;
    assert_eq!(store.run("taxi", "two").await.unwrap(), None);
    assert_eq!(store.run("bus", "one").await.unwrap(), None);
    for unknown in [RunPk(4711), RunPk(0), RunPk(-1), RunPk(i64::MAX), RunPk(i64::MIN)] {
        assert_eq!(store.instances(unknown).await.unwrap(), []);
        assert_eq!(store.tries(unknown, None).await.unwrap(), []);
        assert_eq!(store.tries(unknown, Some("download")).await.unwrap(), []);
        assert_eq!(store.xcoms(unknown, XComFilter::default()).await.unwrap(), []);
        assert_eq!(store.acquire_run(unknown, "me").await, Err(StoreError::NoSuchRun(unknown.0)));
    }
}

/// Each takeover gives the next epoch and the new owner's name.
pub async fn a_takeover_raises_the_epoch(store: Store) {
    let (run, epoch) = begin(&store, "one").await;
    assert_eq!(epoch, Epoch(1));
    for (n, owner) in [(2, "you"), (3, "me"), (4, "me")] {
        assert_eq!(store.acquire_run(run, owner).await.unwrap(), Epoch(n));
        let found = store.run("taxi", "one").await.unwrap().unwrap();
        assert_eq!((found.epoch, found.owner.as_deref()), (Epoch(n), Some(owner)));
    }
}

/// What was said last of a DAG is what holds; of others nothing is known.
pub async fn a_dag_is_paused_and_goes_on(store: Store) {
    assert!(store.paused().await.unwrap().is_empty());
    store.set_paused("täxi", true).await.unwrap();
    store.set_paused("other", false).await.unwrap();
    store.set_paused("other", true).await.unwrap();
    store.set_paused("other", false).await.unwrap();
    let want = [("täxi".to_string(), true), ("other".to_string(), false)].into();
    assert_eq!(store.paused().await.unwrap(), want);
}

/// So many failures in a row, of runs that come by themselves, by the instants that they are due; whatever came in between. The
/// commit that pauses it says so, and no other.
pub async fn a_dag_that_keeps_failing_is_paused_by_the_last_failure(store: Store) {
    use RunStatus::{Failed, Success};
    use RunType::{AssetTriggered, Manual, Scheduled};
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    // How the run of each instant ends, in the order in which they end; and whether the DAG is paused then.
    let ends = [
        (1, Scheduled, Failed, false),
        (2, Scheduled, Success, false),
        (4, Scheduled, Failed, false),
        (5, Manual, Failed, false),
        (3, AssetTriggered, Failed, true),
        // Somebody lets it go on: the next failure is one too many again.
        (6, Scheduled, Failed, true),
        (8, AssetTriggered, Success, false),
        (7, Scheduled, Failed, false),
        (9, Scheduled, Failed, false),
        (10, AssetTriggered, Failed, true),
    ];
    let mut runs = BTreeMap::new();
    for (instant, run_type, end, is_paused) in ends {
        store.set_paused("taxi", false).await.unwrap();
        let run = DagRun { run_type, run_after: at(instant), ..dag_run("taxi", &instant.to_string()) };
        let held = store.create_run(&run, &version, "me").await.unwrap();
        assert_eq!(store.commit(&[RunCommit { pause_at: Some(2), ..commit(held) }]).await.unwrap(), []);
        let ended = RunCommit { status: Some((end, at(99))), pause_at: Some(2), ..commit(held) };
        let has_paused: Vec<RunPk> = is_paused.then_some(held.0).into_iter().collect();
        assert_eq!(store.commit(&[ended]).await.unwrap(), has_paused, "{instant}");
        assert_eq!(store.paused().await.unwrap(), [("taxi".to_string(), is_paused)].into(), "{instant}");
        runs.insert(instant, held);
    }
    // One that was cleared, and fails again: what lies before the latest success is over.
    let again = async |instant: i64| {
        let held = runs[&instant];
        store
            .commit(&[ordered(RunCommit { status: Some((RunStatus::Queued, at(99))), ..commit(held) })])
            .await
            .unwrap();
        let ended = RunCommit { status: Some((Failed, at(99))), pause_at: Some(2), ..commit(held) };
        store.commit(&[ended]).await.unwrap()
    };
    assert_eq!(again(9).await, [], "it is paused already");
    store.set_paused("taxi", false).await.unwrap();
    assert_eq!(again(6).await, []);
    assert_eq!(again(9).await, [runs[&9].0]);
    // Of two that fail together one has paused it.
    store.set_paused("taxi", false).await.unwrap();
    let ended = |instant| RunCommit { status: Some((Failed, at(99))), pause_at: Some(2), ..commit(runs[&instant]) };
    assert_eq!(store.commit(&[ended(9), ended(10)]).await.unwrap(), [runs[&9].0]);
    // One of another DAG is no matter of this one; and of whom nobody has spoken, is spoken now.
    let version = store.put_dag(&dag("other")).await.unwrap();
    let run = DagRun { run_type: Scheduled, ..dag_run("other", "one") };
    let held = store.create_run(&run, &version, "me").await.unwrap();
    store.commit(&[RunCommit { status: Some((Failed, at(1))), pause_at: Some(1), ..commit(held) }]).await.unwrap();
    assert!(store.paused().await.unwrap()["other"]);
}

/// A deleted run is gone with its instances, tries and values; who held it can do nothing, and nobody gets its number.
pub async fn a_run_is_deleted_with_all_of_it(store: Store) {
    let (one, two) = (begin(&store, "one").await, begin(&store, "two").await);
    let mut far = xcom("a", -1, "null");
    (far.value.inline, far.value.sha256) = (None, "f".repeat(64).into());
    for held in [one, two] {
        let commit = rows(held, [write(plain("a", -1, TaskState::Success, 1))]);
        store.commit(&[RunCommit { xcoms: vec![far.clone()], ..commit }]).await.unwrap();
    }
    assert_eq!(store.spilled().await.unwrap(), ["f".repeat(64)].into());
    let stale = Err(StoreError::Fenced { run: one.0.0, given: 7, present: 1 });
    assert_eq!(store.delete_run(one.0, Epoch(7)).await, stale);
    store.delete_run(one.0, one.1).await.unwrap();
    assert_eq!(store.delete_run(one.0, one.1).await, Err(StoreError::NoSuchRun(one.0.0)));
    assert_eq!(store.run("taxi", "one").await.unwrap(), None);
    assert_eq!(store.instances(one.0).await.unwrap(), []);
    assert_eq!(store.tries(one.0, None).await.unwrap(), []);
    assert_eq!(store.xcoms(one.0, XComFilter::default()).await.unwrap(), []);
    let late = rows(one, [write(plain("b", -1, TaskState::Success, 1))]);
    assert_eq!(store.commit(&[late]).await, Err(StoreError::NoSuchRun(one.0.0)));
    assert_eq!(store.instances(two.0).await.unwrap().len(), 1, "the other is untouched");
    assert_eq!(store.runs(&RunFilter::default()).await.unwrap().len(), 1);
    let again = begin(&store, "one").await;
    assert!(again.0 > two.0, "{again:?}");
    store.delete_run(two.0, two.1).await.unwrap();
    assert!(store.spilled().await.unwrap().is_empty());
}
