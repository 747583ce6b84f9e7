//! What the bodies of tasks have really done, told by themselves.

use crate::limits::{Counted, Had};
use crate::rng;
use flow_runtime::Context;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Most bodies of one process at one time.
pub const PARALLELISM: usize = 4;

#[derive(Debug, Default)]
pub struct Ledger {
    pub seed: u64,
    /// Instances whose body runs now.
    pub running: BTreeSet<String>,
    /// How often each try was begun.
    pub begun: BTreeMap<(String, u32), u32>,
    /// Instances that have returned a value, and how often.
    pub returned: BTreeMap<String, u32>,
    /// Steps that were done, by instance, name and the try they were done in.
    pub steps: Vec<(String, String, u32)>,
    /// What bodies have of what there is.
    pub counted: Counted,
    /// What was told outside, sentence by sentence, and how often.
    pub told: BTreeMap<String, u32>,
    /// What must not be.
    pub problems: Vec<String>,
    pub story: Vec<String>,
}

impl Ledger {
    /// Forgets what the bodies of a run have done.
    pub fn forget(&mut self, dag_id: &str, run_id: &str) {
        let of_run = format!("{dag_id}/{run_id}/");
        self.begun.retain(|(name, _), _| !name.starts_with(&of_run));
        self.returned.retain(|name, _| !name.starts_with(&of_run));
        self.steps.retain(|(name, ..)| !name.starts_with(&of_run));
    }
}

thread_local! {
    static LEDGER: RefCell<Ledger> = RefCell::default();
}

/// Looks at the ledger of this world.
pub fn with<T>(look: impl FnOnce(&mut Ledger) -> T) -> T {
    LEDGER.with_borrow_mut(look)
}

/// A line of the story.
pub fn tell(line: String) {
    with(|ledger| ledger.story.push(line));
}

pub fn name(ctx: &Context) -> String {
    let index = ctx.map_index().map_or(String::new(), |index| format!("[{index}]"));
    format!("{}/{}/{}{index}", ctx.dag_id(), ctx.run_id(), ctx.task_id())
}

/// A body that runs, until it is dropped: when it returns, and when its process dies.
pub struct Running {
    name: String,
    had: Had,
}

impl Running {
    pub fn begin(ctx: &Context) -> Running {
        Running::about(ctx, &[])
    }

    /// The same of a body with these arguments, of which its keys are made.
    pub fn about(ctx: &Context, arguments: &[(&str, u64)]) -> Running {
        let name = name(ctx);
        let had = with(|ledger| {
            if !ledger.running.insert(name.clone()) {
                ledger.problems.push(format!("two bodies of {name} at one time"));
            }
            *ledger.begun.entry((name.clone(), ctx.try_number())).or_default() += 1;
            ledger.story.push(format!("{} {name} try {} begins", ctx.now().format("%T%.3f"), ctx.try_number()));
            let (had, problems) = ledger.counted.begin(ctx, arguments);
            ledger.problems.extend(problems.into_iter().map(|problem| format!("as {name} begins: {problem}")));
            had
        });
        Running { name, had }
    }

    /// How this try goes, from the seed alone.
    pub fn fate(&self, ctx: &Context) -> rng::Rng {
        rng::of_text(with(|ledger| ledger.seed), &format!("{} {}", self.name, ctx.try_number()))
    }

    /// It returns a value.
    pub fn returns<T>(self, value: T) -> T {
        with(|ledger| *ledger.returned.entry(self.name.clone()).or_default() += 1);
        value
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        with(|ledger| {
            ledger.running.remove(&self.name);
            ledger.counted.end(&self.had);
        });
    }
}

/// Works for a while, and perhaps fails.
pub async fn work(ctx: &Context, running: &Running) -> anyhow::Result<()> {
    let mut fate = running.fate(ctx);
    tokio::time::sleep(Duration::from_millis(fate.below(4000))).await;
    if fate.chance(30) {
        panic!("as it was drawn");
    }
    anyhow::ensure!(!fate.chance(150), "as it was drawn");
    Ok(())
}

use flow_runtime::prelude::anyhow;
