//! The one error of the crate. Its texts are for people and hold no secrets.

use std::any::Any;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::redact::redact;

/// What the crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with what to look at. URLs in it are redacted.
///
/// A task that wants to retry only what may get better downcasts to this type and asks [`Error::is_permanent`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A server answered with an HTTP status that is no success.
    #[error("{url}: the server answered {status}: {hint}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The redacted URL.
        url: String,
        /// What to try.
        hint: String,
    },
    /// A transfer broke off too often. What had arrived is kept, and a later call continues it.
    #[error(
        "{url}: {reason}, given up after {attempts} fruitless attempts; a later call continues from what has arrived"
    )]
    Transfer {
        /// The redacted URL.
        url: String,
        /// The last cause.
        reason: String,
        /// How many attempts in a row brought nothing.
        attempts: u32,
    },
    /// A server could not be reached, or broke off.
    #[error("{url}: {reason}")]
    Request {
        /// The redacted URL.
        url: String,
        /// The cause.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A value is not of the stated type.
    #[error("{}: row {row}, column `{column}`: `{text}` is not {wanted}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The data row, counted from 1 below the header.
        row: u64,
        /// The column's name.
        column: String,
        /// The value as it stands in the file, cut after 80 characters.
        text: String,
        /// What the schema states, in words.
        wanted: Cow<'static, str>,
    },
    /// The columns of a file or table are not those that are needed.
    #[error("{place}: {message}")]
    Columns {
        /// The file or table.
        place: String,
        /// What is missing, and what is there.
        message: String,
    },
    /// A file is not the CSV, gzip or Parquet that it should be.
    #[error("{}: {message}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A database refused or could not be reached.
    #[error("{url}: {message}")]
    Database {
        /// The redacted URL.
        url: String,
        /// The database's words.
        message: String,
        /// True when trying again cannot help.
        permanent: bool,
    },
    /// An object store refused or could not be reached.
    #[error("{url}: {message}")]
    Store {
        /// The redacted URL.
        url: String,
        /// The store's words.
        message: String,
        /// True when trying again cannot help.
        permanent: bool,
    },
    /// A content is another one than was stated or seen: that of an object which a conditional write is about, that of a
    /// download with a checksum, that of a job.
    #[error("{url}: {message}")]
    Conflict {
        /// The redacted URL.
        url: String,
        /// What is there instead.
        message: String,
    },
    /// An argument makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// [`Progress::cancelled`](crate::Progress::cancelled) said so.
    #[error("it was told to end, and what it was at is given up")]
    Cancelled,
}

impl Error {
    /// True when trying again cannot help: a refused request (4xx but 408, 425 and 429), a value of the wrong type, a
    /// missing column or file, a malformed URL. False for what time may heal: lost connections, busy servers, a full
    /// disk.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Status { status, .. } => (400..500).contains(status) && !may_pass(*status),
            Self::Transfer { .. } | Self::Request { .. } | Self::Cancelled => false,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::IsADirectory
            ),
            Self::Conflict { .. }
            | Self::Value { .. }
            | Self::Columns { .. }
            | Self::Format { .. }
            | Self::Invalid(_) => true,
            Self::Database { permanent, .. } | Self::Store { permanent, .. } => *permanent,
        }
    }

    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn format(file: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::Format { file: file.as_ref().to_owned(), message: message.into() }
    }

    /// The same, told of a file by the name that a person knows it by.
    pub(crate) fn known_as(self, path: &Path, name: &str) -> Self {
        match self {
            Self::Value { file, row, column, text, wanted } if file == path => {
                Self::Value { file: redact(name).into(), row, column, text, wanted }
            }
            Self::Format { file, message } if file == path => Self::Format { file: redact(name).into(), message },
            Self::Columns { place, message } if Path::new(&place) == path => Self::columns(name, message),
            other => other,
        }
    }

    pub(crate) fn columns(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Columns { place: redact(&place.into()), message: message.into() }
    }

    /// A thread of our own panicked with this.
    pub(crate) fn panicked(what: &str, with: &(dyn Any + Send)) -> Self {
        let text = with.downcast_ref::<&str>().copied().or_else(|| with.downcast_ref::<String>().map(String::as_str));
        Self::Invalid(format!("{what} ended with a panic ({}); this is a defect", text.unwrap_or("of no words")))
    }

    /// A thread of our own ended without an answer: it panicked.
    pub(crate) fn lost_thread(what: &str) -> Self {
        Self::Invalid(format!("{what} ended with a panic; this is a defect"))
    }
}

/// Is this a status that time may heal?
pub(crate) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// An error's words and those of its causes, as far as they are not among them.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}

/// At most 80 characters of a text, so that an error stays readable.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_permanent_unless_time_may_heal_it() {
        let of = |status| Error::Status { status, url: String::new(), hint: String::new() }.is_permanent();
        for status in [400, 401, 403, 404, 410, 451] {
            assert!(of(status), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(!of(status), "{status}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        let long = "ä".repeat(100);
        assert_eq!(shorten(&long).chars().count(), 81);
    }
}
