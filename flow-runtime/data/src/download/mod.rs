//! Files from the web or from disk, fetched once and continued where they broke off.

mod http;
mod origin;
mod store;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use self::origin::Origin;
use crate::files::{self, Part, part_path, with_suffix};
use crate::lake::Place;
use crate::pace::{LEAST_BYTES, PATIENCE};
use crate::progress::{decided, while_wanted};
use crate::redact::redact;
use crate::{Error, Lake, Progress, Result};

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
    /// How its content is compressed, told by its first bytes and not by its name.
    #[serde(default)]
    pub compression: Option<Compression>,
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

impl Compression {
    /// That of a file, by its first bytes. Blocks for a moment.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        let mut first = Vec::new();
        let file = std::fs::File::open(path).map_err(Error::io(path))?;
        file.take(4).read_to_end(&mut first).map_err(Error::io(path))?;
        Ok(match first.as_slice() {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            _ => None,
        })
    }
}

/// How a file is downloaded.
#[derive(Debug, Clone)]
pub struct DownloadOptions {
    /// What the content has to be: its SHA-256 in hexadecimal. Another content is an error, and no file appears; a file that
    /// is there with this content is not asked for again.
    pub sha256: Option<String>,
    /// The options of object stores.
    pub lake: Lake,
    /// A connection that brings fewer bytes than this ..
    pub least_bytes: u64,
    /// .. in this time is given up, and the next continues.
    pub patience: Duration,
}

impl Default for DownloadOptions {
    /// No checksum, what the environment says of stores, and 64 KiB a minute.
    fn default() -> Self {
        Self { sha256: None, lake: Lake::new(), least_bytes: LEAST_BYTES, patience: PATIENCE }
    }
}

impl DownloadOptions {
    /// May a finished file of this origin stand for the download?
    fn accepts(&self, origin: &Origin) -> bool {
        self.sha256
            .as_deref()
            .is_none_or(|wanted| origin.sha256.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(wanted)))
    }
}

impl Download {
    /// Is the file there still, with this content? Told by its length and by what was written down beside it; the content itself
    /// is not read. Blocks for a moment.
    pub fn is_there(&self) -> bool {
        origin::is_of(&self.path, self.bytes, &self.sha256)
    }
}

/// Is this file still what it was? Told by its length and, where it is a download, by what was written down beside it; the
/// content itself is not read. Blocks for a moment.
pub fn is_still(path: &Path, bytes: u64, sha256: &str) -> bool {
    match sha256.is_empty() || !origin_path(path).exists() {
        true => path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes),
        false => origin::is_of(path, bytes, sha256),
    }
}

/// Tells the present content of a URL from any other, without fetching it: by what a server or store answers to one `HEAD` (`ETag`,
/// `Last-Modified` and the length), or by a file's time of change and size. `None` where that cannot be told: a server that
/// names neither tag nor date, that refuses, or that cannot be reached. What is wrong then, a [`download`] says.
///
/// # Panics
/// Without a tokio runtime.
pub async fn version(url: &str) -> Option<String> {
    version_in(&Lake::new(), url).await
}

/// [`version`] with the options of this lake for objects.
///
/// # Panics
/// Without a tokio runtime.
pub async fn version_in(lake: &Lake, url: &str) -> Option<String> {
    match parse(url).ok()? {
        Source::Http(url) => http::version(url).await,
        Source::Store(url) => store::version(lake, &url).await,
        Source::File(file) => {
            let metadata = file.metadata().ok()?;
            Some(format!("{} {}", stamp(&metadata)?, metadata.len()))
        }
    }
}

/// When a file was changed.
fn stamp(metadata: &std::fs::Metadata) -> Option<String> {
    let changed = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(format!("{}.{:09}", changed.as_secs(), changed.subsec_nanos()))
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
    download_into(url, folder, &DownloadOptions::default(), progress).await
}

/// [`download`] with a checksum, or with the options of a store.
///
/// # Errors
/// As [`download_with`].
///
/// # Panics
/// Without a tokio runtime.
pub async fn download_into(
    url: &str,
    folder: impl AsRef<Path>,
    options: &DownloadOptions,
    progress: &dyn Progress,
) -> Result<Download> {
    let place = folder.as_ref().join(&origin::hash_of(url)[..12]).join(name_of(url));
    download_with(url, place, options, progress).await
}

/// Downloads `http://`, `https://`, an object (`gs://`, `s3://`, `az://`), `file://` or a plain path to a file. The file
/// appears whole, and durable.
///
/// * **It continues.** What arrives lands in `PATH.part`, with its origin in `PATH.part.json`. A connection that breaks is made
///   anew, up to 6 times in a row without a new byte, waiting longer each time; a later call, in this process or another,
///   continues too. The server is asked for the rest of the very same content (`Range` with `If-Range`); when it has
///   other content by now, or knows no ranges, the download starts over. Of an object the very version is asked for that
///   was seen first; one that changes 6 times meanwhile is given up. A connection that brings next to nothing counts as broken. By HTTP, `Retry-After` is waited for up
///   to five minutes; a server that asks for more is given up at once, with an error that says for how long. The client of a
///   store keeps its own time: it tries each request for three minutes in all, or for as long as [`Lake::with_patience`] says.
/// * **It is done once.** `PATH.json` remembers what the server called the content (`ETag`, `Last-Modified`). A file that is
///   there is asked for conditionally and reused on "304 Not Modified". A server that gave neither is asked for the length
///   (`HEAD`); the file is reused when that is its own. A file on disk is reused while size and time of change stay.
/// * **It is whole**, as far as the server lets that be known: by a length, by chunks, or by HTTP/2. Where it ends the content by
///   closing the connection alone, one that broke looks the same; a warning is logged, and a stated SHA-256 tells.
/// * **It can be cancelled**, by dropping the future or by `progress`; only the `.part` files stay. Two downloads to one path take turns.
///
/// `progress` counts bytes, of the length that the server stated, if it did. The proxies of the environment are used
/// (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`), here and by all else that speaks HTTP.
///
/// # Errors
/// [`Error::Status`] when the server refuses, which is permanent for most of 4xx; [`Error::Transfer`] when the connection
/// kept breaking or the length was wrong; [`Error::Io`]; [`Error::Invalid`] for a URL that is none, and for a file that is
/// one of those beside `PATH`.
///
/// # Panics
/// Without a tokio runtime.
pub async fn download_to(url: &str, path: impl AsRef<Path>, progress: &dyn Progress) -> Result<Download> {
    download_with(url, path, &DownloadOptions::default(), progress).await
}

/// [`download_to`] with a checksum, or with the options of a store.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), flow_data::Error> {
/// use flow_data::{DownloadOptions, download_with};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// std::fs::write(folder.join("trips.csv"), "id\n1\n").unwrap();
/// let url = format!("file://{}/trips.csv", folder.display());
/// let wrong = DownloadOptions { sha256: Some("00".repeat(32)), ..DownloadOptions::default() };
/// let error = download_with(&url, folder.join("copy.csv"), &wrong, &()).await.unwrap_err();
/// assert!(error.is_permanent() && !folder.join("copy.csv").exists());
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`download_to`]; [`Error::Conflict`] when the content has another SHA-256 than was stated.
///
/// # Panics
/// Without a tokio runtime.
pub async fn download_with(
    url: &str,
    path: impl AsRef<Path>,
    options: &DownloadOptions,
    progress: &dyn Progress,
) -> Result<Download> {
    while_wanted(progress, fetched(url, path.as_ref(), options, progress)).await
}

async fn fetched(url: &str, path: &Path, options: &DownloadOptions, progress: &dyn Progress) -> Result<Download> {
    let source = parse(url)?;
    let stated = Origin::of_finished(path, url).filter(|origin| options.sha256.is_some() && options.accepts(origin));
    let file = match (stated, source) {
        (Some(there), _) => reused(path, url, &there, progress),
        (None, Source::Http(parsed)) => http::download(&parsed, url, path, options, progress).await?,
        (None, Source::Store(parsed)) => store::download(&parsed, url, path, options, progress).await?,
        (None, Source::File(file)) => copy(&file, url, path, options, progress).await?,
    };
    let what = if file.reused { "already there" } else { "downloaded" };
    tracing::info!(bytes = file.bytes, path = %path.display(), "{what}: {}", file.url);
    Ok(file)
}

/// The file that is there.
fn reused(path: &Path, url: &str, origin: &Origin, progress: &dyn Progress) -> Download {
    let bytes = origin.total.unwrap_or_default();
    progress.report(bytes, Some(bytes));
    let sha256 = origin.sha256.clone().unwrap_or_default();
    // A file that vanished in this instant is compressed in no way.
    let compression = Compression::of(path).unwrap_or_default();
    Download { path: path.to_owned(), url: redact(url), bytes, reused: true, sha256, compression }
}

enum Source {
    Http(Url),
    Store(Url),
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
        other => match Place::parse(text) {
            Ok(Place::Remote(url)) if url.host_str().is_some_and(|bucket| !bucket.is_empty()) => Ok(Source::Store(url)),
            _ => Err(invalid(&format!("`{other}` is not known: use http, https, gs, s3, az, file or a path"))),
        },
    }
}

/// The last part of the URL's path, made fit for a file name.
fn name_of(url: &str) -> String {
    let path = match parse(url) {
        Ok(Source::Http(url) | Source::Store(url)) => url.path().to_owned(),
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

async fn copy(
    file: &Path,
    url: &str,
    path: &Path,
    options: &DownloadOptions,
    progress: &dyn Progress,
) -> Result<Download> {
    let metadata = file.metadata().map_err(Error::io(file))?;
    let now = Origin {
        // Stands for a server's validator: size is compared too.
        etag: stamp(&metadata),
        total: Some(metadata.len()),
        ..Origin::new(url)
    };
    let kept = Origin::of_finished(path, url).filter(|origin| options.accepts(origin));
    if let Some(kept) = kept.filter(|kept| (&kept.etag, kept.total) == (&now.etag, now.total)) {
        return Ok(reused(path, url, &kept, progress));
    }
    // A copy onto itself changes nothing; what is written beside it would.
    let part = part_path(path);
    files::apart(file, &[origin_path(path), with_suffix(&part, ".json"), part])?;
    let (part, ..) = files::copy_part(file, path, progress).await?;
    finish(part, path, url, now, options).await
}

/// Takes the fingerprint of what has arrived, gives it its name and writes down its origin, in this order: an origin beside
/// a file tells the truth, whenever a crash comes.
async fn finish(part: Part, path: &Path, url: &str, origin: Origin, options: &DownloadOptions) -> Result<Download> {
    let (bytes, sha256) = files::fingerprint(part.path()).await?;
    if let Some(stated) = options.sha256.as_ref().filter(|stated| !stated.eq_ignore_ascii_case(&sha256)) {
        // Continued by a later call, it would stay wrong.
        let _ = std::fs::remove_file(with_suffix(part.path(), ".json"));
        part.discard();
        let message = format!("the content has the SHA-256 {sha256}, and not {stated} as was stated");
        return Err(Error::Conflict { url: redact(url), message });
    }
    let compression = Compression::of(part.path())?;
    decided();
    part.commit()?;
    let origin = Origin { total: Some(bytes), sha256: Some(sha256.clone()), ..origin };
    origin.write(&origin_path(path))?;
    Ok(Download { path: path.to_owned(), url: redact(url), bytes, reused: false, sha256, compression })
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
            ("gs://lake/raw/z%20a.csv", "z a.csv"),
        ] {
            assert_eq!(name_of(url), want, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_secrets() {
        for url in ["", "ftp://me:hush@h/x", "http://", "gs://"] {
            let error = parse(url).err().unwrap();
            assert!(error.is_permanent() && !error.to_string().contains("hush"), "{error}");
        }
    }
}
