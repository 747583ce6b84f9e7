//! Whoever tells outside what is owed, and what must hold of it: each is told at least once, and written down as told once.

use crate::ledger::{self, tell};
use crate::world::Days;
use flow_runtime::clock::Clock;
use flow_runtime::notify::{Deliverer, sentence};
use flow_runtime::prelude::tracing::field::{Field, Visit};
use flow_runtime::prelude::tracing::{Event, Metadata, Subscriber, span};
use flow_runtime::store::{CallbackFilter, CallbackState, MetadataStore};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

/// Hears what is told, as it stands in the log.
pub struct Ear;

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "flow::notify"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Heard);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Heard;

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            ledger::with(|ledger| *ledger.told.entry(format!("{value:?}")).or_default() += 1);
        }
    }
}

/// At the end somebody tells what is left.
pub async fn tell_the_rest(days: &Days) -> Result<(), String> {
    // From then on all is kind.
    let wait = (days.end - days.clock.now()).to_std().unwrap_or_default() + Duration::from_secs(1);
    tokio::time::sleep(wait).await;
    let process = days.process("the last one who tells".into());
    let deliverer = Deliverer::start(&days.engine(&process, days.clock));
    tell(format!("{} what is left is told", days.clock.now().format("%T%.3f")));
    for _ in 0..10_000 {
        let rows = days.memory.callbacks(CallbackFilter::default()).await.map_err(|e| e.to_string())?;
        if rows.iter().all(|row| row.state != CallbackState::Pending) {
            deliverer.stop().await;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Err("what is owed outside is never told".into())
}

/// All of it was told.
pub async fn end(store: &dyn MetadataStore) -> Result<(), String> {
    let mut want: BTreeMap<String, u32> = BTreeMap::new();
    for row in store.callbacks(CallbackFilter::default()).await.map_err(|e| e.to_string())? {
        if row.state != CallbackState::Success || row.attempts == 0 {
            return Err(format!("it was not told: {row:?}"));
        }
        let payload = serde_json::from_str(&row.callback.payload).map_err(|e| e.to_string())?;
        *want.entry(sentence(&payload)).or_default() += 1;
    }
    if want.is_empty() {
        return Err("nothing was owed to anybody".into());
    }
    let told = ledger::with(|ledger| std::mem::take(&mut ledger.told));
    match want.iter().find(|(line, times)| told.get(*line).is_none_or(|told| told < times)) {
        Some((line, times)) => Err(format!("{times} times it should be told, and was not: {line}")),
        None => Ok(()),
    }
}
