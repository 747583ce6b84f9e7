//! What is there: looked at, listed, copied, deleted.

use std::time::Duration;

use futures::TryStreamExt;
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::path::Path as Key;
use object_store::{Attribute, CopyMode, CopyOptions, GetOptions, ObjectMeta, ObjectStoreExt};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH};
use url::Url;

use super::open::{Google, Store, failed};
use super::{Lake, Object, Place, Uploaded, Version, When, folder};
use crate::error::{may_pass, with_causes};
use crate::files;
use crate::redact::redact;
use crate::retry::{Attempts, retry_after};
use crate::{Error, Result};

/// The metadata under which an object's SHA-256 is kept.
pub(super) const SHA256: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("sha256"));

/// How long is looked at most, after a write that failed, whether it was done all the same.
const LOOKED_WITHIN: Duration = Duration::from_secs(20);

/// A content that is, or should be, at some place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) bytes: u64,
    pub(super) sha256: Option<&'a str>,
}

impl Content<'_> {
    fn is(&self, object: &Object) -> bool {
        self.sha256.is_some() && self.sha256 == object.sha256.as_deref() && self.bytes == object.bytes
    }
}

impl Lake {
    /// The size in bytes of an object or a file; `None` if there is none.
    ///
    /// # Errors
    /// The source makes no sense, or the store refuses or cannot be reached.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn size(&self, source: &str) -> Result<Option<u64>> {
        Ok(self.head(source).await?.map(|object| object.bytes))
    }

    /// What is known of an object or a file without reading it; `None` if there is none.
    ///
    /// # Errors
    /// As [`Lake::size`].
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn head(&self, source: &str) -> Result<Option<Object>> {
        match Place::parse(source)? {
            Place::Local(path) => folder::head(&path).await,
            Place::Remote(url) => {
                let (store, key) = self.open(&url)?;
                head(&store, &key, &url).await
            }
        }
    }

    /// Is this content still where it was put? One that was put there again counts. Told by the SHA-256 that stores keep; a
    /// file of another time of change is read.
    ///
    /// # Errors
    /// As [`Lake::size`].
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn is_still(&self, put: &Uploaded) -> Result<bool> {
        let Some(there) = self.head(&put.url).await?.filter(|there| there.bytes == put.bytes) else {
            return Ok(false);
        };
        if put.version != Version::default() && there.version == put.version {
            return Ok(true);
        }
        Ok(match (there.sha256, Place::parse(&put.url)?) {
            (Some(sha256), _) => sha256 == put.sha256,
            (None, Place::Local(path)) => files::fingerprint(&path).await?.1 == put.sha256,
            // Another program has written it.
            (None, Place::Remote(_)) => false,
        })
    }

    /// The objects whose URLs begin with this text, or the files in a folder and its folders, in the order of their names. What
    /// is on its way is no object. `sha256` is not told.
    ///
    /// # Errors
    /// As [`Lake::size`]. A folder that is not there has no files.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let mut found = match Place::parse(prefix)? {
            Place::Local(path) => folder::list(&path).await?,
            Place::Remote(url) => {
                let (store, key) = self.open_bucket(&url)?;
                let listed = listed(&store, &url, &key).await?;
                listed
                    .into_iter()
                    .map(|meta| object(&at(&url, meta.location.as_ref().split('/')), meta, None))
                    .collect()
            }
        };
        found.sort_by(|a, b| a.url.cmp(&b.url));
        Ok(found)
    }

    /// Deletes an object or a file. There being none is as good.
    ///
    /// # Errors
    /// As [`Lake::size`].
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn delete(&self, place: &str) -> Result<()> {
        match Place::parse(place)? {
            Place::Local(path) => folder::delete(&path).await?,
            Place::Remote(url) => {
                let (store, key) = self.open(&url)?;
                match store.objects().delete(&key).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(failed(&url)(error)),
                }
            }
        }
        tracing::info!("deleted {}", redact(place));
        Ok(())
    }

    /// Copies an object within its bucket, by the store itself, or a file. The copy appears whole or not at all.
    ///
    /// # Errors
    /// As [`Lake::size`]; there is no source; [`Error::Conflict`] when `when` does not hold; [`Error::Invalid`] for two
    /// different stores ([`Lake::fetch`] and [`Lake::upload`] do that), and for [`When::Unchanged`] where the store's copy knows no such
    /// condition: S3 and Azure.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn copy(&self, from: &str, to: &str, when: &When) -> Result<Object> {
        let copied = match (Place::parse(from)?, Place::parse(to)?) {
            (Place::Local(source), Place::Local(dest)) => {
                folder::put(&source, &dest, when, &()).await?;
                folder::head(&dest).await?
            }
            (Place::Remote(source), Place::Remote(dest)) if same_bucket(&source, &dest) => {
                let (store, from_key) = self.open(&source)?;
                let (_, to_key) = self.open(&dest)?;
                let there = head(&store, &from_key, &source).await?.ok_or_else(|| missing(&source))?;
                let content = Content { bytes: there.bytes, sha256: there.sha256.as_deref() };
                copy(&store, &from_key, &to_key, when, content, &dest).await?;
                head(&store, &to_key, &dest).await?
            }
            _ => {
                let (from, to) = (redact(from), redact(to));
                return Err(Error::Invalid(format!("`{from}` and `{to}` are in two stores: use fetch and upload")));
            }
        };
        let copied = copied
            .ok_or_else(|| Error::Conflict { url: redact(to), message: "somebody deleted the copy at once".into() })?;
        tracing::info!(bytes = copied.bytes, "copied {} to {}", redact(from), copied.url);
        Ok(copied)
    }
}

fn same_bucket(a: &Url, b: &Url) -> bool {
    (a.scheme(), a.authority()) == (b.scheme(), b.authority())
}

fn missing(url: &Url) -> Error {
    Error::Store { url: redact(url.as_str()), message: "there is no such object".into(), permanent: true }
}

/// The URL with this path and nothing after it, each part of it escaped.
fn at<'a>(url: &Url, parts: impl Iterator<Item = &'a str>) -> Url {
    let mut at = url.clone();
    at.set_query(None);
    // Only URLs without a host refuse; those are no places.
    if let Ok(mut path) = at.path_segments_mut() {
        path.clear().extend(parts);
    }
    at
}

fn object(url: &Url, meta: ObjectMeta, sha256: Option<String>) -> Object {
    Object {
        url: redact(url.as_str()),
        bytes: meta.size,
        modified: meta.last_modified,
        version: Version { etag: meta.e_tag, generation: meta.version },
        sha256,
    }
}

/// What is known of an object.
pub(crate) async fn head(store: &Store, key: &Key, url: &Url) -> Result<Option<Object>> {
    match store.objects().get_opts(key, GetOptions::new().with_head(true)).await {
        Ok(found) => {
            let sha256 = found.attributes.get(&SHA256).map(|value| value.to_string());
            Ok(Some(object(url, found.meta, sha256)))
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(url)(error)),
    }
}

/// The objects whose keys begin with the key of this URL, letter by letter.
pub(super) async fn listed(store: &Store, url: &Url, key: &Key) -> Result<Vec<ObjectMeta>> {
    // The stores' client lists folders: that of the prefix, of which some names begin as wanted.
    let is_folder = url.path().ends_with('/') || key.as_ref().is_empty();
    let folder: Key = match key.as_ref().rsplit_once('/') {
        _ if is_folder => key.clone(),
        Some((folder, _)) => Key::parse(folder).map_err(|e| failed(url)(e.into()))?,
        None => Key::default(),
    };
    let begins = |meta: &ObjectMeta| is_folder || meta.location.as_ref().starts_with(key.as_ref());
    let all = store.objects().list(Some(&folder)).try_filter(|meta| futures::future::ready(begins(meta)));
    all.try_collect().await.map_err(failed(url))
}

/// After a write that failed: was it done all the same, its answer lost? Then its version. Else what stood in the way.
pub(super) async fn settle(
    store: &Store,
    key: &Key,
    url: &Url,
    when: &When,
    content: Content<'_>,
    error: object_store::Error,
) -> Result<Version> {
    use object_store::Error as E;
    let refused = matches!(error, E::AlreadyExists { .. } | E::Precondition { .. });
    let words = failed(url)(error);
    if !refused && words.is_permanent() {
        return Err(words);
    }
    // A store that has been waited for in vain is not waited for as long once more.
    let Ok(Ok(there)) = tokio::time::timeout(LOOKED_WITHIN, head(store, key, url)).await else {
        return Err(words);
    };
    let conflict = |message: String| Error::Conflict { url: redact(url.as_str()), message };
    let seen = |object: &Object| format!("{} bytes, written at {}", object.bytes, object.modified.to_rfc3339());
    match (there, when) {
        (Some(object), _) if content.is(&object) => Ok(object.version),
        (Some(object), When::Absent) => Err(conflict(format!("there is another object already: {}", seen(&object)))),
        (Some(object), When::Unchanged(version)) if object.version != *version => {
            Err(conflict(format!("it is not the object that was seen: {}", seen(&object))))
        }
        (None, When::Unchanged(_)) => Err(conflict("the object that was seen is no longer there".into())),
        _ => Err(words),
    }
}

/// Copies within a bucket.
pub(super) async fn copy(
    store: &Store,
    from: &Key,
    to: &Key,
    when: &When,
    content: Content<'_>,
    url: &Url,
) -> Result<Version> {
    let options = |mode| CopyOptions::new().with_mode(mode);
    let outcome = match (when, store) {
        (When::Always, _) => store.objects().copy_opts(from, to, options(CopyMode::Overwrite)).await,
        (When::Absent, _) => store.objects().copy_opts(from, to, options(CopyMode::Create)).await,
        (When::Unchanged(version), Store::Google(google)) => {
            let generation = version.generation.as_deref().unwrap_or("0");
            copy_in_google(google, from, to, generation).await
        }
        (When::Unchanged(_), _) => {
            let place = redact(url.as_str());
            return Err(Error::Invalid(format!("`{place}`: this store's copy knows no condition on what it replaces")));
        }
    };
    match outcome {
        Ok(()) => Ok(head(store, to, url).await?.map(|object| object.version).unwrap_or_default()),
        Err(error) => settle(store, to, url, when, content, error).await,
    }
}

/// `PUT` with `x-goog-copy-source` and `x-goog-if-generation-match`, which object_store has for new objects only:
/// <https://cloud.google.com/storage/docs/xml-api/put-object-copy>.
async fn copy_in_google(google: &Google, from: &Key, to: &Key, generation: &str) -> object_store::Result<()> {
    let generic =
        |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic { store: "GCS", source };
    let base = Url::parse(&google.base).map_err(|e| generic(Box::new(e)))?;
    let of = |key: &Key| at(&base, std::iter::once(google.bucket.as_str()).chain(key.as_ref().split('/')));
    let mut attempts = Attempts::within(google.patience);
    loop {
        let token = google.store.credentials().get_credential().await?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = of(to).as_str().parse().map_err(|e| generic(Box::new(e)))?;
        let headers = request.headers_mut();
        for (name, value) in [
            (AUTHORIZATION.as_str(), format!("Bearer {}", token.bearer)),
            (CONTENT_LENGTH.as_str(), "0".to_owned()),
            ("x-goog-copy-source", of(from).path().trim_start_matches('/').to_owned()),
            ("x-goog-if-generation-match", generation.to_owned()),
        ] {
            let value = value.parse().map_err(|e| generic(Box::new(e)))?;
            headers.insert(reqwest::header::HeaderName::from_static(name), value);
        }
        let (cause, asked) = match google.http.execute(request).await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status().as_u16();
                let cause = format!("the copy was answered {status}");
                if !may_pass(status) {
                    let (path, source) = (to.to_string(), cause.into());
                    return Err(match status {
                        404 => object_store::Error::NotFound { path, source },
                        412 => object_store::Error::Precondition { path, source },
                        401 | 403 => object_store::Error::PermissionDenied { path, source },
                        _ => generic(source),
                    });
                }
                (cause, retry_after(answer.headers()))
            }
            Err(error) => (with_causes(&error), None),
        };
        if !attempts.again_waited(asked).await {
            return Err(generic(attempts.told(cause).into()));
        }
    }
}
