//! What data pipelines do, as tasks: `tasks::upload(tasks::parquetize(tasks::download(url)), "gs://lake/raw")` inside a `#[dag]`.
//!
//! Each is a plain `#[task]` around [`flow_data`], like those of an author: its options are set in the same way, a test replaces
//! it by its name. Every place is given as a URL, as a path inside the home folder, or by the name of a
//! [connection](crate::connection): `conn:lake/raw`. A try that is told to end stops at once, and leaves nothing half done.

mod files;
mod known;
mod tables;

use crate::builder::{Arg, Each, Expand, Input, Node, Param};
use crate::context::Context;
use crate::error::{Result, TaskError};
use chrono::{DateTime, SecondsFormat, Utc};
use flow_data::{Download, Fetched, ParquetFile, Unloaded};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub use crate::operators::sql;
pub use files::{
    Fetch, Parquetize, Upload, download, download_checked, download_with, parquetize, parquetize_with, upload,
    upload_as, upload_with,
};
pub use tables::{
    BigQueryLoad, Load, Unload, copy_to_postgres, load, load_bigquery, load_file, load_with, unload, unload_with,
};

/// A file on the machine's disk: what `download`, `parquetize` and `unload` give serves for it, and so does a path inside the home
/// folder as a text: written down, from a param, or from a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Given")]
pub struct LocalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Where it came from, if it came from elsewhere; without passwords.
    pub url: Option<String>,
    /// Where the rows came from that it was made of.
    pub source: Option<String>,
    /// Its size, if it is known. A file of another size is another file.
    pub bytes: Option<u64>,
    /// The SHA-256 of its content, if it is known.
    pub sha256: Option<String>,
}

/// What a file is given as.
#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Path(PathBuf),
    File { path: PathBuf, url: Option<String>, source: Option<String>, bytes: Option<u64>, sha256: Option<String> },
}

impl From<Given> for LocalFile {
    fn from(given: Given) -> LocalFile {
        match given {
            Given::Path(path) => LocalFile::new(path),
            Given::File { path, url, source, bytes, sha256 } => LocalFile { path, url, source, bytes, sha256 },
        }
    }
}

impl LocalFile {
    /// The file at this path.
    pub fn new(path: impl Into<PathBuf>) -> LocalFile {
        LocalFile { path: path.into(), url: None, source: None, bytes: None, sha256: None }
    }

    /// The path; a relative one lies in the home folder.
    ///
    /// # Errors
    /// Another file lies there than the task before has made: a later run's.
    fn path(&self, ctx: &Context) -> Result<PathBuf> {
        let path = ctx.home().join(&self.path);
        if let Some(bytes) = self.bytes
            && !flow_data::is_still(&path, bytes, self.sha256.as_deref().unwrap_or_default())
        {
            let why = "is no longer what it was: another run has replaced it, or somebody has deleted it; clear the task that made it";
            return Err(TaskError::fail(format!("{} {why}", path.display())));
        }
        Ok(path)
    }

    /// Where it came from, by whatever way.
    fn origin(&self) -> Option<String> {
        self.source.clone().or_else(|| self.url.clone())
    }

    /// What its rows are known by: where it came from, else where it is, by the absolute path.
    fn known_by(&self, ctx: &Context) -> String {
        self.origin().unwrap_or_else(|| known::path(&ctx.home().join(&self.path)).display().to_string())
    }
}

macro_rules! serves {
    ($($given:ty),*) => {$(
        #[diagnostic::do_not_recommend]
        impl<How> Arg<LocalFile, How> for Node<$given> {
            fn input(self, at: &'static std::panic::Location<'static>) -> Input {
                Input::node(self, false, at)
            }
        }

        #[diagnostic::do_not_recommend]
        impl Arg<LocalFile, Expand> for Each<$given> {
            fn input(self, _: &'static std::panic::Location<'static>) -> Input {
                self.source()
            }
        }

    )*};
}

impl From<&Download> for LocalFile {
    fn from(file: &Download) -> LocalFile {
        let (url, sha256) = (Some(file.url.clone()), Some(file.sha256.clone()));
        LocalFile { url, sha256, bytes: Some(file.bytes), ..LocalFile::new(&file.path) }
    }
}

impl From<&Fetched> for LocalFile {
    fn from(file: &Fetched) -> LocalFile {
        let (url, sha256) = (Some(file.url.clone()), Some(file.sha256.clone()));
        LocalFile { url, sha256, bytes: Some(file.bytes), ..LocalFile::new(&file.path) }
    }
}

impl From<&ParquetFile> for LocalFile {
    fn from(file: &ParquetFile) -> LocalFile {
        LocalFile { source: file.source.clone(), bytes: Some(file.bytes), ..LocalFile::new(&file.path) }
    }
}

impl From<&Unloaded> for LocalFile {
    fn from(file: &Unloaded) -> LocalFile {
        LocalFile { source: file.source.clone(), bytes: Some(file.bytes), ..LocalFile::new(&file.path) }
    }
}

serves!(Download, ParquetFile, Fetched, Unloaded);

#[diagnostic::do_not_recommend]
impl<How> Arg<LocalFile, How> for &str {
    fn input(self, _: &'static std::panic::Location<'static>) -> Input {
        Input::literal(LocalFile::new(self))
    }
}

#[diagnostic::do_not_recommend]
impl<How> Arg<LocalFile, How> for String {
    fn input(self, _: &'static std::panic::Location<'static>) -> Input {
        Input::literal(LocalFile::new(self))
    }
}

#[diagnostic::do_not_recommend]
impl<How> Arg<LocalFile, How> for Param<String> {
    fn input(self, at: &'static std::panic::Location<'static>) -> Input {
        Input::param(self, at)
    }
}

#[diagnostic::do_not_recommend]
impl<How> Arg<LocalFile, How> for Node<String> {
    fn input(self, at: &'static std::panic::Location<'static>) -> Input {
        Input::node(self, false, at)
    }
}

/// The name of a file without the endings that say how it is written.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut stem = name.as_str();
    for ending in [".gz", ".zst", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet"] {
        stem = stem.strip_suffix(ending).filter(|rest| !rest.is_empty()).unwrap_or(stem);
    }
    stem.to_owned()
}

/// A template of a place, filled: with the DAG, the run, the task, its dates, the file. In a URL the values are escaped, so that none of
/// them ends the path or leaves its folder.
fn filled(ctx: &Context, template: &str, file: &Path, hash: Option<&str>) -> Result<String> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let of_file = [("name", name), ("stem", stem(file))].into_iter();
    fill(ctx, template, of_file.chain(hash.map(|hash| ("hash", hash.to_owned()))))
}

/// A place with the dates of the run, if its text asks for one of [`DATES`]: any other text is the place itself, braces and all.
fn dated(ctx: &Context, place: &str) -> Result<String> {
    let asks = |name: &&str| place.contains(&format!("{{{name}}}")) || place.contains(&format!("{{{name}:"));
    if DATES.iter().any(asks) { fill(ctx, place, []) } else { Ok(place.to_owned()) }
}

/// The names of instants in a template: the logical date, and the ends of the data interval.
const DATES: [&str; 3] = ["date", "start", "end"];

fn fill(ctx: &Context, template: &str, more: impl IntoIterator<Item = (&'static str, String)>) -> Result<String> {
    let date = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut values =
        vec![("dag", ctx.dag_id().to_owned()), ("run", ctx.run_id().to_owned()), ("task", ctx.task_id().to_owned())];
    values.extend(more);
    values.extend(ctx.map_index().map(|index| ("index", index.to_string())));
    values.extend(ctx.logical_date().map(|at| ("date", date(at))));
    let span = ctx.data_interval().into_iter();
    values.extend(span.flat_map(|span| [("start", date(span.start)), ("end", date(span.end))]));
    if template.contains("://") {
        values.iter_mut().for_each(|(_, value)| *value = utf8_percent_encode(value, IN_URLS).to_string());
    }
    flow_data::key(template, values.iter().map(|(name, value)| (*name, value.as_str()))).map_err(|error| {
        // Why it is lacking, where the run could have had it.
        let asked = |name: &str| template.contains(&format!("{{{name}}}")) || template.contains(&format!("{{{name}:"));
        let lacks = |name: &str| asked(name) && !values.iter().any(|(known, _)| *known == name);
        let why = LACKING.iter().find(|(name, _)| lacks(name)).map(|(_, why)| *why);
        match (error, why) {
            (flow_data::Error::Invalid(said), Some(why)) => flow_data::Error::Invalid(format!("{said}; {why}")).into(),
            (error, _) => error.into(),
        }
    })
}

/// What a run may not have, and how it gets it.
const LACKING: [(&str, &str); 2] = [
    ("date", "this run has no logical date: give it one by `--logical-date 2021-01-31`, or let its schedule start it"),
    ("index", "only an instance of a mapped task has an index"),
];

/// What ends the path of a URL, or is an escape in it.
const IN_URLS: &AsciiSet = &CONTROLS.add(b'#').add(b'?').add(b'%');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stem_is_what_is_left_of_a_name() {
        for (name, stem_of) in [
            ("a/trips.csv.gz", "trips"),
            ("trips_2021.01.parquet", "trips_2021.01"),
            (".csv", ".csv"),
            ("trips", "trips"),
        ] {
            assert_eq!(stem(Path::new(name)), stem_of, "{name}");
        }
    }
}
