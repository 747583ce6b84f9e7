//! A file's way up.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{Attributes, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, UpdateVersion};
use reqwest::header::{HeaderValue, IF_MATCH, IF_NONE_MATCH};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use url::Url;

use super::connector::Connector;
use super::objects::{self, Content, SHA256, settle};
use super::open::{Store, failed};
use super::parts::{Busy, Parts, cleaned};
use super::unfinished::end_left;
use super::{Lake, Place, Uploaded, Version, When, folder};
use crate::error::with_causes;
use crate::files::{self, hex};
use crate::progress::{decided, while_wanted};
use crate::redact::redact;
use crate::settled::leave;
use crate::{Error, Progress, Result};

/// Files up to this size go up in one request; larger ones in parts of at least this size, of which a few are in memory.
const PART_BYTES: u64 = 8 << 20;
/// The most parts of one object, below the 10,000 that stores allow.
const MAX_PARTS: u64 = 9_000;
/// How often a conditional write is tried whose answer was lost.
const MAX_TRIES: u32 = 3;
/// Follows the key where parts come together before they are put in place.
pub(super) const STAGE: &str = ".part-";

impl Lake {
    /// Copies a file to an object store or folder. A destination that ends in `/`, or is a folder, gets the file's own name.
    ///
    /// The object appears whole or not at all, replacing an earlier one. Large files go up in parts, a few at a time, in
    /// bounded memory. The SHA-256 of the file is kept with the object; a file that changes meanwhile is an error. An
    /// upload whose answer is lost is found to be done by it.
    ///
    /// A failed upload aborts its parts. So does a dropped future, in the background: [`settled`](crate::settled()) waits for that. What
    /// a killed process leaves is no object; the next upload removes it where that was noted ([`Lake::with_notes`]), and [`Lake::clean`]
    /// anywhere. `progress` counts bytes.
    ///
    /// # Errors
    /// The file cannot be read, the destination makes no sense, or the store refuses or cannot be reached
    /// ([`Lake::with_patience`] says for how long that is tried).
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn upload(
        &self,
        local: impl AsRef<Path>,
        destination: &str,
        progress: &dyn Progress,
    ) -> Result<Uploaded> {
        self.upload_when(local, destination, &When::Always, progress).await
    }

    /// [`Lake::upload`], if the destination is as it should be.
    ///
    /// The store looks in the instant of the write: of many writers with [`When::Absent`] one wins, and so does one with
    /// [`When::Unchanged`]. Google knows no conditions on an upload in parts; the parts of a large file come together under
    /// `KEY.part-..` there, which is then copied by the store and deleted.
    ///
    /// # Errors
    /// As [`Lake::upload`]; [`Error::Conflict`] when the condition does not hold, or no longer.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn upload_when(
        &self,
        local: impl AsRef<Path>,
        destination: &str,
        when: &When,
        progress: &dyn Progress,
    ) -> Result<Uploaded> {
        while_wanted(progress, self.sent(local.as_ref(), destination, when, progress)).await
    }

    async fn sent(&self, local: &Path, destination: &str, when: &When, progress: &dyn Progress) -> Result<Uploaded> {
        let name = local
            .file_name()
            .and_then(|n| n.to_str())
            .ok_or_else(|| Error::Invalid(format!("{}: this names no file", local.display())))?;
        let uploaded = match Place::parse(destination)?.with_name(name)? {
            Place::Local(path) => folder::put(local, &path, when, progress).await?,
            Place::Remote(url) => {
                let (store, key) = self.open(&url)?;
                let (bytes, sha256) = files::fingerprint(local).await?;
                let sending =
                    Sending { lake: self, local, url: &url, store, key, bytes, sha256: &sha256, when, progress };
                let version = sending.run().await?;
                Uploaded { url: redact(url.as_str()), bytes, sha256, version, source: None }
            }
        };
        tracing::info!(bytes = uploaded.bytes, "uploaded to {}", uploaded.url);
        Ok(uploaded)
    }
}

struct Sending<'a> {
    lake: &'a Lake,
    local: &'a Path,
    url: &'a Url,
    store: Arc<Store>,
    key: Key,
    bytes: u64,
    sha256: &'a str,
    when: &'a When,
    progress: &'a dyn Progress,
}

impl Sending<'_> {
    async fn run(&self) -> Result<Version> {
        end_left(&self.store).await;
        if self.bytes <= PART_BYTES || matches!(*self.store, Store::Memory(_)) {
            return self.at_once().await;
        }
        if let Some(there) = self.look_first().await? {
            return Ok(there);
        }
        self.in_parts().await
    }

    fn content(&self) -> Content<'_> {
        Content { bytes: self.bytes, sha256: Some(self.sha256) }
    }

    fn attributes(&self) -> Attributes {
        Attributes::from_iter([(SHA256, self.sha256.to_owned())])
    }

    fn changed(&self) -> Error {
        Error::io(self.local)(std::io::Error::other("the file changed while it was read"))
    }

    async fn at_once(&self) -> Result<Version> {
        let mut reader = Reader::open(self.local).await?;
        let content = reader.read(self.bytes + 1).await?;
        if content.len() as u64 != self.bytes || reader.sha256() != self.sha256 {
            return Err(self.changed());
        }
        let mode = match self.when {
            When::Always => PutMode::Overwrite,
            When::Absent => PutMode::Create,
            When::Unchanged(version) => {
                let Version { etag, generation } = version.clone();
                PutMode::Update(UpdateVersion { e_tag: etag, version: generation })
            }
        };
        let begun = Instant::now();
        for tries in 1.. {
            let options = PutOptions { mode: mode.clone(), attributes: self.attributes(), ..PutOptions::default() };
            let payload = PutPayload::from_bytes(content.clone());
            let settled = match self.store.objects().put_opts(&self.key, payload, options).await {
                Ok(done) => Ok(Version { etag: done.e_tag, generation: done.version }),
                Err(error) => settle(&self.store, &self.key, self.url, self.when, self.content(), error).await,
            };
            match settled {
                Ok(version) => {
                    self.progress.report(self.bytes, Some(self.bytes));
                    return Ok(version);
                }
                // The client repeats no conditional write whose answer was lost. We have looked: it was not done.
                Err(error) if *self.when == When::Always || error.is_permanent() || tries >= MAX_TRIES => {
                    return Err(error);
                }
                Err(error) if begun.elapsed() >= self.lake.patience() => return Err(error),
                Err(_) => {}
            }
        }
        unreachable!("the last try returns");
    }

    /// Before much is sent: would the condition hold? Its version if the very content is there already.
    async fn look_first(&self) -> Result<Option<Version>> {
        let there = objects::head(&self.store, &self.key, self.url).await;
        let stands = match (self.when, there?) {
            (When::Always, _) | (When::Absent, None) => return Ok(None),
            (When::Unchanged(version), Some(object)) if object.version == *version => return Ok(None),
            _ => object_store::Error::Precondition { path: self.key.to_string(), source: "seen before".into() },
        };
        settle(&self.store, &self.key, self.url, self.when, self.content(), stands).await.map(Some)
    }

    async fn in_parts(&self) -> Result<Version> {
        let mut store = self.store.clone();
        let mut stage = None;
        match (self.when, &*self.store) {
            (When::Always, _) => {}
            // If-Match, If-None-Match:
            // https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
            // https://learn.microsoft.com/en-us/rest/api/storageservices/put-block-list
            (when, there @ (Store::Amazon { .. } | Store::Azure { .. })) => {
                let condition = match when {
                    When::Unchanged(version) => (IF_MATCH, version.etag.clone().unwrap_or_default()),
                    _ => (IF_NONE_MATCH, "*".to_owned()),
                };
                let value = HeaderValue::from_str(&condition.1)
                    .map_err(|_| Error::Invalid(format!("{:?} is no entity tag", condition.1)))?;
                let connector = Connector { on_complete: Some((condition.0, value)), ..Connector::default() };
                let opened = match there {
                    Store::Azure { store, .. } => {
                        self.lake.azure(self.url, Connector { signs: Some(store.credentials().clone()), ..connector })
                    }
                    _ => self.lake.amazon(self.url, connector),
                };
                store = Arc::new(opened.map_err(failed(self.url))?);
            }
            // https://cloud.google.com/storage/docs/multipart-uploads: no preconditions
            _ => {
                // Each upload has its own: whoever ends what is left of another, even of the same content, must not end this one.
                let random = fastrand::u64(..1 << 48);
                let key = Key::parse(format!("{}{STAGE}{random:012x}", self.key));
                let key = key.map_err(|e| failed(self.url)(e.into()))?;
                let name = key.to_string();
                let (tell, noted) = oneshot::channel();
                stage = Some(Staged { store: self.store.clone(), key, noted: Some(noted), parts: None, waits: None });
                if let Some(notes) = self.store.notes().cloned() {
                    // Were this dropped meanwhile, `Staged` would hear of the note all the same.
                    let work = move || drop(tell.send(notes.staged(&name)));
                    let _ = tokio::task::spawn_blocking(work).await;
                }
            }
        }
        let busy = stage.as_mut().map(|stage| {
            let (busy, parts) = oneshot::channel();
            stage.parts = Some(parts);
            busy
        });
        let target = stage.as_ref().map_or(&self.key, |stage| &stage.key);
        let version = self.send(&store, target, busy).await?;
        let Some(stage) = stage else {
            return Ok(version);
        };
        let copied = objects::copy(&self.store, &stage.key, &self.key, self.when, self.content(), self.url).await;
        decided();
        // The program may end right after this.
        stage.remove().await;
        copied
    }

    async fn send(&self, store: &Arc<Store>, target: &Key, busy: Option<Busy>) -> Result<Version> {
        let failed = failed(self.url);
        let options = PutMultipartOptions { attributes: self.attributes(), ..PutMultipartOptions::default() };
        let mut parts = Parts::begin(store.clone(), target.clone(), options, busy).await.map_err(&failed)?;
        let outcome = match self.feed(&mut parts).await {
            Err(error) => Err(error),
            Ok(()) => match parts.complete().await {
                Ok(done) => return Ok(Version { etag: done.e_tag, generation: done.version }),
                // It may be complete all the same.
                Err(error) => settle(store, target, self.url, self.when, self.content(), error).await,
            },
        };
        parts.abort().await;
        outcome
    }

    async fn feed(&self, parts: &mut Parts) -> Result<()> {
        let part_bytes = PART_BYTES.max(self.bytes.div_ceil(MAX_PARTS));
        if let Some(memory) = self.lake.memory {
            parts.within(memory, part_bytes);
        }
        let mut reader = Reader::open(self.local).await?;
        let mut sent = 0;
        while sent < self.bytes {
            let part = reader.read(part_bytes.min(self.bytes - sent)).await?;
            if part.is_empty() {
                return Err(self.changed());
            }
            sent += part.len() as u64;
            parts.send(PutPayload::from_bytes(part)).await.map_err(failed(self.url))?;
            self.progress.report(sent, Some(self.bytes));
        }
        if reader.sha256() != self.sha256 { Err(self.changed()) } else { Ok(()) }
    }
}

/// Where parts come together; deleted whatever happens, by dropping this.
struct Staged {
    store: Arc<Store>,
    key: Key,
    /// Tells the name of its note, if it has one.
    noted: Option<oneshot::Receiver<String>>,
    /// The parts: were they completed after this is deleted, it would be there again. So they are aborted before.
    parts: Option<oneshot::Receiver<()>>,
    /// Who waits for the end of it.
    waits: Option<oneshot::Sender<()>>,
}

impl Staged {
    /// Deletes it now.
    async fn remove(mut self) {
        let (waits, gone) = oneshot::channel();
        self.waits = Some(waits);
        drop(self);
        let _ = gone.await;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let (store, key) = (self.store.clone(), self.key.clone());
        let (parts, waits, noted) = (self.parts.take(), self.waits.take(), self.noted.take());
        leave(async move {
            if let Some(parts) = parts {
                let _ = parts.await;
            }
            match cleaned(store.objects().delete(&key)).await {
                Err(error) if !matches!(error, object_store::Error::NotFound { .. }) => {
                    tracing::warn!("`{key}` stays behind, `Lake::clean` removes it: {}", with_causes(&error));
                }
                _ => {
                    if let (Some(notes), Some(noted)) = (store.notes(), noted)
                        && let Ok(noted) = noted.await
                    {
                        notes.ended(&noted);
                    }
                }
            }
            drop(waits);
        });
    }
}

/// A file, read and hashed on a thread that may block.
struct Reader<'a> {
    path: &'a Path,
    /// Away while a thread reads.
    inner: Option<(File, Sha256)>,
}

impl<'a> Reader<'a> {
    async fn open(path: &'a Path) -> Result<Self> {
        let file = tokio::fs::File::open(path).await.map_err(Error::io(path))?;
        Ok(Self { path, inner: Some((file.into_std().await, Sha256::new())) })
    }

    /// As many bytes as there are, up to `most`.
    async fn read(&mut self, most: u64) -> Result<Bytes> {
        let lost = || Error::lost_thread("reading a file");
        let (mut file, mut hash) = self.inner.take().ok_or_else(lost)?;
        let work = move || {
            let mut part = Vec::with_capacity(most as usize);
            let read = (&mut file).take(most).read_to_end(&mut part);
            hash.update(&part);
            (read.map(|_| part), file, hash)
        };
        let (part, file, hash) = tokio::task::spawn_blocking(work).await.map_err(|_| lost())?;
        self.inner = Some((file, hash));
        part.map(Bytes::from).map_err(Error::io(self.path))
    }

    /// Of what was read.
    fn sha256(&self) -> String {
        self.inner.as_ref().map(|(_, hash)| hex(&hash.clone().finalize())).unwrap_or_default()
    }
}
