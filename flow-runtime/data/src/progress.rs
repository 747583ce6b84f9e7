//! How a long operation tells how far it is, and hears that nobody wants it any more.

/// Hears how far a long operation is. A closure `|done, total| ..` is one; `&()` hears nothing.
///
/// What is counted (bytes or rows) stands at each function. Calls come often, from any thread, and must be quick.
pub trait Progress: Send + Sync {
    /// `done` of `total` units are done; `total` is `None` while it is unknown. `done` falls back when an operation has
    /// to start over.
    fn report(&self, done: u64, total: Option<u64>);

    /// True when the operation should stop with [`Error::Cancelled`](crate::Error::Cancelled) at the next opportunity.
    /// Blocking functions ask between batches; an `async` function is cancelled by dropping its future.
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
