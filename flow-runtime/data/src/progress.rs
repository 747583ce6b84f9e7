//! How a long operation tells how far it is, and hears that nobody wants it any more.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// How often an `async` function asks whether it is wanted.
const ASKED_EVERY: Duration = Duration::from_millis(50);

/// Hears how far a long operation is. A closure `|done, total| ..` is one; `&()` hears nothing.
///
/// What is counted (bytes or rows) stands at each function. Calls come often, from any thread, and must be quick.
pub trait Progress: Send + Sync {
    /// `done` of `total` units are done; `total` is `None` while it is unknown. `done` falls back when an operation has
    /// to start over.
    fn report(&self, done: u64, total: Option<u64>);

    /// `done` of `total` bytes are here of an object that is fetched before the operation can begin, whose own units are counted after
    /// that. Nobody hears of it unless this is implemented.
    fn fetched(&self, _done: u64, _total: Option<u64>) {}

    /// True when the operation should stop with [`Error::Cancelled`](crate::Error::Cancelled) at the next opportunity.
    /// Blocking functions ask between batches, and before each page of a row group; `async` functions ask twenty times a
    /// second, whatever they wait for. Dropping the future of an `async` function cancels it, too.
    fn cancelled(&self) -> bool {
        false
    }
}

impl<F: Fn(u64, Option<u64>) + Send + Sync> Progress for F {
    fn report(&self, done: u64, total: Option<u64>) {
        self(done, total);
    }
}

impl Progress for () {
    fn report(&self, _: u64, _: Option<u64>) {}
}

/// Hears how much of an object is fetched for an operation that this progress is of.
pub(crate) struct Fetching<'a>(pub(crate) &'a dyn Progress);

impl Progress for Fetching<'_> {
    fn report(&self, done: u64, total: Option<u64>) {
        self.0.fetched(done, total);
    }

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

tokio::task_local! {
    /// Set once what is done by this task can no longer be taken back.
    static DECIDED: AtomicBool;
}

/// Does the work, as long as it is wanted. It is dropped when it is not, unless it is [`decided`] by then. Inside of another
/// one that is asking already, nothing more is asked; what is decided in there, it is for as long as that takes: a load has
/// not happened when the file for it was fetched.
pub(crate) async fn while_wanted<T>(progress: &dyn Progress, work: impl Future<Output = Result<T>>) -> Result<T> {
    if let Ok(before) = DECIDED.try_with(|decided| decided.load(Ordering::Relaxed)) {
        let outcome = work.await;
        DECIDED.with(|decided| decided.store(before, Ordering::Relaxed));
        return outcome;
    }
    let asking = async {
        // On the heap: the state of a load is large, and so would be every frame that it lies in.
        let mut work = Box::pin(work);
        let mut timer = pin!(tokio::time::sleep(ASKED_EVERY));
        let mut asked = Instant::now();
        poll_fn(|context| {
            if let Poll::Ready(outcome) = work.as_mut().poll(context) {
                return Poll::Ready(outcome);
            }
            // By the clock, and not by the timer alone: work that is always ready leaves a timer no turn.
            if asked.elapsed() >= ASKED_EVERY {
                if progress.cancelled() && !DECIDED.with(|decided| decided.load(Ordering::Relaxed)) {
                    return Poll::Ready(Err(Error::Cancelled));
                }
                asked = Instant::now();
            }
            while timer.as_mut().poll(context).is_ready() {
                timer.as_mut().reset(tokio::time::Instant::now() + ASKED_EVERY);
            }
            Poll::Pending
        })
        .await
    };
    DECIDED.scope(AtomicBool::new(false), asking).await
}

/// From here on it is done, or will be: a commit, a rename. Who is asked to stop now would say that nothing was changed.
pub(crate) fn decided() {
    let _alone = DECIDED.try_with(|decided| decided.store(true, Ordering::Relaxed));
}

/// What was [`decided`] did not happen: it was refused for now, and is tried again.
pub(crate) fn undecided() {
    let _alone = DECIDED.try_with(|decided| decided.store(false, Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Unwanted;

    impl Progress for Unwanted {
        fn report(&self, _: u64, _: Option<u64>) {}

        fn cancelled(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn what_is_decided_is_no_longer_given_up() {
        let work = async |decide: bool| {
            if decide {
                decided();
            }
            tokio::time::sleep(ASKED_EVERY * 3).await;
            Ok(7)
        };
        assert!(matches!(while_wanted(&Unwanted, work(false)).await, Err(Error::Cancelled)));
        assert_eq!(while_wanted(&Unwanted, work(true)).await.unwrap(), 7);
        // The inner one is a part of the outer one, which is not done with it.
        let inner = while_wanted(&Unwanted, work(true));
        assert_eq!(while_wanted(&Unwanted, inner).await.unwrap(), 7);
        let more = async {
            while_wanted(&Unwanted, work(true)).await?;
            work(false).await
        };
        assert!(matches!(while_wanted(&Unwanted, more).await, Err(Error::Cancelled)));
    }

    #[tokio::test]
    async fn work_that_is_always_ready_hears_it_too() {
        let busy = async {
            let begun = Instant::now();
            while begun.elapsed() < ASKED_EVERY * 100 {
                std::thread::sleep(Duration::from_millis(1));
                tokio::task::yield_now().await;
            }
            Ok(())
        };
        let busy = tokio::task::unconstrained(busy);
        assert!(matches!(while_wanted(&Unwanted, busy).await, Err(Error::Cancelled)));
    }
}
