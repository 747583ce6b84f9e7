//! A panic in a task is a failed try: its message and place are caught, and nothing is printed. Panics of all other
//! code go to the hook that was there before.

use crate::secret;
use futures::FutureExt;
use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

/// What a panic said, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Panicked {
    /// Its message.
    pub(super) message: String,
    /// File and line, `src/lib.rs:17`.
    pub(super) place: Option<String>,
}

tokio::task_local! {
    /// Set while a body runs; the hook writes here.
    static NOTE: RefCell<Option<Panicked>>;
}

/// Puts the hook in front of the present one, once per process.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let seen = NOTE.try_with(|note| *note.borrow_mut() = Some(note_of(info)));
            if seen.is_err() {
                tell(info, &*previous);
            }
        }));
    });
}

/// A panic outside of a body: the previous hook prints it, unless it would print a secret with it.
fn tell(info: &PanicHookInfo<'_>, previous: &dyn Fn(&PanicHookInfo<'_>)) {
    use std::io::Write;
    let text = info.to_string();
    match secret::redact(&text) {
        Cow::Borrowed(_) => previous(info),
        Cow::Owned(clean) => drop(writeln!(std::io::stderr(), "{clean}")),
    }
}

fn note_of(info: &PanicHookInfo<'_>) -> Panicked {
    let message = info.payload_as_str().unwrap_or("the task panicked with a value that is not a text");
    Panicked { message: message.to_string(), place: info.location().map(|l| format!("{}:{}", l.file(), l.line())) }
}

fn taken(payload: &(dyn Any + Send)) -> Panicked {
    let note = NOTE.with(|note| note.borrow_mut().take());
    // Without a note somebody put another hook in the place of ours, or resumed an unwinding: that of another thread, say.
    note.unwrap_or_else(|| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Panicked { message: text.unwrap_or("the task panicked").into(), place: None }
    })
}

/// Runs an async body; its panic is an `Err`.
pub(super) async fn watch<T>(body: impl Future<Output = T>) -> Result<T, Panicked> {
    let caught = async { AssertUnwindSafe(body).catch_unwind().await.map_err(|payload| taken(&*payload)) };
    NOTE.scope(RefCell::new(None), caught).await
}

/// Runs a blocking body on this thread; its panic is an `Err`.
pub(super) fn watch_blocking<T>(body: impl FnOnce() -> T) -> Result<T, Panicked> {
    NOTE.sync_scope(RefCell::new(None), || {
        std::panic::catch_unwind(AssertUnwindSafe(body)).map_err(|payload| taken(&*payload))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn message_and_place_are_caught() {
        install_hook();
        let caught = watch(async { panic!("no {}", "rain") }).await.map(|(): ()| ()).unwrap_err();
        assert_eq!(caught.message, "no rain");
        assert!(caught.place.unwrap().contains("panic.rs:"));
        let caught = watch_blocking(|| std::panic::panic_any(7)).map(|(): ()| ()).unwrap_err();
        assert_eq!(caught.message, "the task panicked with a value that is not a text");
    }

    /// Libraries with threads of their own hand on what those panic with.
    #[test]
    fn a_panic_of_another_thread_keeps_its_words() {
        install_hook();
        let caught = watch_blocking(|| {
            let thread = std::thread::spawn(|| panic!("no {}", "sun"));
            std::panic::resume_unwind(thread.join().unwrap_err());
        });
        assert_eq!(caught.map(|(): ()| ()).unwrap_err().message, "no sun");
    }
}
