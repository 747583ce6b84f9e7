//! SQL in SQLite and Postgres.

use crate::cluster;
use crate::engine::{World, row, value};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::operators::{self, Answer};
use flow_runtime::prelude::*;
use flow_runtime::sensors;
use serde_json::{Value, json};

#[task]
fn statement() -> String {
    "insert into t values (3, 'c')".into()
}

#[dag]
fn writing(db: String) {
    let made = operators::sql(
        db,
        "create table t (id integer, name text); insert into t values (1, 'a'), (2, null); select id, name, id / 2.0 as half \
         from t order by id",
    );
    let broken = operators::sql(db, "insert into t values (9, 'x'); insert into nowhere values (1)").id("broken");
    let more = operators::sql(db, statement()).id("more");
    let many = operators::sql(
        db,
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 10001) select i from n",
    );
    let count = operators::sql(db, "select count(*) as rows from t").id("count").trigger_rule(TriggerRule::AllDone);
    made >> [broken, more] >> count >> many.id("many");
}

async fn writes(url: &str, run_id: &str, half: Value) {
    let world = World::new().await;
    let ran = world.try_run(writing::dag(), run_id, json!({"db": url})).await.unwrap();
    let answer = |task: &str| serde_json::from_value::<Answer>(value(&ran, task)).unwrap();
    let made = answer("sql");
    assert_eq!(made.columns, ["id", "name", "half"]);
    assert_eq!((&made.rows[0], &made.rows[1][1]), (&vec![json!(1), json!("a"), half], &Value::Null));
    assert_eq!(made.records()[0]["name"], "a");
    // Of what fails nothing is done, and no retry follows.
    let broken = row(&ran, "broken").cause.clone().unwrap().message;
    assert!(broken.contains("nowhere") && broken.contains("no retry would mend it"), "{broken}");
    assert_eq!(answer("more").affected, 1);
    assert_eq!(answer("count").first(), Some(&json!(3)));
    let many = row(&ran, "many").cause.clone().unwrap().message;
    assert!(many.contains("more than 10000 rows"), "{many}");
    assert!(!format!("{:?}{:?}", ran.values, ran.instances).contains(cluster::PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_the_value_and_a_failure_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    writes(&format!("sqlite://{}/new/t.db", folder.path().display()), "sql-sqlite", json!(0.5)).await;
    // The digits of a numeric are kept, as text.
    if let Some(url) = cluster::url() {
        writes(&url, "sql-postgres", json!("0.50000000000000000000")).await;
    }
}

#[dag]
fn typed(db: Secret<String>) {
    operators::sql(
        db,
        "select true, 7::bigint, 1.5::float8, 'NaN'::float8, '{\"a\": [1]}'::jsonb, '2026-03-01'::date, '\\x00ff'::bytea",
    );
    sensors::sql(db, "select 1 where false").id("none").timeout("10ms").poke_interval("1ms").soft_fail(true);
    sensors::sql(db, "select false").id("no").timeout("10ms").poke_interval("1ms").soft_fail(true);
    sensors::sql(db, "select 0::numeric(10, 2)").id("zero").timeout("10ms").poke_interval("1ms").soft_fail(true);
    sensors::sql(db, "select 'something'").id("yes");
    sensors::sql(db, "create table should_not_be (id int); select 1").id("writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_keep_their_types_and_a_sensor_writes_nothing() {
    let Some(url) = cluster::url() else { return };
    let world = World::new().await;
    let ran = world.try_run(typed::dag(), "sql-typed", json!({"db": url})).await.unwrap();
    let answer: Answer = serde_json::from_value(value(&ran, "sql")).unwrap();
    let wanted =
        [json!(true), json!(7), json!(1.5), json!("NaN"), json!({"a": [1]}), json!("2026-03-01"), json!("\\x00ff")];
    assert_eq!(answer.rows[0], wanted);
    let states = ["none", "no", "zero", "yes", "writes"].map(|task| row(&ran, task).state);
    use TaskState::{Failed, Skipped, Success};
    assert_eq!(states, [Skipped, Skipped, Skipped, Success, Failed]);
    let cause = row(&ran, "writes").cause.clone().unwrap().message;
    assert!(cause.contains("read-only"), "{cause}");
}

#[dag]
fn waiting(db: String) {
    sensors::sql(db, "select count(*) from t").poke_interval("5ms") >> operators::empty();
}

#[dag]
fn in_vain(db: String) {
    sensors::sql(db, "select 1").timeout("10ms").poke_interval("1ms").soft_fail(true);
}

#[dag]
fn waiting_in_vain(db: String) {
    sensors::sql(db, "select no_such_column from t").poke_interval("5ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_waited_for() {
    let (world, folder) = (World::new().await, tempfile::tempdir().unwrap());
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let run = world.try_run(waiting::dag(), "sql-waits", json!({"db": url}));
    let writing = async {
        crate::engine::until("it has looked in vain", || {
            let events = world.events.lock();
            events.iter().any(|e| format!("{e:?}").contains("UpForReschedule"))
        })
        .await;
        assert!(!folder.path().join("t.db").exists(), "a sensor makes no file");
        // There with its table, and not a moment before.
        let (made, there) = (folder.path().join("made.db"), folder.path().join("t.db"));
        flow_runtime::data::execute(&format!("sqlite://{}", made.display()), "create table t as select 1")
            .await
            .unwrap();
        std::fs::rename(made, there).unwrap();
    };
    let (ran, ()) = tokio::join!(run, writing);
    assert_eq!(ran.unwrap().run.state, RunStatus::Success);
    // Nobody listens there.
    let nobody = json!({"db": "postgres://127.0.0.1:1/nowhere"});
    let ran = world.try_run(in_vain::dag(), "sql-unreachable", nobody).await.unwrap();
    assert_eq!(row(&ran, "sql").state, TaskState::Skipped, "it has looked in vain");
    // What the database refuses is no matter of time.
    let strange = world.try_run(waiting_in_vain::dag(), "sql-refused", json!({"db": url})).await.unwrap();
    assert_eq!(strange.run.state, RunStatus::Failed);
}

#[test]
fn a_password_is_not_written_down_in_a_dag() {
    let error = DagBuilder::new("d").build(|_| {
        operators::sql::node("postgres://me:planted-pw@h/db", "select 1");
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("holds a password") && !error.contains("planted-pw"), "{error}");
}
