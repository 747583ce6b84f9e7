//! A file's way down.

use std::path::Path;

use url::Url;

use super::receive::{Receiving, Stopped};
use super::{Fetched, Lake, Object, Place, Version};
use crate::files::{self, Part};
use crate::pace::{LEAST_BYTES, PATIENCE};
use crate::progress::{decided, while_wanted};
use crate::redact::redact;
use crate::{Error, Progress, Result};

impl Lake {
    /// Copies an object or a file to a local path, which appears whole. A connection that breaks, or brings next to nothing, is made
    /// anew, and continues with the very version that was seen first; up to 6 times in a row without a new byte, and up to 6 times from
    /// the beginning because another content is there. A content that is
    /// not the one whose SHA-256 was written down with the object is an error. `progress` counts bytes.
    ///
    /// # Errors
    /// There is no such object, the path cannot be written, or the store refuses or cannot be reached
    /// ([`Lake::with_patience`] says for how long that is tried).
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn fetch(&self, source: &str, local: impl AsRef<Path>, progress: &dyn Progress) -> Result<Fetched> {
        while_wanted(progress, self.fetched(source, local.as_ref(), progress)).await
    }

    async fn fetched(&self, source: &str, local: &Path, progress: &dyn Progress) -> Result<Fetched> {
        let (bytes, sha256) = match Place::parse(source)? {
            Place::Local(path) => {
                let (part, bytes, sha256) = files::copy_part(&path, local, progress).await?;
                decided();
                part.commit()?;
                (bytes, sha256)
            }
            Place::Remote(url) => self.receive(&url, local, progress).await?,
        };
        tracing::debug!(bytes, path = %local.display(), "fetched {}", redact(source));
        Ok(Fetched { path: local.to_owned(), url: redact(source), bytes, sha256 })
    }

    async fn receive(&self, url: &Url, local: &Path, progress: &dyn Progress) -> Result<(u64, String)> {
        let mut part = Part::start(local).await?;
        let mut seen = None;
        let begin = |part: &Part, there: &Object| {
            let now = (there.version.clone(), there.bytes);
            // What has arrived counts as long as the rest is certain to be of the same content.
            if there.version == Version::default() || seen.as_ref() != Some(&now) {
                part.file.set_len(0).map_err(Error::io(part.path()))?;
                seen = Some(now);
            }
            Ok(Some(part.file.metadata().map_err(Error::io(part.path()))?.len()))
        };
        let wrong = |message: String| Error::Store { url: redact(url.as_str()), message, permanent: false };
        let receiving = Receiving { lake: self, url, least_bytes: LEAST_BYTES, patience: PATIENCE, progress };
        let there = receiving.run(&mut part, begin).await.map_err(|stopped| match stopped {
            Stopped::For(error) => error,
            Stopped::Fruitless { cause, attempts } => {
                wrong(format!("{cause}, given up after {attempts} fruitless attempts"))
            }
        })?;
        let (bytes, sha256) = files::fingerprint(part.path()).await?;
        if let Some(stated) = there.and_then(|there| there.sha256).filter(|stated| *stated != sha256) {
            return Err(wrong(format!("the content has the SHA-256 {sha256}, and {stated} was written down with it")));
        }
        decided();
        part.commit()?;
        Ok((bytes, sha256))
    }
}
