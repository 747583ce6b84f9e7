//! Files: from the web to the disk, from text to Parquet, from the disk to a lake.

use super::{LocalFile, filled, known, stem};
use crate::connection::Place;
use crate::context::Context;
use crate::error::Result;
use crate::task;
use anyhow::Context as _;
use flow_data::{
    CsvOptions, Download, DownloadOptions, Misfit, ParquetFile, ParquetOptions, Schema, Tolerance, Uploaded,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// Downloads `http(s)://`, an object (`gs://`, `s3://`, `az://`), `file://` or a path into the home folder, and goes on where an
/// earlier try stopped. What has been downloaded in the last seven days is not downloaded again while the server says that it
/// is what it was. See [`flow_data::download_to`].
///
/// # Errors
/// The server refuses (which fails the task for good: most of 4xx), or the connection kept breaking; the disk.
#[task(cache = "7d", cache_key = version(ctx, &url).await?, cache_if = Download::is_there)]
pub async fn download(ctx: &Context, url: String) -> Result<Download> {
    fetch(ctx, &url, None).await
}

/// [`download`] of a file whose SHA-256 is known (in hexadecimal). Another content is an error, and no file appears; one that is
/// there with this content is not asked for again.
///
/// # Errors
/// As those of [`download`]; another content.
#[task]
pub async fn download_checked(ctx: &Context, url: String, sha256: String) -> Result<Download> {
    fetch(ctx, &url, Some(sha256)).await
}

/// What tells the present content from a later one.
async fn version(ctx: &Context, url: &str) -> Result<Option<String>> {
    let place = ctx.place(url)?;
    Ok(flow_data::version_in(&place.lake(), place.url()).await)
}

async fn fetch(ctx: &Context, url: &str, sha256: Option<String>) -> Result<Download> {
    let place = ctx.place(url)?;
    let options = DownloadOptions { sha256, lake: place.lake(), ..DownloadOptions::default() };
    let file = flow_data::download_into(place.url(), ctx.home().join("downloads"), &options, ctx).await?;
    // Rows are known by it.
    Ok(Download { url: known::source(place.url()), ..file })
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

    fn write(&self, ctx: &Context, file: &LocalFile) -> Result<ParquetFile> {
        let source = file.path(ctx)?;
        let schema = match &self.schema {
            Some(schema) => schema.clone(),
            None if self.json => Schema::infer_json(&source, &self.csv)?,
            None => Schema::infer_with(&source, &self.csv)?,
        };
        let mut options = ParquetOptions::default();
        (options.csv, options.misfit, options.tolerance) = (self.csv.clone(), self.misfit, self.tolerance);
        options.widen = self.widen;
        let target = self.target(ctx, &source, file.sha256.as_deref())?;
        let made = match self.json {
            true => flow_data::parquetize_json(&source, target, &schema, &options, ctx)?,
            false => flow_data::parquetize(&source, target, &schema, &options, ctx)?,
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
    put(ctx, &file, &path, &place, &to).await
}

/// [`upload`] to a place by a template: `conn:lake/{dag}/{date:%Y/%m}/{stem}-{hash}.parquet`. There are `dag`, `run`, `task`, `index` of a mapped
/// task, `date` (the logical date), `start` and `end` (of the data interval), `name` and `stem` of the file, and `hash`, the first 16
/// digits of its SHA-256. See [`flow_data::key`].
///
/// # Errors
/// As those of [`upload`]; a name that the template has and the run has not.
#[task]
pub async fn upload_as(ctx: &Context, file: LocalFile, to: String) -> Result<Uploaded> {
    let path = file.path(ctx)?;
    let hash = match to.contains("{hash}") {
        true => Some(ctx.until_cancelled(flow_data::sha256(&path)).await?),
        false => None,
    };
    let place = ctx.place(&to)?;
    let to = filled(ctx, place.url(), &path, hash.as_deref().map(|hash| &hash[..16]))?;
    put(ctx, &file, &path, &place, &to).await
}

async fn put(ctx: &Context, file: &LocalFile, path: &Path, place: &Place, to: &str) -> Result<Uploaded> {
    let sent = place.lake().upload(path, to, ctx).await?;
    Ok(match file.origin() {
        Some(origin) => sent.of(origin),
        None => sent,
    })
}
