//! What only a store behind a network can get wrong.

use crate::{cluster, pooler};
use flow_runtime::core::{Dag, DagRun, RunStatus, RunType, TaskDef, TaskState};
use flow_runtime::store::{
    Epoch, InstanceRow, InstanceWrite, MetadataStore, PostgresStore, RunCommit, RunPk, StoreError,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// A new database of the cluster, and its URL.
async fn database() -> Option<(String, String)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut url = Url::parse(&cluster::url()?).unwrap();
    let name = format!("flow_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    run(url.as_str(), &format!("CREATE DATABASE {name}")).await;
    url.set_path(&name);
    Some((url.to_string(), name))
}

async fn run(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// An empty store.
pub async fn fresh() -> Option<(PostgresStore, ())> {
    let (url, _) = database().await?;
    Some((PostgresStore::open(&url).await.unwrap(), ()))
}

/// The same, where each transaction may get another connection.
pub async fn fresh_behind_pooler() -> Option<(PostgresStore, ())> {
    let (_, name) = database().await?;
    Some((PostgresStore::open(&pooler::url(&name)?).await.unwrap(), ()))
}

fn dag() -> Dag {
    let mut dag = Dag::new("taxi");
    dag.tasks.push(TaskDef::new("download", "dags::taxi::download"));
    dag
}

fn dag_run(run_id: &str) -> DagRun {
    DagRun {
        dag_id: "taxi".into(),
        run_id: run_id.into(),
        run_type: RunType::Manual,
        state: RunStatus::Running,
        logical_date: None,
        data_interval: None,
        run_after: "2026-01-01T00:00:00Z".parse().unwrap(),
        start_date: None,
        end_date: None,
        conf: Default::default(),
    }
}

async fn begin(store: &PostgresStore) -> (RunPk, Epoch) {
    let version = store.put_dag(&dag()).await.unwrap();
    store.create_run(&dag_run("one"), &version, "me").await.unwrap()
}

/// The commit that begins this try.
fn begins((run, epoch): (RunPk, Epoch), try_number: u32) -> RunCommit {
    let row = InstanceRow {
        task_id: "download".into(),
        map_index: -1,
        state: TaskState::Running,
        try_number,
        max_tries: 9,
        due: None,
        start_date: None,
        end_date: None,
        cause: None,
        report: Default::default(),
        label: None,
    };
    RunCommit { run, epoch, status: None, instances: vec![InstanceWrite { row, archive: true }], xcoms: vec![] }
}

async fn tries(store: &PostgresStore, run: RunPk) -> Vec<u32> {
    store.tries(run, None).await.unwrap().iter().map(|row| row.try_number).collect()
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let Some((url, name)) = database().await else { return };
    let store = PostgresStore::open(&url).await.unwrap();
    let held = begin(&store).await;
    for try_number in 1..=5 {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ";
        run(&cluster::url().unwrap(), &format!("{sql}'{name}'")).await;
        store.commit(&[begins(held, try_number)]).await.unwrap();
        assert_eq!(tries(&store, held.0).await, (1..=try_number).collect::<Vec<_>>());
    }
    store.close().await;
}

/// Between a store and its server: takes the answer of the server away, and the connection with it, whenever it is told to.
async fn thief(url: &str) -> (String, Arc<AtomicBool>) {
    let mut url = Url::parse(url).unwrap();
    let server = ("127.0.0.1", url.port().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    let steals = Arc::new(AtomicBool::new(false));
    let told = steals.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, told) = (TcpStream::connect(server).await.unwrap(), told.clone());
            tokio::spawn(pass(client, server, told));
        }
    });
    (url.to_string(), steals)
}

async fn pass(client: TcpStream, server: TcpStream, steals: Arc<AtomicBool>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        // Of a commit it is the answer that says COMMIT or SELECT: what was asked for is done.
        if steals.swap(false, Ordering::SeqCst) || to_client.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    up.abort();
}

#[tokio::test]
async fn what_was_done_is_not_done_again_when_its_answer_was_lost() {
    let Some((url, _)) = database().await else { return };
    let (url, steals) = thief(&url).await;
    let store = PostgresStore::open(&url).await.unwrap();
    let held = begin(&store).await;
    for try_number in 1..=4 {
        steals.store(true, Ordering::SeqCst);
        store.commit(&[begins(held, try_number)]).await.unwrap();
        assert!(!steals.load(Ordering::SeqCst), "the answer was taken away");
    }
    // Had one been done twice, its own try would be in the history already, as one that runs.
    assert_eq!(tries(&store, held.0).await, [1, 2, 3, 4]);
    store.close().await;
}

#[tokio::test]
async fn what_stands_in_the_way_is_waited_for() {
    let Some((url, _)) = database().await else { return };
    let impatient = format!("{url}?options=-c%20statement_timeout%3D200");
    let store = PostgresStore::open(&impatient).await.unwrap();
    let held = begin(&store).await;
    let mut other = PgConnection::connect(&url).await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM dag_run FOR UPDATE").execute(&mut *transaction).await.unwrap();
    let commits = [begins(held, 1)];
    let (done, ()) = tokio::join!(store.commit(&commits), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        transaction.commit().await.unwrap();
    });
    done.unwrap();

    let store = PostgresStore::open_patiently(&impatient, Duration::from_millis(300)).await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM dag_run FOR UPDATE").execute(&mut *transaction).await.unwrap();
    let error = store.commit(&[begins(held, 2)]).await.unwrap_err().to_string();
    assert!(error.contains("statement_timeout: raise it"), "{error}");
}

#[tokio::test]
async fn many_open_a_new_database_at_once() {
    let Some((url, _)) = database().await else { return };
    let stores = futures::future::join_all((0..8).map(|_| PostgresStore::open(&url))).await;
    let hashes =
        futures::future::join_all(stores.iter().map(|store| store.as_ref().unwrap().put_dag(dag_static()))).await;
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
}

fn dag_static() -> &'static Dag {
    static DAG: std::sync::OnceLock<Dag> = std::sync::OnceLock::new();
    DAG.get_or_init(dag)
}

#[tokio::test]
async fn what_cannot_be_opened_says_why_without_the_password() {
    let Some((url, name)) = database().await else { return };
    let says = async |url: &str| {
        let error = PostgresStore::open_patiently(url, Duration::from_millis(100)).await.unwrap_err();
        let StoreError::Backend(text) = error else { panic!("{error:?}") };
        assert!(!text.contains(cluster::PASSWORD) && !text.contains("wrong-secret"), "{text}");
        text
    };
    let wrong = url.replace(cluster::PASSWORD, "wrong-secret");
    let nowhere = format!("postgres://ada:{}@127.0.0.1:1/x", cluster::PASSWORD);
    for (url, said) in [
        (wrong.as_str(), "does not let this user in: check user and password"),
        (&url.replace(&name, "nowhere"), "nowhere at 127.0.0.1:"),
        (&url.replace(&name, "nowhere"), "does not exist: make it by `createdb`"),
        (&nowhere, "cannot be reached: see that it runs"),
        ("mysql://x", "does not begin with postgres://"),
        (&url.replace("127.0.0.1:", "127.0.0.1:x"), "cannot be read"),
    ] {
        let text = says(url).await;
        assert!(text.contains(said), "{text}");
    }
    PostgresStore::open(&url).await.unwrap().close().await;
    run(&url, "UPDATE flow_schema SET version = 99").await;
    assert!(says(&url).await.contains("written by a newer flow (its schema is 99, this flow knows 2): update flow"));
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let Some((url, _)) = database().await else { return };
    let store = PostgresStore::open(&url).await.unwrap();
    store.close().await;
    store.close().await;
    for error in [store.put_dag(&dag()).await.unwrap_err(), store.dag_version("x").await.unwrap_err()] {
        assert!(error.to_string().contains("was closed"), "{error}");
    }
}
