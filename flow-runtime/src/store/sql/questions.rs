//! What can be asked of the tables, in SQL that SQLite and Postgres both take: a text with `$1`, `$2`, .. and its values.

use crate::store::{RunFilter, RunPk, XComFilter};
use sqlx::AssertSqlSafe;
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
                   start_date, end_date, conf, dag_version, owner, epoch FROM dag_run WHERE true";

const INSTANCE: &str =
    "SELECT task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label";

/// The DAG with this hash.
pub(in crate::store) fn dag_version(hash: &str) -> Question {
    let mut question = Question::new("SELECT json FROM dag_version WHERE hash = ");
    question.bind(hash);
    question
}

/// Every DAG that somebody has spoken of.
pub(in crate::store) fn paused() -> Question {
    Question::new("SELECT dag_id, is_paused FROM dag")
}

/// Every value that lies outside.
pub(in crate::store) fn spilled() -> Question {
    Question::new("SELECT DISTINCT sha256 FROM xcom WHERE inline IS NULL")
}

/// The run of this DAG with this id.
pub(in crate::store) fn run(dag_id: &str, run_id: &str) -> Question {
    let mut question = Question::new(RUN);
    question.push(" AND dag_id = ").bind(dag_id).push(" AND run_id = ").bind(run_id);
    question
}

/// Runs, newest first.
pub(in crate::store) fn runs(filter: &RunFilter) -> Question {
    let mut question = Question::new(RUN);
    if let Some(dag_id) = &filter.dag_id {
        question.push(" AND dag_id = ").bind(dag_id.as_str());
    }
    if let Some(run_id) = &filter.run_id {
        question.push(" AND run_id = ").bind(run_id.as_str());
    }
    question.is_one_of("state", filter.states.iter().map(|state| state.name()));
    question.is_one_of("run_type", filter.run_types.iter().map(|run_type| run_type.name()));
    question.push(" ORDER BY run_after DESC, id DESC");
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
