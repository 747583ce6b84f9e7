//! Thousands of tasks, two schedulers on one Postgres, and a hand that kills one of them again and again: each try begins once, each
//! tick has one run, and no limit is exceeded. (Number 12.)

use crate::crash_points::won;
use crate::postgres::{chance, database, machine, most_at_once};
use crate::program::Place;
use crate::rest_but;
use crate::ticks::{Scheduler, runs, text};
use flow_runtime::chrono::{DateTime, Utc};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Ticks of the DAG.
const RUNS: usize = 20;

/// So long nothing may come to an end, where both schedulers have just been killed, and leases must be over.
const STUCK: Duration = Duration::from_secs(60);

/// Numbers by a seed: the same ones for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// A number of the environment, or this one.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|e| panic!("{name} is `{text}`: {e}")))
}

/// A try that has begun: by which process, and has its end been noted?
type Noted = BTreeMap<(String, u64, u64), (u32, bool)>;

/// What the tasks have noted; nothing twice.
fn ledger(text: &str, about: &str) -> Noted {
    let mut noted = Noted::new();
    for line in text.lines() {
        let [run, number, try_number, process, what] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{about}: {line}")
        };
        let key = (run.to_string(), number.parse().unwrap(), try_number.parse().unwrap());
        let process = process.parse().unwrap();
        let before = noted.insert(key, (process, what == "ends"));
        let right = if what == "begins" { None } else { Some((process, false)) };
        assert_eq!(before, right, "{about}: each try begins once, and ends where it began: {line}");
    }
    noted
}

/// The most that were in flight at one time.
fn most(spans: &[(DateTime<Utc>, DateTime<Utc>)]) -> i32 {
    // What ends in the instant in which another begins makes room for it.
    let mut turns: Vec<(DateTime<Utc>, i32)> = spans.iter().flat_map(|(from, to)| [(*from, 1), (*to, -1)]).collect();
    turns.sort_unstable();
    let sums = turns.iter().scan(0, |sum, (_, change)| {
        *sum += change;
        Some(*sum)
    });
    sums.max().unwrap_or(0)
}

/// Two schedulers, and those that were there before them.
struct Pair {
    machines: [Place; 2],
    schedulers: [Scheduler; 2],
    /// When which process was killed.
    killed: BTreeMap<u32, DateTime<Utc>>,
}

impl Pair {
    /// Which of them has written the last line of the ledger.
    fn at_work(&self, ledger: &str) -> Option<usize> {
        let process: u32 = ledger.lines().last()?.split(' ').nth(3)?.parse().ok()?;
        self.schedulers.iter().position(|scheduler| scheduler.process() == process)
    }

    fn kill(&mut self, victim: usize) {
        let next = Scheduler::start(&self.machines[victim]);
        let dead = std::mem::replace(&mut self.schedulers[victim], next);
        let process = dead.process();
        assert_eq!(dead.end("KILL").1, None);
        self.killed.insert(process, Utc::now());
    }
}

/// With `CROWD=10000` so many tasks, with `CROWD_SEED=7` those kills once more (what they hit is up to the machine).
#[test]
fn each_of_many_tasks_begins_once_a_try_whichever_scheduler_is_killed() {
    let Some(database) = database() else { return };
    let tasks = number("CROWD", 300) as usize;
    let seed = number("CROWD_SEED", chance(u64::MAX - 1) + 1);
    let about = format!("CROWD={tasks} CROWD_SEED={seed}");
    let each = tasks.div_ceil(RUNS);
    // A slot that passes from one process to the other lies idle until that asks again: many tasks need more of them.
    let slots = 6.max(tasks / 100);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let machines = [machine(&database), machine(&database)];
    for place in &machines {
        place.write(
            "flow.toml",
            &format!(
                "[pools]\napi = 2\ncrowd = {slots}\n[dags.crowd.params]\nn = {each}\nledger = \"{}\"\n",
                path.display()
            ),
        );
    }
    rest_but(&machines[0], &["crowd"]);
    let schedulers = machines.each_ref().map(Scheduler::start);
    let mut pair = Pair { machines, schedulers, killed: BTreeMap::new() };
    let noted = || std::fs::read_to_string(&path).unwrap_or_default();
    let ended = |place: &Place| runs(place, "crowd").iter().filter(|run| run["state"] == "success").count();
    let (mut dice, mut done, mut alive) = (Dice(seed), (0, 0), Instant::now());
    let mut left = 4 + tasks / 400;
    while done.0 < RUNS {
        assert!(alive.elapsed() < STUCK, "{about}: it is stuck: {:#?}", runs(&pair.machines[0], "crowd"));
        std::thread::sleep(Duration::from_millis(50 + dice.below(800)));
        let noted = noted();
        let now = (ended(&pair.machines[0]), noted.len());
        if now == done {
            continue;
        }
        (done, alive) = (now, Instant::now());
        if left > 0 && done.0 < RUNS {
            left -= 1;
            // Two times of three the one that is at work.
            let any = dice.below(2) as usize;
            pair.kill(if dice.below(3) == 0 { any } else { pair.at_work(&noted).unwrap_or(any) });
        }
    }
    let Pair { machines, schedulers, killed } = pair;
    for scheduler in schedulers {
        assert_eq!(scheduler.end("INT").1, Some(0), "{about}");
    }

    let place = &machines[0];
    let all = runs(place, "crowd");
    let dates: BTreeSet<&str> = all.iter().map(|run| text(run, "logical_date")).collect();
    assert_eq!((all.len(), dates.len()), (RUNS, RUNS), "{about}: each tick has one run");
    assert!(most_at_once(&all) <= 4, "{about}: max_active_runs is 4: {all:#?}");
    let noted = ledger(&std::fs::read_to_string(&path).unwrap(), &about);
    let (mut spans, mut succeeded, mut lost) = (Vec::new(), 0, 0);
    for run in &all {
        let id = text(run, "dag_run_id");
        let tasks = place.json(&["tasks", id, "--dag", "crowd"]);
        for task in tasks.as_array().unwrap() {
            won(task, &about);
            if task["task_id"] == "numbers" {
                continue;
            }
            for one in task["tries"].as_array().unwrap() {
                let at = |field| text(one, field).parse::<DateTime<Utc>>().expect("every try has begun and ended");
                let (start, end) = (at("start_date"), at("end_date"));
                let number = |value: &Value| value.as_u64().unwrap();
                let found = noted.get(&(id.to_string(), number(&task["map_index"]), number(&one["try_number"])));
                if one["state"] == "success" {
                    succeeded += 1;
                    assert_eq!(found.map(|(_, ended)| *ended), Some(true), "{about}: {task:#}");
                    spans.push((start, end));
                } else {
                    // It was over with its process; what is recorded is when somebody came to know. One whose body had not begun
                    // took a slot as well, but nothing says whose it was.
                    lost += 1;
                    let died = found.map(|(process, _)| killed.get(process).expect("only who is killed loses a try"));
                    spans.extend(died.map(|died| (start, end.min(*died))));
                }
            }
        }
    }
    assert_eq!(succeeded, each * RUNS, "{about}");
    let most = most(&spans);
    assert!((6..=slots as i32).contains(&most), "{about}: {most} of {slots} slots were taken");
    assert!(lost > 0, "{about}: nobody was killed at work");
    println!("{about}: {} kills, {lost} tries lost, never more than {most} of {slots} slots taken", killed.len());
}
