//! Downloads from object stores, continued where they broke off.

use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange};
use tokio::io::AsyncWriteExt;
use url::Url;

use super::origin::Origin;
use super::pace::Pace;
use super::{Download, DownloadOptions, finish, reused};
use crate::files::{Part, with_suffix};
use crate::lake::{Object, Store, Version, failed, head};
use crate::redact::redact;
use crate::retry::Attempts;
use crate::{Error, Lake, Progress, Result};

/// How much is gathered before it is written.
const WRITE_BYTES: usize = 256 << 10;

/// What tells this content from another.
pub(super) async fn version(lake: &Lake, url: &Url) -> Option<String> {
    let (store, key) = lake.open(url).ok()?;
    let there = head(&store, &key, url).await.ok()??;
    Some(format!("{} {}", name(&there.version)?, there.bytes))
}

/// A version as one text; a tag alone is none where generations are known.
fn name(version: &Version) -> Option<String> {
    let parts: Vec<_> = [&version.etag, &version.generation].into_iter().flatten().map(String::as_str).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

pub(super) async fn download(
    url: &Url,
    text: &str,
    path: &Path,
    options: &DownloadOptions,
    progress: &dyn Progress,
) -> Result<Download> {
    let (store, key) = options.lake.open(url)?;
    let mut part = Part::resume(path).await?;
    let finished = Origin::of_finished(path, text).filter(|origin| options.accepts(origin));
    let beside = with_suffix(part.path(), ".json");
    let mut attempts = Attempts::new();
    let mut transfer = Transfer { store, key, url, options, progress };
    let origin = loop {
        let there = transfer.look().await?;
        let now = Origin { etag: name(&there.version), total: Some(there.bytes), ..Origin::new(text) };
        let same = |kept: &Origin| now.etag.is_some() && (&kept.etag, kept.total) == (&now.etag, now.total);
        if let Some(finished) = finished.as_ref().filter(|finished| same(finished)) {
            part.discard();
            let _ = std::fs::remove_file(beside);
            return Ok(reused(path, text, finished, progress));
        }
        let length = part.file.metadata().map_err(Error::io(part.path()))?.len();
        let mut offset = length;
        if length > there.bytes || !Origin::read(&beside, text).is_some_and(|kept| same(&kept)) {
            // The origin goes first: bytes under another origin's name must never be.
            let _ = std::fs::remove_file(&beside);
            part.file.set_len(0).map_err(Error::io(part.path()))?;
            now.write(&beside)?;
            offset = 0;
        }
        let before = offset;
        let cause = match transfer.receive(&mut part, &there, &mut offset).await {
            Ok(()) => break now,
            Err(Ended::For(error)) => return Err(error),
            Err(Ended::Maybe { cause, slow }) => {
                let gained = offset - before;
                if gained > 0 && (!slow || gained >= options.least_bytes) {
                    attempts.progressed();
                }
                cause
            }
        };
        if !attempts.again(None).await {
            return Err(Error::Transfer { url: redact(text), reason: cause, attempts: attempts.made() });
        }
    };
    let done = finish(part, path, text, origin, options).await?;
    let _ = std::fs::remove_file(beside);
    Ok(done)
}

/// Why an attempt ended before its end.
enum Ended {
    For(Error),
    Maybe { cause: String, slow: bool },
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::For(error)
    }
}

struct Transfer<'a> {
    store: Arc<Store>,
    key: Key,
    url: &'a Url,
    options: &'a DownloadOptions,
    progress: &'a dyn Progress,
}

impl Transfer<'_> {
    async fn look(&mut self) -> Result<Object> {
        head(&self.store, &self.key, self.url).await?.ok_or_else(|| Error::Store {
            url: redact(self.url.as_str()),
            message: "there is no such object; look at the address (the month, the spelling)".into(),
            permanent: true,
        })
    }

    /// Appends the rest of this very content to the part file.
    async fn receive(&mut self, part: &mut Part, there: &Object, offset: &mut u64) -> Result<(), Ended> {
        self.progress.report(*offset, Some(there.bytes));
        if *offset == there.bytes {
            return Ok(());
        }
        let (etag, generation) = (there.version.etag.clone(), there.version.generation.clone());
        let get = GetOptions {
            range: Some(GetRange::Bounded(*offset..there.bytes)),
            if_match: etag,
            version: generation,
            ..GetOptions::default()
        };
        let mut pace = Pace::new(self.options.least_bytes, self.options.patience);
        let late = |pace: &Pace| Ended::Maybe { cause: pace.words(), slow: true };
        let began = pace.wait(self.store.objects().get_opts(&self.key, get)).await.ok_or_else(|| late(&pace))?;
        let mut stream = match began {
            Ok(found) => found.into_stream(),
            // Another content by now, or none: the next look tells.
            Err(object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. }) => {
                return Err(Ended::Maybe { cause: "the object changed meanwhile".into(), slow: false });
            }
            Err(error) => return Err(self.ended(error)),
        };
        part.file.set_len(*offset).map_err(Error::io(part.path()))?;
        part.file.seek(SeekFrom::Start(*offset)).map_err(Error::io(part.path()))?;
        let mut file = part.writer()?;
        let mut buffer = Vec::with_capacity(WRITE_BYTES * 2);
        let outcome = loop {
            let piece = pace.wait(stream.next()).await;
            if let Some(Some(Ok(bytes))) = &piece {
                pace.came(bytes.len());
                buffer.extend_from_slice(bytes);
                if buffer.len() < WRITE_BYTES {
                    continue;
                }
            }
            file.write_all(&buffer).await.map_err(Error::io(part.path()))?;
            *offset += buffer.len() as u64;
            buffer.clear();
            self.progress.report(*offset, Some(there.bytes));
            match piece {
                Some(Some(Ok(_))) => {}
                Some(Some(Err(error))) => break Err(self.ended(error)),
                Some(None) if *offset != there.bytes => {
                    let cause = format!("{offset} of {} bytes arrived", there.bytes);
                    break Err(Ended::Maybe { cause, slow: false });
                }
                Some(None) => break Ok(()),
                None => break Err(late(&pace)),
            }
        };
        file.flush().await.map_err(Error::io(part.path()))?;
        outcome
    }

    fn ended(&self, error: object_store::Error) -> Ended {
        match failed(self.url)(error) {
            Error::Store { message, permanent: false, .. } => Ended::Maybe { cause: message, slow: false },
            error => Ended::For(error),
        }
    }
}
