//! What goes wrong between a process and its store.

use crate::ledger::tell;
use crate::rng::Rng;
use flow_runtime::clock::{Clock, TokioClock};
use flow_runtime::store::StoreError;
use flow_runtime::store::faulty::Faults;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How unkind a world is, in thousandths of a call.
#[derive(Debug, Clone, Copy)]
pub struct Unkindness {
    pub refused: u64,
    /// Of calls that read values.
    pub unread: u64,
    pub answer_lost: u64,
    pub slow: u64,
    pub crash: u64,
}

/// One process: it dies at a call of its store, and from then on none of its calls comes to anything.
pub struct Process {
    pub name: String,
    pub clock: TokioClock,
    pub unkindness: Unkindness,
    pub rng: Arc<Mutex<Rng>>,
    pub dead: Mutex<bool>,
    pub died: Notify,
}

impl Process {
    fn draw(&self, per_mille: u64) -> bool {
        self.rng.lock().chance(per_mille)
    }

    fn say(&self, what: String) {
        tell(format!("{} {}: {what}", self.clock.now().format("%T%.3f"), self.name));
    }

    pub fn die(&self, at: &str) {
        *self.dead.lock() = true;
        self.say(format!("dies {at}"));
        self.died.notify_one();
    }

    async fn live_on(&self) {
        if *self.dead.lock() {
            std::future::pending().await
        }
    }

    async fn crash(&self, at: String) {
        self.live_on().await;
        if self.draw(self.unkindness.crash) {
            self.die(&at);
        }
        self.live_on().await;
    }

    async fn dawdle(&self) {
        if self.draw(self.unkindness.slow) {
            let time = Duration::from_millis(self.rng.lock().below(20_000));
            tokio::time::sleep(time).await;
            self.live_on().await;
        }
    }
}

#[async_trait::async_trait]
impl Faults for Process {
    async fn before(&self, call: &'static str) -> Result<(), StoreError> {
        self.crash(format!("before {call}")).await;
        self.dawdle().await;
        let reads_values = call == "xcoms" && self.unkindness.unread > 0;
        if self.draw(self.unkindness.refused) || (reads_values && self.draw(self.unkindness.unread)) {
            self.say(format!("{call} is refused"));
            return Err(StoreError::Backend("the database is out of sorts".into()));
        }
        Ok(())
    }

    async fn after(&self, call: &'static str) -> Result<(), StoreError> {
        self.crash(format!("after {call}")).await;
        self.dawdle().await;
        if self.draw(self.unkindness.answer_lost) {
            self.say(format!("the answer of {call} is lost"));
            return Err(StoreError::Backend("the connection was lost on the way back".into()));
        }
        Ok(())
    }
}
