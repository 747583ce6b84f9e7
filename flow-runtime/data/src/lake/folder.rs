//! The same for folders.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Object, Uploaded, Version, When};
use crate::files;
use crate::progress::decided;
use crate::{Error, Progress, Result};

/// Copies a file to a path, which appears whole.
pub(super) async fn put(local: &Path, path: &Path, when: &When, progress: &dyn Progress) -> Result<Uploaded> {
    // The part file is locked until the end: of our writers one is here at a time.
    let (part, bytes, sha256) = files::copy_part(local, path, progress).await?;
    decided();
    let conflict = |message: &str| Error::Conflict { url: path.display().to_string(), message: message.into() };
    match when {
        When::Always => part.commit()?,
        When::Absent => {
            if !part.commit_new()? && files::fingerprint(path).await? != (bytes, sha256.clone()) {
                return Err(conflict("there is another file already"));
            }
        }
        When::Unchanged(version) => match head(path).await? {
            Some(there) if there.version == *version => part.commit()?,
            Some(_) => return Err(conflict("it is not the file that was seen")),
            None => return Err(conflict("the file that was seen is no longer there")),
        },
    }
    let version = head(path).await?.map(|object| object.version).unwrap_or_default();
    Ok(Uploaded { url: path.display().to_string(), bytes, sha256, version, source: None })
}

pub(super) async fn head(path: &Path) -> Result<Option<Object>> {
    match tokio::fs::metadata(path).await {
        Ok(found) => object(path, &found).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path)(error)),
    }
}

fn object(path: &Path, metadata: &fs::Metadata) -> Result<Object> {
    let modified: chrono::DateTime<chrono::Utc> = metadata.modified().map_err(Error::io(path))?.into();
    let etag = format!("{}-{}", modified.format("%s.%f"), metadata.len());
    let version = Version { etag: Some(etag), generation: None };
    Ok(Object { url: path.display().to_string(), bytes: metadata.len(), modified, version, sha256: None })
}

/// The files whose paths begin with this one: those of a folder and its folders, or those beside it of which the names begin
/// like its own.
pub(super) async fn list(prefix: &Path) -> Result<Vec<Object>> {
    let prefix = prefix.to_owned();
    tokio::task::spawn_blocking(move || {
        let text = prefix.to_string_lossy();
        let is_folder = text.ends_with(['/', '\\']) || prefix.is_dir();
        let top = if is_folder { prefix.as_path() } else { prefix.parent().unwrap_or(&prefix) };
        let top = if top.as_os_str().is_empty() { Path::new(".") } else { top };
        let mut found = Vec::new();
        walk(top, &mut |path, metadata| {
            if is_folder || path.as_os_str().as_encoded_bytes().starts_with(prefix.as_os_str().as_encoded_bytes()) {
                found.push(object(&path, metadata)?);
            }
            Ok(())
        })?;
        Ok(found)
    })
    .await
    .unwrap_or_else(|_| Err(Error::lost_thread("listing a folder")))
}

fn walk(folder: &Path, file: &mut dyn FnMut(PathBuf, &fs::Metadata) -> Result<()>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::io(folder))?;
        let (path, metadata) = (entry.path(), entry.metadata());
        match metadata {
            Ok(metadata) if metadata.is_dir() => walk(&path, file)?,
            Ok(metadata) if metadata.is_file() && !files::is_part(&path) => file(path, &metadata)?,
            // A file on its way, a link; or a file that was deleted meanwhile.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(path)(error)),
        }
    }
    Ok(())
}

pub(super) async fn delete(path: &Path) -> Result<()> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}
