//! Files from the web or from disk, fetched once and continued where they broke off.

mod http;
mod origin;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use self::origin::Origin;
use crate::files::{self, Part, with_suffix};
use crate::redact::redact;
use crate::{Error, Progress, Result};

/// The longest file name that is taken over from a URL, in bytes.
const MAX_NAME_BYTES: usize = 120;

/// A file that was downloaded, or was there already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// Where it is.
    pub path: PathBuf,
    /// Where it came from, redacted.
    pub url: String,
    /// Its size.
    pub bytes: u64,
    /// True when the file was there and is still what the URL means: nothing was transferred.
    pub reused: bool,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// Downloads a URL into a folder, as `FOLDER/<short hash of the URL>/NAME`: two URLs never meet, and the file keeps its name.
/// Everything else is as in [`download_to`].
///
/// # Errors
/// As [`download_to`].
///
/// # Panics
/// Without a tokio runtime.
pub async fn download(url: &str, folder: impl AsRef<Path>, progress: &dyn Progress) -> Result<Download> {
    let place = folder.as_ref().join(&origin::hash_of(url)[..12]).join(name_of(url));
    download_to(url, place, progress).await
}

/// Downloads `http://`, `https://`, `file://` or a plain path to a file. The file appears whole, and durable.
///
/// * **It continues.** What arrives lands in `PATH.part`, with its origin in `PATH.part.json`. A connection that breaks is made
///   anew, up to 6 times in a row without a new byte, waiting longer each time; a later call, in this process or another,
///   continues too. The server is asked for the rest of the very same content (`Range` with `If-Range`); when it has
///   other content by now, or knows no ranges, the download starts over.
/// * **It is done once.** `PATH.json` remembers what the server called the content (`ETag`, `Last-Modified`). A file that is
///   there is asked for conditionally and reused on "304 Not Modified". A server that gave neither is asked for the length
///   (`HEAD`); the file is reused when that is its own. A file on disk is reused while size and time of change stay.
/// * **It can be cancelled** by dropping the future; only the `.part` files stay. Two downloads to one path take turns.
///
/// `progress` counts bytes, of the length that the server stated, if it did.
///
/// # Errors
/// [`Error::Status`] when the server refuses, which is permanent for most of 4xx; [`Error::Transfer`] when the connection
/// kept breaking or the length was wrong; [`Error::Io`]; [`Error::Invalid`] for a URL that is none.
///
/// # Panics
/// Without a tokio runtime.
pub async fn download_to(url: &str, path: impl AsRef<Path>, progress: &dyn Progress) -> Result<Download> {
    let path = path.as_ref();
    let file = match parse(url)? {
        Source::Http(parsed) => http::download(&parsed, url, path, progress).await?,
        Source::File(file) => copy(&file, url, path, progress).await?,
    };
    let what = if file.reused { "already there" } else { "downloaded" };
    tracing::info!(bytes = file.bytes, path = %path.display(), "{what}: {}", file.url);
    Ok(file)
}

enum Source {
    Http(Url),
    File(PathBuf),
}

fn parse(text: &str) -> Result<Source> {
    let invalid = |why: &str| Error::Invalid(format!("`{}`: {why}", redact(text)));
    if !text.contains("://") {
        return if text.is_empty() { Err(invalid("the URL is empty")) } else { Ok(Source::File(text.into())) };
    }
    let url = Url::parse(text).map_err(|e| invalid(&e.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(Source::Http(url)),
        "file" => url
            .to_file_path()
            .map(Source::File)
            .map_err(|()| invalid("a file URL has three slashes and no host: file:///folder/file")),
        "gs" | "s3" | "az" => Err(invalid("this is an object store: use fetch")),
        other => Err(invalid(&format!("`{other}` is not known: use http, https, file or a path"))),
    }
}

/// The last part of the URL's path, made fit for a file name.
fn name_of(url: &str) -> String {
    let path = match parse(url) {
        Ok(Source::Http(url)) => url.path().to_owned(),
        Ok(Source::File(path)) => path.to_string_lossy().into_owned(),
        Err(_) => String::new(),
    };
    let last = path.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default();
    let pair = format!("x={}", last.replace('+', "%2B").replace('&', "%26"));
    let decoded =
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, name)| name.into_owned()).unwrap_or_default();
    let mut name: String =
        decoded.chars().map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c }).collect();
    while name.len() > MAX_NAME_BYTES {
        name.remove(0); // the ending tells more than the beginning
    }
    match name.trim_start_matches('.') {
        "" => "download".to_owned(),
        name => name.to_owned(),
    }
}

/// Where the origin of a finished file is kept.
fn origin_path(path: &Path) -> PathBuf {
    with_suffix(path, ".json")
}

async fn copy(file: &Path, url: &str, path: &Path, progress: &dyn Progress) -> Result<Download> {
    let metadata = file.metadata().map_err(Error::io(file))?;
    let stamp = metadata.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    let now = Origin {
        // Stands for a server's validator: size is compared too.
        etag: stamp.map(|t| format!("{}.{:09}", t.as_secs(), t.subsec_nanos())),
        total: Some(metadata.len()),
        ..Origin::new(url)
    };
    if let Some(kept) = Origin::of_finished(path, url)
        && (&kept.etag, kept.total) == (&now.etag, now.total)
        && let Some(sha256) = kept.sha256
    {
        progress.report(metadata.len(), Some(metadata.len()));
        return Ok(Download { path: path.to_owned(), url: redact(url), bytes: metadata.len(), reused: true, sha256 });
    }
    let (part, _) = files::copy_part(file, path, progress).await?;
    finish(part, path, url, now).await
}

/// Takes the fingerprint of what has arrived, gives it its name and writes down its origin, in this order: an origin beside
/// a file tells the truth, whenever a crash comes.
async fn finish(part: Part, path: &Path, url: &str, origin: Origin) -> Result<Download> {
    let (bytes, sha256) = origin::fingerprint(part.path()).await?;
    part.commit()?;
    let origin = Origin { total: Some(bytes), sha256: Some(sha256.clone()), ..origin };
    origin.write(&origin_path(path))?;
    Ok(Download { path: path.to_owned(), url: redact(url), bytes, reused: false, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_readable_and_harmless() {
        for (url, want) in [
            ("https://h/a/yellow_tripdata_2021-01.csv.gz?token=x", "yellow_tripdata_2021-01.csv.gz"),
            ("https://h/a%20b+c&d.csv", "a b+c&d.csv"),
            ("https://h/..%2f..%2fetc%2fpasswd", "_.._etc_passwd"),
            ("https://h/", "download"),
            ("https://h", "download"),
            ("https://h/folder/", "folder"),
            ("/data/x.csv", "x.csv"),
            ("file:///data/y.csv", "y.csv"),
        ] {
            assert_eq!(name_of(url), want, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_secrets() {
        for url in ["", "ftp://me:hush@h/x", "http://", "gs://lake/x"] {
            let error = parse(url).err().unwrap();
            assert!(error.is_permanent() && !error.to_string().contains("hush"), "{error}");
        }
    }
}
