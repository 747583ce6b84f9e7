//! Steps that write a file from a table.

use std::time::Duration;

use flow_data::{ask, execute};

use super::order::Order;
use super::{World, besides, ended_anywhere, sum_of, wait};
use crate::cluster;

const ROWS: usize = 150_000;
const FILE: &str = "f.parquet";

struct Unload {
    /// Sessions of the unloads are told apart by the name in it.
    url: String,
    folder: tempfile::TempDir,
}

impl Unload {
    fn postgres() -> Option<Self> {
        let server = cluster::url()?;
        wait(execute(&server, "CREATE SCHEMA killed_unload")).unwrap();
        let url = format!("{server}?application_name=killed_unload&options=-c%20search_path%3Dkilled_unload");
        let numbers = format!("generate_series(0, {}) n", ROWS - 1);
        Some(Self::of(url, tempfile::tempdir().unwrap(), "repeat('note ' || n, 8)", &numbers))
    }

    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/t.db", folder.path().display());
        let numbers = format!(
            "(WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < {}) SELECT n FROM c)",
            ROWS - 1
        );
        // Eight noughts, and each of them the text.
        Self::of(url, folder, "replace(hex(zeroblob(4)), '0', 'note ' || n)", &numbers)
    }

    fn of(url: String, folder: tempfile::TempDir, note: &str, numbers: &str) -> Self {
        let sql = format!("CREATE TABLE t AS SELECT n AS id, {note} AS note FROM {numbers}");
        wait(execute(&url, &sql)).unwrap();
        Self { url, folder }
    }

    fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }
}

impl World for Unload {
    fn name(&self) -> String {
        if self.is_postgres() { "Postgres unload".into() } else { "SQLite unload".into() }
    }

    fn reset(&mut self) {
        for name in besides(self.folder.path(), &["t.db"]) {
            std::fs::remove_file(self.folder.path().join(name)).unwrap();
        }
        std::fs::write(self.folder.path().join(FILE), "an earlier file").unwrap();
    }

    fn order(&self) -> Order {
        Order::Select { url: self.url.clone(), file: self.folder.path().join(FILE) }
    }

    fn seen(&self) -> Vec<String> {
        vec![sum_of(&self.folder.path().join(FILE))]
    }

    fn check(&self) {
        let frame = crate::files::read(&self.folder.path().join(FILE));
        let (ids, notes) = (crate::files::column(&frame, "id"), crate::files::column(&frame, "note"));
        assert!(ids.iter().map(|id| id.parse::<usize>().unwrap()).eq(0..ROWS));
        assert!(notes.iter().enumerate().all(|(n, note)| note.trim_matches('"') == format!("note {n}").repeat(8)));
    }

    fn left(&self) -> Vec<String> {
        let mut left = besides(self.folder.path(), &[FILE, "t.db"]);
        if self.is_postgres() {
            let own = self.url.replace("application_name=", "application_name=watch_");
            let sql = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'killed_unload'";
            let sessions = || wait(ask(&own, sql)).unwrap().rows.len();
            // The server notices the end of a session when it next looks.
            for _ in 0..1_000 {
                if sessions() == 0 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            left.extend((0..sessions()).map(|n| format!("session {n}")));
        }
        left
    }

    fn phase(&self, reported: Option<(u64, u64)>) -> String {
        match reported {
            None => "before the first report".into(),
            Some((rows, _)) => format!("eighth {}", (rows * 8 / ROWS as u64 + 1).min(8)),
        }
    }
}

#[test]
fn an_unload_from_postgres_that_is_ended_anywhere_leaves_the_old_file_or_the_new_one() {
    if let Some(world) = Unload::postgres() {
        ended_anywhere(world);
    }
}

#[test]
fn an_unload_from_sqlite_that_is_ended_anywhere_leaves_the_old_file_or_the_new_one() {
    ended_anywhere(Unload::sqlite());
}
