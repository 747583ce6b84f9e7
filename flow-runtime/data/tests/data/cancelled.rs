//! What a dropped future leaves behind.

use std::sync::{Arc, Mutex, mpsc};

use flow_data::{Error, ParquetOptions, Progress, download_to, load_csv, parquetize, summarise};
use tokio::sync::Notify;

use crate::files::{self, noise, trip_schema, trips};
use crate::server::{Server, file};

#[tokio::test]
async fn a_dropped_download_is_continued_by_the_next() {
    let content = noise(2_000_000);
    let served = content.clone();
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let server = Server::start(move |r| {
        let mut reply = file(r, &served, "\"one\"");
        if r.number == 0 {
            // Sends three quarters, then holds the connection until the test lets go.
            let held = held.clone();
            reply.cut_after = Some(1_500_000);
            reply.then = Some(Arc::new(move || assert!(held.lock().unwrap().recv().is_err())));
        }
        reply
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let arrived = Notify::new();
    let progress = |done, _| {
        if done >= 1_000_000 {
            arrived.notify_one();
        }
    };
    let url = server.at("/f");
    tokio::select! {
        outcome = download_to(&url, &path, &progress) => panic!("not yet: {outcome:?}"),
        () = arrived.notified() => {}
    }
    drop(release);
    assert!(!path.exists());
    // The last write was handed to a thread, which may still be at it.
    let part = folder.path().join("f.part");
    let mut kept = 0;
    for _ in 0..1_000 {
        kept = part.metadata().unwrap().len();
        if kept >= 1_000_000 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(kept >= 1_000_000, "{kept} bytes are kept");

    download_to(&url, &path, &()).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == content);
    let start = server.requests()[1].range_start().unwrap() as u64;
    assert!(start >= kept.min(1_000_000), "continued at {start}");
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the file and its origin: {names:?}");
}

#[tokio::test]
async fn a_dropped_load_leaves_the_table_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let small = files::write(folder.path(), "small.csv", trips(10));
    load_csv(&url, "trips", &small, &trip_schema(), "s", &()).await.unwrap();
    let large = files::write(folder.path(), "large.csv", trips(100_000));
    let begun = Notify::new();
    let progress = |_, _| begun.notify_one();
    let schema = trip_schema();
    tokio::select! {
        outcome = load_csv(&url, "trips", &large, &schema, "s", &progress) => panic!("not yet: {outcome:?}"),
        () = begun.notified() => {}
    }
    assert_eq!(summarise(&url, "trips", None).await.unwrap().rows, 10);
    assert_eq!(load_csv(&url, "trips", &large, &trip_schema(), "s", &()).await.unwrap().replaced, 10);
}

/// Cancels at the first report.
struct AtOnce(Mutex<bool>);

impl Progress for AtOnce {
    fn report(&self, _: u64, _: Option<u64>) {
        *self.0.lock().unwrap() = true;
    }

    fn cancelled(&self) -> bool {
        *self.0.lock().unwrap()
    }
}

#[test]
fn a_cancelled_conversion_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let csv = files::write(folder.path(), "large.csv", trips(150_000));
    let out = folder.path().join("out.parquet");
    let error =
        parquetize(&csv, &out, &trip_schema(), &ParquetOptions::default(), &AtOnce(Mutex::new(false))).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
