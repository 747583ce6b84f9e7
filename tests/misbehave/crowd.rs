//! Thousands of tasks, two schedulers on one Postgres, and a hand that kills one of them again and again: each try begins once, each
//! tick has one run, and no limit is exceeded. (Number 12.)

use crate::crash_points::won;
use crate::postgres::{chance, database, machine, most_at_once};
use crate::program::Place;
use crate::rest_but;
use crate::ticks::{Scheduler, runs, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
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
    for line in text.lines().filter(|line| !line.starts_with("killed")) {
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

/// The most that were under way at one time, by the order of the lines: a body begins when it has its slot, and ends before that is
/// free. What a process has begun that is about to be killed does not count: its slots are free once its leases are over.
fn most(text: &str) -> usize {
    let (mut under_way, mut dead, mut most) = (BTreeSet::new(), BTreeSet::new(), 0);
    for line in text.lines() {
        if let Some(process) = line.strip_prefix("killed ") {
            dead.insert(process);
            under_way.retain(|(of, _)| *of != process);
            continue;
        }
        let (one, what) = line.rsplit_once(' ').unwrap();
        let (_, process) = one.rsplit_once(' ').unwrap();
        if what == "ends" {
            under_way.remove(&(process, one));
        } else if !dead.contains(process) {
            under_way.insert((process, one));
        }
        most = most.max(under_way.len());
    }
    most
}

/// Two schedulers, and those that were there before them.
struct Pair {
    machines: [Place; 2],
    schedulers: [Scheduler; 2],
    killed: BTreeSet<u32>,
    /// What those that are gone have said to people.
    notes: Vec<String>,
}

impl Pair {
    /// Which of them has written the last line of the ledger.
    fn at_work(&self, ledger: &str) -> Option<usize> {
        let process: u32 = ledger.lines().last()?.split(' ').nth(3)?.parse().ok()?;
        self.schedulers.iter().position(|scheduler| scheduler.process() == process)
    }

    /// Kills one, and has another in its place; gives its process.
    fn kill(&mut self, victim: usize, ledger: &Path) -> u32 {
        let next = Scheduler::start(&self.machines[victim]);
        let dead = std::mem::replace(&mut self.schedulers[victim], next);
        let process = dead.process();
        let mut file = OpenOptions::new().create(true).append(true).open(ledger).unwrap();
        file.write_all(format!("killed {process}\n").as_bytes()).unwrap();
        let (events, code) = dead.end("KILL");
        assert_eq!(code, None);
        self.notes.extend(notes(&events));
        self.killed.insert(process);
        process
    }
}

fn noted(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn notes(events: &[Value]) -> impl Iterator<Item = String> {
    events.iter().filter(|event| event["event"] == "note").map(|note| text(note, "message").to_owned())
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
            &format!("[pools]\napi = {slots}\n[dags.crowd.params]\nn = {each}\nledger = \"{}\"\n", path.display()),
        );
    }
    rest_but(&machines[0], &["crowd"]);
    let schedulers = machines.each_ref().map(Scheduler::start);
    let mut pair = Pair { machines, schedulers, killed: BTreeSet::new(), notes: Vec::new() };
    let ended = |place: &Place| runs(place, "crowd").iter().filter(|run| run["state"] == "success").count();
    let (mut dice, mut done, mut alive) = (Dice(seed), (0, 0), Instant::now());
    let most_kills = 4 + tasks / 400;
    let mut left = most_kills;
    while done.0 < RUNS {
        assert!(alive.elapsed() < STUCK, "{about}: it is stuck: {:#?}", runs(&pair.machines[0], "crowd"));
        std::thread::sleep(Duration::from_millis(50 + dice.below(800)));
        let lines = noted(&path);
        let now = (ended(&pair.machines[0]), lines.len());
        if now == done {
            continue;
        }
        (done, alive) = (now, Instant::now());
        if left > 0 && done.0 < RUNS {
            // Two times of three the one that is at work.
            let any = dice.below(2) as usize;
            let dead = pair.kill(if dice.below(3) == 0 { any } else { pair.at_work(&lines).unwrap_or(any) }, &path);
            let cut_off = ledger(&noted(&path), &about).values().any(|(process, ended)| *process == dead && !ended);
            // One that had nothing under way shows little; but there must be an end.
            if cut_off || pair.killed.len() > 3 * most_kills {
                left -= 1;
            }
        }
    }
    let Pair { machines, schedulers, killed, notes: mut said } = pair;
    for scheduler in schedulers {
        let (events, code) = scheduler.end("INT");
        assert_eq!(code, Some(0), "{about}");
        said.extend(notes(&events));
    }
    // A run that a scheduler gives up is one that it does not count any more.
    let given_up: Vec<&String> = said.iter().filter(|note| note.contains("cannot go on")).collect();
    assert_eq!(given_up, Vec::<&String>::new(), "{about}");

    let place = &machines[0];
    let all = runs(place, "crowd");
    let dates: BTreeSet<&str> = all.iter().map(|run| text(run, "logical_date")).collect();
    assert_eq!((all.len(), dates.len()), (RUNS, RUNS), "{about}: each tick has one run");
    assert!(most_at_once(&all) <= 4, "{about}: max_active_runs is 4: {all:#?} {said:#?}");
    let text_of_all = noted(&path);
    let noted = ledger(&text_of_all, &about);
    let (mut succeeded, mut lost) = (0, 0);
    for run in &all {
        let id = text(run, "dag_run_id");
        let tasks = place.json(&["tasks", id, "--dag", "crowd"]);
        for task in tasks.as_array().unwrap() {
            won(task, &about);
            if task["task_id"] == "numbers" {
                continue;
            }
            for one in task["tries"].as_array().unwrap() {
                let number = |value: &Value| value.as_u64().unwrap();
                let found = noted.get(&(id.to_string(), number(&task["map_index"]), number(&one["try_number"])));
                if one["state"] == "success" {
                    succeeded += 1;
                    assert_eq!(found.map(|(_, ended)| *ended), Some(true), "{about}: {task:#}");
                } else {
                    lost += 1;
                    let process = found.map(|(process, _)| process);
                    assert!(
                        process.is_none_or(|process| killed.contains(process)),
                        "{about}: only who is killed: {task:#}"
                    );
                }
            }
        }
    }
    assert_eq!(succeeded, each * RUNS, "{about}");
    let most = most(&text_of_all);
    assert!((6..=slots).contains(&most), "{about}: {most} of {slots} slots were taken: {said:#?}");
    #[expect(clippy::print_stdout, reason = "whoever runs it by hand reads what it has seen")]
    {
        println!("{about}: {} kills, {lost} tries lost, never more than {most} of {slots} slots taken", killed.len());
    }
}
