//! The keeper's work, with renewers that do as they are told. What is asserted is what follows from what, never how long it took.

use super::*;
use crate::clock::SystemClock;
use crate::store::{Result, StoreError};
use std::collections::BTreeSet;

/// Long enough for a machine that is busy, short enough to wait for its end.
const LENGTH: Duration = Duration::from_millis(1500);
const RUN: RunPk = RunPk(7);

/// What a renewer does when it is asked.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Renews,
    Refuses,
    Fails,
    Hangs,
}

/// Notes when it was asked, and for what was given back.
#[derive(Clone)]
struct Scripted {
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<Instant>>>,
    released: Arc<Mutex<Vec<RunPk>>>,
}

#[async_trait::async_trait]
impl Renewer for Scripted {
    async fn renew(&mut self, held: &[(RunPk, Epoch)], _: Term) -> Result<BTreeSet<RunPk>> {
        self.asked.lock().push(Instant::now());
        let answer = *self.answer.lock();
        match answer {
            Answer::Renews => Ok(held.iter().map(|(run, _)| *run).collect()),
            Answer::Refuses => Ok(BTreeSet::new()),
            Answer::Fails => Err(StoreError::Backend("it is away".into())),
            Answer::Hangs => std::future::pending().await,
        }
    }

    async fn release(&mut self, run: RunPk, _: Epoch) -> Result<()> {
        self.released.lock().push(run);
        Ok(())
    }
}

/// A keeper that works on this runtime, and holds a run.
fn keeping(answer: Answer) -> (Scripted, Keeper, Leased) {
    let scripted = Scripted { answer: Arc::new(Mutex::new(answer)), asked: Arc::default(), released: Arc::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let keeper = Keeper::new(Arc::new(crate::store::MemoryStore::new()), clock.clone(), LENGTH);
    // No thread: its work is done here.
    keeper.shared.state.lock().works = true;
    let worker = Worker {
        shared: keeper.shared.clone(),
        renewer: Box::new(scripted.clone()),
        clock,
        length: LENGTH,
        trouble: None,
    };
    tokio::spawn(worker.work());
    let leased = keeper.keep(RUN, Epoch(2), Instant::now()).unwrap();
    (scripted, keeper, leased)
}

/// Waits until it holds; how long that takes is no part of the test.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_lease_is_renewed_and_lasts() {
    let (scripted, _keeper, leased) = keeping(Answer::Renews);
    until(|| scripted.asked.lock().len() >= 4).await;
    assert!(!leased.lost().is_cancelled(), "by then the first lease would be over");
}

#[tokio::test]
async fn what_cannot_be_renewed_is_tried_again_and_then_let_go() {
    for (answer, least) in [(Answer::Fails, 2), (Answer::Hangs, 1)] {
        let (scripted, keeper, leased) = keeping(answer);
        let ends = keeper.shared.first_end().unwrap();
        leased.lost().cancelled().await;
        assert!(scripted.asked.lock().len() >= least && keeper.shared.held().is_empty(), "{answer:?}");
        let last = *scripted.asked.lock().last().unwrap();
        assert!(leased.why().starts_with("its lease could not be renewed in time ("), "{}", leased.why());
        assert!(last < ends - LENGTH / Keeper::MARGIN, "nothing is asked once it is let go");
        // A lease that may be somebody else's is not given back.
        drop(leased);
        assert!(keeper.shared.state.lock().left.is_empty() && scripted.released.lock().is_empty());
    }
}

#[tokio::test]
async fn a_failure_that_passes_costs_nothing() {
    let (scripted, _keeper, leased) = keeping(Answer::Fails);
    until(|| scripted.asked.lock().len() >= 2).await;
    *scripted.answer.lock() = Answer::Renews;
    until(|| scripted.asked.lock().len() >= 5).await;
    assert!(!leased.lost().is_cancelled());
}

#[tokio::test]
async fn a_run_that_is_somebody_elses_is_let_go_at_once() {
    let (scripted, _keeper, leased) = keeping(Answer::Refuses);
    leased.lost().cancelled().await;
    assert_eq!(scripted.asked.lock().len(), 1);
    assert!(leased.why().contains("somebody else"));
}

#[tokio::test]
async fn a_lease_whose_answer_came_too_late_is_lost_from_the_start() {
    let (_scripted, keeper, leased) = keeping(Answer::Renews);
    let late = keeper.keep(RunPk(8), Epoch(1), Instant::now().checked_sub(LENGTH).unwrap()).unwrap();
    // Before anybody else had its turn.
    assert!(late.lost().is_cancelled() && late.why().contains("before the answer came"), "{}", late.why());
    assert!(!leased.lost().is_cancelled() && keeper.shared.held() == [(RUN, Epoch(2))]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ends_sooner_is_let_go_while_others_are_being_renewed() {
    let (scripted, keeper, leased) = keeping(Answer::Hangs);
    until(|| scripted.asked.lock().len() == 1).await;
    let asked = Instant::now().checked_sub(LENGTH * 3 / 4).unwrap();
    let late = keeper.keep(RunPk(8), Epoch(1), asked).unwrap();
    assert!(!late.lost().is_cancelled());
    late.lost().cancelled().await;
    assert!(Instant::now() < asked + LENGTH, "it may be somebody else's by now");
    assert!(!leased.lost().is_cancelled());
}

#[tokio::test]
async fn when_nobody_renews_any_more_nothing_is_held() {
    let (_scripted, keeper, leased) = keeping(Answer::Renews);
    drop(keeper);
    leased.lost().cancelled().await;
    assert!(leased.why().contains("has ended"));
}

#[tokio::test]
async fn a_process_that_was_stopped_for_a_while_lets_go_before_it_asks() {
    let (scripted, keeper, leased) = keeping(Answer::Renews);
    let other = keeper.keep(RunPk(8), Epoch(1), Instant::now()).unwrap();
    // As after a SIGSTOP: the lease is over, and nobody has had the time to renew it.
    keeper.shared.state.lock().kept.get_mut(&RUN).unwrap().ends = Instant::now();
    keeper.shared.changed.notify_one();
    leased.lost().cancelled().await;
    assert!(scripted.asked.lock().is_empty(), "it was not renewed once more");
    assert!(!other.lost().is_cancelled() && keeper.shared.held() == [(RunPk(8), Epoch(1))]);
}

#[tokio::test]
async fn what_is_dropped_is_given_back_and_what_was_released_is_forgotten() {
    let (scripted, keeper, leased) = keeping(Answer::Renews);
    drop(leased);
    until(|| *scripted.released.lock() == [RUN]).await;
    let again = keeper.keep(RUN, Epoch(3), Instant::now()).unwrap();
    again.release().await;
    assert!(keeper.shared.held().is_empty());
    drop(again);
    assert!(keeper.shared.state.lock().left.is_empty(), "once is enough");
}
