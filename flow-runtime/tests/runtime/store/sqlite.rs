//! What only a store in a file can get wrong.

use flow_runtime::core::{Dag, TaskDef};
use flow_runtime::store::{Durability, MetadataStore, SqliteStore, StoreError};
use std::path::Path;
use tempfile::TempDir;

/// An empty store in a folder that vanishes.
pub async fn fresh() -> (SqliteStore, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    (open(&folder.path().join("new/flow.db")).await, folder)
}

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Durability::Process).await.expect("open")
}

fn dag() -> Dag {
    let mut dag = Dag::new("taxi");
    dag.tasks.push(TaskDef::new("download", "dags::taxi::download"));
    dag
}

#[tokio::test]
async fn what_is_written_is_there_after_opening_again_and_in_one_file() {
    let (store, folder) = fresh().await;
    let hash = store.put_dag(&dag()).await.unwrap();
    store.close().await;
    let path = folder.path().join("new/flow.db");
    let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["flow.db"], "closing folds the write-ahead log in");
    assert_eq!(open(&path).await.dag_version(&hash).await.unwrap(), dag());
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let (store, _folder) = fresh().await;
    store.close().await;
    store.close().await;
    let error = store.put_dag(&dag()).await.unwrap_err().to_string();
    assert!(error.contains("was closed"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (text, other) = (folder.path().join("text.db"), folder.path().join("other.db"));
    std::fs::write(&text, b"dear diary, today I was not a database of any kind at all, and nobody minded").unwrap();
    let stranger = sqlx::sqlite::SqliteConnectOptions::new().filename(&other).create_if_missing(true);
    let mut connection = sqlx::ConnectOptions::connect(&stranger).await.unwrap();
    sqlx::raw_sql("CREATE TABLE diary (day TEXT)").execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    for (path, said) in [(&text, "is not a SQLite database"), (&other, "is a SQLite database, but not one of flow")] {
        let before = std::fs::read(path).unwrap();
        let error = SqliteStore::open(path, Durability::Process).await.unwrap_err();
        let StoreError::Backend(sentence) = &error else { panic!("{error:?}") };
        assert!(sentence.contains(said) && sentence.contains(&path.display().to_string()), "{sentence}");
        assert_eq!(std::fs::read(path).unwrap(), before);
    }
    let error = SqliteStore::open(folder.path(), Durability::Process).await.unwrap_err().to_string();
    assert!(error.contains("cannot be opened"), "{error}");
}

#[tokio::test]
async fn two_processes_worth_of_stores_share_a_file() {
    let (one, folder) = fresh().await;
    let two = open(&folder.path().join("new/flow.db")).await;
    let hash = one.put_dag(&dag()).await.unwrap();
    assert_eq!(two.dag_version(&hash).await.unwrap(), dag());
    assert_eq!(two.put_dag(&dag()).await.unwrap(), hash);
}

#[tokio::test]
async fn a_database_of_each_earlier_schema_is_brought_up_to_date() {
    let steps = super::steps("sqlite");
    for seen in 1..steps.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flow.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
        for step in &steps[..seen] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(step.clone())).execute(&mut connection).await.unwrap();
        }
        let stamp = format!("PRAGMA application_id = 1718382455; PRAGMA user_version = {seen};");
        let kept = sqlx::AssertSqlSafe(super::kept("") + &stamp);
        sqlx::raw_sql(kept).execute(&mut connection).await.unwrap();
        sqlx::Connection::close(connection).await.unwrap();
        let before = SqliteStore::schema(&path).await.unwrap();
        assert!(before.seen == seen as u64 && before.known == steps.len() as u64 && !before.is_current(), "{before:?}");
        let store = open(&path).await;
        super::is_kept(&store).await;
        store.close().await;
        assert_eq!(open(&path).await.paused().await.unwrap(), [("taxi".to_string(), true)].into());
    }
}

#[tokio::test]
async fn how_far_a_schema_is_is_told_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flow.db");
    assert_eq!(SqliteStore::schema(&path).await.unwrap().seen, 0);
    assert!(!path.exists());
    open(&path).await.close().await;
    assert!(SqliteStore::schema(&path).await.unwrap().is_current());
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    let newer = SqliteStore::schema(&path).await.unwrap();
    assert!(newer.is_newer() && newer.seen == 99);
    let error = SqliteStore::open(&path, Durability::Process).await.unwrap_err().to_string();
    assert!(error.contains("written by a newer flow"), "{error}");
}

#[tokio::test]
async fn a_copy_is_whole_while_others_write_and_never_takes_a_files_place() {
    let (store, folder) = fresh().await;
    let path = folder.path().join("new/flow.db");
    let hash = store.put_dag(&dag()).await.unwrap();
    let copy = folder.path().join("copy.db");
    let (copied, ()) = tokio::join!(SqliteStore::backup(&path, &copy), async {
        for paused in 0..50 {
            store.set_paused("taxi", paused % 2 == 0).await.unwrap();
        }
    });
    copied.unwrap();
    let restored = open(&copy).await;
    assert_eq!(restored.dag_version(&hash).await.unwrap(), dag());
    restored.close().await;
    let before = std::fs::read(&copy).unwrap();
    let error = SqliteStore::backup(&path, &copy).await.unwrap_err().to_string();
    assert!(error.contains("there is a file of that name: choose another"), "{error}");
    assert_eq!(std::fs::read(&copy).unwrap(), before);
    let nowhere = folder.path().join("no/such/folder/copy.db");
    let error = SqliteStore::backup(&path, &nowhere).await.unwrap_err().to_string();
    assert!(error.contains("cannot be written"), "{error}");
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no half of a copy is left: {names:?}");
}
