//! Slots that several processes share: what counts in all of them is counted here.
//!
//! Each process knows what is in flight of its own runs, and lets nothing go that does not fit there. What then wants to go takes its
//! parts in the shared limits here, in one step for all of them, before it is written down as started; they are free again with
//! the commit that ends it, or once the run has another holder or none. So a process that dies keeps nothing longer than its
//! leases. A start in a span of time is no part that comes back: it is remembered, whoever made it, and counts until the span is over.
//!
//! **Who is first.** Who is refused has a ticket, for a moment, which asking again renews. A free slot goes to nobody while a ticket
//! of another process is worth more for which it would do: one of more weight, or an older one of as much. So a process with a
//! long queue does not keep out the others. What is of a backfill is worth less than all of live runs, of its own process too:
//! its weights lie below all others, and its tickets are those of somebody else. So a store knows nothing of that, nor does a
//! process of an older version.

use super::{Epoch, RunPk};
use chrono::{DateTime, TimeDelta, Utc};
use flow_core::admit::Share;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// When what others have is asked for again.
pub(crate) const AGAIN: Duration = Duration::from_millis(200);
/// How long a ticket is good for: who asks again in time keeps its place.
pub(crate) const TICKET: Duration = Duration::from_secs(2);
/// For how long starts are remembered at least, whatever the spans that were asked about.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(3600);
/// No weight counts as more; nobody has as many tasks as that takes.
const HEAVIEST: i64 = 1 << 60;

/// An instance that wants to start.
#[derive(Debug, Clone)]
pub struct SlotAsk {
    /// The task.
    pub task_id: Arc<str>,
    /// Its place in a mapped task.
    pub map_index: i32,
    /// Its weight: the heavier goes first.
    pub weight: i64,
    /// What it takes of limits that are shared.
    pub shares: Vec<Share>,
}

/// What the holder of a run asks for, in the order in which its instances would go.
#[derive(Debug, Clone)]
pub struct SlotClaim<'c> {
    /// The run.
    pub run: RunPk,
    /// Its epoch.
    pub epoch: Epoch,
    /// The process.
    pub owner: &'c str,
    /// The run was made by a backfill: all of live runs goes first.
    pub backfill: bool,
    /// The instances.
    pub asks: &'c [SlotAsk],
    /// The present instant by the caller's clock; as [`Term::now`](super::Term::now).
    pub now: DateTime<Utc>,
}

impl<'c> SlotClaim<'c> {
    /// Whose its tickets are: a process has some for its live runs, and others for those of backfills, which wait behind them.
    pub(super) fn asker(&self) -> Cow<'c, str> {
        if self.backfill { Cow::Owned(format!("{}, backfills", self.owner)) } else { Cow::Borrowed(self.owner) }
    }

    /// What one of its instances is worth: the heaviest of a backfill is less than the lightest of a live run.
    pub(super) fn worth(&self, ask: &SlotAsk) -> i64 {
        let weight = ask.weight.clamp(-HEAVIEST, HEAVIEST);
        if self.backfill { weight - 3 * HEAVIEST } else { weight }
    }
}

/// An instance that may not start yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRefusal {
    /// Its place among those that asked.
    pub place: usize,
    /// The limit of which nothing is left, by its [name](Share::name).
    pub limit: String,
    /// How long to wait before it is asked for again.
    pub again: Duration,
}

/// Which instance has a part in which limit.
type Holder = (RunPk, Arc<str>, i32);

/// The slots of a store in memory: what the function of the Postgres store does, in other words.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// By limit and holder.
    taken: BTreeMap<(String, Holder), (Epoch, u32)>,
    /// By limit, the earliest first.
    starts: BTreeMap<String, VecDeque<DateTime<Utc>>>,
    /// By limit and [asker](SlotClaim::asker).
    tickets: BTreeMap<(String, String), Ticket>,
}

#[derive(Debug)]
struct Ticket {
    worth: i64,
    units: u32,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
}

impl Slots {
    /// Takes what there is. `is_held` says of a run whether this epoch of it is held by a lease that has not ended.
    pub(super) fn take(&mut self, claim: &SlotClaim<'_>, is_held: impl Fn(RunPk, Epoch) -> bool) -> Vec<SlotRefusal> {
        let mut refused = Vec::new();
        for (place, ask) in claim.asks.iter().enumerate() {
            let holder = (claim.run, ask.task_id.clone(), ask.map_index);
            let mut own = ask.shares.iter().filter_map(|s| self.taken.get(&(s.name.clone(), holder.clone())));
            if own.any(|(epoch, _)| *epoch == claim.epoch) {
                // It was asked for before, and the answer was lost on the way.
                continue;
            }
            match ask.shares.iter().find_map(|share| self.lacks(share, ask, claim, &is_held)) {
                Some((limit, again)) => refused.push(SlotRefusal { place, limit, again }),
                None => self.give(ask, &holder, claim),
            }
        }
        refused
    }

    /// The limit, if nothing of it may be had, with the time to wait.
    fn lacks(
        &mut self,
        share: &Share,
        ask: &SlotAsk,
        claim: &SlotClaim<'_>,
        is_held: &impl Fn(RunPk, Epoch) -> bool,
    ) -> Option<(String, Duration)> {
        let again = match share.span {
            Some(span) => self.too_many_starts(share, span, claim.now)?,
            None => self.too_few_units(share, ask, claim, is_held).then_some(AGAIN)?,
        };
        let ticket = (share.name.clone(), claim.asker().into_owned());
        let since = self.tickets.get(&ticket).filter(|t| t.until > claim.now).map_or(claim.now, |t| t.since);
        let until = claim.now + TICKET.max(again);
        self.tickets.insert(ticket, Ticket { worth: claim.worth(ask), units: share.units, since, until });
        Some((share.name.clone(), again))
    }

    /// How long it takes until another start is allowed, if none is now.
    fn too_many_starts(&mut self, share: &Share, span: Duration, now: DateTime<Utc>) -> Option<Duration> {
        let starts = self.starts.get_mut(&share.name)?;
        // A clock was set back: nobody knows when that was, but it was before now.
        starts.iter_mut().rev().take_while(|at| **at > now).for_each(|at| *at = now);
        let within =
            starts.iter().rev().take_while(|at| now - **at < TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX));
        let first =
            within.take(share.most as usize).enumerate().last().filter(|(n, _)| n + 1 == share.most as usize)?.1;
        (span + Duration::from_micros(1)).checked_sub((now - first).to_std().unwrap_or_default())
    }

    fn too_few_units(
        &self,
        share: &Share,
        ask: &SlotAsk,
        claim: &SlotClaim<'_>,
        is_held: &impl Fn(RunPk, Epoch) -> bool,
    ) -> bool {
        let here = self.taken.iter().filter(|((name, _), _)| *name == share.name);
        let counted = here.filter(|((_, holder), (epoch, _))| is_held(holder.0, *epoch));
        let used: u32 = counted.map(|(_, (_, units))| *units).sum();
        let (asker, worth) = (claim.asker(), claim.worth(ask));
        let mine = self.tickets.get(&(share.name.clone(), asker.to_string()));
        let since = mine.filter(|t| t.until > claim.now).map(|t| t.since);
        let is_first = |(key, other): (&(String, String), &Ticket)| {
            (key.0 == share.name && key.1 != asker && other.until > claim.now)
                && used.saturating_add(other.units) <= share.most
                && (other.worth > worth || (other.worth == worth && since.is_none_or(|since| other.since < since)))
        };
        used.saturating_add(share.units) > share.most || self.tickets.iter().any(is_first)
    }

    fn give(&mut self, ask: &SlotAsk, holder: &Holder, claim: &SlotClaim<'_>) {
        for share in &ask.shares {
            self.tickets.remove(&(share.name.clone(), claim.asker().into_owned()));
            let units = if share.span.is_some() { 0 } else { share.units };
            self.taken.insert((share.name.clone(), holder.clone()), (claim.epoch, units));
            if let Some(span) = share.span {
                let starts = self.starts.entry(share.name.clone()).or_default();
                let kept = TimeDelta::from_std(span.max(REMEMBERED)).unwrap_or(TimeDelta::MAX);
                while starts.front().is_some_and(|at| claim.now - *at > kept) {
                    starts.pop_front();
                }
                starts.push_back(claim.now);
            }
        }
    }

    /// The starts under this limit, the latest first.
    pub(super) fn starts(&self, limit: &str) -> impl Iterator<Item = DateTime<Utc>> {
        self.starts.get(limit).into_iter().flat_map(|starts| starts.iter().rev().copied())
    }

    /// These instances of a run are in flight no more.
    pub(super) fn free(&mut self, run: RunPk, gone: &BTreeSet<(Arc<str>, i32)>) {
        self.taken
            .retain(|(_, (of, task_id, map_index)), _| *of != run || !gone.contains(&(task_id.clone(), *map_index)));
    }

    /// Nothing of this run is in flight.
    pub(super) fn free_all(&mut self, run: RunPk) {
        self.taken.retain(|(_, holder), _| holder.0 != run);
    }
}
