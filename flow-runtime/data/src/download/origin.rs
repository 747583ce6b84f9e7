//! The small JSON file beside a download: where it came from and what the server called it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::origin_path;
use crate::files;
use crate::redact::redact;
use crate::{Error, Result};

/// What is known of a file's origin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// For people: the URL without its secrets.
    pub(super) url: String,
    /// For comparison: the hash of the whole URL.
    pub(super) url_sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_modified: Option<String>,
    /// The length of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
}

impl Origin {
    pub(super) fn new(url: &str) -> Self {
        Self { url: redact(url), url_sha256: hash_of(url), ..Self::default() }
    }

    /// What was written down, if it is about this URL.
    pub(super) fn read(path: &Path, url: &str) -> Option<Self> {
        let origin: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        (origin.url_sha256 == hash_of(url)).then_some(origin)
    }

    /// What was written down about a finished file that still has its length.
    pub(super) fn of_finished(path: &Path, url: &str) -> Option<Self> {
        let origin = Self::read(&origin_path(path), url)?;
        let bytes = path.metadata().ok()?.len();
        (origin.total == Some(bytes) && origin.sha256.is_some()).then_some(origin)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(|e| Error::io(path)(e.into()))?;
        files::write_small(path, &json)
    }

    /// What `If-Range` may name: a strong tag, else a date.
    pub(super) fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }
}

/// SHA-256 of a text, in hexadecimal.
pub(super) fn hash_of(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A file's size and SHA-256, taken on a thread that may block.
pub(super) async fn fingerprint(path: &Path) -> Result<(u64, String)> {
    let path: PathBuf = path.to_owned();
    let work = move || {
        let mut file = File::open(&path).map_err(Error::io(&path))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let n = file.read(&mut buffer).map_err(Error::io(&path))?;
            if n == 0 {
                return Ok((bytes, hex(&hash.finalize())));
            }
            bytes += n as u64;
            hash.update(&buffer[..n]);
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::lost_thread("reading a file")))
}
