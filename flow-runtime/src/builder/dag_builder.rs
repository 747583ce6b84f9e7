//! [`DagBuilder`]: the settings of a DAG, and the closure that wires its tasks.

use super::draft::Draft;
use super::{DagError, IntoDuration, IntoSchedule, ParamBuilder};
use crate::asset;
use crate::registry::TaskOptions;
use crate::timetable;
use crate::value::TaskArgument;
use flow_core::Dag;
use flow_core::dag::Place;
use schemars::JsonSchema;

/// Builds a [`Dag`] by hand; `#[dag]` expands to this.
#[derive(Debug)]
#[must_use = "nothing is built before `.build(..)`"]
pub struct DagBuilder {
    pub(super) dag: Dag,
    defaults: TaskOptions,
    /// As they are written: what they mean depends on the time zone.
    start_date: Option<String>,
    end_date: Option<String>,
    pub(super) deadline: super::notify::DeadlineDraft,
    pub(super) problems: Vec<String>,
}

/// Handed to the closure of [`DagBuilder::build`]; declares params.
#[derive(Debug)]
pub struct DagScope(());

impl DagScope {
    /// Declares a param: `dag.param::<String>("url").default("..").add()`.
    pub fn param<T: TaskArgument + JsonSchema>(&self, name: &str) -> ParamBuilder<T> {
        ParamBuilder::new(name)
    }
}

impl DagBuilder {
    /// A DAG of this id, with every setting at its default.
    pub fn new(dag_id: impl Into<String>) -> DagBuilder {
        let dag_id = dag_id.into();
        let mut problems = Vec::new();
        if dag_id.is_empty() || !dag_id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            problems.push(format!("`{dag_id}` cannot be a DAG id: letters, digits, `_`, `-` and `.` are allowed"));
        }
        DagBuilder {
            dag: Dag::new(dag_id),
            defaults: TaskOptions::NONE,
            start_date: None,
            end_date: None,
            deadline: super::notify::DeadlineDraft::default(),
            problems,
        }
    }

    pub(super) fn or_problem<T>(&mut self, what: &str, result: Result<T, impl std::fmt::Display>) -> Option<T> {
        result.map_err(|e| self.problems.push(format!("{what}: {e}"))).ok()
    }

    /// What it is for, for people.
    pub fn doc(mut self, doc: &str) -> Self {
        self.dag.doc = Some(doc.trim().to_string()).filter(|d| !d.is_empty());
        self
    }

    /// When it runs by itself: a text (see [`Schedule`](flow_core::Schedule)), a list of dates or of cron expressions, or
    /// [`assets`](asset::assets).
    pub fn schedule(mut self, schedule: impl IntoSchedule) -> Self {
        if let Some((schedule, assets)) = self.or_problem("schedule", schedule.into_schedule()) {
            self.dag.schedule = Some(schedule);
            for def in assets {
                let noted = asset::note(&mut self.dag.assets, def);
                self.or_problem("schedule", noted);
            }
        }
        self
    }

    /// A run at the end of each interval between two ticks, whose logical date is the start of it (as before Airflow 3);
    /// else a run at each tick.
    pub fn data_intervals(mut self, data_intervals: bool) -> Self {
        self.dag.data_intervals = data_intervals;
        self
    }

    /// The time zone whose clocks its schedule and its dates mean, by its name in the tz database: `"Europe/Berlin"`. UTC where
    /// none is given.
    pub fn timezone(mut self, name: &str) -> Self {
        self.dag.timezone =
            self.or_problem("timezone", timetable::zone(Some(name))).map(|zone| zone.name().to_string());
        self
    }

    /// No scheduled run before this instant: `"2021-01-01"`, or RFC 3339.
    pub fn start_date(mut self, date: &str) -> Self {
        self.start_date = Some(date.into());
        self
    }

    /// No scheduled run after this instant: `"2021-12-31"`, or RFC 3339.
    pub fn end_date(mut self, date: &str) -> Self {
        self.end_date = Some(date.into());
        self
    }

    /// Make a run for every past tick since `start_date`.
    pub fn catchup(mut self, catchup: bool) -> Self {
        self.dag.catchup = catchup;
        self
    }

    /// Words to find it by.
    pub fn tags<'a>(mut self, tags: impl IntoIterator<Item = &'a str>) -> Self {
        self.dag.tags.extend(tags.into_iter().map(String::from));
        self
    }

    /// Most runs at one time.
    pub fn max_active_runs(mut self, runs: u32) -> Self {
        self.dag.max_active_runs = runs;
        self
    }

    /// Most task instances of a run in flight at one time.
    pub fn max_active_tasks(mut self, tasks: u32) -> Self {
        self.dag.max_active_tasks = tasks;
        self
    }

    /// The first task that fails ends the run: what runs is stopped, all else does not run. Teardowns run all the same.
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.dag.fail_fast = fail_fast;
        self
    }

    /// So many scheduled runs in a row that failed pause the DAG.
    pub fn max_consecutive_failed_dag_runs(mut self, runs: u32) -> Self {
        self.dag.max_consecutive_failed_dag_runs = runs;
        self
    }

    /// A run that takes longer fails.
    pub fn dagrun_timeout(mut self, time: impl IntoDuration) -> Self {
        self.dag.dagrun_timeout = self.or_problem("dagrun_timeout", time.into_duration());
        self
    }

    /// Options of every task that does not say otherwise.
    pub fn defaults(mut self, options: TaskOptions) -> Self {
        self.defaults = options;
        self
    }

    /// The program runs this DAG when it is started without a word.
    pub fn default_dag(mut self, default: bool) -> Self {
        self.dag.is_default = default;
        self
    }

    /// Where it is written.
    pub fn place(mut self, file: &str, line: u32) -> Self {
        self.dag.place = Some(Place { file: file.into(), line });
        self
    }

    /// Runs the closure, in which task calls add tasks, and checks the result.
    ///
    /// # Errors
    /// All that is wrong at once: bad settings, circles, ids that come twice, nodes of other DAGs, plain arguments
    /// that may get no value.
    pub fn build(mut self, wire: impl FnOnce(&DagScope)) -> Result<Dag, DagError> {
        // What is wrong with the zone is told already.
        let zone = timetable::zone(self.dag.timezone.as_deref()).unwrap_or_default();
        let timetable = timetable::of(&self.dag).and_then(|_| timetable::comes(&self.dag));
        self.or_problem("schedule", timetable);
        let read =
            |date: &Option<String>| date.as_deref().map(|date| flow_core::parse::date_in(date, zone)).transpose();
        let (start, end) = (read(&self.start_date), read(&self.end_date));
        self.dag.start_date = self.or_problem("start_date", start).flatten();
        self.dag.end_date = self.or_problem("end_date", end).flatten();
        self.settle_deadline();
        let mut draft = Draft::new(self.dag, self.defaults);
        draft.problems = self.problems;
        draft.enter(|| wire(&DagScope(()))).finish()
    }
}
