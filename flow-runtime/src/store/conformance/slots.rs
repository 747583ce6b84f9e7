//! What several processes share of limits. A store that does not [share slots](crate::store::MetadataStore::shares_slots) has only to
//! show what it remembers of starts.

use super::{Store, begin, plain, rows, write};
use crate::store::{Epoch, RunPk, SlotAsk, SlotClaim, SlotRefusal, Term};
use chrono::{DateTime, TimeDelta, Utc};
use flow_core::TaskState;
use flow_core::admit::Share;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const NOBODY: [usize; 0] = [];
const HOUR: Term = Term { length: Duration::from_secs(3600), now: DateTime::UNIX_EPOCH };

fn share(name: &str, units: u32, most: u32) -> Share {
    Share { name: name.into(), units, most, span: None }
}

fn ask(map_index: i32, weight: i64, shares: &[Share]) -> SlotAsk {
    SlotAsk { task_id: "load".into(), map_index, weight, shares: shares.to_vec() }
}

/// A run that is held.
async fn held(store: &Store, run_id: &str) -> (RunPk, Epoch) {
    let (run, _) = begin(store, run_id).await;
    (run, store.take_run(run, "ada", HOUR).await.unwrap())
}

/// Where a store goes by the callers' clock, it goes on with each question.
async fn take(store: &Store, (run, epoch): (RunPk, Epoch), owner: &str, asks: &[SlotAsk]) -> Vec<SlotRefusal> {
    let claim = SlotClaim { run, epoch, owner, backfill: false, asks, now: next_moment() };
    store.take_slots(&claim).await.unwrap()
}

fn next_moment() -> DateTime<Utc> {
    static PASSED: AtomicI64 = AtomicI64::new(0);
    HOUR.now + TimeDelta::microseconds(PASSED.fetch_add(1, Ordering::Relaxed))
}

/// A limit of so many starts in a span.
fn rate(name: &str, most: u32, span: Duration) -> Share {
    Share { span: Some(span), ..share(name, 1, most) }
}

/// The places of those that were refused.
async fn refused(store: &Store, of: (RunPk, Epoch), owner: &str, asks: &[SlotAsk]) -> Vec<usize> {
    take(store, of, owner, asks).await.into_iter().map(|refusal| refusal.place).collect()
}

/// Writes what an instance is now.
async fn is(store: &Store, of: (RunPk, Epoch), map_index: i32, state: TaskState) {
    store.commit(&[rows(of, [write(plain("load", map_index, state, 1))])]).await.unwrap();
}

async fn ends(store: &Store, of: (RunPk, Epoch), map_index: i32) {
    is(store, of, map_index, TaskState::Success).await;
}

/// Units count in every run; they are free with the commit that ends the try, when the run is let go, and when another takes it.
/// What asks for two things at once gets both or none; and who asks once more keeps what it has.
pub async fn a_limit_is_shared_by_all_processes(store: Store) {
    if !store.shares_slots() {
        return;
    }
    let (one, two) = (held(&store, "one").await, held(&store, "two").await);
    let pool = |units| [share("pool api", units, 3)];
    assert_eq!(refused(&store, one, "ada", &[ask(0, 1, &pool(1)), ask(1, 1, &pool(1))]).await, NOBODY);
    assert_eq!(refused(&store, one, "ada", &[ask(0, 1, &pool(1)), ask(1, 1, &pool(1))]).await, NOBODY, "once more");
    let both = [share("key k", 1, 1), share("pool api", 2, 3)];
    let told = take(&store, two, "bob", &[ask(0, 1, &both), ask(1, 1, &pool(1))]).await;
    assert_eq!(told.iter().map(|r| (r.place, &*r.limit)).collect::<Vec<_>>(), [(0, "pool api")]);
    assert!(told[0].again > Duration::ZERO, "{told:?}");
    assert_eq!(
        refused(&store, one, "ada", &[ask(2, 1, &[share("key k", 1, 1)])]).await,
        NOBODY,
        "the key was not taken"
    );
    assert_eq!(refused(&store, one, "ada", &[ask(3, 1, &[share("pool other", 1, 3)])]).await, NOBODY);

    let more = [ask(5, 1, &pool(1))];
    assert_eq!(refused(&store, two, "bob", &more).await, [0]);
    is(&store, one, 0, TaskState::Running).await;
    assert_eq!(refused(&store, two, "bob", &more).await, [0], "it runs");
    ends(&store, one, 0).await;
    assert_eq!(refused(&store, two, "bob", &more).await, NOBODY);
    assert_eq!(refused(&store, two, "bob", &[ask(6, 1, &pool(1))]).await, [0]);
    // Let go, it counts no more.
    store.release(one.0, one.1).await.unwrap();
    assert_eq!(refused(&store, two, "bob", &[ask(6, 1, &pool(1))]).await, NOBODY);
    // Taken again it begins with nothing; and who had it before can take nothing that counts.
    let again = (one.0, store.take_run(one.0, "carl", HOUR).await.unwrap());
    ends(&store, two, 1).await;
    assert_eq!(refused(&store, one, "ada", &[ask(1, 1, &pool(1))]).await, NOBODY);
    assert_eq!(refused(&store, again, "carl", &[ask(0, 1, &pool(1))]).await, NOBODY);
    assert_eq!(refused(&store, again, "carl", &[ask(2, 1, &pool(1))]).await, [0]);
    store.delete_run(two.0, two.1).await.unwrap();
    assert_eq!(refused(&store, again, "carl", &[ask(7, 1, &pool(2))]).await, NOBODY);
}

/// A free slot waits for who was refused before, unless the other is heavier; one that would not do keeps nobody.
pub async fn who_was_refused_before_is_first(store: Store) {
    if !store.shares_slots() {
        return;
    }
    let (one, two, three) = (held(&store, "one").await, held(&store, "two").await, held(&store, "three").await);
    let slot = [share("pool api", 1, 2)];
    assert_eq!(refused(&store, one, "ada", &[ask(0, 1, &slot), ask(1, 1, &slot)]).await, NOBODY);
    assert_eq!(refused(&store, two, "bob", &[ask(0, 1, &slot)]).await, [0]);
    ends(&store, one, 0).await;
    assert_eq!(refused(&store, one, "ada", &[ask(2, 1, &slot)]).await, [0], "bob waits for longer");
    assert_eq!(refused(&store, one, "ada", &[ask(3, 5, &slot)]).await, NOBODY, "it is heavier");
    ends(&store, one, 1).await;
    assert_eq!(refused(&store, two, "bob", &[ask(0, 1, &slot)]).await, NOBODY);
    // The ticket of who got something is over: the next has an older one.
    assert_eq!(refused(&store, one, "ada", &[ask(2, 1, &slot)]).await, [0]);
    assert_eq!(refused(&store, two, "bob", &[ask(1, 1, &slot)]).await, [0]);
    ends(&store, two, 0).await;
    assert_eq!(refused(&store, two, "bob", &[ask(1, 1, &slot)]).await, [0]);
    assert_eq!(refused(&store, one, "ada", &[ask(2, 1, &slot)]).await, NOBODY);
    // Who needs two of which only one is free keeps nobody from that one.
    ends(&store, one, 2).await;
    assert_eq!(refused(&store, three, "carl", &[ask(0, 9, &[share("pool api", 2, 2)])]).await, [0]);
    assert_eq!(refused(&store, two, "bob", &[ask(1, 1, &slot)]).await, NOBODY);
}

/// What is of a backfill waits behind all of live runs, however heavy it is and however long it has waited; among itself by the same
/// rules as they.
pub async fn backfills_wait_behind_live_runs(store: Store) {
    if !store.shares_slots() {
        return;
    }
    let (live, filled, other) = (held(&store, "live").await, held(&store, "filled").await, held(&store, "other").await);
    let slot = [share("pool api", 1, 1)];
    let fills = async |(run, epoch), owner, map_index, weight| {
        let asks = [ask(map_index, weight, &slot)];
        let claim = SlotClaim { run, epoch, owner, backfill: true, asks: &asks, now: next_moment() };
        store.take_slots(&claim).await.unwrap().len()
    };
    assert_eq!(fills(filled, "ada", 0, 1).await, 0);
    assert_eq!(fills(other, "bob", 0, i64::MAX).await, 1);
    assert_eq!(refused(&store, live, "carl", &[ask(0, i64::MIN, &slot)]).await, [0]);
    ends(&store, filled, 0).await;
    assert_eq!(fills(other, "bob", 0, i64::MAX).await, 1, "carl's run is a live one");
    assert_eq!(fills(filled, "carl", 1, i64::MAX).await, 1, "and goes before his own backfill");
    assert_eq!(refused(&store, live, "carl", &[ask(0, i64::MIN, &slot)]).await, NOBODY);
    // Of backfills the heavier goes first, then who has waited for longer.
    ends(&store, live, 0).await;
    assert_eq!(fills(filled, "carl", 1, 5).await, 1, "bob's is heavier");
    assert_eq!(fills(other, "bob", 0, 9).await, 0);
    assert_eq!(fills(filled, "carl", 1, 5).await, 1);
    assert_eq!(fills(other, "bob", 1, 5).await, 1);
    ends(&store, other, 0).await;
    assert_eq!(fills(other, "bob", 1, 5).await, 1, "carl's waits for longer");
    // A live one needs no ticket to be first.
    assert_eq!(refused(&store, live, "dora", &[ask(1, 0, &slot)]).await, NOBODY);
    ends(&store, live, 1).await;
    assert_eq!(fills(filled, "carl", 1, 5).await, 0);
}

/// So many starts in any such span, whoever makes them, and they count when what was started has ended, and its run is gone. What asks
/// for two starts at once gets both or none.
pub async fn starts_in_a_span_are_counted_for_all(store: Store) {
    let (one, two) = (held(&store, "one").await, held(&store, "two").await);
    let of = |name: &str, most| rate(name, most, Duration::from_secs(900));
    let api = [of("rate api", 2)];
    assert_eq!(refused(&store, one, "ada", &[ask(0, 1, &api)]).await, NOBODY);
    ends(&store, one, 0).await;
    store.delete_run(one.0, one.1).await.unwrap();
    let told = take(&store, two, "bob", &[ask(0, 1, &api), ask(1, 1, &api), ask(2, 1, &[of("rate other", 1)])]).await;
    assert_eq!(told.iter().map(|r| (r.place, &*r.limit)).collect::<Vec<_>>(), [(1, "rate api")]);
    assert!(told[0].again > Duration::from_secs(600) && told[0].again <= Duration::from_secs(901), "{told:?}");
    let both = [of("rate both", 2), of("rate other", 1)];
    let told = take(&store, two, "bob", &[ask(3, 1, &both), ask(4, 1, &both[..1]), ask(5, 1, &both[..1])]).await;
    assert_eq!(told.iter().map(|r| (r.place, &*r.limit)).collect::<Vec<_>>(), [(0, "rate other")]);
    // Who may have more of them counts all, and who may have fewer waits until enough are over.
    assert_eq!(refused(&store, two, "bob", &[ask(6, 1, &[of("rate api", 3)])]).await, NOBODY);
    let told = take(&store, two, "bob", &[ask(7, 1, &[of("rate api", 1)]), ask(8, 1, &[of("rate api", 3)])]).await;
    assert!(told.len() == 2 && told[0].again >= told[1].again, "{told:?}");
    assert_eq!(store.starts("rate both", 9).await.unwrap().len(), 2);
    assert!(store.starts("rate none", 9).await.unwrap().is_empty());
    let starts = store.starts("rate api", 9).await.unwrap();
    assert!(starts.len() == 3 && starts.is_sorted_by(|later, earlier| later >= earlier), "{starts:?}");
    assert_eq!(store.starts("rate api", 2).await.unwrap(), starts[..2]);
}

/// A start that seems to be in the future is one of now. Where a store has a clock of its own nobody sets it back here.
pub async fn a_clock_that_is_set_back_delays_no_start_longer_than_its_span(store: Store) {
    let (run, epoch) = held(&store, "one").await;
    let (hour, moment) = (Duration::from_secs(3600), Duration::from_millis(20));
    let take = async |map_index, name: &str, span, now| {
        let asks = [ask(map_index, 1, &[rate(name, 1, span)])];
        let claim = SlotClaim { run, epoch, owner: "ada", backfill: false, asks: &asks, now };
        store.take_slots(&claim).await.unwrap()
    };
    let wrong = HOUR.now + TimeDelta::days(10);
    assert_eq!(take(0, "rate long", hour, wrong).await, []);
    assert_eq!(take(1, "rate short", moment, wrong).await, []);
    let told = take(2, "rate long", hour, HOUR.now).await;
    assert!(told.len() == 1 && told[0].again <= hour + Duration::from_micros(1), "{told:?}");
    // By a clock of its own the short span may be over. A clock that stands still would not see how long the store was busy.
    let began = Instant::now();
    let told = take(3, "rate short", moment, HOUR.now).await;
    assert!(store.shares_slots() || !told.is_empty(), "a clock that is given stands still");
    if let Some(refusal) = told.first() {
        assert!(refusal.again <= moment + Duration::from_micros(1), "{told:?}");
        tokio::time::sleep(refusal.again).await;
        assert_eq!(take(3, "rate short", moment, HOUR.now + began.elapsed()).await, []);
    }
}

/// Many at once.
pub async fn of_many_claims_no_more_start_than_may(store: Store) {
    let mut claims = JoinSet::new();
    for n in 0..8 {
        let run = held(&store, &format!("run{n}")).await;
        let store = store.clone();
        claims.spawn(async move {
            let asks: Vec<SlotAsk> =
                (0..3).map(|index| ask(index, 1, &[rate("rate a", 5, Duration::from_secs(900))])).collect();
            3 - take(&store, run, &n.to_string(), &asks).await.len()
        });
    }
    let went: usize = claims.join_all().await.into_iter().sum();
    assert_eq!(went, 5);
}

/// Many at once, in every order of their names.
pub async fn of_many_claims_no_more_go_than_may(store: Store) {
    if !store.shares_slots() {
        return;
    }
    let mut claims = JoinSet::new();
    for n in 0..8 {
        let run = held(&store, &format!("run{n}")).await;
        let store = store.clone();
        claims.spawn(async move {
            let mut shares = [share("pool a", 1, 5), share("pool b", 1, 4), share("key c", 1, 9)];
            shares.rotate_left(n % 3);
            let asks: Vec<SlotAsk> = (0..3).map(|index| ask(index, 1, &shares)).collect();
            3 - take(&store, run, &n.to_string(), &asks).await.len()
        });
    }
    let went: usize = claims.join_all().await.into_iter().sum();
    assert_eq!(went, 4);
}
