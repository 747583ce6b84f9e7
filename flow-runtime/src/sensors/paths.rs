//! Waiting for files.

use super::glob;
use crate::error::{Result, TaskError};
use crate::sensor;
use anyhow::Context as _;
use std::path::Path;

/// Waits for a file or a folder at this path, and gives the path. A relative one begins in the folder of the program.
///
/// # Errors
/// A path that cannot be looked at.
#[sensor]
pub fn file_exists(path: String) -> Result<Option<String>> {
    let there = Path::new(&path).try_exists().with_context(|| format!("`{path}` cannot be looked at"))?;
    Ok(there.then_some(path))
}

/// Waits for files whose paths match a pattern, and gives all that are there, in order: `*` is any part of a name, `?` one
/// character of it. `load::expand(each(sensors::files_matching("in/2026-*/trips_?.csv")))` makes a task for each.
///
/// Whoever writes a file should write it under another name and rename it then: a look cannot know whether one is whole.
///
/// # Errors
/// More than 10,000 files; a folder that cannot be read.
#[sensor]
pub fn files_matching(pattern: String) -> Result<Option<Vec<String>>> {
    let found = glob::find(&pattern).map_err(|e| match e {
        glob::Problem::TooMany => TaskError::fail(format!("`{pattern}` matches more than {} files", glob::MOST)),
        glob::Problem::Io(folder, error) => {
            anyhow::Error::from(error).context(format!("the folder `{}` cannot be read", folder.display()))
        }
    })?;
    Ok((!found.is_empty()).then_some(found))
}
