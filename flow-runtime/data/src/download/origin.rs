//! The small JSON file beside a download: where it came from and what the server called it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::origin_path;
use crate::files::{self, hex};
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

/// Does this file have this length, and was this content written down of it?
pub(super) fn is_of(path: &Path, bytes: u64, sha256: &str) -> bool {
    let written = || serde_json::from_slice::<Origin>(&std::fs::read(origin_path(path)).ok()?).ok();
    let is_long = path.metadata().is_ok_and(|m| m.is_file() && m.len() == bytes);
    is_long && written().is_some_and(|origin| origin.sha256.as_deref() == Some(sha256))
}

/// SHA-256 of a text, in hexadecimal.
pub(super) fn hash_of(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}
