//! Files to and from object stores and folders.

mod open;
mod place;

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use object_store::{ObjectStoreExt, PutMultipartOptions, PutPayload, WriteMultipart};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::open::failed;
use self::place::Place;
use crate::files::{self, Part};
use crate::redact::redact;
use crate::{Error, Progress, Result};

/// Files up to this size go up in one request; larger ones in parts of at least this size.
const PART_BYTES: u64 = 8 << 20;
/// The most parts of one object, below the 10,000 that stores allow.
const MAX_PARTS: u64 = 9_000;
/// How many parts are on their way at once: this many times [`PART_BYTES`] is in memory.
const MAX_PARTS_IN_FLIGHT: usize = 4;

/// An object or file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Where it is, redacted: `gs://bucket/key`, or the path of a file.
    pub url: String,
    /// Its size.
    pub bytes: u64,
}

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Where it is.
    pub path: PathBuf,
    /// Where it came from, redacted.
    pub url: String,
    /// Its size.
    pub bytes: u64,
}

/// Access to object stores: what the environment says, and options that come before it.
///
/// | scheme | environment |
/// |---|---|
/// | `gs://bucket/key` | `GOOGLE_SERVICE_ACCOUNT`, `GOOGLE_SERVICE_ACCOUNT_KEY`; else `GOOGLE_APPLICATION_CREDENTIALS`; else the file `~/.google/credentials/google_credentials.json`; else gcloud's own login or the machine's account. An emulator: `STORAGE_EMULATOR_HOST` (no credentials are asked for then) |
/// | `s3://bucket/key` | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_SESSION_TOKEN` ..; another server: `AWS_ENDPOINT` |
/// | `az://container/key` | `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY` ..; an emulator: `AZURE_STORAGE_USE_EMULATOR`, `AZURE_STORAGE_ENDPOINT` |
/// | `file://`, a plain path | none |
///
/// Options have the same names, in any case.
#[derive(Clone, Default)]
pub struct Lake {
    options: Vec<(String, String)>,
}

impl fmt::Debug for Lake {
    /// Names only: values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.options.iter().map(|(name, _)| name)).finish()
    }
}

impl Lake {
    /// What the environment says, and nothing else.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with an option that comes before the environment.
    #[must_use]
    pub fn with(mut self, name: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.options.push((name.as_ref().to_ascii_lowercase(), value.into()));
        self
    }

    /// Copies a file to an object store or folder. A destination that ends in `/`, or is a folder, gets the file's own name.
    ///
    /// The object appears whole or not at all, replacing an earlier one. Large files go up in parts, a few at a time, in
    /// bounded memory. Dropping the future may leave parts behind that the store's own rules clean up; they are no
    /// object. `progress` counts bytes.
    ///
    /// # Errors
    /// The file cannot be read, the destination makes no sense, or the store refuses or cannot be reached (after its
    /// client tried again for three minutes).
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn upload(
        &self,
        local: impl AsRef<Path>,
        destination: &str,
        progress: &dyn Progress,
    ) -> Result<Uploaded> {
        let local = local.as_ref();
        let name = local
            .file_name()
            .and_then(|n| n.to_str())
            .ok_or_else(|| Error::Invalid(format!("{}: this names no file", local.display())))?;
        let uploaded = match Place::parse(destination)?.with_name(name)? {
            Place::Local(path) => {
                let bytes = files::copy(local, &path, progress).await?;
                Uploaded { url: path.display().to_string(), bytes }
            }
            Place::Remote(url) => {
                let bytes = self.send(local, &url, progress).await?;
                Uploaded { url: redact(url.as_str()), bytes }
            }
        };
        tracing::info!(bytes = uploaded.bytes, "uploaded to {}", uploaded.url);
        Ok(uploaded)
    }

    async fn send(&self, local: &Path, url: &url::Url, progress: &dyn Progress) -> Result<u64> {
        let (store, key) = self.open(url)?;
        let mut file = tokio::fs::File::open(local).await.map_err(Error::io(local))?;
        let size = file.metadata().await.map_err(Error::io(local))?.len();
        let part_bytes = PART_BYTES.max(size.div_ceil(MAX_PARTS));
        let changed = |read: u64| Error::Io {
            path: local.to_owned(),
            source: std::io::Error::other(format!("the file changed while it was read: {read} of {size} bytes")),
        };
        if size <= part_bytes {
            let bytes = read_part(&mut file, part_bytes + 1).await.map_err(Error::io(local))?;
            if bytes.len() as u64 != size {
                return Err(changed(bytes.len() as u64));
            }
            store.put(&key, PutPayload::from_bytes(bytes)).await.map_err(failed(url))?;
            progress.report(size, Some(size));
            return Ok(size);
        }
        let upload = store.put_multipart_opts(&key, PutMultipartOptions::default()).await.map_err(failed(url))?;
        let mut parts = WriteMultipart::new_with_chunk_size(upload, part_bytes as usize);
        let mut sent = 0;
        let outcome = loop {
            if let Err(error) = parts.wait_for_capacity(MAX_PARTS_IN_FLIGHT).await {
                break Err(failed(url)(error));
            }
            match read_part(&mut file, part_bytes).await {
                Err(error) => break Err(Error::io(local)(error)),
                Ok(bytes) if bytes.is_empty() && sent == size => break Ok(()),
                Ok(bytes) if bytes.is_empty() || sent + bytes.len() as u64 > size => {
                    break Err(changed(sent));
                }
                Ok(bytes) => {
                    sent += bytes.len() as u64;
                    parts.put(bytes);
                    progress.report(sent, Some(size));
                }
            }
        };
        match outcome {
            Ok(()) => parts.finish().await.map(|_| size).map_err(failed(url)),
            Err(error) => {
                // The first fault matters; parts that stay behind are no object.
                let _ = parts.abort().await;
                Err(error)
            }
        }
    }

    /// Copies an object or a file to a local path, which appears whole. `progress` counts bytes.
    ///
    /// # Errors
    /// There is no such object, the path cannot be written, or the store refuses or cannot be reached.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn fetch(&self, source: &str, local: impl AsRef<Path>, progress: &dyn Progress) -> Result<Fetched> {
        let local = local.as_ref();
        let bytes = match Place::parse(source)? {
            Place::Local(path) => files::copy(&path, local, progress).await?,
            Place::Remote(url) => self.receive(&url, local, progress).await?,
        };
        tracing::debug!(bytes, path = %local.display(), "fetched {}", redact(source));
        Ok(Fetched { path: local.to_owned(), url: redact(source), bytes })
    }

    async fn receive(&self, url: &url::Url, local: &Path, progress: &dyn Progress) -> Result<u64> {
        let (store, key) = self.open(url)?;
        let object = store.get(&key).await.map_err(failed(url))?;
        let size = object.meta.size;
        let mut stream = object.into_stream();
        let part = Part::start(local).await?;
        let mut file = part.writer()?;
        let mut done = 0;
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(failed(url))?;
            file.write_all(&bytes).await.map_err(Error::io(part.path()))?;
            done += bytes.len() as u64;
            progress.report(done, Some(size));
        }
        file.flush().await.map_err(Error::io(part.path()))?;
        if done != size {
            return Err(Error::Store {
                url: redact(url.as_str()),
                message: format!("{done} of {size} bytes arrived"),
                permanent: false,
            });
        }
        part.commit()?;
        Ok(size)
    }
}

/// As many bytes as there are, up to `most`.
async fn read_part(file: &mut tokio::fs::File, most: u64) -> std::io::Result<Bytes> {
    let mut part = BytesMut::with_capacity(most as usize);
    let mut rest = file.take(most);
    while rest.read_buf(&mut part).await? > 0 {}
    Ok(part.freeze())
}

/// [`Lake::upload`] with what the environment says.
///
/// # Errors
/// As [`Lake::upload`].
///
/// # Panics
/// Without a tokio runtime.
pub async fn upload(local: impl AsRef<Path>, destination: &str, progress: &dyn Progress) -> Result<Uploaded> {
    Lake::new().upload(local, destination, progress).await
}

/// [`Lake::fetch`] with what the environment says.
///
/// # Errors
/// As [`Lake::fetch`].
///
/// # Panics
/// Without a tokio runtime.
pub async fn fetch(source: &str, local: impl AsRef<Path>, progress: &dyn Progress) -> Result<Fetched> {
    Lake::new().fetch(source, local, progress).await
}
