//! The end of the threads that bodies ran on, and of the processes that they have started.

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// How long is waited for what cancelled tries clean up; what is left then, the next try or `Lake::clean` removes.
#[cfg(feature = "data")]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Waits, before a runtime ends, for what flow-data cleans up after cancelled operations on it: parts of an upload, a staging
/// table. Not once `at_once` fires: somebody will not wait.
pub fn settle(runtime: &Runtime, at_once: &CancellationToken) {
    #[cfg(feature = "data")]
    drop(
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE, at_once.run_until_cancelled(flow_data::settled())).await
        }),
    );
    #[cfg(not(feature = "data"))]
    let _ = (runtime, at_once);
}

/// Ends what bodies have started, for this process is about to end: its threads may not live to drop it.
#[cfg(feature = "cli")]
pub fn end_offspring() {
    #[cfg(unix)]
    super::offspring::end_all();
}
