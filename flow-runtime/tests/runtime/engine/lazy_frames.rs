//! Queries between tasks.

use super::{World, row, value};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::data::frame_path;
use flow_runtime::data::polars::prelude::{AllowedOptimizations, DataFrame, IntoLazy, col, df, lit};
use flow_runtime::prelude::*;
use flow_runtime::store::CauseKind;
use parking_lot::Mutex;
use serde_json::json;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn table() -> DataFrame {
    df!["shop" => ["a", "b", "a"], "sum" => [1.5, 2.0, 4.0]].unwrap()
}

#[task]
fn sales() -> Frame {
    table().into()
}

/// How often the query ran.
static RAN: AtomicUsize = AtomicUsize::new(0);

#[task]
fn of_shop(sales: &Frame, shop: &str) -> Result<Frame> {
    let counted = |table| {
        RAN.fetch_add(1, Ordering::SeqCst);
        Ok(table)
    };
    let query = sales.lazy()?.filter(col("shop").eq(lit(shop)));
    Ok(query.map(counted, AllowedOptimizations::empty(), None, None).into())
}

/// Where in memory the tables lie that tasks were given.
static SEEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

#[task]
fn looks(sales: &Frame) -> Result<f64> {
    let table = sales.df()?;
    SEEN.lock().push(table as *const DataFrame as usize);
    let sum = sales.lazy()?.select([col("sum").sum()]).collect()?;
    Ok(sum.column("sum")?.f64()?.get(0).context("a sum")?)
}

#[dag]
fn shared_by_ten() {
    let of_shop = of_shop(sales(), "a");
    for _ in 0..10 {
        looks(of_shop);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_runs_once_into_its_file_and_ten_tasks_share_one_table() {
    let world = World::new().await;
    let report = world.run(shared_by_ten::dag(), "lazy-shared").await;
    assert_eq!(report.run.state, RunStatus::Success);
    let seen = SEEN.lock().clone();
    assert!(seen.len() == 10 && seen.iter().all(|place| *place == seen[0]), "{seen:?}");
    assert_eq!((value(&report, "looks"), RAN.load(Ordering::SeqCst)), (json!(5.5), 1));
    let told = value(&report, "of_shop");
    assert_eq!((&told["rows"], &told["head"]), (&json!(2), &json!([["a", "1.5"], ["a", "4.0"]])));
    let path = frame_path(&world.home.path().join("xcom"), told["$frame"].as_str().unwrap());
    assert_eq!(path.metadata().unwrap().len(), told["bytes"].as_u64().unwrap());
}

#[task]
async fn awaited(sales: &Frame) -> Result<Frame> {
    tokio::task::yield_now().await;
    Ok(sales.lazy()?.select([col("sum") * lit(2.0)]).into())
}

#[task]
async fn sum(frame: &Frame) -> Result<f64> {
    Ok(frame.df()?.column("sum")?.f64()?.iter().flatten().sum())
}

#[dag]
fn in_async_tasks() {
    sum(awaited(sales()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_async_task_returns_a_query() {
    let report = World::new().await.run(in_async_tasks::dag(), "lazy-async").await;
    assert_eq!(value(&report, "sum"), json!(15.0));
}

#[tokio::test]
async fn an_async_task_of_a_runtime_of_one_thread_returns_a_query() {
    let report = World::new().await.run(in_async_tasks::dag(), "lazy-one-thread").await;
    assert_eq!(value(&report, "sum"), json!(15.0));
    let frame = Frame::from(table().lazy());
    assert_eq!(sum(&frame).await.unwrap(), 7.5);
}

#[task(retries = 3, retry_delay = "0s")]
fn of_nobody(sales: &Frame) -> Result<Frame> {
    Ok(sales.lazy()?.select([col("nobody")]).into())
}

#[dag]
fn wrong() {
    of_nobody(sales());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_goes_wrong_is_a_failed_try_that_says_why() {
    let report = World::new().await.run(wrong::dag(), "lazy-wrong").await;
    let failed = row(&report, "of_nobody");
    let cause = failed.cause.clone().unwrap();
    assert_eq!((failed.state, failed.try_number, cause.kind), (TaskState::Failed, 1, CauseKind::Error));
    for part in ["could not be kept: the query goes wrong:", "nobody", "no retry would mend it"] {
        assert!(cause.message.contains(part), "{}", cause.message);
    }
}

static BROKEN: AtomicBool = AtomicBool::new(true);

#[task]
fn fails_once(sales: &Frame) -> Result<f64> {
    ensure!(!BROKEN.load(Ordering::SeqCst), "not now");
    let sum = sales.lazy()?.select([col("sum").sum()]).collect()?;
    Ok(sum.column("sum")?.f64()?.get(0).context("a sum")?)
}

#[dag]
fn resumed() {
    fails_once(sales());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_queries_the_file_and_says_if_it_is_cut() {
    let world = World::new().await;
    let report = world.run(resumed::dag(), "lazy-resumed").await;
    BROKEN.store(false, Ordering::SeqCst);
    let hash = value(&report, "sales")["$frame"].as_str().unwrap().to_owned();
    let path = frame_path(&world.home.path().join("xcom"), &hash);
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, &good[1..]).unwrap();
    let report = world.resume(resumed::dag(), "lazy-resumed").await;
    let message = row(&report, "fails_once").cause.clone().unwrap().message;
    assert!(message.contains("damaged") && message.contains(&hash), "{message}");
    std::fs::write(&path, &good).unwrap();
    let report = world.resume(resumed::dag(), "lazy-resumed").await;
    assert_eq!((report.run.state, value(&report, "fails_once")), (RunStatus::Success, json!(7.5)));
}

/// How often the query of [`SHARED`] ran.
static SHARED_RAN: AtomicUsize = AtomicUsize::new(0);

static SHARED: LazyLock<Frame> = LazyLock::new(|| {
    let slowly = |table| {
        SHARED_RAN.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(50));
        Ok(table)
    };
    table().lazy().map(slowly, AllowedOptimizations::empty(), None, None).into()
});

#[task]
fn hands_on(_number: u32) -> Frame {
    SHARED.clone()
}

#[dag]
fn returned_twice() {
    hands_on::expand(each(vec![1, 2, 3, 4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_several_tasks_return_at_once_runs_once() {
    let report = World::new().await.run(returned_twice::dag(), "lazy-twice").await;
    assert_eq!((report.run.state, SHARED_RAN.load(Ordering::SeqCst)), (RunStatus::Success, 1));
}

#[test]
fn a_query_outside_of_a_run_is_plain() {
    let frame = Frame::from_lazy(table().lazy().filter(col("shop").eq(lit("a"))));
    assert_eq!((frame.path(), format!("{frame:?}")), (None, "Frame(a query)".to_string()));
    let shops = frame.lazy().unwrap().select([col("shop")]).collect().unwrap();
    assert_eq!((shops.shape(), format!("{frame:?}")), ((2, 1), "Frame(a query)".to_string()));
    assert_eq!((frame.rows(), frame.df().unwrap().height(), format!("{frame:?}")), (2, 2, "Frame(2 rows)".to_string()));
    let error = Frame::from(table().lazy().select([col("nobody")])).df().unwrap_err().to_string();
    assert!(error.contains("nobody"), "{error}");
}
