//! Logs: what a task says by `tracing` is filed per try as JSON lines, and streamed to whoever looks on.

mod layer;
mod path;
mod try_log;

pub use layer::TaskLayer;
pub(crate) use layer::try_span;
pub use path::{log_path, read_log};
pub(crate) use try_log::{TryLog, TryLogParts};

use tracing::Subscriber;
use tracing_subscriber::filter::{DynFilterFn, EnvFilter, FilterExt};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// [`init_at`] the level `info`.
pub fn init() {
    init_at("info");
}

/// Makes this process log: tasks' events from the level of `FLOW_LOG` (else from this one) upwards to the logs of their
/// tries, and all others from that of `RUST_LOG` (default `warn`) upwards to standard error. Both take the directives
/// of [`EnvFilter`]: `my_dags=debug,info`.
///
/// The second call does nothing, nor does the first if the process has a subscriber of its own: then add
/// [`TaskLayer`] to that one. Tests call it too; their events are told apart by their tries.
pub fn init_at(level: &str) {
    let console = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(filter("RUST_LOG", "warn").and(outside_of_tries()));
    let subscriber =
        tracing_subscriber::registry().with(TaskLayer.with_filter(filter("FLOW_LOG", level))).with(console);
    drop(tracing::subscriber::set_global_default(subscriber));
}

fn filter(variable: &str, otherwise: &str) -> EnvFilter {
    let given = std::env::var(variable).unwrap_or_else(|_| otherwise.into());
    let filter = EnvFilter::builder().parse(&given).unwrap_or_else(|_| EnvFilter::new(otherwise));
    let span = format!("{}=error", layer::TARGET);
    span.parse().map(|directive| filter.add_directive(directive)).unwrap_or_else(|_| EnvFilter::new(otherwise))
}

/// What a task says is shown by whoever follows the run.
fn outside_of_tries<S: Subscriber + for<'a> LookupSpan<'a>>() -> DynFilterFn<S> {
    DynFilterFn::new(|metadata, context| {
        metadata.is_span()
            || !context
                .lookup_current()
                .is_some_and(|span| span.scope().any(|s| s.metadata().target() == layer::TARGET))
    })
}

fn short_hash(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes())[..8].iter().map(|b| format!("{b:02x}")).collect()
}
