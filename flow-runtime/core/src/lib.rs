//! **What may happen next?** The decisions of flow, as pure functions over values.
//!
//! Nothing in this crate does I/O, reads a clock or draws a random number: time is an argument, and jitter is
//! derived from ids. A shell feeds [`Event`]s to [`plan()`], carries out the [`Plan`] it returns, and asks [`admit()`]
//! which of the scheduled instances may go first.

pub mod admit;
pub mod asset;
pub mod backoff;
pub mod clear;
pub mod dag;
pub mod dag_run;
pub mod decided;
pub mod event;
pub mod key;
pub mod mapping;
pub mod notify;
pub mod params;
pub mod parse;
pub mod part;
mod plan;
pub mod priority;
mod run;
pub mod schedule;
pub mod sensor;
mod slip;
pub mod state;
pub mod timetable;
pub mod trigger_rule;
pub mod version;
pub mod waiting;

pub use admit::{Board, Candidate, InFlight, Limits, Needs, admit};
pub use asset::{AssetDef, AssetExpr};
pub use clear::{Selection, select, set_up_anew};
pub use dag::{Dag, TaskDef, TaskIx};
pub use dag_run::{DagRun, DataInterval, RunType};
pub use decided::{Decided, because};
pub use event::{Event, InstanceKey, Outcome, Plan, Report, Transition, TryRef, UNMAPPED};
pub use mapping::element_indices;
pub use notify::{Deadline, DeadlineFrom, Notifier, Notifiers, Occasion};
pub use params::{Extra, ParamProblem};
pub use part::part;
pub use plan::{decide, outlook, plan, plan_pass};
pub use run::{Instance, RunState, StoredInstance};
pub use schedule::Schedule;
pub use sensor::{Look, SensorMode, SensorPolicy};
pub use slip::meant;
pub use state::{RunStatus, TaskState};
pub use timetable::{NextRun, Restriction, Timetable};
pub use trigger_rule::{Decision, TriggerRule};
pub use waiting::{Waiting, why};
