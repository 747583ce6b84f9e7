//! Steps that put something into Google's stores.

use std::path::PathBuf;
use std::time::Duration;

use flow_data::Version;

use super::order::Order;
use super::{World, ended_anywhere, sum, wait};
use crate::files::{noise, write};
use crate::google::Google;

/// Three parts and a bit.
const BYTES: usize = (24 << 20) + 5;
const OBJECT: &str = "lake/raw/f.parquet";

struct Upload {
    google: Google,
    local: PathBuf,
    _folder: tempfile::TempDir,
    /// Only if the object is as it was then: the parts come together elsewhere, and are copied.
    unchanged: Option<Version>,
}

impl Upload {
    fn new(conditional: bool) -> Self {
        let google = Google::start();
        let folder = tempfile::tempdir().unwrap();
        let local = write(folder.path(), "f.parquet", noise(BYTES));
        let mut world = Self { google, local, _folder: folder, unchanged: None };
        if conditional {
            // The store counts anew after each reset, so this is the version that is always there then.
            world.reset();
            let there = wait(world.google.lake().head(&format!("gs://{OBJECT}"))).unwrap().unwrap();
            world.unchanged = Some(there.version);
        }
        world.google.slow(Duration::from_millis(30));
        world
    }
}

impl World for Upload {
    fn name(&self) -> String {
        if self.unchanged.is_some() { "conditional upload".into() } else { "upload".into() }
    }

    fn reset(&mut self) {
        self.google.server.forget();
        let mut cloud = self.google.cloud();
        cloud.storage = Default::default();
        cloud.storage.put(OBJECT, "an earlier object");
    }

    fn order(&self) -> Order {
        Order::Upload {
            home: self.google.home().display().to_string(),
            local: self.local.clone(),
            url: format!("gs://{OBJECT}"),
            unchanged: self.unchanged.clone(),
        }
    }

    fn seen(&self) -> Vec<String> {
        vec![self.google.object(OBJECT).map_or("none".into(), |content| sum(&content))]
    }

    fn check(&self) {
        assert_eq!(self.seen(), [sum(&noise(BYTES))]);
    }

    fn left(&self) -> Vec<String> {
        let storage = &self.google.cloud().storage;
        let mut left = storage.paths();
        left.retain(|path| path != OBJECT);
        // One whose answer its process did not live to hear is known to nobody, and has no parts.
        left.extend(storage.part_counts().iter().filter(|parts| **parts > 0).map(|parts| format!("{parts} parts")));
        left
    }

    fn phase(&self, reported: Option<(u64, u64)>) -> String {
        let storage = &self.google.cloud().storage;
        let is_new = storage.object(OBJECT).is_some_and(|content| content.len() == BYTES);
        let staged = storage.paths().len() > 1;
        match storage.part_counts().first() {
            _ if is_new => "with the new object".into(),
            _ if staged => "with all parts together".into(),
            Some(parts) => format!("with {parts} parts"),
            // Of a cancelled one they are gone by now.
            None => format!("without parts, {} bytes read", reported.map_or(0, |(done, _)| done)),
        }
    }
}

/// Number 41.
#[test]
fn an_upload_that_is_ended_anywhere_leaves_the_old_object_or_the_new_one_and_no_parts() {
    ended_anywhere(Upload::new(false));
}

/// Number 41, where the parts come together under another key.
#[test]
fn a_conditional_upload_that_is_ended_anywhere_leaves_the_old_object_or_the_new_one_and_no_parts() {
    ended_anywhere(Upload::new(true));
}

struct Load {
    google: Google,
    /// A local file, else objects.
    file: Option<PathBuf>,
    _folder: tempfile::TempDir,
}

const TABLE: &str = "project-1.trips.yellow";
const ROWS: usize = 2_000;

impl Load {
    fn new(local: bool) -> Self {
        let google = Google::start();
        google.slow(Duration::from_millis(10));
        let folder = tempfile::tempdir().unwrap();
        let note = "n".repeat(9_000);
        let text = |rows| (0..rows).fold(String::from("id,note\n"), |text, n| text + &format!("{n},{note}\n"));
        let file = local.then(|| write(folder.path(), "f.csv", text(ROWS)));
        google.cloud().storage.put("lake/a.csv", text(ROWS - 10));
        google.cloud().storage.put("lake/b.csv", text(10));
        Self { google, file, _folder: folder }
    }
}

impl World for Load {
    fn name(&self) -> String {
        if self.file.is_some() { "BigQuery load of a file".into() } else { "BigQuery load of objects".into() }
    }

    fn reset(&mut self) {
        self.google.server.forget();
        self.google.cloud().jobs = Default::default();
    }

    fn order(&self) -> Order {
        let objects = match self.file {
            Some(_) => vec![],
            None => vec!["gs://lake/a.csv".into(), "gs://lake/b.csv".into()],
        };
        Order::BigQuery {
            home: self.google.home().display().to_string(),
            host: self.google.server.url.clone(),
            objects,
            file: self.file.clone(),
            table: TABLE.strip_prefix("project-1.").unwrap().into(),
            id: "run-1".into(),
        }
    }

    /// Rows that were added twice would be seen.
    fn seen(&self) -> Vec<String> {
        let jobs = &self.google.cloud().jobs;
        vec![format!("{} rows", jobs.rows(TABLE)), format!("jobs {:?}", jobs.ids()), format!("{} loads", jobs.loads)]
    }

    fn check(&self) {
        assert_eq!(self.seen(), [format!("{ROWS} rows"), "jobs [\"run-1\"]".into(), "1 loads".into()]);
    }

    fn left(&self) -> Vec<String> {
        vec![]
    }

    fn phase(&self, reported: Option<(u64, u64)>) -> String {
        match self.google.cloud().jobs.state("run-1") {
            Some(state) => format!("with the job {state}"),
            None => format!("without a job, {} bytes sent", reported.map_or(0, |(done, _)| done)),
        }
    }
}

/// Number 42.
#[test]
fn a_load_job_whose_process_is_ended_anywhere_is_found_by_the_next() {
    ended_anywhere(Load::new(false));
}

/// Number 42, of a file that goes up with its job.
#[test]
fn a_load_job_of_a_file_whose_process_is_ended_anywhere_is_found_by_the_next() {
    ended_anywhere(Load::new(true));
}
