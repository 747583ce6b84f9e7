//! What an instance takes of limits that several processes share.

use super::Needs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A part in a limit that counts what is in flight in every process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The name of the limit among all: `pool api`, `task ledger.balance`, `key load trips`, `rate api`.
    pub name: String,
    /// How much of it the instance takes.
    pub units: u32,
    /// How much there is.
    pub most: u32,
    /// Where `most` bounds what is started in a span of time, and not what is in flight: the span.
    pub span: Option<Duration>,
}

impl Needs {
    /// What an instance with these needs takes of shared limits: slots of these pools, the limit of its task in all runs, and its
    /// keys. What bounds one run alone is known to the process that works on that run.
    pub fn shares(&self, pools: &BTreeMap<String, u32>) -> Vec<Share> {
        let share = |name: String, units, most, span| Share { name, units, most, span };
        let pool = pools.get(&self.pool).map(|&slots| share(self.pool_name(), self.pool_slots, slots, None));
        let task = self.task.as_ref().and_then(|task| Some(share(self.task_name()?, 1, task.max_active?, None)));
        let at_once = self.at_once.as_ref().map(|of| share(format!("key {}", of.key), 1, of.most, None));
        [pool, task, at_once, self.share_of_rate()].into_iter().flatten().collect()
    }

    /// What an instance with these needs takes of the starts in a span of time, if it has a rate.
    pub fn share_of_rate(&self) -> Option<Share> {
        let rate = self.rate.as_ref()?;
        Some(Share { name: format!("rate {}", rate.key), units: 1, most: rate.starts, span: Some(rate.span) })
    }

    /// The names of all limits that may be shared.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let at_once = self.at_once.as_ref().map(|of| format!("key {}", of.key));
        let rate = self.share_of_rate().map(|share| share.name);
        [Some(self.pool_name()), self.task_name(), at_once, rate].into_iter().flatten()
    }

    fn pool_name(&self) -> String {
        format!("pool {}", self.pool)
    }

    fn task_name(&self) -> Option<String> {
        self.task.as_ref().map(|task| format!("task {}.{}", self.dag_id, task.task_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::TaskNeeds;
    use crate::dag::{AtOnce, Rate};

    #[test]
    fn every_share_has_a_name_that_can_be_closed() {
        let needs = Needs {
            dag_id: "ledger".into(),
            pool: "api".into(),
            pool_slots: 2,
            max_active_tasks: 16,
            task: Some(TaskNeeds { task_id: "load".into(), max_active: Some(4), max_active_per_run: Some(1) }),
            at_once: Some(AtOnce { most: 1, key: "k".into() }),
            rate: Some(Rate { starts: 5, span: Duration::from_secs(1), key: "k".into() }),
        };
        let shares = needs.shares(&[("api".to_string(), 3)].into());
        let told: Vec<_> = shares.iter().map(|s| (&*s.name, s.units, s.most, s.span.is_some())).collect();
        let expected = [
            ("pool api", 2, 3, false),
            ("task ledger.load", 1, 4, false),
            ("key k", 1, 1, false),
            ("rate k", 1, 5, true),
        ];
        assert_eq!(told, expected);
        assert!(shares.iter().map(|share| share.name.clone()).eq(needs.names()));
        assert_eq!(needs.shares(&BTreeMap::new()).len(), 3, "a pool that is not shared");
    }
}
