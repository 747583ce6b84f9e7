//! What can be asked of the tables, in SQL that SQLite and Postgres both take: a text with `$1`, `$2`, .. and its values.

use crate::store::{AssetEventFilter, CallbackFilter, RunFilter, RunOrder, RunPk, XComFilter, to_micros};
use crate::value::FILE;
use chrono::{DateTime, Utc};
use flow_core::RunStatus;
use sqlx::AssertSqlSafe;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A value that takes the place of a `$1`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) enum Bind {
    Text(String),
    Integer(i64),
}

impl From<&str> for Bind {
    fn from(text: &str) -> Bind {
        Bind::Text(text.to_owned())
    }
}

impl From<i64> for Bind {
    fn from(number: i64) -> Bind {
        Bind::Integer(number)
    }
}

impl From<RunPk> for Bind {
    fn from(run: RunPk) -> Bind {
        Bind::Integer(run.0)
    }
}

/// A statement that reads.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::store) struct Question {
    sql: String,
    binds: Vec<Bind>,
}

impl Question {
    fn new(sql: &str) -> Question {
        Question { sql: sql.to_owned(), binds: Vec::new() }
    }

    fn push(&mut self, sql: &str) -> &mut Question {
        self.sql.push_str(sql);
        self
    }

    /// Adds `$n`, which stands for this value.
    fn bind(&mut self, value: impl Into<Bind>) -> &mut Question {
        self.binds.push(value.into());
        // Writing to a String cannot fail.
        let _ = write!(self.sql, "${}", self.binds.len());
        self
    }

    /// Of rows those whose column holds one of these; all if there are none.
    fn is_one_of<'w>(&mut self, column: &str, words: impl Iterator<Item = &'w str>) {
        let mut between = "";
        for word in words {
            if between.is_empty() {
                self.push(" AND ").push(column).push(" IN (");
            }
            self.push(between).bind(word);
            between = ", ";
        }
        self.push(if between.is_empty() { "" } else { ")" });
    }

    /// The text, which holds no value, and the values.
    pub(in crate::store) fn parts(self) -> (AssertSqlSafe<String>, Vec<Bind>) {
        (AssertSqlSafe(self.sql), self.binds)
    }
}

/// A query of this database, with its values bound.
macro_rules! bound {
    ($question:expr) => {{
        let (sql, binds) = $question.parts();
        let mut query = sqlx::query(sql);
        for bind in binds {
            query = match bind {
                $crate::store::sql::questions::Bind::Text(text) => query.bind(text),
                $crate::store::sql::questions::Bind::Integer(number) => query.bind(number),
            };
        }
        query
    }};
}
pub(in crate::store) use bound;

const RUN: &str = "SELECT id, dag_id, run_id, run_type, state, logical_date, interval_start, interval_end, run_after, \
                   start_date, end_date, conf, dag_version, owner, epoch, ending FROM dag_run WHERE true";

const INSTANCE: &str =
    "SELECT task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label, event";

/// The DAG with this hash.
pub(in crate::store) fn dag_version(hash: &str) -> Question {
    let mut question = Question::new("SELECT json FROM dag_version WHERE hash = ");
    question.bind(hash);
    question
}

/// The builds that have made runs of this version.
pub(in crate::store) fn builds(dag_version: &str) -> Question {
    let mut question = Question::new("SELECT build, timestamp FROM dag_build WHERE dag_version = ");
    question.bind(dag_version).push(" ORDER BY timestamp, build");
    question
}

/// Backfills, the newest first.
pub(in crate::store) fn backfills(open: bool) -> Question {
    let mut question = Question::new(
        "SELECT id, dag_id, first_date, last_date, reprocess, backwards, max_active_runs, conf, state, created, ended, owner \
         FROM backfill",
    );
    question.push(if open { " WHERE state IN ('running', 'paused')" } else { "" }).push(" ORDER BY id DESC");
    question
}

/// Every DAG that somebody has spoken of.
pub(in crate::store) fn paused() -> Question {
    Question::new("SELECT dag_id, is_paused FROM dag")
}

/// The runs whose leases have not ended, by the database's clock or by this one.
pub(in crate::store) fn held(clock: Option<&str>, now: DateTime<Utc>) -> Question {
    leased("SELECT id, owner, lease_until FROM dag_run", clock, now)
}

/// The same of backfills.
pub(in crate::store) fn held_backfills(clock: Option<&str>, now: DateTime<Utc>) -> Question {
    leased("SELECT id, owner FROM backfill", clock, now)
}

fn leased(select: &str, clock: Option<&str>, now: DateTime<Utc>) -> Question {
    let mut question = Question::new(select);
    question.push(" WHERE lease_until > ");
    match clock {
        Some(clock) => question.push(clock),
        None => question.bind(to_micros(now)),
    };
    question.push(" ORDER BY id");
    question
}

/// Every value that lies outside; and the texts of those that name files besides.
pub(in crate::store) fn spilled() -> Question {
    let of = |table: &str| {
        format!(
            "SELECT CASE WHEN inline IS NULL THEN sha256 END, inline FROM {table} \
             WHERE inline IS NULL OR inline LIKE '%{FILE}%'"
        )
    };
    Question::new(&format!("{} UNION ALL {}", of("xcom"), of("task_cache")))
}

/// The output that is kept for later runs under this key.
pub(in crate::store) fn cached(key: &str) -> Question {
    let mut question = Question::new(
        "SELECT dag_id, run_id, task_id, map_index, type_name, size, sha256, inline, timestamp FROM task_cache WHERE key = ",
    );
    question.bind(key);
    question
}

/// The run of this DAG with this id.
pub(in crate::store) fn run(dag_id: &str, run_id: &str) -> Question {
    let mut question = Question::new(RUN);
    question.push(" AND dag_id = ").bind(dag_id).push(" AND run_id = ").bind(run_id);
    question
}

/// Of the runs of this DAG about an earlier instant (in microseconds) the latest.
pub(in crate::store) fn run_before(dag_id: &str, logical_date: i64) -> Question {
    let mut question = Question::new(RUN);
    question.push(" AND dag_id = ").bind(dag_id).push(" AND logical_date < ").bind(logical_date);
    question.push(" ORDER BY logical_date DESC LIMIT 1");
    question
}

/// Runs, in the order that the filter names.
pub(in crate::store) fn runs(filter: &RunFilter) -> Question {
    let mut question = Question::new(RUN);
    if let Some(dag_id) = &filter.dag_id {
        question.push(" AND dag_id = ").bind(dag_id.as_str());
    }
    if let Some(run_id) = &filter.run_id {
        question.push(" AND run_id = ").bind(run_id.as_str());
    }
    if let Some(logical_date) = filter.logical_date {
        question.push(" AND logical_date = ").bind(to_micros(logical_date));
    }
    if !filter.states.is_empty() {
        // Written out, in the order in which the index of unfinished runs has them: only then can SQLite use it.
        let states: BTreeSet<RunStatus> = filter.states.iter().copied().collect();
        let names: Vec<String> = states.into_iter().map(|state| format!("'{state}'")).collect();
        question.push(" AND state IN (").push(&names.join(", ")).push(")");
    }
    question.is_one_of("run_type", filter.run_types.iter().map(|run_type| run_type.name()));
    question.push(match filter.order {
        RunOrder::Made => " ORDER BY id DESC",
        RunOrder::Due => " ORDER BY run_after DESC, id DESC",
    });
    if filter.limit > 0 {
        question.push(" LIMIT ").bind(i64::from(filter.limit));
    }
    question
}

/// All task instances of a run.
pub(in crate::store) fn instances(run: RunPk) -> Question {
    let mut question = Question::new(INSTANCE);
    question.push(" FROM task_instance WHERE run = ").bind(run).push(" ORDER BY task_id, map_index");
    question
}

/// All tries of a run, or of one of its tasks.
pub(in crate::store) fn tries(run: RunPk, task_id: Option<&str>) -> Question {
    let mut question = Question::default();
    for (union, present, table) in [("", "0", "task_instance_history"), (" UNION ALL ", "1", "task_instance")] {
        question.push(union).push(INSTANCE).push(", ").push(present).push(" AS present FROM ").push(table);
        question.push(" WHERE run = ").bind(run);
        if let Some(task_id) = task_id {
            question.push(" AND task_id = ").bind(task_id);
        }
    }
    question.push(" ORDER BY task_id, map_index, present, try_number");
    question
}

/// What an instance has finished of its work.
pub(in crate::store) fn steps(run: RunPk, task_id: &str, map_index: i32) -> Question {
    let mut question = Question::new("SELECT name, value FROM step WHERE run = ");
    question.bind(run).push(" AND task_id = ").bind(task_id).push(" AND map_index = ").bind(i64::from(map_index));
    question.push(" ORDER BY name");
    question
}

/// Which of these events have happened. (A database takes some thousands of names at once, not any number.)
pub(in crate::store) fn events<'n>(names: impl Iterator<Item = &'n str>) -> Question {
    let mut question = Question::new("SELECT name, payload FROM event WHERE true");
    question.is_one_of("name", names);
    question
}

const ASSET_EVENT: &str =
    "SELECT id, asset, dag_id, run_id, task_id, map_index, try_number, extra, timestamp FROM asset_event WHERE id ";

/// The latest event of each asset.
pub(in crate::store) fn latest_asset_events() -> Question {
    let mut question = Question::new(ASSET_EVENT);
    question.push("IN (SELECT max(id) FROM asset_event GROUP BY asset) ORDER BY asset");
    question
}

/// What is pending for each DAG.
pub(in crate::store) fn pending_assets() -> Question {
    Question::new(
        "SELECT dag_id, asset, count(*), max(event) FROM asset_pending GROUP BY dag_id, asset ORDER BY dag_id, asset",
    )
}

/// Events of assets after one of them.
pub(in crate::store) fn asset_events(filter: &AssetEventFilter) -> Question {
    let mut question = Question::new(ASSET_EVENT);
    question.push("> ").bind(filter.after);
    if let Some(run) = filter.run {
        question.push(" AND id IN (SELECT event FROM dag_run_asset_event WHERE run = ").bind(run).push(")");
    }
    if let Some(asset) = &filter.asset {
        question.push(" AND asset = ").bind(asset.as_str());
    }
    question.push(if filter.newest_first { " ORDER BY id DESC" } else { " ORDER BY id" });
    if filter.limit > 0 {
        question.push(" LIMIT ").bind(i64::from(filter.limit));
    }
    question
}

/// Callbacks, the oldest first; `clock` as at [`held`].
pub(in crate::store) fn callbacks(clock: Option<&str>, filter: CallbackFilter) -> Question {
    let mut question = Question::new(
        "SELECT id, run, task_id, map_index, try_number, event, notifier, payload, timestamp, state, attempts, due, error \
         FROM callback WHERE id > ",
    );
    question.bind(filter.after);
    if let Some(run) = filter.run {
        question.push(" AND run = ").bind(run);
    }
    if let Some(at) = filter.due_at {
        question.push(" AND state = 'pending' AND due <= ");
        match clock {
            // Asked once, and not for each row.
            Some(clock) => question.push(&format!("(SELECT {clock})")),
            None => question.bind(to_micros(at)),
        };
    }
    question.push(" ORDER BY id");
    if filter.limit > 0 {
        question.push(" LIMIT ").bind(i64::from(filter.limit));
    }
    question
}

/// What somebody wants of runs, the oldest first.
pub(in crate::store) fn orders() -> Question {
    Question::new("SELECT id, run, event FROM run_order ORDER BY id")
}

/// The latest starts under a limit of starts.
pub(in crate::store) fn starts(limit: &str, most: u32) -> Question {
    let mut question = Question::new("SELECT timestamp FROM slot_start WHERE name = ");
    question.bind(limit).push(" ORDER BY timestamp DESC LIMIT ").bind(i64::from(most));
    question
}

/// Values of a run.
pub(in crate::store) fn xcoms(run: RunPk, filter: XComFilter<'_>) -> Question {
    let mut question = Question::new(
        "SELECT task_id, map_index, key, type_name, size, sha256, inline, timestamp FROM xcom WHERE run = ",
    );
    question.bind(run);
    if let Some(task_id) = filter.task_id {
        question.push(" AND task_id = ").bind(task_id);
    }
    if let Some(map_index) = filter.map_index {
        question.push(" AND map_index = ").bind(i64::from(map_index));
    }
    question.push(" ORDER BY task_id, map_index, key");
    question
}
