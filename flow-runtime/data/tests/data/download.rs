//! Downloads from servers that behave, and from those that do not.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use std::time::Duration;

use flow_data::{Compression, DownloadOptions, Error, Lake, Progress, download, download_to, download_with, version};

use crate::files::{gzip, noise};
use crate::google::{Fault, Google};
use crate::server::{Reply, Server, file};

const TAG: &str = "\"one\"";

fn parts(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".part")).collect()
}

#[tokio::test]
async fn a_file_arrives_whole_with_its_name_size_and_hash() {
    let content = noise(1 << 20);
    let served = content.clone();
    let server = Server::start(move |r| file(r, &served, TAG));
    let folder = tempfile::tempdir().unwrap();
    let last = AtomicU64::new(0);
    let progress = |done, total| {
        assert_eq!(total, Some(1 << 20));
        last.store(done, Ordering::SeqCst);
    };
    let url = server.at("/a/trips.csv.gz?token=hush");
    let done = download(&url, folder.path(), &progress).await.unwrap();
    assert_eq!(std::fs::read(&done.path).unwrap(), content);
    assert!(done.path.ends_with("trips.csv.gz") && done.path.starts_with(folder.path()));
    assert_eq!((done.bytes, done.reused, last.load(Ordering::SeqCst)), (1 << 20, false, 1 << 20));
    assert_eq!(done.sha256.len(), 64);
    assert!(!done.url.contains("hush"), "{}", done.url);
    let beside = std::fs::read_to_string(done.path.with_file_name("trips.csv.gz.json")).unwrap();
    assert!(beside.contains("one") && !beside.contains("hush"), "{beside}");
    assert!(parts(done.path.parent().unwrap()).is_empty());

    let other = download(&server.at("/b/trips.csv.gz"), folder.path(), &()).await.unwrap();
    assert_ne!(other.path, done.path, "the same name from another URL");
}

#[tokio::test]
async fn a_broken_connection_is_continued() {
    let content = noise(900_000);
    let served = content.clone();
    let server = Server::start(move |r| match r.number {
        0 => file(r, &served, TAG).cut(300_000),
        1 => file(r, &served, TAG).cut(299_999),
        _ => file(r, &served, TAG),
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let done = download_to(&server.at("/f"), &path, &()).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(done.bytes, 900_000);
    let starts: Vec<_> = server.requests().iter().map(|r| r.range_start()).collect();
    assert_eq!(starts, [None, Some(300_000), Some(599_999)]);
    assert_eq!(server.requests()[1].header("if-range"), Some(TAG));
}

#[tokio::test]
async fn a_server_without_ranges_starts_over() {
    let content = noise(500_000);
    let served = content.clone();
    let server = Server::start(move |r| {
        let reply = Reply::new(200, served.clone()).with("ETag", TAG);
        if r.number == 0 { reply.cut(400_000) } else { reply }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    download_to(&server.at("/f"), &path, &()).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(server.requests().len(), 2);
}

/// Half of the old content and half of the new one must never meet.
#[tokio::test]
async fn content_that_changes_midway_starts_over() {
    let (old, new) = (noise(500_000), noise(600_000)[1..].to_vec());
    let want = new.clone();
    // The first kind heeds If-Range, the second ignores it, the third has the same length and no tag in its answer.
    for kind in 0..3 {
        let (old, new) = (old.clone(), new.clone());
        let server = Server::start(move |r| match (r.number, kind) {
            (0, _) => file(r, &old, TAG).cut(250_000),
            (1, 1) => Reply::new(206, &new[250_000..])
                .with("ETag", "\"two\"")
                .with("Content-Range", format!("bytes 250000-{}/{}", new.len() - 1, new.len())),
            (1, 2) => {
                Reply::new(206, &new[1..]).with("Content-Range", format!("bytes 1-{}/{}", new.len() - 1, new.len()))
            }
            _ => file(r, &new, "\"two\""),
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        download_to(&server.at("/f"), &path, &()).await.unwrap();
        assert!(std::fs::read(&path).unwrap() == want, "kind {kind}");
    }
}

#[tokio::test]
async fn a_finished_file_is_asked_for_conditionally() {
    let content = noise(1_000);
    let served = content.clone();
    let server = Server::start(move |r| match r.number {
        0 | 1 => file(r, &served, TAG),
        _ => file(r, b"new", "\"two\""),
    });
    let folder = tempfile::tempdir().unwrap();
    let first = download(&server.at("/f"), folder.path(), &()).await.unwrap();
    let second = download(&server.at("/f"), folder.path(), &()).await.unwrap();
    assert_eq!(flow_data::Download { reused: true, ..first.clone() }, second);
    assert_eq!(server.requests()[1].header("if-none-match"), Some(TAG));
    assert!(parts(first.path.parent().unwrap()).is_empty());

    let third = download(&server.at("/f"), folder.path(), &()).await.unwrap();
    assert!(!third.reused);
    assert_eq!(std::fs::read(&third.path).unwrap(), b"new");

    std::fs::write(&third.path, b"newer").unwrap();
    let fourth = download(&server.at("/f"), folder.path(), &()).await.unwrap();
    assert!(!fourth.reused, "a file that was changed on disk is fetched again");
    assert_eq!(std::fs::read(&fourth.path).unwrap(), b"new");
}

#[tokio::test]
async fn a_date_serves_where_there_is_no_tag() {
    const DATE: &str = "Fri, 01 Jan 2021 00:00:00 GMT";
    let server = Server::start(|r| match r.header("if-modified-since") {
        Some(DATE) => Reply::new(304, ""),
        _ => Reply::new(200, "abc").with("Last-Modified", DATE),
    });
    let folder = tempfile::tempdir().unwrap();
    assert!(!download(&server.at("/f"), folder.path(), &()).await.unwrap().reused);
    assert!(download(&server.at("/f"), folder.path(), &()).await.unwrap().reused);
}

#[tokio::test]
async fn without_tag_and_date_the_length_decides() {
    let server = Server::start(|r| match r.number {
        0 | 1 => Reply::new(200, "abc"),
        _ => Reply::new(200, "abcd"),
    });
    let folder = tempfile::tempdir().unwrap();
    let reused: Vec<_> = [
        download(&server.at("/f"), folder.path(), &()).await.unwrap().reused,
        download(&server.at("/f"), folder.path(), &()).await.unwrap().reused,
        download(&server.at("/f"), folder.path(), &()).await.unwrap().reused,
    ]
    .into();
    assert_eq!(reused, [false, true, false]);
    let methods: Vec<_> = server.requests().into_iter().map(|r| r.method).collect();
    assert_eq!(methods, ["GET", "HEAD", "HEAD", "GET"]);
}

#[tokio::test]
async fn a_refusal_is_told_apart_and_says_what_to_try() {
    let server = Server::start(|_| Reply::new(404, "no"));
    let folder = tempfile::tempdir().unwrap();
    let url = server.at("/2021-99.csv?sig=hush").replace("http://", "http://me:hush@");
    let error = download(&url, folder.path(), &()).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 404, .. }) && error.is_permanent(), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("2021-99.csv") && text.contains("look at the address") && !text.contains("hush"), "{text}");
    assert_eq!(server.requests().len(), 1, "no second attempt");
    let subfolder = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
    assert!(parts(&subfolder.path()).is_empty(), "nothing to continue");
}

#[tokio::test]
async fn a_server_with_a_fault_is_asked_again_and_in_the_end_given_up() {
    let server = Server::start(|r| match r.number {
        0 => Reply::new(503, "").with("Retry-After", 0),
        1 => Reply::new(429, "").with("Retry-After", 0),
        _ => Reply::new(200, "abc"),
    });
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(download(&server.at("/f"), folder.path(), &()).await.unwrap().bytes, 3);

    let server = Server::start(|_| Reply::new(500, "").with("Retry-After", 0));
    let error = download(&server.at("/f"), folder.path(), &()).await.unwrap_err();
    assert!(matches!(error, Error::Transfer { attempts: 6, .. }) && !error.is_permanent(), "{error:?}");
    assert!(error.to_string().contains("500"), "{error}");
    assert_eq!(server.requests().len(), 6);
}

/// The waits themselves are measured at the unit tests of the attempts, by a clock that stands still.
#[tokio::test]
async fn a_wait_that_a_server_asks_for_is_told_or_can_be_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::new(429, "").with("Retry-After", 3_600));
    let error = download(&server.at("/f"), folder.path(), &()).await.unwrap_err();
    assert!(matches!(error, Error::Transfer { attempts: 1, .. }) && !error.is_permanent(), "{error:?}");
    assert!(error.to_string().contains("asks to be left alone for 3600 s"), "{error}");
    assert_eq!(server.requests().len(), 1);

    /// Is not wanted any more once the server was asked.
    struct Asked(Arc<AtomicBool>);
    impl Progress for Asked {
        fn report(&self, _: u64, _: Option<u64>) {}

        fn cancelled(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }
    let asked = Arc::new(AtomicBool::new(false));
    let seen = asked.clone();
    let server = Server::start(move |_| {
        seen.store(true, Ordering::SeqCst);
        Reply::new(429, "").with("Retry-After", 300)
    });
    let error = download(&server.at("/f"), folder.path(), &Asked(asked)).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error:?}");
}

#[tokio::test]
async fn a_length_that_is_never_kept_is_an_error_and_no_file_appears() {
    let server = Server::start(|_| Reply::new(200, noise(1_000)).with("ETag", "W/\"weak\"").cut(600));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let error = download_to(&server.at("/f"), &path, &()).await.unwrap_err();
    assert!(matches!(error, Error::Transfer { .. }), "{error:?}");
    assert!(!path.exists());
    let ranges = server.requests().iter().filter(|r| r.range_start().is_some()).count();
    assert_eq!(ranges, 0, "a weak tag cannot vouch for a range");
}

/// Keeps what is said by warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN && metadata.target().starts_with("flow_data")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Words(String);
        impl tracing::field::Visit for Words {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{value:?}"));
            }
        }
        let mut words = Words(String::new());
        event.record(&mut words);
        self.0.lock().unwrap().push(words.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn a_server_that_names_no_length_is_warned_of_once() {
    let warnings = Warnings::default();
    let _heard = tracing::subscriber::set_default(warnings.clone());
    let folder = tempfile::tempdir().unwrap();
    let chunked = Server::start(|_| Reply::new(200, "3\r\nabc\r\n0\r\n\r\n").with("Transfer-Encoding", "chunked"));
    let long = Server::start(|r| file(r, b"abc", TAG));
    for server in [&chunked, &long] {
        assert_eq!(download(&server.at("/f"), folder.path(), &()).await.unwrap().bytes, 3);
    }
    assert!(warnings.0.lock().unwrap().is_empty(), "{warnings:?}", warnings = warnings.0);

    // The first connection is given up, the second begins anew: nothing vouches for what came by the first.
    let endless = Server::start(|r| {
        let mut reply = Reply::new(200, "abc");
        reply.endless = true;
        reply.drip = (r.number == 0).then_some((1, Duration::from_secs(60)));
        reply
    });
    // As much as a busy machine needs for the second.
    let options = DownloadOptions { least_bytes: 2, patience: Duration::from_secs(2), ..DownloadOptions::default() };
    let url = endless.at("/f?sig=hush");
    let done = download_with(&url, folder.path().join("f"), &options, &()).await.unwrap();
    assert_eq!((done.bytes, endless.requests().len()), (3, 2));
    let mut said = warnings.0.lock().unwrap().clone();
    assert_eq!(said.len(), 1, "{said:?}");
    let said = said.remove(0);
    assert!(said.contains("/f") && said.contains("names no length") && !said.contains("hush"), "{said}");
}

/// An earlier process got all bytes and ended before the file had its name.
#[tokio::test]
async fn a_part_that_is_whole_is_asked_for_once_more() {
    for (tag_now, want) in [(TAG, &b"old"[..]), ("\"two\"", b"new")] {
        let server = Server::start(move |r| match r.number {
            // Ends before the last byte, so that what is left looks like that process's remains once it is added.
            0 => file(r, b"old", TAG).cut(2),
            1 => Reply::new(404, ""),
            _ => file(r, want, tag_now),
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        download_to(&server.at("/f"), &path, &()).await.unwrap_err();
        let part = folder.path().join("f.part");
        assert_eq!(std::fs::read(&part).unwrap(), b"ol");
        std::fs::write(&part, b"old").unwrap();
        let done = download_to(&server.at("/f"), &path, &()).await.unwrap();
        assert_eq!(server.requests()[2].header("if-none-match"), Some(TAG));
        assert_eq!((std::fs::read(&path).unwrap().as_slice(), done.reused), (want, false));
        assert!(parts(folder.path()).is_empty());
    }
}

#[tokio::test]
async fn two_downloads_to_one_path_take_turns() {
    let content = noise(300_000);
    let served = content.clone();
    let server = Server::start(move |r| file(r, &served, TAG));
    let folder = tempfile::tempdir().unwrap();
    let url = server.at("/f");
    let (a, b) = tokio::join!(download(&url, folder.path(), &()), download(&url, folder.path(), &()));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.path, b.path);
    assert!(a.reused != b.reused, "one transfers, the other finds it there");
    assert_eq!(std::fs::read(&a.path).unwrap(), content);
}

#[tokio::test]
async fn files_on_disk_are_copied_once() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a b.csv");
    std::fs::write(&source, "abc").unwrap();
    let to = folder.path().join("to");
    let url = url::Url::from_file_path(&source).unwrap().to_string();
    for from in [url.as_str(), source.to_str().unwrap()] {
        let first = download(from, &to, &()).await.unwrap();
        assert_eq!((first.reused, first.bytes), (false, 3));
        assert_eq!(first.path.file_name().unwrap(), "a b.csv");
        assert!(download(from, &to, &()).await.unwrap().reused);
    }
    std::fs::write(&source, "abcd").unwrap();
    assert_eq!(download(&url, &to, &()).await.unwrap().bytes, 4);

    let error = download("/nowhere/x.csv", &to, &()).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("/nowhere/x.csv"), "{error}");
}

#[tokio::test]
async fn a_file_is_not_what_is_written_beside_its_copy() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["f.json", "f.part", "f.part.json"] {
        let source = crate::files::write(folder.path(), name, "abc");
        let error = download_to(source.to_str().unwrap(), folder.path().join("f"), &()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        assert_eq!(std::fs::read_to_string(&source).unwrap(), "abc", "{name}");
    }
    let source = folder.path().join("f.part");
    assert_eq!(download_to(source.to_str().unwrap(), &source, &()).await.unwrap().bytes, 3, "onto itself");
    assert_eq!(std::fs::read_to_string(&source).unwrap(), "abc");
}

#[tokio::test]
async fn a_version_is_that_of_the_content() {
    let server = Server::start(|r| match r.target.as_str() {
        "/a" => file(r, b"one", TAG),
        "/b" => file(r, b"one", "\"two\""),
        "/dated" => Reply::new(200, "one").with("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
        "/dated-longer" => Reply::new(200, "longer").with("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
        "/plain" => Reply::new(200, "one"),
        _ => Reply::new(405, "").with("ETag", TAG),
    });
    let of = async |path: &str| version(&server.at(path)).await;
    assert_eq!(of("/a").await, of("/a").await);
    let different = [of("/a").await, of("/b").await, of("/dated").await, of("/dated-longer").await];
    assert!(different.iter().all(Option::is_some), "{different:?}");
    assert!((1..4).all(|n| !different[..n].contains(&different[n])), "{different:?}");
    for untold in ["/plain", "/refused"] {
        assert_eq!(of(untold).await, None, "{untold}");
    }
    assert!(server.requests().iter().all(|r| r.method == "HEAD"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let text = path.to_str().unwrap();
    assert_eq!((version(text).await, version("ftp://h/x").await), (None, None));
    std::fs::write(&path, "one").unwrap();
    let first = version(text).await;
    assert_eq!((first.is_some(), version(text).await), (true, first.clone()));
    std::fs::write(&path, "another").unwrap();
    assert_ne!(version(text).await, first);
}

#[tokio::test]
async fn a_download_knows_whether_its_file_is_there() {
    let server = Server::start(|r| file(r, if r.number == 0 { b"one" } else { b"two" }, &format!("\"{}\"", r.number)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let one = download_to(&server.at("/f"), &path, &()).await.unwrap();
    assert!(one.is_there());
    let two = download_to(&server.at("/f"), &path, &()).await.unwrap();
    assert!(two.is_there() && !one.is_there(), "the file has another content of the same length");
    std::fs::write(&path, "longer").unwrap();
    assert!(!two.is_there());
    std::fs::remove_file(&path).unwrap();
    assert!(!two.is_there());
}

#[tokio::test]
async fn a_checksum_is_kept_or_no_file_appears() {
    let content = noise(100_000);
    let served = content.clone();
    let server = Server::start(move |r| file(r, &served, TAG));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let with = |sha256: &str| DownloadOptions { sha256: Some(sha256.into()), ..DownloadOptions::default() };
    let error = download_with(&server.at("/f"), &path, &with(&"0".repeat(64)), &()).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }) && error.is_permanent(), "{error:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing to continue from");

    let done = download_to(&server.at("/f"), &path, &()).await.unwrap();
    let asked = server.requests().len();
    let stated = with(&done.sha256.to_uppercase());
    let again = download_with(&server.at("/f"), &path, &stated, &()).await.unwrap();
    assert!(again.reused && server.requests().len() == asked, "that content is there: nobody is asked");
    // The file is there and unchanged on the server, and it is not what is wanted.
    let error = download_with(&server.at("/f"), &path, &with(&"0".repeat(64)), &()).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), content, "the old file stays");
}

#[tokio::test]
async fn a_connection_that_drips_is_left_and_continued_by_another() {
    let content = noise(300_000);
    let served = content.clone();
    let server = Server::start(move |r| {
        let mut reply = file(r, &served, TAG);
        if r.number == 0 {
            reply.drip = Some((1_000, Duration::from_millis(20)));
        }
        reply
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let patience = Duration::from_millis(400);
    let options = DownloadOptions { least_bytes: 100_000, patience, ..DownloadOptions::default() };
    download_with(&server.at("/f"), &path, &options, &()).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert!(server.requests()[1].range_start().is_some_and(|start| start > 0), "what came is kept");

    let server = Server::start(move |r| {
        let mut reply = file(r, &content, TAG);
        reply.drip = Some((10, Duration::from_millis(20)));
        reply
    });
    let options = DownloadOptions { patience: Duration::from_millis(60), ..options };
    let error = download_with(&server.at("/g"), folder.path().join("g"), &options, &()).await.unwrap_err();
    assert!(matches!(error, Error::Transfer { attempts: 6, .. }), "{error:?}");
    assert!(error.to_string().contains("too slow"), "{error}");
}

#[tokio::test]
async fn compression_is_told_by_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x00, 0x01, 0x00, 0x00];
    for (name, content, want) in [
        ("a.csv", gzip(b"id\n1\n"), Some(Compression::Gzip)),
        ("b.gz", zstd.to_vec(), Some(Compression::Zstd)),
        ("c.csv.gz", b"id\n1\n".to_vec(), None),
        ("d", Vec::new(), None),
    ] {
        let source = crate::files::write(folder.path(), name, content);
        let to = folder.path().join("to");
        for reused in [false, true] {
            let done = download(source.to_str().unwrap(), &to, &()).await.unwrap();
            assert_eq!((done.compression, done.reused), (want, reused), "{name}");
        }
    }
}

#[tokio::test]
async fn an_object_is_downloaded_once_and_continued_as_the_version_that_was_seen() {
    let (old, new) = (noise(900_000), noise(700_000)[1..].to_vec());
    let google = Google::start();
    google.cloud().storage.put("lake/raw/f.csv", old.clone());
    let options = DownloadOptions { lake: google.lake(), ..DownloadOptions::default() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.csv");
    let url = "gs://lake/raw/f.csv";
    let get = async || download_with(url, &path, &options, &()).await;
    google.fault("GET /lake/raw/f.csv", Fault::Cut(400_000));
    google.fault("GET /lake/raw/f.csv", Fault::Busy(503));
    let first = get().await.unwrap();
    assert_eq!((first.bytes, first.reused, first.url.as_str()), (900_000, false, url));
    assert!(std::fs::read(&path).unwrap() == old);
    assert_eq!(google.faults_left(), 0);
    let asked = google.count("GET /lake/raw/f.csv");
    assert!(get().await.unwrap().reused && google.count("GET /lake/raw/f.csv") == asked);
    assert!(parts(folder.path()).is_empty());

    // Half of the old content is there when the new one comes.
    std::fs::remove_file(&path).unwrap();
    let arrived = tokio::sync::Notify::new();
    let progress = |done, _| {
        if done > 300_000 {
            arrived.notify_one();
        }
    };
    google.fault("GET /lake/raw/f.csv", Fault::Drip);
    tokio::select! {
        outcome = download_with(url, &path, &options, &progress) => panic!("not yet: {outcome:?}"),
        () = arrived.notified() => {}
    }
    assert!(!path.exists());
    google.cloud().storage.put("lake/raw/f.csv", new.clone());
    assert!(!get().await.unwrap().reused);
    assert!(std::fs::read(&path).unwrap() == new);
    google.cloud().storage.put("lake/raw/f.csv", old.clone());
    assert!(!get().await.unwrap().reused, "another version");

    google.fault("GET /lake/raw/g.csv", Fault::Status(403));
    google.cloud().storage.put("lake/raw/g.csv", "x");
    for (url, why) in [("gs://lake/raw/none", "no such object"), ("gs://lake/raw/g.csv", "403")] {
        let error = download_with(url, folder.path().join("g"), &options, &()).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains(why), "{error:?}");
    }
}

#[tokio::test]
async fn an_object_in_memory_is_downloaded_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let local = crate::files::write(folder.path(), "f.csv", "id\n1\n");
    Lake::new().upload(&local, "memory://downloads/raw/f.csv", &()).await.unwrap();
    let done = download("memory://downloads/raw/f.csv", folder.path().join("to"), &()).await.unwrap();
    assert!(done.path.ends_with("f.csv") && done.bytes == 5);
    let first = version("memory://downloads/raw/f.csv").await;
    assert_eq!((first.is_some(), version("memory://downloads/raw/f.csv").await), (true, first.clone()));
    Lake::new().upload(&local, "memory://downloads/raw/f.csv", &()).await.unwrap();
    assert_ne!(version("memory://downloads/raw/f.csv").await, first);
}

/// Number 44. How the waits grow, and that they are random, stands at the unit tests of the attempts.
#[tokio::test]
async fn a_server_that_never_mends_is_asked_six_times_and_its_fault_is_told() {
    const CONTENT: usize = 100_000;
    let drips = Some((10, Duration::from_millis(20)));
    let whole = || Reply::new(200, noise(CONTENT)).with("ETag", TAG);
    let faults: [(&str, Reply, &str); 5] = [
        ("429", Reply::new(429, "").with("Retry-After", 0), "the server answered 429: the server is busy"),
        ("500", Reply::new(500, "").with("Retry-After", 0), "the server answered 500: the server has a fault"),
        ("reset", Reply::lost(), "connection closed"),
        ("drip", Reply { drip: drips, ..whole() }, "the connection is too slow: fewer than 50000 bytes in 0.06 s"),
        ("length", whole().cut(0), "end of file before message length reached"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let ends = faults.map(|(name, reply, why)| {
        let (server, path) = (Server::start(move |_| reply.clone()), folder.path().join(name));
        let patience = Duration::from_millis(60);
        let options = DownloadOptions { least_bytes: 50_000, patience, ..DownloadOptions::default() };
        async move {
            let error = download_with(&server.at("/f"), &path, &options, &()).await.unwrap_err();
            assert!(matches!(error, Error::Transfer { attempts: 6, .. }) && !error.is_permanent(), "{name}: {error:?}");
            assert!(error.to_string().contains(why), "{name}: {error}");
            assert_eq!(server.requests().len(), 6, "{name}");
            assert!(!path.exists(), "{name}");
        }
    });
    futures::future::join_all(ends).await;
}
