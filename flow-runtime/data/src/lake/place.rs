//! Where a file is to go, or comes from: a path or an object's URL.

use std::path::PathBuf;

use url::Url;

use crate::redact::redact;
use crate::{Error, Result};

/// A folder's file or a store's object.
#[derive(Debug, PartialEq)]
pub(crate) enum Place {
    Local(PathBuf),
    Remote(Url),
}

impl Place {
    /// The scheme of objects in this process's memory.
    pub(super) const MEMORY: &str = "memory";

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::Invalid(format!("`{}`: {why}", redact(text)));
        if !text.contains("://") {
            if text.is_empty() {
                return Err(invalid("the destination is empty"));
            }
            return Ok(Self::Local(text.into()));
        }
        let url = Url::parse(text).map_err(|e| invalid(&e.to_string()))?;
        match url.scheme() {
            "file" => {
                let path = url
                    .to_file_path()
                    .map_err(|()| invalid("a file URL has three slashes and no host: file:///folder/file"))?;
                // A trailing slash means a folder and is lost on the way.
                Ok(Self::Local(if text.ends_with('/') { path.join("") } else { path }))
            }
            "gs" | "s3" | "s3a" | "az" | "abfs" | "abfss" | Self::MEMORY => Ok(Self::Remote(url)),
            other => Err(invalid(&format!("`{other}` is no store: use gs://, s3://, az://, file:// or a path"))),
        }
    }

    /// Adds a file's name where a folder is meant.
    pub(super) fn with_name(self, name: &str) -> Result<Self> {
        Ok(match self {
            Self::Local(path) if path.as_os_str().to_string_lossy().ends_with(['/', '\\']) || path.is_dir() => {
                Self::Local(path.join(name))
            }
            Self::Remote(mut url) if url.path().is_empty() || url.path().ends_with('/') => {
                let invalid = || Error::Invalid(format!("`{}` takes no path", redact(url.as_str())));
                let mut copy = url.clone();
                copy.path_segments_mut().map_err(|()| invalid())?.pop_if_empty().push(name);
                url = copy;
                Self::Remote(url)
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gets_the_files_name() {
        let named = |text: &str| Place::parse(text).unwrap().with_name("a b.parquet").unwrap();
        assert_eq!(named("/data/x.parquet"), Place::Local("/data/x.parquet".into()));
        assert_eq!(named("/data/new/"), Place::Local("/data/new/a b.parquet".into()));
        assert_eq!(named("file:///data/new/"), Place::Local("/data/new/a b.parquet".into()));
        assert_eq!(named("gs://lake"), Place::Remote("gs://lake/a%20b.parquet".parse().unwrap()));
        assert_eq!(named("s3://lake/raw/"), Place::Remote("s3://lake/raw/a%20b.parquet".parse().unwrap()));
        assert_eq!(named("az://lake/raw/x"), Place::Remote("az://lake/raw/x".parse().unwrap()));
    }

    #[test]
    fn other_schemes_are_refused_without_their_secrets() {
        let error = Place::parse("ftp://me:hush@host/x").unwrap_err().to_string();
        assert!(error.contains("ftp://me:***@host/x") && error.contains("gs://"), "{error}");
    }
}
