//! One world: a store, a scheduler that dies and is started again, and faults drawn from a seed.

use crate::cast::Cast;
use crate::clocks::{self, HostClock};
use crate::crowds::POOLS;
use crate::faults::{Process, Unkindness};
use crate::fillings::Fillings;
use crate::laws::{self, Seen};
use crate::ledger::{self, Ledger, PARALLELISM, tell};
use crate::limits::Counted;
use crate::outbox;
use crate::person::Person;
use crate::rng::Rng;
use crate::wishes::Wishes;
use chrono::{DateTime, TimeDelta, Utc};
use flow_runtime::clock::{Clock, TokioClock};
use flow_runtime::core::{Dag, NextRun, Restriction, timetable};
use flow_runtime::executor::{Engine, EngineSettings, Stop};
use flow_runtime::notify::{Channel, Deliverer};
use flow_runtime::prelude::tracing;
use flow_runtime::registry::Bodies;
use flow_runtime::scheduler::{Listener, ScheduledDag, Scheduler, Told};
use flow_runtime::store::faulty::{Faults, FaultyStore};
use flow_runtime::store::{MemoryStore, MetadataStore, StoreError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The length of a lease.
const LEASE: Duration = Duration::from_secs(15);

/// The longest that passes in a slow store from when a try has its slots to when its body begins: the way back, and a commit.
const LAG: TimeDelta = TimeDelta::seconds(60);

/// No world lives longer than this, by its own clock.
const DOOMSDAY: Duration = Duration::from_secs(7 * 24 * 3600);

pub struct World {
    seed: u64,
}

/// What became of it.
pub struct Outcome {
    pub outcome: Result<(), String>,
    pub story: Vec<String>,
    pub crashes: u32,
    /// How often somebody had the last of something that there is not enough of.
    pub scarce: u32,
}

/// Looks at the laws after each write that has come through.
struct Lawful {
    store: Arc<dyn MetadataStore>,
    dags: Vec<Arc<Dag>>,
    wishes: Arc<Wishes>,
    fillings: Arc<Fillings>,
    clock: TokioClock,
    seen: tokio::sync::Mutex<Seen>,
    broken: Arc<Mutex<Option<String>>>,
}

/// The calls that write.
const WRITES: [&str; 8] =
    ["commit", "make_run", "acquire_run", "take_run", "delete_run", "put_order", "put_backfill", "settle_backfill"];

#[async_trait::async_trait]
impl Faults for Lawful {
    async fn before(&self, _: &'static str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn after(&self, call: &'static str) -> Result<(), StoreError> {
        if WRITES.contains(&call) {
            // In one go, or somebody else could write in between.
            tokio::task::unconstrained(async {
                let mut seen = self.seen.lock().await;
                let now = laws::look(&*self.store).await;
                laws::tell_changes(&seen, &now);
                let wanted = (&*self.wishes, &*self.fillings);
                if let Err(problem) = laws::step(&seen, &now, &self.dags, wanted, self.clock.now()) {
                    self.broken.lock().get_or_insert(problem);
                }
                self.wishes.forget(&self.store.orders().await.expect("it is in memory"));
                *seen = now;
            })
            .await;
        }
        Ok(())
    }
}

impl World {
    pub fn new(seed: u64) -> World {
        World { seed }
    }

    pub fn live(self) -> Outcome {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        ledger::with(|ledger| *ledger = Ledger { seed: self.seed, ..Ledger::default() });
        let cast = Cast::of(self.seed);
        let _hears = cast.tells.then(|| tracing::subscriber::set_default(outbox::Ear));
        let (outcome, crashes) = runtime.block_on(self.days(cast));
        drop(runtime);
        let (story, scarce) = ledger::with(|ledger| (std::mem::take(&mut ledger.story), ledger.counted.full));
        Outcome { outcome, story, crashes, scarce }
    }

    async fn days(self, cast: Cast) -> (Result<(), String>, u32) {
        let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("a date");
        let clock = TokioClock::starting_at(start);
        let mut rng = Rng::new(self.seed);
        let draw = |rng: &mut Rng, most: u64| if rng.chance(600) { rng.below(most) } else { 0 };
        let refused = draw(&mut rng, 30);
        let unkindness = Unkindness {
            refused,
            // Keys are made of values, which are seldom read.
            unread: if refused > 0 && cast.has_keys { 400 } else { 0 },
            answer_lost: draw(&mut rng, 30),
            slow: draw(&mut rng, 60),
            crash: draw(&mut rng, 30),
        };
        tell(format!("seed {}: {unkindness:?}", self.seed));
        let dags = cast.dags;
        let memory: Arc<dyn MetadataStore> = Arc::new(MemoryStore::with_clock(Arc::new(clock)));
        // One scheduler, or two; leases where several processes may want a run.
        let hosts = 1 + rng.below(2);
        let has_person = rng.chance(500) || cast.fills;
        let jumps = rng.chance(400);
        tell(format!("{hosts} hosts, a person: {has_person}, clocks that jump: {jumps}"));
        let lease = (hosts > 1 || has_person).then_some(LEASE);
        let lag = if unkindness.slow > 0 { LAG } else { TimeDelta::zero() };
        let counted = Counted::new(&dags, clock, lag, lease.is_none() && jumps);
        ledger::with(|ledger| ledger.counted = counted);
        let end = start + TimeDelta::minutes(30);
        let fillings = Arc::new(Fillings::new(ticks(&dags, end), lag * 8, jumps));
        let (broken, wishes) = (Arc::new(Mutex::new(None)), Arc::new(Wishes::default()));
        let lawful = Lawful {
            store: memory.clone(),
            dags: dags.clone(),
            wishes: wishes.clone(),
            fillings: fillings.clone(),
            clock,
            seen: tokio::sync::Mutex::default(),
            broken: broken.clone(),
        };
        let store: Arc<dyn MetadataStore> = Arc::new(FaultyStore::new(memory.clone(), Arc::new(lawful)));
        let of_person = Rng::new(rng.next());
        let of_clocks = Rng::new(rng.next());
        let days = Days {
            clock,
            end,
            doomsday: start + DOOMSDAY,
            unkindness,
            lease,
            fills: cast.fills,
            tells: cast.tells,
            rng: Arc::new(Mutex::new(rng)),
            store,
            memory: memory.clone(),
            dags: dags.clone(),
            broken,
            person_lives: AtomicBool::new(has_person),
        };
        let all: Vec<(&str, HostClock)> =
            ["one", "other"].into_iter().take(hosts as usize).map(|host| (host, HostClock::right(clock))).collect();
        let schedulers = async {
            match &all[..] {
                [one] => days.of_host(one).await,
                [one, other, ..] => {
                    let (one, other) = tokio::join!(days.of_host(one), days.of_host(other));
                    one.and_then(|crashes| Ok(crashes + other?))
                }
                [] => Err("a world without hosts".into()),
            }
        };
        let person = async {
            let lived = if has_person { Person::new(&days, &wishes, of_person).live().await } else { Ok(()) };
            days.person_lives.store(false, Ordering::Relaxed);
            lived
        };
        let time = async {
            if jumps {
                clocks::jump(of_clocks, clock, days.end, &all).await;
            }
        };
        // Who has nothing to do any more waits for no clock.
        let (crashes, person) = tokio::select! {
            biased;
            ended = async { tokio::join!(schedulers, person) } => ended,
            never = async { time.await; std::future::pending().await } => never,
        };
        let crashes = match person.and(crashes) {
            Ok(crashes) => crashes,
            Err(problem) => return (Err(problem), 0),
        };
        let kind = laws::Kind { wishes: &wishes, fillings: &fillings, fills: cast.fills, jumps };
        let mut ended = laws::end(&*memory, &dags, kind).await;
        if cast.tells && ended.is_ok() {
            ended = match outbox::tell_the_rest(&days).await {
                Ok(()) => outbox::end(&*memory).await,
                problem => problem,
            };
        }
        (ended, crashes)
    }
}

/// What the hosts of a world share.
pub struct Days {
    pub clock: TokioClock,
    /// No run is due after this.
    pub end: DateTime<Utc>,
    doomsday: DateTime<Utc>,
    unkindness: Unkindness,
    lease: Option<Duration>,
    /// Somebody asks for backfills.
    pub fills: bool,
    /// What is owed outside is told.
    tells: bool,
    rng: Arc<Mutex<Rng>>,
    store: Arc<dyn MetadataStore>,
    /// What is behind it, where nothing goes wrong.
    pub memory: Arc<dyn MetadataStore>,
    pub dags: Vec<Arc<Dag>>,
    broken: Arc<Mutex<Option<String>>>,
    /// Somebody may still want something.
    person_lives: AtomicBool,
}

impl Days {
    /// A process that begins now. In the end the world is kind, so that it can end.
    pub fn process(&self, name: String) -> Arc<Process> {
        let kind = Unkindness { refused: 0, unread: 0, answer_lost: 0, slow: 0, crash: 0 };
        let is_kind = self.clock.now() > self.end;
        Arc::new(Process {
            name,
            clock: self.clock,
            unkindness: if is_kind { kind } else { self.unkindness },
            rng: self.rng.clone(),
            dead: Mutex::new(false),
            died: Default::default(),
        })
    }

    /// The store, as a process sees it.
    pub fn through(&self, process: &Arc<Process>) -> Arc<dyn MetadataStore> {
        Arc::new(FaultyStore::new(self.store.clone(), process.clone()))
    }

    /// What runs DAGs in a process.
    pub fn engine(&self, process: &Arc<Process>, clock: impl Clock) -> Engine {
        let settings = EngineSettings {
            parallelism: PARALLELISM,
            lease: self.lease,
            threads: false,
            name: Some(process.name.clone()),
            pools: POOLS.into_iter().map(|(pool, slots)| (pool.into(), slots)).collect(),
            notifiers: [("ops".into(), Channel::Log)].into(),
            ..EngineSettings::in_memory("nowhere")
        };
        Engine::new(self.through(process), Bodies::collect(), settings).with_clock(Arc::new(clock))
    }

    /// A scheduler, and when it dies the next one, until all is done. Says how often one died.
    async fn of_host(&self, (host, clock): &(&str, HostClock)) -> Result<u32, String> {
        let mut crashes = 0;
        for life in 1.. {
            let process = self.process(format!("{host} {life}"));
            let is_last = !self.person_lives.load(Ordering::Relaxed);
            let engine = self.engine(&process, clock.clone());
            let deliverer = self.tells.then(|| Deliverer::start(&engine));
            let scheduler = self.scheduler(&process, engine);
            // By the seed alone: of a process that has died nothing more is heard.
            let lived = tokio::select! {
                biased;
                () = process.died.notified() => None,
                ended = scheduler.run_until(Some(self.end)) => Some(ended),
            };
            drop(deliverer);
            if self.lease.is_none() {
                ledger::with(|ledger| ledger.counted.forget());
            }
            if let Some(problem) = self.broken.lock().clone() {
                return Err(problem);
            }
            match lived {
                Some(Ok(())) if is_last => break,
                // Somebody may want something that is for a scheduler to do.
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(format!("the scheduler gave up: {error}")),
                None => crashes += 1,
            }
            if self.clock.now() > self.doomsday {
                return Err("it never ends".into());
            }
            let pause = Duration::from_millis(self.rng.lock().below(30_000));
            tokio::time::sleep(pause).await;
        }
        Ok(crashes)
    }

    fn scheduler(&self, process: &Arc<Process>, engine: Engine) -> Scheduler {
        let (clock, name) = (process.clock, process.name.clone());
        let listener: Listener = Arc::new(move |told| match told {
            Told::Note(text) => tell(format!("{} {name} notes: {text}", clock.now().format("%T%.3f"))),
            Told::Event { .. } => {}
        });
        let dags = self.dags.iter().map(|dag| ScheduledDag { dag: dag.clone(), params: Ok(Default::default()) });
        Scheduler::new(engine, dags, false, listener, Stop::default()).expect("their schedules are well")
    }
}

/// All that the DAGs should have runs of, by DAG.
fn ticks(dags: &[Arc<Dag>], end: DateTime<Utc>) -> BTreeMap<String, Vec<NextRun>> {
    let of = |dag: &Arc<Dag>| {
        let timetable = timetable::of(dag).expect("its schedule is well");
        let restriction = Restriction { catchup: true, ..Restriction::of(dag) };
        (dag.dag_id.clone(), timetable::upcoming(&*timetable, None, restriction, end).collect())
    };
    dags.iter().map(of).collect()
}
