//! A small language for tables.
//!
//! A graph: `a > b > c` draws edges; `b: all_done retries=2 each=3 over=a over=a.1 when=a setup teardown group` sets
//! options; statements are divided by `;`. `over` maps the task over the output of another.
//!
//! What happens, divided by `,`: `go a` (dispatched and started), `ok a`, `ok a len=3`, `ok a 1len=3` (a field),
//! `ok a declines=x`, `skip a`, `fail a`, `fatal a`, `lost a`, `returned a`, `later a 60` (looks again in 60 s),
//! `clear a`, `mark a success`, `run failed`, `timeout`. An instance is `m` or `m[0]`; `ok a` speaks of its latest try,
//! `ok a#1` of the first.
//!
//! What follows: the transitions and the end, as in `a running>success, b none>scheduled; run success`.

use crate::dag::{Condition, GroupDef, Input, Source, TaskKind};
use crate::event::{Event, InstanceKey, Length, Outcome, Plan, Report, TryRef, UNMAPPED};
use crate::{Dag, RunState, RunStatus, TaskDef, TaskState, TriggerRule, plan};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

pub struct World {
    pub dag: Dag,
    pub run: RunState,
    pub now: DateTime<Utc>,
    pub last: Plan,
}

/// A new world with this graph.
pub fn given(graph: &str) -> World {
    let dag = dag(graph);
    let run = RunState::new(&dag, &BTreeMap::new());
    World { dag, run, now: DateTime::UNIX_EPOCH, last: Plan::default() }
}

pub fn dag(graph: &str) -> Dag {
    let mut dag = Dag::new("d");
    for statement in graph.split(';').map(str::trim).filter(|s| !s.is_empty()) {
        match statement.split_once(':') {
            Some((id, options)) => {
                let task = task(&mut dag, id.trim());
                options.split_whitespace().for_each(|option| set(&mut dag, task, option));
            }
            None => {
                let ids: Vec<u32> = statement.split('>').map(|id| task(&mut dag, id.trim())).collect();
                ids.windows(2).for_each(|pair| edge(&mut dag, pair[0], pair[1]));
            }
        }
    }
    dag
}

fn task(dag: &mut Dag, id: &str) -> u32 {
    dag.task_ix(id).unwrap_or_else(|| {
        let mut def = TaskDef::new(id, id);
        def.retry.delay = Duration::from_secs(60);
        dag.tasks.push(def);
        dag.tasks.len() as u32 - 1
    })
}

fn edge(dag: &mut Dag, up: u32, down: u32) {
    let upstream = &mut dag.tasks[down as usize].upstream;
    if !upstream.contains(&up) {
        upstream.push(up);
        upstream.sort_unstable();
    }
}

fn set(dag: &mut Dag, t: u32, option: &str) {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let each = |dag: &mut Dag, source| {
        let def = &mut dag.tasks[t as usize];
        def.mapped = true;
        let source = Source::Each(Box::new(source));
        def.inputs.push(Input { name: "x".into(), type_name: "X".into(), source });
    };
    match name {
        "retries" => dag.tasks[t as usize].retry.retries = value.parse().expect("a number"),
        "each" => {
            let n = value.parse().expect("a number");
            each(dag, Source::Literal(Value::Array(vec![json!(0); n])));
        }
        "param" => each(dag, Source::Param(value.into())),
        "over" => {
            let (id, field) = value.split_once('.').unwrap_or((value, ""));
            let up = task(dag, id);
            edge(dag, up, t);
            let source =
                if field.is_empty() { Source::Output(up) } else { Source::Field(up, field.parse().expect("n")) };
            each(dag, source);
        }
        "when" => {
            let upstream = task(dag, value);
            edge(dag, upstream, t);
            dag.tasks[t as usize].conditions.push(Condition { upstream, field: None, equals: json!(true) });
        }
        "group" => {
            if dag.groups.is_empty() {
                dag.groups.push(GroupDef { group_id: "g".into(), mapped: true, ..GroupDef::default() });
            }
            dag.tasks[t as usize].group = Some(0);
            dag.tasks[t as usize].mapped = true;
        }
        "setup" => dag.tasks[t as usize].kind = TaskKind::Setup,
        "teardown" | "teardown!" => {
            let on_failure_fail_dagrun = name.ends_with('!');
            dag.tasks[t as usize].kind = TaskKind::Teardown { on_failure_fail_dagrun };
            dag.tasks[t as usize].trigger_rule = TriggerRule::AllDoneSetupSuccess;
        }
        rule => dag.tasks[t as usize].trigger_rule = TriggerRule::from_name(rule).expect(rule),
    }
}

impl World {
    /// Lets this happen at once, and says what followed.
    pub fn when(&mut self, happens: &str) -> String {
        let mut events = Vec::new();
        for happening in happens.split(',').map(str::trim).filter(|h| !h.is_empty()) {
            events.extend(self.events(happening));
        }
        self.tell(&events)
    }

    /// The same, this many seconds later.
    pub fn after(&mut self, seconds: i64, happens: &str) -> String {
        self.now += TimeDelta::seconds(seconds);
        self.when(happens)
    }

    pub fn tell(&mut self, events: &[Event]) -> String {
        self.last = plan(&self.dag, &mut self.run, events, self.now);
        let mut said: Vec<String> = Vec::new();
        for t in &self.last.transitions {
            said.push(format!("{} {}>{}", self.name(t.key), t.from, t.to));
        }
        let mut text = said.join(", ");
        if let Some(status) = self.last.status {
            text += &format!("; run {status}");
        }
        text
    }

    pub fn name(&self, key: InstanceKey) -> String {
        let id = &self.dag.tasks[key.task as usize].task_id;
        if key.map_index == UNMAPPED { id.clone() } else { format!("{id}[{}]", key.map_index) }
    }

    pub fn key(&self, name: &str) -> InstanceKey {
        let (id, map_index) = match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
            Some((id, index)) => (id, index.parse().expect("an index")),
            None => (name, UNMAPPED),
        };
        InstanceKey { task: self.dag.task_ix(id).expect(id), map_index }
    }

    pub fn state(&self, name: &str) -> TaskState {
        self.run.instance(self.key(name)).expect(name).state
    }

    /// All states of a task: `success 2, failed 1`.
    pub fn states(&self, id: &str) -> String {
        let counts = self.run.counts(self.key(id).task);
        let there = TaskState::ALL.into_iter().filter(|&s| counts[s as usize] > 0);
        there.map(|s| format!("{s} {}", counts[s as usize])).collect::<Vec<_>>().join(", ")
    }

    /// The tries that must be stopped: `a#1`.
    pub fn cancelled(&self) -> String {
        let all = self.last.cancel.iter().map(|t| format!("{}#{}", self.name(t.key), t.try_number));
        all.collect::<Vec<_>>().join(", ")
    }

    fn events(&self, happening: &str) -> Vec<Event> {
        let words: Vec<&str> = happening.split_whitespace().collect();
        match words[..] {
            ["timeout"] => return vec![Event::RunTimedOut],
            ["run", status] => {
                return vec![Event::RunMarked(RunStatus::from_name(status).expect(status))];
            }
            _ => {}
        }
        let (name, at) = words[1].split_once('#').unwrap_or((words[1], ""));
        let key = self.key(name);
        let latest = self.run.instance(key).map_or(0, |i| i.try_number);
        let of = TryRef { key, try_number: at.parse().unwrap_or(latest) };
        let end = |outcome| vec![Event::Ended(of, outcome)];
        match words[0] {
            "go" => {
                let resumes = self.run.instance(key).is_some_and(|i| i.due.is_some());
                let try_number = if resumes { latest } else { latest + 1 };
                vec![Event::Dispatched(key), Event::Started(TryRef { key, try_number })]
            }
            "dispatch" => vec![Event::Dispatched(key)],
            "ok" => end(Outcome::Success(self.report(words.get(2).copied()))),
            "skip" => end(Outcome::Skipped),
            "fail" => end(Outcome::Failed),
            "fatal" => end(Outcome::FailedForGood),
            "lost" => end(Outcome::Lost),
            "returned" => end(Outcome::Returned),
            "defer" if words.len() == 2 => end(Outcome::Deferred(None)),
            "defer" => end(Outcome::Deferred(Some(self.now + TimeDelta::seconds(words[2].parse().expect("seconds"))))),
            "wake" => vec![Event::Woken(vec![key])],
            "later" => end(Outcome::Rescheduled(self.now + TimeDelta::seconds(words[2].parse().expect("seconds")))),
            "clear" => vec![Event::Cleared(vec![key])],
            "mark" => vec![Event::Marked(vec![key], TaskState::from_name(words[2]).expect("a state"))],
            other => panic!("nothing is called {other}"),
        }
    }

    fn report(&self, word: Option<&str>) -> Report {
        let mut report = Report::default();
        match word.and_then(|w| w.split_once('=')) {
            None => {}
            Some(("declines", ids)) => report.declined = ids.split('+').map(|id| self.key(id).task).collect(),
            Some((field, len)) => {
                let field = field.trim_end_matches("len").parse().ok();
                report.lengths.push(Length { field, len: len.parse().expect("a length") });
            }
        }
        report
    }
}
