//! Downloads from servers that behave, and from those that do not.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_data::{Error, download, download_to};

use crate::files::noise;
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
