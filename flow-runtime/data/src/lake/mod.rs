//! Files to and from object stores and folders.

mod amazon;
mod connector;
mod fetch;
mod folder;
mod footer;
mod key;
mod notes;
mod objects;
mod open;
mod parts;
mod place;
mod receive;
mod send;
mod unfinished;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Progress, Result};

pub use self::key::key;
pub(crate) use self::objects::head;
pub(crate) use self::open::{Store, emulator};
pub(crate) use self::place::Place;
pub(crate) use self::receive::{Receiving, Stopped};
pub use self::unfinished::Cleaned;

/// How long a store is waited for that is busy or cannot be reached, unless [`Lake::with_patience`] says otherwise.
const PATIENCE: Duration = Duration::from_secs(180);

/// An object or file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Where it is, redacted: `gs://bucket/key`, or the path of a file.
    pub url: String,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its content, in hexadecimal. Stores keep it with the object, as metadata of the name `sha256`.
    #[serde(default)]
    pub sha256: String,
    /// What tells this content from a later one.
    #[serde(default)]
    pub version: Version,
    /// Where its rows came from, if somebody said so: [`Uploaded::of`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Uploaded {
    /// The same object of rows that came from there: a URL without a password. It goes along with what is made of the object.
    #[must_use]
    pub fn of(self, source: impl Into<String>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
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
    /// The SHA-256 of its content, in hexadecimal.
    #[serde(default)]
    pub sha256: String,
}

/// An object or a file that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Where it is, redacted.
    pub url: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: chrono::DateTime<chrono::Utc>,
    /// What tells its content from a later one.
    pub version: Version,
    /// The SHA-256 that was written down with it, if it was. A listing does not tell.
    pub sha256: Option<String>,
}

/// What a store calls one content of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Version {
    /// The entity tag. Of a file: its time of change and size.
    pub etag: Option<String>,
    /// Google's generation, or the version of a bucket that keeps versions.
    pub generation: Option<String>,
}

/// When something may be written: what has to be at its destination.
///
/// A store checks this in the instant of the write, so of several writers one wins. A try that was taken for dead and still
/// writes changes nothing: what it saw is no longer there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum When {
    /// Whatever is there is replaced.
    #[default]
    Always,
    /// Nothing is there. (The same content counts as written, so that a second try succeeds.)
    Absent,
    /// This version is there, which [`Lake::head`] told.
    Unchanged(Version),
}

/// Access to object stores: what the environment says, and options that come before it.
///
/// | scheme | environment |
/// |---|---|
/// | `gs://bucket/key` | `GOOGLE_SERVICE_ACCOUNT`, `GOOGLE_SERVICE_ACCOUNT_KEY`; else `GOOGLE_APPLICATION_CREDENTIALS`; else the file `~/.google/credentials/google_credentials.json`; else gcloud's own login or the machine's account. An emulator: `STORAGE_EMULATOR_HOST` (no credentials are asked for then) |
/// | `s3://bucket/key` | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_SESSION_TOKEN` ..; another server: `AWS_ENDPOINT` |
/// | `az://container/key` | `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY` ..; an emulator: `AZURE_STORAGE_USE_EMULATOR`, `AZURE_STORAGE_ENDPOINT` |
/// | `file://`, a plain path | none |
/// | `memory://name/key` | none: this process's memory, for tests |
///
/// Options have the same names, in any case. A `Lake` is cheap to clone; clones share connections and tokens.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), flow_data::Error> {
/// use flow_data::{Lake, When};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let file = folder.path().join("trips.parquet");
/// # std::fs::write(&file, "..").unwrap();
/// let lake: Lake = [("aws_region", "eu-central-1")].into_iter().collect();
/// let sent = lake.upload_when(&file, "memory://lake/raw/", &When::Absent, &()).await?;
/// assert_eq!(sent.url, "memory://lake/raw/trips.parquet");
///
/// let there = lake.head(&sent.url).await?.expect("an object");
/// assert_eq!(there.sha256, Some(sent.sha256));
/// lake.upload_when(&file, &sent.url, &When::Unchanged(there.version), &()).await?;
/// assert_eq!(lake.list("memory://lake/raw/tri").await?.len(), 1);
/// lake.delete(&sent.url).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Lake {
    options: Vec<(String, String)>,
    /// Those that were used, by scheme and bucket.
    stores: Arc<Mutex<HashMap<String, Arc<Store>>>>,
    /// Where uploads in parts are noted.
    notes: Option<PathBuf>,
    /// How many bytes of an upload may be in memory.
    memory: Option<u64>,
    /// How long a store is waited for.
    patience: Option<Duration>,
}

impl fmt::Debug for Lake {
    /// Names only: values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.options.iter().map(|(name, _)| name)).finish()
    }
}

impl<N: AsRef<str>, V: Into<String>> FromIterator<(N, V)> for Lake {
    /// A lake with these options, as a connection states them.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(options: I) -> Self {
        options.into_iter().fold(Self::new(), |lake, (name, value)| lake.with(name, value))
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
        // What was opened knows nothing of it, and clones keep their own.
        self.stores = Arc::default();
        self
    }

    /// Notes uploads in parts in this folder while they are under way, and ends those that are noted there of processes that have
    /// died: before each [`Lake::upload`] to the same bucket, whatever its key, for ten seconds at most. Processes of one machine may
    /// share a folder. (Stores keep parts, and charge for them, until somebody ends the upload: [`Lake::clean`], or a rule of the bucket.)
    #[must_use]
    pub fn with_notes(mut self, folder: impl Into<PathBuf>) -> Self {
        self.notes = Some(folder.into());
        self.stores = Arc::default();
        self
    }

    /// Of an upload, about so many bytes are in memory at most; otherwise five parts of at least 8 MiB each. (It is one part at least, and
    /// what waits to be sent: a part is larger where a file has more than 9,000 of 8 MiB.)
    #[must_use]
    pub fn with_memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// A store that is busy (429, 503 and the like) or cannot be reached is asked again for about so long, by each request, before that
    /// is an error; otherwise for three minutes. What a store refuses is an error at once. One request is made again for four and a half
    /// minutes at most, however long is said: it is signed once, and stores refuse it later. (Downloads and [`Lake::fetch`] make new ones.)
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self.stores = Arc::default();
        self
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience.unwrap_or(PATIENCE)
    }
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
