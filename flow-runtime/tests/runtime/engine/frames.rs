//! Tables between tasks.

use super::{World, row, value};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::data::frame_path;
use flow_runtime::data::polars::prelude::{DataFrame, df};
use flow_runtime::prelude::*;
use parking_lot::Mutex;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};

fn table() -> DataFrame {
    df!["shop" => ["a", "b", "a"], "sum" => [Some(1.5), None, Some(4.0)]].unwrap()
}

#[task]
fn sales() -> Frame {
    table().into()
}

/// Where in memory the tables lie that tasks were given.
static SEEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

#[task]
fn looks(sales: &Frame) -> Result<u64> {
    let table = sales.df()?;
    SEEN.lock().push(table as *const DataFrame as usize);
    ensure!(table.equals_missing(&self::table()));
    Ok(sales.rows())
}

#[task]
async fn collects(all: &[Frame]) -> Result<usize> {
    let heights = all.iter().map(|frame| Ok(frame.df()?.height())).collect::<Result<Vec<_>>>()?;
    Ok(heights.iter().sum())
}

#[dag]
fn shared_by_ten() {
    let sales = sales();
    for _ in 0..10 {
        looks(sales);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_tasks_share_one_table_and_its_value_says_what_it_is() {
    let world = World::new().await;
    let report = world.run(shared_by_ten::dag(), "frames-shared").await;
    assert_eq!(report.run.state, RunStatus::Success);
    let seen = SEEN.lock().clone();
    assert!(seen.len() == 10 && seen.iter().all(|place| *place == seen[0]), "{seen:?}");
    let told = value(&report, "sales");
    assert_eq!((&told["rows"], &told["head"][1]), (&json!(3), &json!(["b", null])));
    assert_eq!(told["columns"][1], json!({"name": "sum", "type": "f64"}));
    let path = frame_path(&world.home.path().join("xcom"), told["$frame"].as_str().unwrap());
    assert_eq!(path.metadata().unwrap().len(), told["bytes"].as_u64().unwrap());
}

#[task]
fn of(n: i32) -> Result<Frame> {
    Ok(df!["n" => vec![n; n as usize]]?.into())
}

#[dag]
fn a_list_of_them() {
    collects(of::expand(each(1..=3)));
}

static BROKEN: AtomicBool = AtomicBool::new(true);

#[task]
fn fails_once(sales: &Frame) -> Result<usize> {
    ensure!(!BROKEN.load(Ordering::SeqCst), "not now");
    Ok(sales.df()?.height())
}

#[dag]
fn resumed() {
    fails_once(sales());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_tables_is_a_value() {
    let world = World::new().await;
    let report = world.run(a_list_of_them::dag(), "frames-list").await;
    assert_eq!(value(&report, "collects"), json!(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_reads_the_file_and_says_if_it_is_damaged() {
    let world = World::new().await;
    let report = world.run(resumed::dag(), "frames-resumed").await;
    assert_eq!(report.run.state, RunStatus::Failed);
    BROKEN.store(false, Ordering::SeqCst);
    let hash = value(&report, "sales")["$frame"].as_str().unwrap().to_owned();
    let path = frame_path(&world.home.path().join("xcom"), &hash);
    let good = std::fs::read(&path).unwrap();

    std::fs::write(&path, &good[1..]).unwrap();
    let report = world.resume(resumed::dag(), "frames-resumed").await;
    let failed = row(&report, "fails_once");
    let message = failed.cause.as_ref().unwrap().message.clone();
    assert!(failed.state == TaskState::Failed && message.contains("damaged") && message.contains(&hash), "{message}");

    std::fs::write(&path, &good).unwrap();
    let report = world.resume(resumed::dag(), "frames-resumed").await;
    assert_eq!((report.run.state, value(&report, "fails_once")), (RunStatus::Success, json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_once_no_run_needs_them() {
    let world = World::new().await;
    for run_id in ["frames-kept", "frames-gone"] {
        world.run(a_list_of_them::dag(), run_id).await;
    }
    let engine = world.engine();
    let files = || {
        let folders = std::fs::read_dir(world.home.path().join("xcom")).unwrap().map(|f| f.unwrap().path());
        folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path())).collect::<Vec<_>>()
    };
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    let age = || {
        for path in files() {
            std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        }
    };
    age();
    engine.delete(&world.stored(&a_list_of_them::dag(), "frames-gone").await).await.unwrap();
    assert_eq!(engine.sweep().await.unwrap().files, 0, "the other run has the same");
    engine.delete(&world.stored(&a_list_of_them::dag(), "frames-kept").await).await.unwrap();
    age();
    assert_eq!((engine.sweep().await.unwrap().files, files().len()), (3, 0));
}

#[task(cache = "7d")]
fn costly(n: i32) -> Result<Frame> {
    CALLS.lock().push(n);
    Ok(df!["n" => [n]]?.into())
}

static CALLS: Mutex<Vec<i32>> = Mutex::new(Vec::new());

#[dag]
fn cached() {
    looks_at(costly(7));
}

#[task]
fn looks_at(frame: &Frame) -> Result<usize> {
    Ok(frame.df()?.height())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_table_whose_file_is_gone_is_made_anew() {
    let world = World::new().await;
    let report = world.run(cached::dag(), "frames-cached-1").await;
    assert_eq!(world.run(cached::dag(), "frames-cached-2").await.run.state, RunStatus::Success);
    assert_eq!(CALLS.lock().len(), 1);
    let hash = value(&report, "costly")["$frame"].as_str().unwrap().to_owned();
    std::fs::remove_file(frame_path(&world.home.path().join("xcom"), &hash)).unwrap();
    let again = world.run(cached::dag(), "frames-cached-3").await;
    assert_eq!((again.run.state, value(&again, "looks_at"), CALLS.lock().len()), (RunStatus::Success, json!(1), 2));
}

#[test]
fn a_test_of_a_dag_asks_for_tables() {
    let report = a_list_of_them::test().returns("of", Frame::new(table())).run_blocking().succeeded();
    assert_eq!(report.value::<usize>("collects"), 9);
    let report = resumed::test().returns("fails_once", 1usize).run_blocking().succeeded();
    assert!(report.value::<Frame>("sales").df().unwrap().equals_missing(&table()));
}

/// Each home has a file of its own, which is there when the other home is gone.
#[test]
fn a_table_is_kept_in_every_home_that_it_comes_to() {
    let frame = Frame::new(df!["n" => [31, 7]].unwrap());
    let first =
        resumed::test().returns("sales", frame.clone()).returns("fails_once", 1usize).run_blocking().succeeded();
    let second =
        resumed::test().returns("sales", frame.clone()).returns("fails_once", 1usize).run_blocking().succeeded();
    assert!(frame.path().unwrap().starts_with(first.home()));
    drop((first, frame));
    assert_eq!(second.value::<Frame>("sales").df().unwrap().height(), 2);
    assert!(second.value::<Frame>("sales").path().unwrap().starts_with(second.home()));
}

#[test]
fn a_table_outside_of_a_run_is_plain() {
    let frame = Frame::new(table());
    assert_eq!((frame.rows(), frame.path(), format!("{frame:?}")), (3, None, "Frame(3 rows)".to_string()));
    assert_eq!(looks_at(&frame).unwrap(), 3);
    let error = serde_json::to_string(&frame).unwrap_err().to_string();
    assert!(error.contains("kept by the run"), "{error}");
}

#[task(retries = 1, retry_delay = "0s")]
fn in_the_way(ctx: &Context) -> Result<Frame> {
    let folder = ctx.home().join("xcom");
    match ctx.try_number() {
        1 => std::fs::write(folder, "no folder")?,
        _ => std::fs::remove_file(folder)?,
    }
    Ok(table().into())
}

#[dag]
fn kept_at_last() {
    looks_at(in_the_way());
}

/// A disk may be full now, and not be in an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_kept_is_returned_again() {
    let world = World::new().await;
    let report = world.run(kept_at_last::dag(), "frames-unkept").await;
    assert_eq!((report.run.state, value(&report, "looks_at")), (RunStatus::Success, json!(3)));
    let tries = row(&report, "in_the_way");
    assert_eq!(tries.try_number, 2);
}
