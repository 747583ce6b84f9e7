//! Files to and from stores.

use flow_data::{Error, Lake, fetch, upload};

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
