//! Steps between a file and a table of BigQuery. The fake lives on when their process is killed, as Google does, and so do its jobs:
//! they come to their ends after the next try, at the latest.

use std::path::PathBuf;
use std::time::Duration;

use flow_data::LOADS_TABLE;
use serde_json::{Value, json};

use super::order::Order;
use super::{World, besides, ended_anywhere, sum, sum_of};
use crate::files::write;
use crate::google::{Cloud, Google};
use crate::tables::notes;

const ROWS: usize = 400;
const TABLE: &str = "project-1.trips.t";
const LOADS: &str = "project-1.trips._flow_data_loads";
/// How long what a killed process leaves may be there.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// A fake where every request takes its time.
fn slow() -> Google {
    let google = Google::start();
    google.slow(Duration::from_millis(8));
    google
}

/// Forgets all but a table with these rows.
fn table(google: &Google, part: bool, rows: &str) {
    google.server.forget();
    let mut cloud = google.cloud();
    cloud.jobs = Default::default();
    let mut fields = vec![json!({ "name": "id", "type": "INTEGER" }), json!({ "name": "note", "type": "STRING" })];
    fields.extend(part.then(|| json!({ "name": "_part", "type": "STRING" })));
    let body = json!({ "tableReference": { "tableId": "t" }, "schema": { "fields": fields } });
    assert_eq!(cloud.jobs.kept.create("project-1", "trips", body).status, 200);
    cloud.jobs.kept.ask(&format!("INSERT INTO `{TABLE}` {rows}")).unwrap();
}

struct Load {
    google: Google,
    mode: &'static str,
    /// The load has a name.
    named: bool,
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Load {
    fn new(mode: &'static str, named: bool, csv: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("scratch")).unwrap();
        let file = if csv {
            let rows: String = (0..ROWS).map(|n| format!("{n},{}\n", format!("note {n}").repeat(8))).collect();
            write(folder.path(), "notes.csv", format!("id,note\n{rows}"))
        } else {
            let file = folder.path().join("notes.parquet");
            notes(&file, ROWS);
            file
        };
        Self { google: slow(), mode, named, folder, file }
    }

    fn ask(&self, sql: &str) -> Vec<String> {
        Self::asked(&mut self.google.cloud(), sql)
    }

    fn asked(cloud: &mut Cloud, sql: &str) -> Vec<String> {
        let rows = cloud.jobs.kept.ask(sql).unwrap().1;
        let text = |cell: &Value| cell["v"].as_str().unwrap_or("null").to_owned();
        rows.iter().map(|row| row["f"].as_array().unwrap().iter().map(text).collect::<Vec<_>>().join("|")).collect()
    }

    fn staging(&self) -> Vec<String> {
        let cloud = self.google.cloud();
        let names = cloud.jobs.kept.names().into_iter().map(str::to_owned);
        names.filter(|name| ![TABLE, LOADS].contains(&name.as_str())).collect()
    }

    fn scratch(&self) -> Vec<String> {
        besides(&self.folder.path().join("scratch"), &[])
    }

    fn at_work(&self) -> Vec<String> {
        self.google.cloud().jobs.unfinished("flow-load-")
    }
}

impl World for Load {
    fn name(&self) -> String {
        let csv = if self.file.extension().is_some_and(|end| end == "csv") { " of CSV" } else { "" };
        format!("BigQuery {}{}{csv}", if self.named { "named " } else { "" }, self.mode)
    }

    fn reset(&mut self) {
        let rows = match self.mode {
            "partition" => "(`id`, `note`, `_part`) VALUES (1, 'old', 'p'), (-1, 'old', 'p'), (-2, 'old', 'q')",
            _ => "(`id`, `note`) VALUES (1, 'old'), (-1, 'old')",
        };
        table(&self.google, self.mode == "partition", rows);
        for name in self.scratch() {
            std::fs::remove_dir_all(self.folder.path().join("scratch").join(name)).unwrap();
        }
    }

    fn order(&self) -> Order {
        Order::Warehouse {
            home: self.google.home().display().to_string(),
            host: self.google.server.url.clone(),
            file: self.file.clone(),
            scratch: self.folder.path().join("scratch"),
            mode: self.mode.into(),
            key: self.named.then(|| "the load".into()),
        }
    }

    /// The rows and the record of them are one fact: they come in one instant. A load without a name may be recorded twice.
    fn seen(&self) -> Vec<String> {
        // Looked at in one instant: what the killed process has asked for last may be done just now.
        let cloud = &mut self.google.cloud();
        let rows = Self::asked(cloud, &format!("SELECT * FROM `{TABLE}` ORDER BY id, note"));
        let columns = if self.named { "`rows`, `replaced`, `updated`" } else { "DISTINCT `rows`" };
        let records = match cloud.jobs.kept.has(LOADS) {
            true => Self::asked(cloud, &format!("SELECT {columns} FROM `{LOADS}` WHERE `key` <> ''")),
            false => vec![],
        };
        vec![format!("{} rows, {}, recorded as {records:?}", rows.len(), sum(rows.join("\n").as_bytes()))]
    }

    fn check(&self) {
        assert!(LOADS.ends_with(LOADS_TABLE));
        let (old, replaced, updated) = match self.mode {
            "append" => (2, 0, 0),
            "upsert" => (1, 0, 1),
            // Of the other partition.
            "partition" => (1, 2, 0),
            _ => (0, 2, 0),
        };
        let count = |clause: &str| self.ask(&format!("SELECT count(*) AS n FROM `{TABLE}` WHERE {clause}"));
        assert_eq!([count("note = 'old'"), count("note <> 'old'")], [[old.to_string()], [ROWS.to_string()]]);
        let new = format!("SELECT count(DISTINCT id) AS n, sum(id) AS s FROM `{TABLE}` WHERE note <> 'old'");
        assert_eq!(self.ask(&new), [format!("{ROWS}|{}", ROWS * (ROWS - 1) / 2)]);
        let records = self.ask(&format!("SELECT `rows`, `replaced`, `updated` FROM `{LOADS}` WHERE `key` <> ''"));
        assert_eq!(records, [format!("{ROWS}|{replaced}|{updated}")]);
        assert_eq!((self.staging(), self.scratch()), (vec![], vec![]));
    }

    /// A killed process leaves one staging table, which vanishes by itself, and one file, which the next load removes in a day.
    fn left(&self) -> Vec<String> {
        let staging = self.staging();
        let latest = (chrono::Utc::now() + LIFETIME).timestamp_millis();
        let stays = |name: &&String| {
            let table = self.google.cloud().jobs.kept.look(name).unwrap();
            let ends = table["expirationTime"].as_str().and_then(|millis| millis.parse::<i64>().ok());
            ends.is_none_or(|ends| ends > latest)
        };
        let mut left: Vec<_> = staging.iter().filter(stays).cloned().collect();
        left.extend(staging.into_iter().skip(1));
        left.extend(self.scratch().into_iter().skip(1));
        left.extend(self.at_work());
        left
    }

    fn left_by_cancelled(&self, _: Option<(u64, u64)>) -> Vec<String> {
        [self.staging(), self.scratch(), self.at_work()].concat()
    }

    fn clean(&self) {
        self.google.cloud().jobs.finish();
    }

    fn phase(&self, reported: Option<(u64, u64)>) -> String {
        let jobs = &self.google.cloud().jobs;
        let state = |kind: &str| {
            let id = jobs.ids().into_iter().rev().find(|id| id.starts_with(kind))?;
            jobs.state(&id)
        };
        match (state("flow-load-"), state("flow-stage-")) {
            (Some(state), _) => format!("with the transaction {state}"),
            (None, Some(state)) => format!("with the job of the file {state}"),
            (None, None) => format!("without a job, {} bytes sent", reported.map_or(0, |(done, _)| done)),
        }
    }
}

/// Number 42 and 43, mode by mode. What is added needs a name to be added once.
#[test]
fn a_load_into_bigquery_that_adds_and_is_ended_anywhere_is_done_once() {
    ended_anywhere(Load::new("append", true, false));
}

#[test]
fn a_load_into_bigquery_that_replaces_and_is_ended_anywhere_is_done_once() {
    ended_anywhere(Load::new("replace", false, false));
}

#[test]
fn a_load_into_bigquery_that_updates_and_is_ended_anywhere_is_done_once() {
    ended_anywhere(Load::new("upsert", false, false));
}

#[test]
fn a_named_load_into_bigquery_that_updates_and_is_ended_anywhere_is_done_once() {
    ended_anywhere(Load::new("upsert", true, false));
}

#[test]
fn a_load_into_a_partition_of_bigquery_that_is_ended_anywhere_is_done_once() {
    ended_anywhere(Load::new("partition", false, false));
}

#[test]
fn a_load_of_csv_into_bigquery_that_is_ended_anywhere_is_done_once() {
    ended_anywhere(Load::new("append", true, true));
}

struct Unload {
    google: Google,
    folder: tempfile::TempDir,
}

const FILE: &str = "f.parquet";

impl World for Unload {
    fn name(&self) -> String {
        "BigQuery unload".into()
    }

    fn reset(&mut self) {
        let numbers = format!("WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < {ROWS})");
        let rows = format!("(`id`, `note`) {numbers} SELECT n, 'note ' || n FROM c");
        table(&self.google, false, &rows);
        self.google.cloud().jobs.page = 30;
        std::fs::write(self.folder.path().join(FILE), "an earlier file").unwrap();
    }

    fn order(&self) -> Order {
        Order::Unload {
            home: self.google.home().display().to_string(),
            host: self.google.server.url.clone(),
            file: self.folder.path().join(FILE),
        }
    }

    fn seen(&self) -> Vec<String> {
        vec![sum_of(&self.folder.path().join(FILE))]
    }

    fn check(&self) {
        let ids = crate::files::column(&crate::files::read(&self.folder.path().join(FILE)), "id");
        assert!(ids.iter().map(|id| id.parse::<usize>().unwrap()).eq(0..=ROWS));
    }

    fn left(&self) -> Vec<String> {
        let mut left = besides(self.folder.path(), &[FILE]);
        left.extend(self.google.cloud().jobs.unfinished("flow-unload-"));
        left
    }

    fn clean(&self) {
        self.google.cloud().jobs.finish();
    }

    fn phase(&self, _: Option<(u64, u64)>) -> String {
        let pages = self.google.count("GET /bigquery/v2/projects/project-1/queries/");
        let jobs = &self.google.cloud().jobs;
        let state = jobs.ids().pop().and_then(|id| jobs.state(&id));
        match (pages, state) {
            (0, None) => "without a job".into(),
            (0, Some(state)) => format!("with the query {state}"),
            (pages, _) => format!("with {} pages", if pages < 7 { "some" } else { "most" }),
        }
    }
}

#[test]
fn an_unload_from_bigquery_that_is_ended_anywhere_leaves_the_old_file_or_the_new_one() {
    ended_anywhere(Unload { google: slow(), folder: tempfile::tempdir().unwrap() });
}
