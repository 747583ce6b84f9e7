//! The `tracing` layer: every event inside a try's span goes to the log of that try.

use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Span, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Target of the span around a try. Filters must let it through, or the try has no log.
pub(super) const TARGET: &str = "flow::try";

thread_local! {
    /// The log of the span that is being made on this thread: a span itself carries only texts and numbers.
    static HANDED_OVER: RefCell<Option<Arc<dyn EventSink>>> = const { RefCell::new(None) };
}

/// Where the events of a try go.
pub(crate) trait EventSink: Send + Sync {
    /// Takes one event.
    fn record(&self, level: Level, logger: &str, message: &str, fields: Map<String, Value>);
}

/// The span that a body runs in.
pub(crate) fn try_span(log: &Arc<dyn EventSink>, task_id: &str, map_index: i32, try_number: u32) -> Span {
    HANDED_OVER.set(Some(log.clone()));
    // At error level, so that no filter by level drops it.
    let span = tracing::span!(target: TARGET, parent: None, Level::ERROR, "try", task_id, map_index, try_number);
    HANDED_OVER.set(None);
    span
}

/// Files what tasks log. Add it to a subscriber of your own, or call [`init`](super::init).
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskLayer;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TaskLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() == TARGET
            && let Some(log) = HANDED_OVER.with_borrow(Clone::clone)
            && let Some(span) = context.span(id)
        {
            span.extensions_mut().insert(log);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(scope) = context.event_scope(event) else {
            return;
        };
        let log = scope.into_iter().find_map(|span| span.extensions().get::<Arc<dyn EventSink>>().cloned());
        if let Some(log) = log {
            let mut words = Words::default();
            event.record(&mut words);
            let metadata = event.metadata();
            log.record(*metadata.level(), metadata.target(), &words.message, words.fields);
        }
    }
}

/// Message and fields of an event.
#[derive(Default)]
struct Words {
    message: String,
    fields: Map<String, Value>,
}

impl Words {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", value) => self.message = value.to_string(),
            (name, value) => drop(self.fields.insert(name.to_string(), value)),
        }
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, Value::String(value.to_string()));
    }
}
