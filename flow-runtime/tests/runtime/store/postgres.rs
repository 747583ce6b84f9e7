//! What only a store behind a network can get wrong.

use crate::{cluster, pooler};
use chrono::TimeDelta;
use flow_runtime::clock::{Clock, SystemClock};
use flow_runtime::core::admit::Share;
use flow_runtime::core::{Dag, DagRun, RunStatus, RunType, TaskDef, TaskState};
use flow_runtime::store::{
    AssetEventFilter, CallbackChange, CallbackFilter, CallbackState, CallbackWrite, Epoch, InstanceRow, InstanceWrite,
    MemoryStore, MetadataStore, PostgresStore, RunCommit, RunPk, SlotAsk, SlotClaim, StepWrite, StoreError, Term,
    Terms,
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
        event: None,
    };
    RunCommit { instances: vec![InstanceWrite { row, archive: true }], ..RunCommit::new(run, epoch) }
}

async fn tries(store: &PostgresStore, run: RunPk) -> Vec<u32> {
    store.tries(run, None).await.unwrap().iter().map(|row| row.try_number).collect()
}

/// What must be told, by machines whose clocks are a day ahead and a day behind.
#[tokio::test]
async fn who_has_a_wrong_clock_neither_steals_what_must_be_told_nor_lets_it_lie() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut stores: Vec<Arc<dyn MetadataStore>> = vec![Arc::new(MemoryStore::with_clock(clock.clone()))];
    stores.extend(fresh().await.map(|(store, ())| Arc::new(store) as Arc<dyn MetadataStore>));
    let (ahead, behind) = (clock.now() + TimeDelta::days(1), clock.now() - TimeDelta::days(1));
    for store in stores {
        let version = store.put_dag(&dag()).await.unwrap();
        let (run, epoch) = store.create_run(&dag_run("one"), &version, "me").await.unwrap();
        let told = CallbackWrite {
            task_id: "download".into(),
            map_index: -1,
            try_number: 1,
            event: "failure".into(),
            notifier: "{}".into(),
            payload: "{}".into(),
            timestamp: ahead,
        };
        store.commit(&[RunCommit { callbacks: vec![told], ..RunCommit::new(run, epoch) }]).await.unwrap();
        let due =
            async |now| store.callbacks(CallbackFilter { due_at: Some(now), ..Default::default() }).await.unwrap();
        let row = due(behind).await.pop().expect("it is due at once, although it was written tomorrow");
        let taken = CallbackChange {
            id: row.id,
            tried: 0,
            state: CallbackState::Pending,
            attempts: 1,
            due: Term { length: Duration::from_secs(60), now: behind },
            error: None,
        };
        assert!(store.settle_callback(&taken).await.unwrap());
        assert_eq!(due(ahead).await, [], "it is taken, for a minute from now on");
        let free = Term { length: Duration::ZERO, now: ahead };
        assert!(store.settle_callback(&CallbackChange { tried: 1, due: free, ..taken }).await.unwrap());
        assert_eq!(due(behind).await.len(), 1, "it was given back");
    }
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
async fn a_run_is_made_and_taken_once_when_the_answer_was_lost() {
    let Some((url, _)) = database().await else { return };
    let (url, steals) = thief(&url).await;
    let store = PostgresStore::open(&url).await.unwrap();
    let version = store.put_dag(&dag()).await.unwrap();
    let term = Term { length: Duration::from_secs(3600), now: "2026-01-01T00:00:00Z".parse().unwrap() };
    let terms = Terms { owner: "me", lease: Some(term), max_active: Some(1), after: Some(None), ..Terms::default() };
    steals.store(true, Ordering::SeqCst);
    let (run, epoch) = store.make_run(&dag_run("one"), &version, &terms).await.unwrap();
    assert!(!steals.load(Ordering::SeqCst), "the answer was taken away");
    assert_eq!(store.renew(&[(run, epoch)], term).await.unwrap(), [run].into());
    store.release(run, epoch).await.unwrap();
    steals.store(true, Ordering::SeqCst);
    assert_eq!(store.take_run(run, "me", term).await, Ok(Epoch(2)));
    assert!(!steals.load(Ordering::SeqCst), "the answer was taken away");
    // Under another name it is another call.
    assert!(matches!(store.take_run(run, "me", term).await, Err(StoreError::Held { .. })));

    // What it is made for is gone once it is made: that is not held against it.
    store.await_assets(&[("taxi".to_string(), ["a".to_string()].into())].into()).await.unwrap();
    let events = [store.put_asset_event("a", "{}", term.now).await.unwrap()];
    let terms = Terms { owner: "me", max_active: Some(2), seen: &events, ..Terms::default() };
    steals.store(true, Ordering::SeqCst);
    let (run, _) = store.make_run(&dag_run("two"), &version, &terms).await.unwrap();
    assert!(!steals.load(Ordering::SeqCst), "the answer was taken away");
    let made_for = AssetEventFilter { run: Some(run), ..AssetEventFilter::default() };
    assert_eq!(store.asset_events(&made_for).await.unwrap().len(), 1);
    let again = store.make_run(&dag_run("three"), &version, &terms).await;
    assert_eq!(again, Err(StoreError::EventsTaken { dag_id: "taxi".into() }));
    store.close().await;
}

#[tokio::test]
async fn leases_are_renewed_while_the_thread_of_the_store_is_held_up() {
    let Some((url, _)) = database().await else { return };
    let (opened, open) = std::sync::mpsc::channel();
    let (let_go, held_up) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store: Arc<dyn MetadataStore> = Arc::new(PostgresStore::open(&url).await.unwrap());
            let version = store.put_dag(&dag()).await.unwrap();
            let made = store.create_run(&dag_run("one"), &version, "me").await.unwrap();
            opened.send((flow_runtime::store::renewer(&store), made.0)).unwrap();
            // As by a terminal that takes no more text.
            held_up.recv().unwrap();
        });
    });
    let (mut renewer, run) = open.recv().unwrap();
    let term = Term { length: Duration::from_secs(3600), now: "2026-01-01T00:00:00Z".parse().unwrap() };
    assert!(renewer.renew(&[(run, Epoch(1))], term).await.unwrap().is_empty(), "it has no lease to be renewed");
    let_go.send(()).unwrap();
    thread.join().unwrap();
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
    let schema = async || PostgresStore::schema(&url, Duration::ZERO).await.unwrap();
    assert_eq!(schema().await.seen, 0);
    PostgresStore::open(&url).await.unwrap().close().await;
    assert!(schema().await.is_current());
    run(&url, "UPDATE flow_schema SET version = 99").await;
    let said = says(&url).await;
    assert!(
        said.contains("written by a newer flow (its schema is 99, this flow knows ") && said.contains("update flow")
    );
}

#[tokio::test]
async fn a_database_has_the_latest_edition_of_what_it_is_asked() {
    let Some((url, _)) = database().await else { return };
    let earlier = PostgresStore::open(&url).await.unwrap();
    let held = begin(&earlier).await;
    // As a build has left it that was before this one, in the middle of the same schema.
    let before = "DROP FUNCTION flow_edition(); DROP FUNCTION flow_commit(JSON);
        CREATE FUNCTION flow_commit(rounds JSON) RETURNS VOID LANGUAGE sql AS ''";
    run(&url, before).await;
    let later = PostgresStore::open(&url).await.unwrap();
    for (store, try_number) in [(&later, 1), (&earlier, 2)] {
        store.commit(&[begins(held, try_number)]).await.unwrap();
        assert_eq!(tries(store, held.0).await.len(), try_number as usize, "also for whoever had it open");
    }
    // What a later build has left stays as it is.
    let after = "CREATE OR REPLACE FUNCTION flow_edition() RETURNS BIGINT LANGUAGE sql AS 'SELECT 4711::BIGINT';
        CREATE OR REPLACE FUNCTION flow_take_run(run BIGINT, taker TEXT, length BIGINT, name BIGINT)
        RETURNS TABLE (new_epoch BIGINT, holder TEXT, until BIGINT) LANGUAGE sql AS 'SELECT 7::BIGINT, NULL, NULL::BIGINT'";
    run(&url, after).await;
    let store = PostgresStore::open(&url).await.unwrap();
    let term = Term { length: Duration::from_secs(60), now: SystemClock.now() };
    assert_eq!(store.take_run(held.0, "me", term).await.unwrap(), Epoch(7));
}

/// Somebody has put another schema before it in the search path since the tables were made.
#[tokio::test]
async fn what_is_added_goes_to_the_tables() {
    let Some((url, name)) = database().await else { return };
    PostgresStore::open(&url).await.unwrap().close().await;
    let before = format!(
        "CREATE SCHEMA mine; ALTER DATABASE {name} SET search_path = mine, public; DROP FUNCTION flow_edition()"
    );
    run(&url, &before).await;
    let store = PostgresStore::open(&url).await.unwrap();
    let held = begin(&store).await;
    store.commit(&[begins(held, 1)]).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let about = "SELECT DISTINCT pronamespace::regnamespace::text FROM pg_proc WHERE proname LIKE 'flow\\_%'";
    let places: Vec<String> = sqlx::query_scalar(about).fetch_all(&mut connection).await.unwrap();
    assert_eq!(places, ["public"]);
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

/// Waits until the store hears something that was done again and again.
async fn hears(hints: &mut tokio::sync::watch::Receiver<()>, what: &str, mut done: impl AsyncFnMut()) {
    let again = async {
        loop {
            done().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        heard = hints.changed() => heard.unwrap(),
        () = again => {}
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("{what} is not heard of"),
    }
}

#[tokio::test]
async fn what_others_do_is_heard_of() {
    let Some((url, _)) = database().await else { return };
    let (here, there) = (PostgresStore::open(&url).await.unwrap(), PostgresStore::open(&url).await.unwrap());
    let mut hints = here.listen().unwrap();
    hears(&mut hints, "a pause", async || there.set_paused("taxi", true).await.unwrap()).await;
    let (run, epoch) = begin(&there).await;
    hints.changed().await.unwrap();
    hears(&mut hints, "a release", async || there.release(run, epoch).await.unwrap()).await;
    there.delete_run(run, epoch).await.unwrap();
    hears(&mut hints, "a run that nobody works on", async || {
        let (run, epoch) = begin(&there).await;
        there.delete_run(run, epoch).await.unwrap();
    })
    .await;
    there.await_assets(&[("taxi".to_string(), ["a".to_string()].into())].into()).await.unwrap();
    hears(&mut hints, "an event that a DAG waits for", async || {
        there.put_asset_event("a", "{}", "2026-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
    })
    .await;
}

/// Whoever commits last sees the failures of all others.
#[tokio::test]
async fn of_failures_at_the_same_time_the_last_pauses() {
    let Some((url, _)) = database().await else { return };
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(Arc::new(PostgresStore::open(&url).await.unwrap()));
    }
    for round in 0..25 {
        let dag_id = format!("d{round}");
        let version = stores[0].put_dag(&Dag::new(&dag_id)).await.unwrap();
        let mut ends = tokio::task::JoinSet::new();
        for (n, store) in stores.iter().cloned().enumerate() {
            let run = DagRun { dag_id: dag_id.clone(), run_type: RunType::Scheduled, ..dag_run(&n.to_string()) };
            let (run, epoch) = store.create_run(&run, &version, "me").await.unwrap();
            let status = Some((RunStatus::Failed, "2026-01-01T00:00:00Z".parse().unwrap()));
            let failed = RunCommit { status, pause_at: Some(4), ..RunCommit::new(run, epoch) };
            ends.spawn(async move { store.commit(&[failed]).await });
        }
        let paused: Vec<RunPk> = ends.join_all().await.into_iter().flat_map(|ended| ended.unwrap()).collect();
        assert_eq!(paused.len(), 1, "one of them says so: {paused:?}");
        assert_eq!(stores[0].paused().await.unwrap().get(&dag_id), Some(&true), "{dag_id}");
    }
}

/// Until the clock is there again, it would wait for ten days.
#[tokio::test]
async fn a_start_from_before_the_clock_was_set_back_is_one_of_now() {
    let Some((url, _)) = database().await else { return };
    let store = PostgresStore::open(&url).await.unwrap();
    let (held, _) = begin(&store).await;
    let wrong = "INSERT INTO slot_start VALUES ('rate api', flow_now() + 864000000000), ('rate other', flow_now() + 864000000000)";
    run(&url, wrong).await;
    let share = Share { name: "rate api".into(), units: 1, most: 1, span: Some(Duration::from_secs(900)) };
    let asks = [SlotAsk { task_id: "download".into(), map_index: -1, weight: 1, shares: vec![share] }];
    let now = SystemClock.now();
    let claim = SlotClaim { run: held, epoch: Epoch(1), owner: "me", backfill: false, asks: &asks, now };
    let told = store.take_slots(&claim).await.unwrap();
    assert!(told.len() == 1 && told[0].again <= Duration::from_secs(901), "{told:?}");
}

/// The plans of the function are made while the table has no rows, and kept.
#[tokio::test]
async fn a_commit_reads_no_more_rows_than_it_changes() {
    let Some((url, _)) = database().await else { return };
    let store = PostgresStore::open(&url).await.unwrap();
    let held = begin(&store).await;
    for try_number in 1..=20 {
        store.commit(&[begins(held, try_number)]).await.unwrap();
    }
    let mut many = begins(held, 1);
    let first = many.instances[0].clone();
    many.instances = (0..2000)
        .map(|map_index| InstanceWrite { row: InstanceRow { map_index, ..first.row.clone() }, archive: false })
        .collect();
    many.steps = (0..2000)
        .map(|map_index| StepWrite {
            task_id: "download".into(),
            map_index,
            name: "a".into(),
            value: "1".into(),
            try_number: 1,
            timestamp: "2026-01-01T00:00:00Z".parse().unwrap(),
        })
        .collect();
    store.commit(&[many]).await.unwrap();
    for try_number in 21..=60 {
        store.commit(&[begins(held, try_number)]).await.unwrap();
    }
    // What a connection has read is known when it has ended.
    store.close().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let read = "SELECT sum(seq_tup_read)::BIGINT FROM pg_stat_user_tables WHERE relname IN ('task_instance', 'step')
        HAVING bool_and(n_tup_ins > 0)";
    let scanned: i64 = loop {
        match sqlx::query_scalar(read).fetch_optional(&mut connection).await.unwrap() {
            Some(scanned) => break scanned,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert!(scanned < 10_000, "{scanned} rows were read by scans");
}

/// All that a schema consists of, as text.
async fn inventory(url: &str) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', table_name, column_name, data_type, collation_name, is_nullable, column_default)
            FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        ORDER BY 1";
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_database_of_each_earlier_schema_is_brought_up_to_date() {
    let Some((new, _)) = database().await else { return };
    PostgresStore::open(&new).await.unwrap().close().await;
    let steps = super::steps("postgres");
    for seen in 1..steps.len() {
        let (url, _) = database().await.unwrap();
        let stamp =
            format!("CREATE TABLE flow_schema (version BIGINT NOT NULL); INSERT INTO flow_schema VALUES ({seen});");
        run(&url, &[steps[..seen].concat(), super::kept("OVERRIDING SYSTEM VALUE"), stamp].concat()).await;
        let before = PostgresStore::schema(&url, Duration::ZERO).await.unwrap();
        assert!(before.seen == seen as u64 && before.known == steps.len() as u64 && !before.is_current(), "{before:?}");
        let store = PostgresStore::open(&url).await.unwrap();
        super::is_kept(&store).await;
        store.close().await;
        assert_eq!(inventory(&url).await, inventory(&new).await, "as if it had been made new");
    }
}
