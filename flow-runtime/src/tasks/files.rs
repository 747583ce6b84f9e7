//! Files: from the web to the disk, from text to Parquet, from the disk to a lake.

use super::{IN_URLS, LocalFile, dated, filled, known, stem};
use crate::connection::Place;
use crate::context::{Context, Unit};
use crate::error::{Result, TaskError};
use crate::task;
use anyhow::Context as _;
use flow_data::{
    CsvOptions, Download, DownloadOptions, Lake, Misfit, ParquetFile, ParquetOptions, Schema, Tolerance, Uploaded, When,
};
use percent_encoding::utf8_percent_encode;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Downloads `http(s)://`, an object (`gs://`, `s3://`, `az://`), `file://` or a path into the home folder, and goes on where an
/// earlier try stopped. What has been downloaded in the last seven days is not downloaded again while the server says that it
/// is what it was. See [`flow_data::download_to`].
///
/// The URL may have the dates of the run in it, so that each run of a schedule, or of a backfill, gets its own file:
/// `https://host/trips_{date:%Y-%m}.csv.gz`. There are `date` (the logical date), `start` and `end` (of the data interval); beside them
/// also `dag`, `run`, `task` and `index`, and a brace is then written twice. See [`flow_data::key`].
///
/// # Errors
/// The server refuses (which fails the task for good: most of 4xx), or the connection kept breaking; the disk; a date that the URL
/// asks for, and the run has not.
#[task(cache = "7d", cache_key = version(ctx, &url).await?, cache_if = Download::is_there)]
pub async fn download(ctx: &Context, url: String) -> Result<Download> {
    fetch(ctx, &url, &Fetch::default()).await
}

/// How a file is downloaded: [`Fetch::default`] is as [`download`] does it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Fetch {
    /// The SHA-256 that the content has to have, in hexadecimal. `None`: whatever it is.
    pub sha256: Option<String>,
    /// A connection that brings fewer bytes than this .. `None`: 64 KiB.
    pub least_bytes: Option<u64>,
    /// .. in so many seconds is given up, and the next one goes on where it stopped. `None`: 60.
    pub patience_seconds: Option<u64>,
}

impl Fetch {
    /// The content has to have this SHA-256, in hexadecimal.
    #[must_use]
    pub fn sha256(self, sha256: impl Into<String>) -> Fetch {
        Fetch { sha256: Some(sha256.into()), ..self }
    }

    /// A connection that brings fewer bytes than this in the time of [`Fetch::patience`] is given up; with 0, only one that brings
    /// none.
    #[must_use]
    pub fn least_bytes(self, bytes: u64) -> Fetch {
        Fetch { least_bytes: Some(bytes), ..self }
    }

    /// For so long a connection may bring next to nothing; whole seconds. For a server that needs minutes until it begins.
    #[must_use]
    pub fn patience(self, time: Duration) -> Fetch {
        Fetch { patience_seconds: Some(time.as_secs().max(1)), ..self }
    }

    fn options(&self, lake: Lake) -> DownloadOptions {
        let usual = DownloadOptions::default();
        DownloadOptions {
            sha256: self.sha256.clone(),
            lake,
            least_bytes: self.least_bytes.unwrap_or(usual.least_bytes),
            patience: self.patience_seconds.map_or(usual.patience, Duration::from_secs),
        }
    }
}

/// [`download`] from a server that is slow, or of a file whose SHA-256 is known.
///
/// # Errors
/// As those of [`download`]; another content.
#[task(cache = "7d", cache_key = version(ctx, &url).await?, cache_if = Download::is_there)]
pub async fn download_with(ctx: &Context, url: String, how: Fetch) -> Result<Download> {
    fetch(ctx, &url, &how).await
}

/// [`download`] of a file whose SHA-256 is known (in hexadecimal). Another content is an error, and no file appears; one that is
/// there with this content is not asked for again.
///
/// # Errors
/// As those of [`download`]; another content.
#[task]
pub async fn download_checked(ctx: &Context, url: String, sha256: String) -> Result<Download> {
    fetch(ctx, &url, &Fetch::default().sha256(sha256)).await
}

/// What tells the present content from a later one.
async fn version(ctx: &Context, url: &str) -> Result<Option<String>> {
    let place = ctx.place(url)?;
    let dated = dated(ctx, place.url())?;
    let version = flow_data::version_in(&place.lake(), &dated).await;
    // The text is in the key already, what has become of it is not: two files of one version are two.
    Ok(if dated == place.url() { version } else { version.map(|version| format!("{version} of {dated}")) })
}

async fn fetch(ctx: &Context, url: &str, how: &Fetch) -> Result<Download> {
    let place = ctx.place(url)?;
    let (options, counting) = (how.options(place.lake()), ctx.counting(Unit::Bytes));
    let url = dated(ctx, place.url())?;
    let file = flow_data::download_into(&url, ctx.home().join("downloads"), &options, &counting).await?;
    // Rows are known by it.
    Ok(Download { url: known::source(ctx.home(), &url)?, ..file })
}

/// How a text file becomes Parquet: [`Parquetize::default`] guesses the types from the first rows, and then holds every row to them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parquetize {
    /// What the columns hold. `None`: what the first rows do.
    #[serde(default)]
    pub schema: Option<Schema>,
    /// How the CSV file is written.
    #[serde(default)]
    pub csv: CsvOptions,
    /// It is JSON, a record a line.
    #[serde(default)]
    pub json: bool,
    /// What becomes of what does not fit.
    #[serde(default)]
    pub misfit: Misfit,
    /// How many rows that do not fit are put up with.
    #[serde(default)]
    pub tolerance: Tolerance,
    /// Reads the whole file twice: see [`ParquetOptions::widen`].
    #[serde(default)]
    pub widen: bool,
}

impl Parquetize {
    /// A CSV file with these columns.
    pub fn csv(schema: Schema) -> Parquetize {
        Parquetize { schema: Some(schema), ..Parquetize::default() }
    }

    /// JSON lines.
    pub fn json() -> Parquetize {
        Parquetize { json: true, ..Parquetize::default() }
    }

    /// Fields stand between these, not between commas.
    #[must_use]
    pub fn separator(mut self, separator: char) -> Parquetize {
        self.csv.separator = Some(separator);
        self
    }

    /// A row that does not fit goes to a file of its own beside the Parquet file.
    #[must_use]
    pub fn quarantine(self) -> Parquetize {
        Parquetize { misfit: Misfit::Quarantine, ..self }
    }

    pub(super) fn write(&self, ctx: &Context, file: &LocalFile) -> Result<ParquetFile> {
        let source = file.path(ctx)?;
        let schema = match &self.schema {
            Some(schema) => schema.clone(),
            None if self.json => Schema::infer_json(&source, &self.csv)?,
            None => Schema::infer_with(&source, &self.csv)?,
        };
        let mut options = ParquetOptions::default();
        (options.csv, options.misfit, options.tolerance) = (self.csv.clone(), self.misfit, self.tolerance);
        options.widen = self.widen;
        if let Some(memory) = ctx.memory() {
            options = options.within(memory);
        }
        let target = self.target(ctx, &source, file.sha256.as_deref())?;
        let counting = ctx.counting(Unit::Bytes);
        let made = match self.json {
            true => flow_data::parquetize_json(&source, target, &schema, &options, &counting)?,
            false => flow_data::parquetize(&source, target, &schema, &options, &counting)?,
        };
        Ok(made.of(file.known_by(ctx)))
    }

    /// Where the Parquet file goes: another text file, another content of it, or the same one read in another way, has another
    /// place, so that no later run takes away what an earlier one goes on with.
    fn target(&self, ctx: &Context, source: &Path, sha256: Option<&str>) -> Result<PathBuf> {
        let metadata = source.metadata().with_context(|| format!("{} cannot be read", source.display()))?;
        let content = match sha256 {
            Some(sha256) => sha256.to_owned(),
            None => format!("{} {:?}", metadata.len(), metadata.modified()?),
        };
        let whole = serde_json::to_vec(&(source, content, self))?;
        let hash: String = Sha256::digest(whole).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let folder = ctx.home().join("parquet").join(hash);
        std::fs::create_dir_all(&folder)?;
        Ok(folder.join(format!("{}.parquet", stem(source))))
    }
}

/// Turns a CSV file into Parquet, in a folder of its own below the home folder, in bounded memory. The types are guessed from the first rows; a row further on that is
/// otherwise is an error with its number, column and text. See [`flow_data::parquetize`].
///
/// # Errors
/// The file is no CSV, or holds what does not fit; the disk.
#[task]
pub fn parquetize(ctx: &Context, file: LocalFile) -> Result<ParquetFile> {
    Parquetize::default().write(ctx, &file)
}

/// [`parquetize`] with stated types, of JSON lines, with a quarantine ..
///
/// # Errors
/// As those of [`parquetize`].
#[task]
pub fn parquetize_with(ctx: &Context, file: LocalFile, how: Parquetize) -> Result<ParquetFile> {
    how.write(ctx, &file)
}

/// Puts a file into a folder of a lake, under its own name: `gs://bucket/folder`, `s3://`, `az://`, a folder of the disk. The object appears
/// whole; one of that name is replaced, so that files of one name from several places want [`upload_as`]. See
/// [`flow_data::Lake::upload`].
///
/// # Errors
/// The store refuses, or cannot be reached; the file cannot be read.
#[task]
pub async fn upload(ctx: &Context, file: LocalFile, folder: String) -> Result<Uploaded> {
    let place = ctx.place(&folder)?;
    let path = file.path(ctx)?;
    let to = format!("{}/", place.url().trim_end_matches('/'));
    put(ctx, &file, &path, &place, &to, Upload::default()).await
}

/// [`upload`] to a place by a template: `conn:lake/{dag}/{date:%Y/%m}/{stem}-{hash}.parquet`. There are `dag`, `run`, `task`, `index` of a mapped
/// task, `date` (the logical date), `start` and `end` (of the data interval), `name` and `stem` of the file, and `hash`, the first 16
/// digits of its SHA-256. See [`flow_data::key`].
///
/// # Errors
/// As those of [`upload`]; a name that the template has and the run has not.
#[task]
pub async fn upload_as(ctx: &Context, file: LocalFile, to: String) -> Result<Uploaded> {
    upload_by(ctx, &file, &to, Upload::default()).await
}

/// How a file is uploaded: [`Upload::default`] replaces whatever is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Upload {
    /// The destination must be as this try found it when it began: nothing there, or the very version.
    pub if_unchanged: bool,
}

impl Upload {
    /// Writes only if the destination is as this try found it when it began: nothing there, or the very version that was. So a try
    /// that was taken for dead and still writes replaces nothing that came after it. The store looks in the instant of
    /// the write.
    #[must_use]
    pub fn if_unchanged(self) -> Upload {
        Upload { if_unchanged: true }
    }
}

/// [`upload_as`] on a condition. A template that ends in `/` is a folder, and the file keeps its name.
///
/// # Errors
/// As those of [`upload_as`]; somebody else has written there meanwhile, for which there is no further try.
#[task]
pub async fn upload_with(ctx: &Context, file: LocalFile, to: String, how: Upload) -> Result<Uploaded> {
    upload_by(ctx, &file, &to, how).await
}

async fn upload_by(ctx: &Context, file: &LocalFile, template: &str, how: Upload) -> Result<Uploaded> {
    let path = file.path(ctx)?;
    let hash = match template.contains("{hash}") {
        true => Some(ctx.until_cancelled(flow_data::sha256(&path)).await?),
        false => None,
    };
    let place = ctx.place(template)?;
    let to = filled(ctx, place.url(), &path, hash.as_deref().map(|hash| &hash[..16]))?;
    put(ctx, file, &path, &place, &to, how).await
}

async fn put(ctx: &Context, file: &LocalFile, path: &Path, place: &Place, to: &str, how: Upload) -> Result<Uploaded> {
    // What a try that was killed has left of an upload goes with the next.
    let lake = place.lake().with_notes(ctx.home().join("uploads"));
    let lake = ctx.memory().map_or(lake.clone(), |memory| lake.with_memory(memory));
    let counting = ctx.counting(Unit::Bytes);
    let sent = if how.if_unchanged {
        let to = whole(to, path);
        let when = match ctx.until_cancelled(lake.head(&to)).await? {
            Some(there) => When::Unchanged(there.version),
            None => When::Absent,
        };
        lake.upload_when(path, &to, &when, &counting).await.map_err(outrun)?
    } else {
        lake.upload(path, to, &counting).await?
    };
    Ok(match file.origin() {
        Some(origin) => sent.of(origin),
        None => sent,
    })
}

/// A destination with the name of the file, if it is a folder.
fn whole(to: &str, path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let folder = |path: &str| path.ends_with('/') || Path::new(path).is_dir();
    match to.split_once("://") {
        // A path by another name, which may lead to a folder.
        Some(("file", place)) => match folder(place) {
            true => format!("{}/{}", to.trim_end_matches('/'), utf8_percent_encode(&name, IN_URLS)),
            false => to.to_owned(),
        },
        Some((_, place)) if place.ends_with('/') || !place.contains('/') => {
            format!("{}/{}", to.trim_end_matches('/'), utf8_percent_encode(&name, IN_URLS))
        }
        None if folder(to) => Path::new(to).join(&*name).display().to_string(),
        _ => to.to_owned(),
    }
}

/// What is said to a try whose destination somebody else has written.
fn outrun(error: flow_data::Error) -> anyhow::Error {
    match error {
        flow_data::Error::Conflict { url, message } => TaskError::fail(format!(
            "{url}: {message}; somebody else wrote there since this try began, and nothing was replaced: look who did, and clear the task if it should"
        )),
        error => error.into(),
    }
}
