//! What a dropped future leaves to be done in the background.

use std::future::Future;
use std::sync::LazyLock;

use tokio::runtime::Handle;
use tokio::sync::watch;

/// How many are at work.
static AT_WORK: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// Waits until everything that cancelled operations left behind is cleaned up: parts of an upload, a staging table. A program that
/// cancels something and then ends awaits this first, since the end of its runtime ends the cleaning too.
pub async fn settled() {
    // The sender lives as long as the process.
    let _ = AT_WORK.subscribe().wait_for(|count| *count == 0).await;
}

/// Goes on with something that nobody waits for. Without a runtime nothing happens: there is nobody to do it.
pub(crate) fn leave(work: impl Future<Output = ()> + Send + 'static) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let guard = AtWork::new();
    runtime.spawn(async move {
        let _guard = guard;
        work.await;
    });
}

/// As long as it is there, [`settled`] waits.
pub(crate) struct AtWork;

impl AtWork {
    pub(crate) fn new() -> Self {
        AT_WORK.send_modify(|count| *count += 1);
        Self
    }
}

impl Drop for AtWork {
    /// Also when the runtime ends or the work panics.
    fn drop(&mut self) {
        AT_WORK.send_modify(|count| *count -= 1);
    }
}
