//! Steps that make a file.

use std::path::PathBuf;
use std::time::Duration;

use super::order::Order;
use super::{World, besides, ended_anywhere, sum, sum_of};
use crate::files::{column, gzip, noise, read, trips};
use crate::server::{Server, file};

struct Download {
    folder: tempfile::TempDir,
    server: Server,
}

const BYTES: usize = 3_000_000;

impl Download {
    fn path(&self) -> PathBuf {
        self.folder.path().join("f")
    }
}

impl World for Download {
    fn name(&self) -> String {
        "download".into()
    }

    fn reset(&mut self) {
        for name in besides(self.folder.path(), &[]) {
            std::fs::remove_file(self.folder.path().join(name)).unwrap();
        }
        std::fs::write(self.path(), "what an earlier call brought").unwrap();
    }

    fn order(&self) -> Order {
        Order::Download { url: self.server.at("/f"), path: self.path() }
    }

    fn seen(&self) -> Vec<String> {
        vec![sum_of(&self.path())]
    }

    fn check(&self) {
        assert_eq!(sum_of(&self.path()), format!("f: {}", sum(&noise(BYTES))));
    }

    fn left(&self) -> Vec<String> {
        besides(self.folder.path(), &["f", "f.json"])
    }

    /// What has come is kept for the next call; no more than was on its way to the file comes after the end.
    fn left_by_cancelled(&self, reported: Option<(u64, u64)>) -> Vec<String> {
        const ON_ITS_WAY: u64 = 1 << 20;
        let mut left = besides(self.folder.path(), &["f", "f.json", "f.part", "f.part.json"]);
        let kept = self.folder.path().join("f.part").metadata().map_or(0, |part| part.len());
        if kept > reported.map_or(0, |(done, _)| done) + ON_ITS_WAY {
            left.push(format!("{kept} bytes came, of which {reported:?} were reported"));
        }
        left
    }
}

/// Number 39.
#[test]
fn a_download_that_is_ended_anywhere_is_continued_and_never_half() {
    let content = noise(BYTES);
    let server = Server::start(move |request| {
        let mut reply = file(request, &content, "\"one\"");
        reply.drip = Some((32 << 10, Duration::from_millis(2)));
        reply
    });
    let mut world = Download { folder: tempfile::tempdir().unwrap(), server };
    super::killed_anywhere(&mut world);
    super::cancelled_anywhere(&mut world);
    let continued = world.server.requests().iter().filter(|request| request.range_start().is_some()).count();
    assert!(continued > 0, "no try went on where the one before had ended");
}

struct Parquetize {
    folder: tempfile::TempDir,
    csv: PathBuf,
}

const ROWS: usize = 60_000;
const UNFIT: usize = 7;

impl Parquetize {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut text = trips(ROWS);
        for n in 0..UNFIT {
            text.push_str(&format!("no number {n},,,,,\n"));
        }
        let csv = crate::files::write(folder.path(), "trips.csv.gz", gzip(text.as_bytes()));
        Self { folder, csv }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

const PARQUET: &str = "trips.parquet";
const REJECTED: &str = "trips.parquet.rejected.csv";

impl World for Parquetize {
    fn name(&self) -> String {
        "parquetize".into()
    }

    fn reset(&mut self) {
        for name in self.left() {
            std::fs::remove_file(self.at(&name)).unwrap();
        }
        std::fs::write(self.at(PARQUET), "an earlier file").unwrap();
        std::fs::write(self.at(REJECTED), "rows of an earlier file").unwrap();
    }

    fn order(&self) -> Order {
        Order::Parquetize { csv: self.csv.clone(), parquet: self.at(PARQUET) }
    }

    fn seen(&self) -> Vec<String> {
        vec![sum_of(&self.csv), sum_of(&self.at(PARQUET)), sum_of(&self.at(REJECTED))]
    }

    fn check(&self) {
        let ids = column(&read(&self.at(PARQUET)), "id");
        assert!(ids.iter().map(|id| id.parse::<usize>().unwrap()).eq(0..ROWS));
        let rejected = std::fs::read_to_string(self.at(REJECTED)).unwrap();
        assert_eq!(rejected.lines().count(), 1 + UNFIT);
    }

    fn left(&self) -> Vec<String> {
        besides(self.folder.path(), &["trips.csv.gz", PARQUET, REJECTED])
    }
}

/// Number 40.
#[test]
fn a_parquet_file_whose_writer_is_ended_anywhere_is_never_half() {
    ended_anywhere(Parquetize::new());
}
