//! Logs: what a task says by `tracing` is filed per try as JSON lines, and streamed to whoever looks on.

mod layer;
mod path;
mod progress;
mod try_log;

pub use layer::TaskLayer;
pub(crate) use layer::{EventSink, try_span};
pub use path::{log_path, read_log, run_folder};
#[cfg(feature = "cli")]
pub(crate) use progress::LOGGER as PROGRESS;
pub(crate) use progress::ProgressLog;
#[cfg(feature = "cli")]
pub(crate) use try_log::LOGGER as LOG;
pub(crate) use try_log::{TryLog, TryLogParts};

use std::sync::OnceLock;
use tracing::Subscriber;
use tracing_subscriber::filter::{DynFilterFn, EnvFilter, FilterExt};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// [`init_with`] what `FLOW_LOG` says, else `info`.
pub fn init() {
    init_with(&std::env::var("FLOW_LOG").unwrap_or_else(|_| "info".into()));
}

/// Makes this process log: tasks' events that these directives let through (`my_dags=debug,info`) to the logs of their
/// tries, and all others those of `RUST_LOG` (default `warn`) to standard error. Both are what [`EnvFilter`] takes.
///
/// The second call does nothing, nor does the first if the process has a subscriber of its own: then add
/// [`TaskLayer`] to that one. Tests call it too; their events are told apart by their tries.
pub fn init_with(directives: &str) {
    drop(DIRECTIVES.set(directives.to_string()));
    let others = std::env::var("RUST_LOG").ok().filter(|given| !given.is_empty());
    let console = tracing_subscriber::fmt::layer()
        .with_writer(|| Redacted)
        .with_ansi(colours())
        .with_filter(filter(others.as_deref().unwrap_or("warn"), "warn").and(outside_of_tries()));
    let subscriber =
        tracing_subscriber::registry().with(TaskLayer.with_filter(filter(directives, "info"))).with(console);
    drop(tracing::subscriber::set_global_default(subscriber));
}

/// Does standard error take colours? A file or a pipe does not, unless somebody asks for them (`CLICOLOR_FORCE`).
#[cfg(feature = "cli")]
fn colours() -> bool {
    console::colors_enabled_stderr() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(not(feature = "cli"))]
fn colours() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// What [`init_with`] was given first.
static DIRECTIVES: OnceLock<String> = OnceLock::new();

/// What tasks' events are let through, for a process that this one starts.
#[cfg(unix)]
pub(crate) fn directives() -> String {
    DIRECTIVES.get().cloned().unwrap_or_else(|| "info".into())
}

/// Are these directives that a filter takes?
pub fn check_directives(text: &str) -> Result<(), String> {
    EnvFilter::builder().parse(text).map(drop).map_err(|e| e.to_string())
}

/// Standard error, without secrets: a thread that a task has started logs outside of its try.
struct Redacted;

impl std::io::Write for Redacted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // One call per event.
        let text = String::from_utf8_lossy(bytes);
        std::io::stderr().write_all(crate::secret::redact(&text).as_bytes()).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

fn filter(given: &str, otherwise: &str) -> EnvFilter {
    let filter = EnvFilter::builder().parse(given).unwrap_or_else(|_| EnvFilter::new(otherwise));
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
