//! A file's way down.

use std::path::Path;

use futures::StreamExt;
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use url::Url;

use super::objects::SHA256;
use super::open::failed;
use super::{Fetched, Lake, Place};
use crate::files::{self, Part, hex};
use crate::progress::{decided, while_wanted};
use crate::redact::redact;
use crate::{Error, Progress, Result};

impl Lake {
    /// Copies an object or a file to a local path, which appears whole. A content that is not the one whose SHA-256 was
    /// written down with the object is an error. `progress` counts bytes.
    ///
    /// # Errors
    /// There is no such object, the path cannot be written, or the store refuses or cannot be reached.
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
        let (store, key) = self.open(url)?;
        let object = store.objects().get(&key).await.map_err(failed(url))?;
        let size = object.meta.size;
        let stated = object.attributes.get(&SHA256).map(|value| value.to_string());
        let mut stream = object.into_stream();
        let part = Part::start(local).await?;
        let mut file = part.writer()?;
        let mut hash = Sha256::new();
        let mut done = 0;
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(failed(url))?;
            file.write_all(&bytes).await.map_err(Error::io(part.path()))?;
            hash.update(&bytes);
            done += bytes.len() as u64;
            progress.report(done, Some(size));
        }
        file.flush().await.map_err(Error::io(part.path()))?;
        let sha256 = hex(&hash.finalize());
        let wrong = |message: String| Error::Store { url: redact(url.as_str()), message, permanent: false };
        if done != size {
            return Err(wrong(format!("{done} of {size} bytes arrived")));
        }
        if let Some(stated) = stated.filter(|stated| *stated != sha256) {
            return Err(wrong(format!("the content has the SHA-256 {sha256}, and {stated} was written down with it")));
        }
        decided();
        part.commit()?;
        Ok((size, sha256))
    }
}
