//! What SQLite answers, in sentences that say which file, what is wrong and what to try.

use crate::store::StoreError;
use sqlx::Error;
use std::path::Path;

// Primary result codes (the low byte of what SQLite returns); see https://www.sqlite.org/rescode.html.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const TOOBIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const NOTADB: i32 = 26;
/// Extended code of an error that a trigger raised.
const CONSTRAINT_TRIGGER: i32 = 1811;

/// SQLite's extended result code.
pub(super) fn code(e: &Error) -> Option<i32> {
    e.as_database_error()?.code()?.parse().ok()
}

fn primary(e: &Error) -> Option<i32> {
    code(e).map(|code| code & 0xff)
}

/// The guard of a commit raised it: an epoch is old, or there is no such run.
pub(super) fn is_fenced(e: &Error) -> bool {
    code(e) == Some(CONSTRAINT_TRIGGER) && illegal(e).is_none()
}

/// What would come where it cannot come by itself, if a commit was refused for that.
fn illegal(e: &Error) -> Option<&str> {
    e.as_database_error()?.message().strip_prefix("illegal: ")
}

/// Another process holds the file: asking again may help.
pub(super) fn is_busy(e: &Error) -> bool {
    matches!(primary(e), Some(BUSY | LOCKED))
}

/// A smaller transaction, or one without the culprit, may still succeed.
pub(super) fn is_about_content(e: &Error) -> bool {
    matches!(primary(e), Some(CONSTRAINT | TOOBIG | FULL))
}

/// The error as a sentence. SQLite's own messages name tables and columns, never values.
pub(super) fn explain(path: &Path, e: &Error) -> StoreError {
    if let Some(what) = illegal(e) {
        return StoreError::IllegalMove(what.to_owned());
    }
    let file = path.display();
    let text = match primary(e) {
        Some(BUSY | LOCKED) => {
            format!("the metadata database {file} is locked by another process: end that process, or try again ({e})")
        }
        Some(READONLY) => format!(
            "the metadata database {file} cannot be written: give this user write permission on the file and its \
             folder, or choose another file ({e})"
        ),
        Some(CANTOPEN) => format!(
            "the metadata database {file} cannot be opened: see that its folder exists and that this user may write \
             there, or choose another file ({e})"
        ),
        Some(NOTADB) => {
            format!("{file} is not a SQLite database: move it out of the way, or choose another file ({e})")
        }
        Some(CORRUPT) => format!(
            "the metadata database {file} is damaged: move it (with its -wal and -shm files) out of the way, and put a \
             backup in its place or begin anew ({e})"
        ),
        Some(FULL) => {
            format!("there is no room on the disk for the metadata database {file}: make room, then try again ({e})")
        }
        Some(IOERR) => format!(
            "the metadata database {file} could not be read or written: see whether its disk is full, over quota, \
             removed or broken ({e})"
        ),
        _ => match e {
            Error::PoolTimedOut => {
                format!("the metadata database {file} did not answer in time: too many reads at once, try again")
            }
            Error::WorkerCrashed | Error::PoolClosed => {
                format!("the connection to the metadata database {file} is closed: start again")
            }
            Error::ColumnDecode { .. } | Error::Decode(_) => {
                return StoreError::Corrupt(format!("{file}: {e}"));
            }
            _ => format!("the metadata database {file}: {e}"),
        },
    };
    StoreError::Backend(text)
}
