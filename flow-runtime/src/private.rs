//! What generated code uses. Not for people: anything here may change without notice.

pub use crate::asset::assets;
pub use crate::builder::{
    Arg, Call, DagBuilder, DagError, DagScope, Expand, GroupOutput, GroupScope, GroupSpec, Input, Node, Nodes,
    OwnTimetable, Param, ParamStruct, add_group, add_mapped_group, add_mapped_task, add_task, parts,
};
pub use crate::context::Context;
pub use crate::notify::{NotifierSpec, NotifyOptions};
pub use crate::registry::{
    ArgSpec, AtOnceOption, Body, CacheSpec, DagEntry, DagSpec, RateOption, SensorOptions, TaskEntry, TaskOptions,
    TaskSpec,
};
pub use crate::testing::TestRun;
pub use crate::timetable::{TimetableEntry, boxed};
pub use crate::value::{ByClone, ByDecode, Inputs, owned};
pub use flow_core::dag::{Dag, Isolation, TaskKind, WeightRule};
pub use flow_core::sensor::SensorMode;
pub use flow_core::trigger_rule::TriggerRule;
pub use inventory;
pub use schemars;
pub use serde;
pub use std::boxed::Box;
pub use std::clone::Clone;
pub use std::cmp::PartialEq;
pub use std::fmt::Debug;
pub use std::marker::Copy;
pub use std::option::Option::{None, Some};
pub use std::result::Result::{self, Err, Ok};
pub use std::string::String;
pub use std::time::Duration;
pub use std::vec;
pub use std::vec::Vec;

use crate::value::{Erased, OutputError, Unkept, Value};
use std::marker::PhantomData;

/// What a blocking body returns.
pub type BodyResult = anyhow::Result<Erased>;
/// What an async body returns.
pub type BodyFuture = futures::future::BoxFuture<'static, BodyResult>;

/// Encodes what a task returned in a `Result`.
pub fn finish_result<T: Value, E: Into<anyhow::Error>>(returned: Result<T, E>) -> BodyResult {
    returned.map_err(Into::into).and_then(finish_value)
}

/// Encodes what a task returned plainly.
pub fn finish_value<T: Value>(value: T) -> BodyResult {
    Erased::new(value).map_err(|e| if e.is::<Unkept>() { e } else { e.context(OutputError) })
}

/// Encodes what a task's cache key is made of besides.
pub fn finish_cache_key<T: serde::Serialize>(part: T) -> BodyResult {
    Ok(Erased::from_json(serde_json::to_string(&part).map_err(|e| anyhow::anyhow!("`cache_key` is no JSON: {e}"))?))
}

/// Can this output of an earlier run be used still?
pub fn cached_holds<T: Value>(output: &Erased, holds: impl FnOnce(&T) -> bool) -> bool {
    output.share::<T>().is_ok_and(|value| holds(&value))
}

/// Encodes what a sensor found, or tells that it is not there yet.
pub fn finish_look<S: Seen>(seen: S) -> BodyResult {
    seen.seen().map_or_else(|| Err(crate::error::NotYet.into()), finish_value)
}

/// The same, of a look that may go wrong.
pub fn finish_look_result<S: Seen, E: Into<anyhow::Error>>(seen: Result<S, E>) -> BodyResult {
    seen.map_err(Into::into).and_then(finish_look)
}

/// What the look of a sensor returns.
pub trait Seen {
    /// What was found.
    type Found: Value;
    /// What was found, if it is there.
    fn seen(self) -> Option<Self::Found>;
}

impl Seen for bool {
    type Found = ();

    fn seen(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T: Value> Seen for Option<T> {
    type Found = T;

    fn seen(self) -> Option<T> {
        self
    }
}

/// Finds out whether a type is a `Result`: the constant on `Probe<Result<..>>` itself hides the one of the trait.
pub struct Probe<T>(PhantomData<T>);

/// See [`Probe`].
pub trait NotAResult {
    /// False for everything that is not a `Result`.
    const IS_RESULT: bool = false;
}

impl<T> NotAResult for Probe<T> {}

impl<T, E> Probe<Result<T, E>> {
    /// True: a `Result`.
    pub const IS_RESULT: bool = true;
}
