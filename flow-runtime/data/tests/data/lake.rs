//! Files to and from stores.

use flow_data::{Error, Lake, When, fetch, upload};

use crate::files::{noise, write};
use crate::store::Store;

const PART: usize = 8 << 20;

fn s3(store: &Store) -> Lake {
    Lake::new()
        .with("AWS_ENDPOINT", &store.server.url)
        .with("AWS_ACCESS_KEY_ID", "me")
        .with("AWS_SECRET_ACCESS_KEY", "hush")
        .with("AWS_REGION", "us-east-1")
}

fn google(store: &Store) -> Lake {
    Lake::new().with("STORAGE_EMULATOR_HOST", &store.server.url)
}

fn azure(store: &Store) -> Lake {
    let key = "aHVzaGh1c2g=";
    Lake::new()
        .with("AZURE_STORAGE_ACCOUNT_NAME", "acct")
        .with("AZURE_STORAGE_ACCOUNT_KEY", key)
        .with("AZURE_STORAGE_ENDPOINT", &store.server.url)
}

#[tokio::test]
async fn small_and_large_files_arrive_in_every_store() {
    let folder = tempfile::tempdir().unwrap();
    for scheme in ["s3", "gs", "az"] {
        let store = Store::start(None);
        let lake = match scheme {
            "s3" => s3(&store),
            "gs" => google(&store),
            _ => azure(&store),
        };
        for size in [0, 1_000, PART, PART + 1, 3 * PART + 5] {
            let content = noise(size);
            let local = write(folder.path(), "trips.parquet", &content);
            let sent = lake.upload(&local, &format!("{scheme}://lake/raw/"), &()).await.unwrap();
            assert_eq!((sent.url, sent.bytes), (format!("{scheme}://lake/raw/trips.parquet"), size as u64));
            assert!(store.object("/lake/raw/trips.parquet").unwrap() == content, "{scheme} {size}");

            let back = folder.path().join("back/trips.parquet");
            let got = lake.fetch(&format!("{scheme}://lake/raw/trips.parquet"), &back, &()).await.unwrap();
            assert_eq!(got.bytes, size as u64);
            let told = lake.size(&format!("{scheme}://lake/raw/trips.parquet")).await.unwrap();
            assert_eq!(told, Some(size as u64), "{scheme}");
            assert_eq!(lake.size(&format!("{scheme}://lake/raw/none")).await.unwrap(), None, "{scheme}");
            assert!(std::fs::read(&back).unwrap() == content, "{scheme} {size}");
        }
        assert_eq!(store.largest(), PART, "no request is larger than a part");
    }
}

#[tokio::test]
async fn a_part_that_is_refused_aborts_the_upload_and_no_object_appears() {
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "f", noise(3 * PART));
    let store = Store::start(Some("2"));
    let error = s3(&store).upload(&local, "s3://lake/f", &()).await.unwrap_err();
    assert!(matches!(error, Error::Store { permanent: true, .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("s3://lake/f") && !text.contains("hush"), "{text}");
    assert_eq!((store.object("/lake/f"), store.aborted()), (None, 1));
}

#[tokio::test]
async fn what_is_not_there_is_a_permanent_error_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::start(None);
    let back = folder.path().join("back");
    let error = google(&store).fetch("gs://lake/none", &back, &()).await.unwrap_err();
    assert!(error.is_permanent(), "{error:?}");
    let error = upload(folder.path().join("none"), "gs://lake/x", &()).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("none"), "{error:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_is_a_store_too() {
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "f.parquet", noise(3_000_000));
    let lake = folder.path().join("lake");
    let to = format!("{}/", lake.display());
    let sent = upload(&local, &to, &()).await.unwrap();
    assert_eq!((sent.url.as_str(), sent.bytes), (lake.join("f.parquet").to_str().unwrap(), 3_000_000));
    let url = url::Url::from_file_path(lake.join("g.parquet")).unwrap().to_string();
    upload(&local, &url, &()).await.unwrap();
    let back = folder.path().join("back");
    fetch(&url, &back, &()).await.unwrap();
    assert_eq!(std::fs::read(back).unwrap(), noise(3_000_000));
    let names = std::fs::read_dir(&lake).unwrap().count();
    assert_eq!(names, 2, "no part files");
}

#[test]
fn a_file_that_grows_meanwhile_is_not_put_into_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let local = write(folder.path(), "f", noise(20_000_000));
    let lake = folder.path().join("lake");
    let (begun, end) = (std::sync::Barrier::new(2), std::sync::atomic::AtomicBool::new(false));
    let outcome = std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut file = std::fs::OpenOptions::new().append(true).open(&local).unwrap();
            begun.wait();
            while !end.load(std::sync::atomic::Ordering::Relaxed) {
                std::io::Write::write_all(&mut file, b"x").unwrap();
            }
        });
        begun.wait();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(upload(&local, &format!("{}/", lake.display()), &()));
        end.store(true, std::sync::atomic::Ordering::Relaxed);
        outcome
    });
    assert!(outcome.unwrap_err().to_string().contains("the file changed while it was read"));
    assert_eq!(std::fs::read_dir(&lake).unwrap().count(), 0);
}

#[tokio::test]
async fn googles_credentials_are_read_from_the_file_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::start(None);
    let key = serde_json::json!({
        "type": "service_account", "gcs_base_url": store.server.url, "disable_oauth": true,
        "client_email": "a@b", "private_key": "", "private_key_id": "",
    });
    let credentials = write(folder.path(), "key.json", key.to_string());
    let lake = Lake::new().with("GOOGLE_APPLICATION_CREDENTIALS", credentials.to_str().unwrap());
    lake.upload(&credentials, "gs://lake/k", &()).await.unwrap();
    assert!(store.object("/lake/k").is_some());

    let broken = write(folder.path(), "broken.json", "{\"private_key\": \"hush\"");
    let lake = Lake::new().with("GOOGLE_APPLICATION_CREDENTIALS", broken.to_str().unwrap());
    let error = lake.upload(&credentials, "gs://lake/k", &()).await.unwrap_err().to_string();
    assert!(!error.contains("hush"), "{error}");
}

#[tokio::test]
async fn conditions_hold_in_folders_and_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (write(folder.path(), "old", noise(1_000)), write(folder.path(), "new", noise(1_001)));
    let large = write(folder.path(), "large", noise(2 * PART));
    let lake = Lake::new();
    for place in [format!("{}/lake", folder.path().display()), "memory://conditions".to_owned()] {
        let url = format!("{place}/a/f");
        let first = lake.upload_when(&old, &url, &When::Absent, &()).await.unwrap();
        lake.upload_when(&old, &url, &When::Absent, &()).await.unwrap();
        let error = lake.upload_when(&new, &url, &When::Absent, &()).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{place}: {error:?}");
        let seen = lake.head(&url).await.unwrap().unwrap();
        assert_eq!((&seen.version, seen.bytes), (&first.version, 1_000), "{place}");
        lake.upload_when(&new, &url, &When::Unchanged(seen.version.clone()), &()).await.unwrap();
        for stale in [&old, &large] {
            let error = lake.upload_when(stale, &url, &When::Unchanged(seen.version.clone()), &()).await.unwrap_err();
            assert!(matches!(error, Error::Conflict { .. }), "{place}: {error:?}");
        }
        let copy = lake.copy(&url, &format!("{place}/a/g"), &When::Absent).await.unwrap();
        assert_eq!(copy.bytes, 1_001, "{place}");
        lake.upload(&large, &format!("{place}/b"), &()).await.unwrap();
        let list = async |prefix: &str| lake.list(&format!("{place}{prefix}")).await.unwrap().len();
        assert_eq!(
            (list("/").await, list("/a/").await, list("/a/f").await, list("/none").await),
            (3, 2, 1, 0),
            "{place}"
        );
        lake.delete(&url).await.unwrap();
        lake.delete(&url).await.unwrap();
        assert_eq!((lake.size(&url).await.unwrap(), list("/a/").await), (None, 1), "{place}");
        let back = folder.path().join("back");
        lake.fetch(&format!("{place}/b"), &back, &()).await.unwrap();
        assert!(std::fs::read(back).unwrap() == noise(2 * PART), "{place}");
    }
}

/// By `If-None-Match` and `If-Match`, also where parts are completed.
#[tokio::test]
async fn conditions_hold_in_s3_and_azure() {
    let folder = tempfile::tempdir().unwrap();
    for (scheme, size) in [("s3", 1_000), ("s3", PART + 1), ("az", 1_000), ("az", PART + 1)] {
        let store = Store::start(None);
        let (lake, url) = (if scheme == "s3" { s3(&store) } else { azure(&store) }, format!("{scheme}://lake/f"));
        let (old, new) = (write(folder.path(), "old", noise(size)), write(folder.path(), "new", &noise(size + 1)[1..]));
        let put = async |local: &std::path::Path, when: &When| lake.upload_when(local, &url, when, &()).await;
        put(&old, &When::Absent).await.unwrap();
        put(&old, &When::Absent).await.unwrap();
        let error = put(&new, &When::Absent).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{url} {size}: {error:?}");
        let seen = When::Unchanged(lake.head(&url).await.unwrap().unwrap().version);
        put(&new, &seen).await.unwrap();
        let error = put(&old, &seen).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{url} {size}: {error:?}");
        assert!(store.object("/lake/f").unwrap() == std::fs::read(&new).unwrap());
    }
}

/// The string that Azure's signature is of: <https://learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-shared-key>.
fn signed_in_azure(request: &crate::server::Request) -> String {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let said = |name| request.header(name).unwrap_or_default();
    let own: std::collections::BTreeMap<_, _> =
        request.headers.iter().filter(|(name, _)| name.starts_with("x-ms-")).collect();
    let own: String = own.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let query: String = query.split('&').map(|pair| format!("\n{}", pair.replacen('=', ":", 1))).collect();
    let names = ["content-encoding", "content-language", "content-length", "content-md5", "content-type", "date"];
    let conditions = ["if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"];
    let lines: String = names.into_iter().chain(conditions).map(|name| format!("{}\n", said(name))).collect();
    format!("{}\n{lines}{own}/acct{path}{query}", request.method)
}

#[tokio::test]
async fn a_condition_on_azures_blocks_is_signed() {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let folder = tempfile::tempdir().unwrap();
    let large = write(folder.path(), "large", noise(PART + 1));
    let store = Store::start(None);
    azure(&store).upload_when(&large, "az://lake/f", &When::Absent, &()).await.unwrap();
    let requests = store.server.requests();
    let completes = requests.iter().find(|request| request.target.ends_with("?comp=blocklist")).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"hushhush");
    let signature = ring::hmac::sign(&key, signed_in_azure(completes).as_bytes());
    assert_eq!(completes.header("if-none-match"), Some("*"));
    assert_eq!(
        completes.header("authorization"),
        Some(&*format!("SharedKey acct:{}", BASE64_STANDARD.encode(signature)))
    );
}

/// As when the answer to the first completion is lost: there is no such upload, but the object is there.
#[tokio::test]
async fn an_upload_that_is_no_longer_there_is_done_if_its_object_is() {
    let folder = tempfile::tempdir().unwrap();
    let (large, content) = (folder.path().join("large"), noise(PART + 1));
    write(folder.path(), "large", content.clone());
    let store = Store::start(None);
    store.outdo(&content);
    s3(&store).upload(&large, "s3://lake/f", &()).await.unwrap();
    store.outdo(b"somebody else's");
    let error = s3(&store).upload(&large, "s3://lake/f", &()).await.unwrap_err();
    assert!(matches!(error, Error::Store { permanent: false, .. }), "{error:?}");
}

/// Whoever is done first takes the blocks of the other away, who is told what has happened and not what is missing.
#[tokio::test]
async fn who_is_outdone_in_azure_hears_of_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let (large, other) = (write(folder.path(), "large", noise(PART + 1)), write(folder.path(), "other", noise(7)));
    let store = Store::start(None);
    let lake = azure(&store);
    lake.upload(&other, "az://lake/f", &()).await.unwrap();
    let seen = When::Unchanged(lake.head("az://lake/f").await.unwrap().unwrap().version);
    store.outdo(b"somebody else's");
    let error = lake.upload_when(&large, "az://lake/f", &seen, &()).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    assert!(store.object("/lake/f").unwrap() == b"somebody else's");
}
