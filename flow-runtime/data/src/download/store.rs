//! Downloads from object stores, continued where they broke off.

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::origin::Origin;
use super::{Download, DownloadOptions, finish, reused};
use crate::files::{Part, with_suffix};
use crate::lake::{Object, Receiving, Stopped, Version, head};
use crate::redact::redact;
use crate::{Error, Lake, Progress, Result};

/// How long a store is waited for that is to tell which content it has.
const TOLD_WITHIN: Duration = Duration::from_secs(3);

/// What tells this content from another.
pub(super) async fn version(lake: &Lake, url: &Url) -> Option<String> {
    // Where that cannot be told now it is not told; a download that follows waits for it.
    let (store, key) = lake.clone().with_patience(lake.patience().min(TOLD_WITHIN)).open(url).ok()?;
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
    let mut part = Part::resume(path).await?;
    let finished = Origin::of_finished(path, text).filter(|origin| options.accepts(origin));
    let beside = with_suffix(part.path(), ".json");
    let origin_of =
        |there: &Object| Origin { etag: name(&there.version), total: Some(there.bytes), ..Origin::new(text) };
    let same = |kept: &Origin, now: &Origin| now.etag.is_some() && (&kept.etag, kept.total) == (&now.etag, now.total);
    let begin = |part: &Part, there: &Object| {
        let now = origin_of(there);
        if finished.as_ref().is_some_and(|finished| same(finished, &now)) {
            return Ok(None);
        }
        let length = part.file.metadata().map_err(Error::io(part.path()))?.len();
        if length <= there.bytes && Origin::read(&beside, text).is_some_and(|kept| same(&kept, &now)) {
            return Ok(Some(length));
        }
        // The origin goes first: bytes under another origin's name must never be.
        let _ = std::fs::remove_file(&beside);
        part.file.set_len(0).map_err(Error::io(part.path()))?;
        now.write(&beside)?;
        Ok(Some(0))
    };
    let (least_bytes, patience) = (options.least_bytes, options.patience);
    let receiving = Receiving { lake: &options.lake, url, least_bytes, patience, progress };
    let there = receiving.run(&mut part, begin).await.map_err(|stopped| match stopped {
        Stopped::For(error) => error,
        Stopped::Fruitless { cause, attempts } => Error::Transfer { url: redact(text), reason: cause, attempts },
    })?;
    let done = match there {
        Some(there) => finish(part, path, text, origin_of(&there), options).await?,
        None => {
            part.discard();
            reused(path, text, &finished.unwrap_or_default(), progress)
        }
    };
    let _ = std::fs::remove_file(beside);
    Ok(done)
}
