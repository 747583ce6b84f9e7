//! Google without credentials: the machine's own account, or that there is none.

use flow_data::{BigQuery, Error, Lake};

use crate::server::{Reply, Server};

/// A lake whose home is empty, on a machine that asks this server about itself.
fn lake(home: &tempfile::TempDir, metadata: &str) -> Lake {
    let lake = Lake::new().with("HOME", home.path().to_str().unwrap());
    // Whatever the environment says.
    let lake = lake.with("GOOGLE_APPLICATION_CREDENTIALS", "").with("GOOGLE_SERVICE_ACCOUNT", "");
    lake.with("GCE_METADATA_HOST", metadata.trim_start_matches("http://"))
}

/// What both services of Google say.
async fn refused(lake: &Lake) -> [Error; 2] {
    let bigquery = BigQuery::open("bigquery://p/d", lake).unwrap();
    [lake.head("gs://lake/f").await.unwrap_err(), bigquery.query("SELECT 1").await.unwrap_err()]
}

fn tells_where_it_looked(error: &Error) -> bool {
    let told = error.to_string();
    let places = [
        ".google/credentials/google_credentials.json",
        "GOOGLE_APPLICATION_CREDENTIALS names none",
        "/.config/gcloud/",
    ];
    places.iter().all(|place| told.contains(place)) && told.contains("no Google credentials")
}

#[tokio::test]
async fn who_has_no_credentials_hears_at_once_where_they_were_looked_for() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::new(404, "no such page"));
    for error in refused(&lake(&home, &server.url)).await {
        assert!(error.is_permanent() && tells_where_it_looked(&error), "{error:?}");
        assert!(error.to_string().contains("it answered 404"), "{error}");
    }
    assert_eq!(server.requests().len(), 2, "each asked once");
    // What listens to nobody: no server at all. It was stated, so it may come a moment later.
    for error in refused(&lake(&home, "127.0.0.1:1")).await {
        assert!(!error.is_permanent() && tells_where_it_looked(&error), "{error:?}");
    }
}

#[tokio::test]
async fn the_account_of_the_machine_is_asked_for_one_token() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.target.starts_with("/computeMetadata/") {
        true if request.number == 0 => Reply::new(503, ""),
        true => {
            assert_eq!(request.header("metadata-flavor"), Some("Google"));
            Reply::new(200, r#"{"access_token": "ya29.machine", "expires_in": 3599, "token_type": "Bearer"}"#)
        }
        false if request.header("authorization") == Some("Bearer ya29.machine") => Reply::new(404, ""),
        false => Reply::new(403, ""),
    });
    let lake = lake(&home, &server.url).with("google_base_url", &server.url);
    for _ in 0..2 {
        assert_eq!(lake.head("gs://lake/f").await.unwrap(), None);
    }
    let tokens = server.requests().iter().filter(|request| request.target.starts_with("/computeMetadata/")).count();
    assert_eq!(tokens, 2, "the first was busy, and the second is kept");
    assert!(!format!("{lake:?}").contains("ya29"));
}
