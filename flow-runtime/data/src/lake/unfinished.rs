//! What killed processes leave in a store: parts of uploads that nobody completes.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody};
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::signer::Signer;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use url::Url;

use super::connector::Connector;
use super::notes::Notes;
use super::objects::listed;
use super::open::{Store, failed};
use super::send::STAGE;
use super::{Lake, Place};
use crate::error::with_causes;
use crate::redact::redact;
use crate::{Error, Result};

/// What [`Lake::clean`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cleaned {
    /// Uploads in parts that were aborted.
    pub uploads: u64,
    /// Objects `KEY.part-..` that were deleted.
    pub objects: u64,
}

/// The same on S3 (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>) and Google
/// (<https://cloud.google.com/storage/docs/xml-api/get-bucket-uploads>).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Unfinished {
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(rename = "Upload")]
    uploads: Vec<Upload>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    initiated: chrono::DateTime<chrono::Utc>,
}

/// How long an upload waits, at most, for the end of what others have left.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Ends what processes have left that have died, as far as that is noted. An upload that comes next waits for it, so it goes no
/// further than the first error, nor on for long: the upload after that goes on with it.
pub(super) async fn end_left(store: &Store) {
    let Some(notes) = store.notes() else { return };
    if tokio::time::timeout(END_WITHIN, end_noted(store, notes)).await.is_err() {
        let seconds = END_WITHIN.as_secs();
        tracing::warn!("parts of uploads whose processes have died stay behind for now: {seconds} s were not enough");
    }
}

async fn end_noted(store: &Store, notes: &Arc<Notes>) {
    let of = notes.clone();
    let Ok(paths) = tokio::task::spawn_blocking(move || of.paths()).await else { return };
    for path in paths {
        // One at a time: what is not come to stays free for other processes.
        let of = notes.clone();
        let Ok(Some(left)) = tokio::task::spawn_blocking(move || of.take(&path)).await else { continue };
        let Ok(key) = Key::parse(&left.key) else { continue };
        let ended = match &left.upload_id {
            Some(upload_id) => abort(store, &key, upload_id).await,
            None => match store.objects().delete(&key).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                other => other,
            },
        };
        match ended {
            Ok(()) => {
                tracing::info!("removed what an upload of `{key}` has left whose process has died");
                left.forget();
            }
            // The store may be out of reach, which is not waited for once more per note.
            Err(error) => {
                tracing::warn!("parts of an upload of `{key}` stay behind for now: {}", with_causes(&error));
                return;
            }
        }
    }
}

async fn abort(store: &Store, key: &Key, upload_id: &String) -> object_store::Result<()> {
    let aborted = match store {
        Store::Google(google) => google.store.abort_multipart(key, upload_id).await,
        Store::Amazon { store, .. } => store.abort_multipart(key, upload_id).await,
        Store::Azure { .. } | Store::Memory(_) => Ok(()),
    };
    match aborted {
        // Completed or aborted meanwhile.
        Err(object_store::Error::NotFound { .. }) => Ok(()),
        other => other,
    }
}

impl Lake {
    /// Removes what uploads left behind whose process was killed: their parts, for keys that begin like this URL's, begun
    /// longer ago than `older_than`. An upload that is still at work is removed too if it is that old, and fails; so give it
    /// longer than any upload takes, or nothing where no other can be.
    ///
    /// Azure forgets parts by itself; in memory and in folders nothing is to be done.
    ///
    /// # Errors
    /// The prefix makes no sense, or the store refuses or cannot be reached.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn clean(&self, prefix: &str, older_than: Duration) -> Result<Cleaned> {
        let mut cleaned = Cleaned::default();
        let Place::Remote(url) = Place::parse(prefix)? else {
            return Ok(cleaned);
        };
        let (store, key) = self.open_bucket(&url)?;
        let before = chrono::Utc::now() - chrono::TimeDelta::from_std(older_than).unwrap_or(chrono::TimeDelta::MAX);
        for upload in unfinished(&store, &url, &key).await?.into_iter().filter(|upload| upload.initiated <= before) {
            let at = Key::parse(&upload.key).map_err(|e| failed(&url)(e.into()))?;
            abort(&store, &at, &upload.upload_id).await.map_err(failed(&url))?;
            cleaned.uploads += 1;
        }
        let staged = |name: &str| {
            name.rsplit_once(STAGE)
                .is_some_and(|(_, hash)| hash.len() == 12 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        for meta in listed(&store, &url, &key).await? {
            if staged(meta.location.as_ref()) && meta.last_modified <= before {
                store.objects().delete(&meta.location).await.map_err(failed(&url))?;
                cleaned.objects += 1;
            }
        }
        tracing::info!(uploads = cleaned.uploads, objects = cleaned.objects, "cleaned {}", redact(prefix));
        Ok(cleaned)
    }
}

async fn unfinished(store: &Arc<Store>, url: &Url, key: &Key) -> Result<Vec<Upload>> {
    let mut found = Vec::new();
    let mut markers = (String::new(), String::new());
    loop {
        let mut page = match page(store, url, key, &markers).await? {
            Some(text) => parse(&text, url)?,
            None => return Ok(found),
        };
        found.append(&mut page.uploads);
        let next = (page.next_key_marker.unwrap_or_default(), page.next_upload_id_marker.unwrap_or_default());
        if !page.is_truncated || next == markers {
            return Ok(found);
        }
        markers = next;
    }
}

fn parse(text: &str, url: &Url) -> Result<Unfinished> {
    quick_xml::de::from_str(text).map_err(|e| Error::Store {
        url: redact(url.as_str()),
        message: format!("the list of unfinished uploads cannot be read: {e}"),
        permanent: false,
    })
}

/// One page of the list, for the stores that have it.
async fn page(store: &Store, url: &Url, key: &Key, markers: &(String, String)) -> Result<Option<String>> {
    let words = |message: String| Error::Store { url: redact(url.as_str()), message, permanent: false };
    let (mut bucket, http) = match store {
        Store::Google(google) => {
            let base = format!("{}/{}", google.base, google.bucket);
            (Url::parse(&base).map_err(|e| words(e.to_string()))?, google.http.clone())
        }
        Store::Amazon { store, .. } => {
            // Only the store knows how its bucket is addressed.
            let any = Key::from("k");
            let mut signed = store.signed_url(Method::GET, &any, Duration::from_secs(60)).await.map_err(failed(url))?;
            let path = signed.path().trim_end_matches("/k").to_owned();
            signed.set_path(&path);
            signed.set_query(None);
            let options = object_store::ClientOptions::new().with_allow_http(true);
            (signed, Connector::default().connect(&options).map_err(failed(url))?)
        }
        Store::Azure { .. } | Store::Memory(_) => return Ok(None),
    };
    {
        let mut query = bucket.query_pairs_mut();
        query.append_pair("uploads", "").append_pair("prefix", key.as_ref());
        if !markers.0.is_empty() {
            query.append_pair("key-marker", &markers.0).append_pair("upload-id-marker", &markers.1);
        }
    }
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = bucket.as_str().parse().map_err(|e| words(format!("{e}")))?;
    match store {
        Store::Amazon { store, region, .. } => {
            let credential = store.credentials().get_credential().await.map_err(failed(url))?;
            AwsAuthorizer::new(&credential, "s3", region).try_authorize(&mut request, None).map_err(failed(url))?;
        }
        Store::Google(google) => {
            let token = google.store.credentials().get_credential().await.map_err(failed(url))?;
            let bearer = format!("Bearer {}", token.bearer);
            request.headers_mut().insert(AUTHORIZATION, bearer.parse().map_err(|_| words("no token".into()))?);
        }
        Store::Azure { .. } | Store::Memory(_) => {}
    }
    let answer = http.execute(request).await.map_err(|e| words(with_causes(&e)))?;
    let status = answer.status();
    let text = answer.into_body().bytes().await.map_err(|e| words(with_causes(&e)))?;
    if !status.is_success() {
        let url = redact(url.as_str());
        return Err(Error::Status { status: status.as_u16(), url, hint: "the list of unfinished uploads".into() });
    }
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}
