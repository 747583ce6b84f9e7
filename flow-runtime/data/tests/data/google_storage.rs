//! Objects on the fake of Google's storage: conditions, faults, and what a dropped upload leaves.

use flow_data::{Error, Lake, Version, When, settled};

use crate::files::{noise, write};
use crate::google::{Fault, Google};

const PART: usize = 8 << 20;
const LARGE: usize = PART + 5;

#[tokio::test]
async fn the_account_in_the_home_is_exchanged_for_one_token() {
    let google = Google::start();
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "f.parquet", noise(LARGE));
    let lake = google.lake();
    let sent = lake.upload(&local, "gs://lake/raw a/", &()).await.unwrap();
    assert_eq!((sent.url.as_str(), sent.bytes), ("gs://lake/raw%20a/f.parquet", LARGE as u64));
    assert!(google.object("lake/raw a/f.parquet").unwrap() == noise(LARGE));
    let there = lake.head(&sent.url).await.unwrap().unwrap();
    assert_eq!((there.sha256.as_ref(), there.bytes), (Some(&sent.sha256), sent.bytes));
    assert!(there.version.generation.is_some() && there.version.generation == sent.version.generation);
    let back = lake.fetch(&sent.url, folder.path().join("back"), &()).await.unwrap();
    assert_eq!(back.sha256, sent.sha256);
    assert!(std::fs::read(back.path).unwrap() == noise(LARGE));
    assert_eq!(google.granted(), 1, "the token is kept");
}

#[tokio::test]
async fn an_account_that_is_refused_says_so_at_once() {
    let google = Google::start();
    let path = google.home().join(".google/credentials/google_credentials.json");
    let json = std::fs::read_to_string(&path).unwrap().replace("key-1", "key-2");
    std::fs::write(&path, json).unwrap();
    let error = google.lake().head("gs://lake/f").await.unwrap_err();
    assert!(error.is_permanent(), "{error:?}");
    assert!(error.to_string().contains("kid is wrong") && !format!("{error:?}").contains("PRIVATE"), "{error:?}");
    assert_eq!(google.count("POST /token"), 1);

    std::fs::write(&path, "{\"private_key\": \"hush\"").unwrap();
    let error = google.lake().head("gs://lake/f").await.unwrap_err();
    assert!(error.is_permanent() && !error.to_string().contains("hush"), "{error}");
    let thief = google.lake().with("google_bearer_token", "stolen").with("google_base_url", &google.server.url);
    let error = thief.head("gs://lake/f").await.unwrap_err();
    assert!(error.is_permanent() && !error.to_string().contains("stolen"), "{error}");
}

#[tokio::test]
async fn the_token_server_may_be_busy_or_gone_for_a_moment() {
    let google = Google::start();
    google.fault("POST /token", Fault::Busy(503));
    google.fault("POST /token", Fault::Reset);
    assert_eq!(google.lake().head("gs://lake/f").await.unwrap(), None);
    assert_eq!(google.count("POST /token"), 3);
}

#[tokio::test]
async fn a_condition_holds_for_small_and_large_files() {
    let google = Google::start();
    let lake = google.lake();
    let folder = tempfile::tempdir().unwrap();
    for size in [1_000, LARGE] {
        // Such keys are escaped in three different ways on their way.
        let url = format!("gs://lake/a%20b+c%25d%23/{size}");
        let old = write(folder.path(), "old", noise(size));
        let new = write(folder.path(), "new", &noise(size + 1)[1..]);
        let first = lake.upload_when(&old, &url, &When::Absent, &()).await.unwrap();
        let again = lake.upload_when(&old, &url, &When::Absent, &()).await.unwrap();
        assert_eq!(again.version.generation, first.version.generation, "a second try finds it done");
        let error = lake.upload_when(&new, &url, &When::Absent, &()).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }) && error.is_permanent(), "{error:?}");

        assert_eq!(lake.list("gs://lake/a%20b").await.unwrap()[0].url, url.replace('#', "%23"));
        let seen = lake.head(&url).await.unwrap().unwrap().version;
        lake.upload_when(&new, &url, &When::Unchanged(seen.clone()), &()).await.unwrap();
        assert!(google.object(&format!("lake/a b+c%d#/{size}")).unwrap() == std::fs::read(&new).unwrap());
        let error = lake.upload_when(&old, &url, &When::Unchanged(seen.clone()), &()).await.unwrap_err();
        assert!(matches!(&error, Error::Conflict { message, .. } if message.contains("not the object")), "{error:?}");
        lake.delete(&url).await.unwrap();
        lake.delete(&url).await.unwrap();
        let error = lake.upload_when(&old, &url, &When::Unchanged(seen), &()).await.unwrap_err();
        assert!(matches!(&error, Error::Conflict { message, .. } if message.contains("no longer")), "{error:?}");
        settled().await;
        assert!(google.cloud().storage.paths().is_empty(), "no object, and none that parts came together in");
    }
    assert_eq!(google.cloud().storage.unfinished(), 0);
}

/// Where a program ends right after its upload, nothing is done in the background any more.
#[test]
fn a_conditional_upload_is_all_done_when_it_says_so() {
    let google = Google::start();
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "f", noise(LARGE));
    let program = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    program.block_on(google.lake().upload_when(&local, "gs://lake/f", &When::Absent, &())).unwrap();
    program.shutdown_background();
    assert_eq!(google.cloud().storage.paths(), ["lake/f"]);
}

/// Two writers that both looked before: the store decides, not we.
#[tokio::test]
async fn of_two_writers_one_wins() {
    let google = Google::start();
    let folder = tempfile::tempdir().unwrap();
    for size in [1_000, LARGE] {
        let url = format!("gs://lake/{size}");
        let (a, b) = (write(folder.path(), "a", noise(size)), write(folder.path(), "b", noise(size + 1)));
        let (one, two) = (google.lake(), google.lake());
        let outcomes =
            tokio::join!(one.upload_when(&a, &url, &When::Absent, &()), two.upload_when(&b, &url, &When::Absent, &()));
        let (winner, lost) = match outcomes {
            (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
            other => panic!("{size}: {other:?}"),
        };
        assert!(matches!(lost, Error::Conflict { .. }), "{lost:?}");
        assert_eq!(one.size(&url).await.unwrap(), Some(winner.bytes));
        settled().await;
    }
    assert_eq!(google.cloud().storage.paths().len(), 2);
    assert_eq!(google.cloud().storage.unfinished(), 0);
}

#[tokio::test]
async fn what_was_done_and_not_answered_is_found_done() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (write(folder.path(), "s", noise(1_000)), write(folder.path(), "l", noise(LARGE)));
    let seen = |n: u64| When::Unchanged(Version { etag: None, generation: Some(n.to_string()) });
    for (local, when, lost) in [
        (&small, When::Always, "PUT /lake/f"),
        (&small, When::Absent, "PUT /lake/f"),
        (&small, seen(1), "PUT /lake/f"),
        (&large, When::Always, "POST /lake/f?uploadId"),
        (&large, When::Absent, "POST /lake/f.part-*?uploadId"),
        (&large, When::Absent, "PUT /lake/f|"),
        (&large, seen(1), "PUT /lake/f|"),
    ] {
        let google = Google::start();
        let lake = google.lake();
        if matches!(when, When::Unchanged(_)) {
            google.cloud().storage.put("lake/f", "before");
        }
        let when = match when {
            // The etag is compared too where there is something to look at first.
            When::Unchanged(_) => When::Unchanged(lake.head("gs://lake/f").await.unwrap().unwrap().version),
            other => other,
        };
        google.fault(lost, Fault::Lost);
        lake.upload_when(local, "gs://lake/f", &when, &()).await.unwrap_or_else(|e| panic!("{when:?} {lost}: {e:?}"));
        assert_eq!(google.faults_left(), 0, "{when:?} {lost}");
        assert!(google.object("lake/f").unwrap() == std::fs::read(local).unwrap(), "{when:?} {lost}");
        settled().await;
        assert_eq!(google.cloud().storage.paths(), ["lake/f"], "{when:?} {lost}");
        assert_eq!(google.cloud().storage.unfinished(), 0, "{when:?} {lost}");
    }
}

#[tokio::test]
async fn faults_on_the_way_are_outlived() {
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "f", noise(LARGE));
    for request in
        ["POST /lake/f?uploads", "PUT /lake/f?partNumber=2", "POST /lake/f?uploadId", "HEAD /lake/f", "GET /lake/f"]
    {
        for fault in [Fault::Busy(429), Fault::Busy(503), Fault::Reset, Fault::Expired, Fault::Drip, Fault::Cut(9)] {
            if fault == Fault::Cut(9) && request != "GET /lake/f" {
                continue;
            }
            let google = Google::start();
            let lake = google.lake();
            google.fault(request, fault);
            let outcome = lake.upload(&local, "gs://lake/f", &()).await;
            outcome.unwrap_or_else(|e| panic!("{request} {fault:?}: {e:?}"));
            assert_eq!(lake.size("gs://lake/f").await.unwrap(), Some(LARGE as u64));
            lake.fetch("gs://lake/f", folder.path().join("back"), &()).await.unwrap();
            assert!(std::fs::read(folder.path().join("back")).unwrap() == noise(LARGE), "{request} {fault:?}");
            assert_eq!(google.faults_left(), 0, "{request} {fault:?}");
            assert_eq!(google.granted(), if fault == Fault::Expired { 2 } else { 1 }, "{request}");
            assert_eq!(google.cloud().storage.unfinished(), 0, "{request} {fault:?}");
        }
    }
}

#[tokio::test]
async fn a_failed_upload_leaves_the_old_object_and_no_parts() {
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "f", noise(LARGE));
    for (request, when) in [
        ("PUT /lake/f?partNumber=2", When::Always),
        ("POST /lake/f?uploadId", When::Always),
        ("PUT /lake/f.part-", When::Absent),
        ("POST /lake/f.part-*?uploadId", When::Absent),
    ] {
        let google = Google::start();
        google.cloud().storage.put("lake/other", "before");
        google.fault(request, Fault::Status(403));
        let error = google.lake().upload_when(&local, "gs://lake/f", &when, &()).await.unwrap_err();
        assert!(matches!(error, Error::Store { .. }), "{request}: {error:?}");
        settled().await;
        assert_eq!(google.cloud().storage.unfinished(), 0, "{request}");
        assert_eq!(google.cloud().storage.paths(), ["lake/other"], "{request}");
    }
}

/// At every request of an upload: the future is dropped while the request is on its way, and the request is carried out later.
#[tokio::test]
async fn a_dropped_upload_leaves_the_old_object_or_the_new_one_and_no_parts() {
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "f", noise(LARGE));
    for (request, conditional) in [
        ("POST /lake/f?uploads", false),
        ("PUT /lake/f?partNumber=1", false),
        ("PUT /lake/f?partNumber=2", false),
        ("POST /lake/f?uploadId", false),
        ("POST /lake/f.part-*?uploads", true),
        ("POST /lake/f.part-*?uploadId", true),
        ("PUT /lake/f.part-", true),
        ("PUT /lake/f|", true),
    ] {
        let google = Google::start();
        google.cloud().storage.put("lake/f", "before");
        let lake = google.lake();
        let seen = lake.head("gs://lake/f").await.unwrap().unwrap().version;
        let when = if conditional { When::Unchanged(seen) } else { When::Always };
        google.fault(request, Fault::Held);
        let met = async {
            while google.faults_left() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            outcome = lake.upload_when(&local, "gs://lake/f", &when, &()) => panic!("{request}: {outcome:?}"),
            () = met => {}
        }
        google.release();
        settled().await;
        // What was held may still be under way in the server, which does one thing at a time.
        lake.head("gs://lake/f").await.unwrap();
        let now = google.object("lake/f").unwrap();
        assert!(now == b"before" || now == noise(LARGE), "{request}");
        assert_eq!(google.cloud().storage.unfinished(), 0, "{request}");
        assert_eq!(google.cloud().storage.paths(), ["lake/f"], "{request}");
        // And the next try succeeds.
        lake.upload(&local, "gs://lake/f", &()).await.unwrap();
        assert!(google.object("lake/f").unwrap() == noise(LARGE), "{request}");
    }
}

/// Were what the parts become deleted before they are aborted, a request on its way could make it once more.
#[tokio::test]
async fn parts_are_aborted_before_what_they_become_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "f", noise(LARGE));
    let google = Google::start();
    let lake = google.lake();
    google.fault("POST /lake/f.part-*?uploadId", Fault::Held);
    google.fault("DELETE /lake/f.part-*?uploadId", Fault::Held);
    let left = async |few: usize| {
        while google.faults_left() > few {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        outcome = lake.upload_when(&local, "gs://lake/f", &When::Absent, &()) => panic!("{outcome:?}"),
        () = left(1) => {}
    }
    left(0).await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(google.count("DELETE /lake/f.part-"), 1, "the abort alone");
    google.release();
    settled().await;
    lake.head("gs://lake/f").await.unwrap();
    assert!(google.cloud().storage.paths().is_empty());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// An upload whose process ends while a part is on its way.
fn killed(google: &Google, lake: Lake, local: &std::path::Path, key: &str, when: When) {
    let dying = runtime();
    google.fault(&format!("PUT /lake/{key}"), Fault::Held);
    dying.block_on(async {
        let url = format!("gs://lake/{key}");
        let upload = lake.upload_when(local, &url, &when, &());
        let met = async {
            while google.faults_left() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::select! { outcome = upload => panic!("{outcome:?}"), () = met => {} }
    });
    // With the runtime ends everything that would have cleaned up.
    dying.shutdown_background();
}

/// Those that nobody noted are not touched: they may be at work.
#[test]
fn what_is_noted_of_a_killed_process_is_removed_by_the_next_upload() {
    let google = Google::start();
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "f", noise(LARGE));
    let noted = || google.lake().with_notes(folder.path().join("notes"));
    // Another key each time: a part of the one before may still come.
    killed(&google, google.lake(), &local, "a/0", When::Always);
    killed(&google, noted(), &local, "a/1", When::Always);
    assert_eq!(google.cloud().storage.unfinished(), 2);
    // It begins with what the one before has left.
    killed(&google, noted(), &local, "a/2", When::Absent);
    google.release();
    google.cloud().storage.put("lake/a/3.part-0123456789ab", "another's");
    assert_eq!(google.cloud().storage.unfinished(), 2);
    let small = write(folder.path(), "small", "small");
    runtime().block_on(noted().upload(&small, "gs://lake/b/1", &())).unwrap();
    assert_eq!(google.cloud().storage.unfinished(), 1);
    assert_eq!(google.cloud().storage.paths(), ["lake/a/3.part-0123456789ab", "lake/b/1"]);
    runtime().block_on(noted().upload(&local, "gs://lake/b/2", &())).unwrap();
    assert_eq!(folder.path().join("notes").read_dir().unwrap().count(), 0, "nothing is under way any more");
}

#[test]
fn what_a_killed_process_leaves_is_cleaned() {
    let google = Google::start();
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "f", noise(LARGE));
    for key in ["a/1", "a/2", "a/3", "b/1"] {
        killed(&google, google.lake(), &local, key, When::Always);
    }
    google.release();
    google.cloud().storage.put("lake/a/x.part-0123456789ab", "half");
    google.cloud().storage.put("lake/a/x.part-of-it", "an object of somebody");
    let cleaned = |prefix: &'static str, older: u64| {
        let lake: Lake = google.lake();
        let outcome = runtime().block_on(lake.clean(prefix, std::time::Duration::from_secs(older)));
        outcome.map(|cleaned| (cleaned.uploads, cleaned.objects)).unwrap()
    };
    assert_eq!(google.cloud().storage.unfinished(), 4);
    assert_eq!(cleaned("gs://lake/", 3_600), (0, 0), "they are young");
    assert_eq!(cleaned("gs://lake/a/", 0), (3, 1));
    assert_eq!(google.cloud().storage.paths(), ["lake/a/x.part-of-it"]);
    assert_eq!(cleaned("gs://lake/", 0), (1, 0));
    assert_eq!(google.cloud().storage.unfinished(), 0);
}

#[tokio::test]
async fn lists_have_pages_and_begin_letter_by_letter() {
    let google = Google::start();
    for key in ["raw/yellow-1", "raw/yellow-2", "raw/yellow-3", "raw/green-1", "raw/yellow/x", "rawer/y", "top"] {
        google.cloud().storage.put(&format!("lake/{key}"), key);
    }
    let lake = google.lake();
    let list = async |prefix: &str| -> Vec<String> {
        let found = lake.list(prefix).await.unwrap();
        found.into_iter().map(|object| object.url.strip_prefix("gs://lake/").unwrap().to_owned()).collect()
    };
    assert_eq!(list("gs://lake/raw/yellow").await, ["raw/yellow-1", "raw/yellow-2", "raw/yellow-3", "raw/yellow/x"]);
    assert_eq!(list("gs://lake/raw/").await.len(), 5);
    assert_eq!(list("gs://lake/raw").await.len(), 6);
    assert_eq!(list("gs://lake").await.len(), 7);
    assert!(list("gs://lake/none").await.is_empty());

    let copy = lake.copy("gs://lake/top", "gs://lake/raw/top", &When::Absent).await.unwrap();
    assert_eq!(copy.bytes, 3);
    let error = lake.copy("gs://lake/raw/green-1", "gs://lake/top", &When::Absent).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    let error = lake.copy("gs://lake/none", "gs://lake/x", &When::Always).await.unwrap_err();
    assert!(error.is_permanent(), "{error:?}");
    let error = lake.copy("gs://lake/top", "gs://other/x", &When::Always).await.unwrap_err();
    assert!(error.to_string().contains("fetch and upload"), "{error}");
}
