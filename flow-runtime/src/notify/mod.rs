//! Telling somebody outside what became of a task or a run.
//!
//! What is to be told is written into the metadata store by the very commit that makes it true: an *outbox*. A [`Deliverer`]
//! takes it from there, tells it, and notes that it did. So nothing is forgotten, whoever crashes when; and a crash between
//! the telling and the note tells once more, with the same key, by which a receiver knows it again.
//!
//! A run never waits for a receiver. Deliveries have a [timeout](TIMEOUT) of their own; at most [`PLACES`] are under way in a
//! process, and at most [`PLACES_OF_ONE`] of them to the same receiver. One that fails is tried again after 2 seconds, then
//! after three times as long each time, up to an hour; after [`MOST_ATTEMPTS`] attempts it has failed. So has a mail at once
//! that its server refuses for good.

mod channel;
#[cfg(unix)]
mod command;
mod deliver;
mod email;
#[cfg(feature = "notify")]
mod http;
#[cfg(feature = "email")]
mod mail_text;
#[cfg(feature = "email")]
mod smtp;
mod spec;
mod subject;
mod words;

pub use channel::Channel;
pub use deliver::Deliverer;
pub use email::{Email, MailTls};
pub use spec::{NotifierSpec, NotifyOptions};
pub use subject::Subject;
pub use words::sentence;

use std::time::Duration;

/// How this program is called.
pub(crate) fn program() -> String {
    let path = std::env::current_exe().ok();
    path.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())).unwrap_or_else(|| "dags".into())
}

/// Longest time that a delivery may take, unless its channel says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Most deliveries of a process at one time.
pub const PLACES: usize = 8;
/// Most deliveries of a process to one receiver at one time.
pub const PLACES_OF_ONE: usize = 2;
/// Most attempts to tell one thing to one receiver.
pub const MOST_ATTEMPTS: u32 = 12;

/// Why somebody was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Untold {
    /// A sentence.
    why: String,
    /// It is of no use to try it again.
    is_final: bool,
}

impl From<String> for Untold {
    fn from(why: String) -> Untold {
        Untold { why, is_final: false }
    }
}
