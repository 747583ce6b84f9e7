//! What `DagBuilder::schedule` takes.

use flow_core::AssetDef;
use flow_core::schedule::Schedule;

/// A schedule as an author writes it: a text, a list of texts, [`assets`](crate::asset::assets), or a [`Schedule`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a schedule",
    label = "a text, a list of texts, `assets(..)` or `custom(..)` is expected here"
)]
pub trait IntoSchedule {
    /// The schedule and the assets it waits for, or a sentence that says what is wrong.
    #[doc(hidden)]
    fn into_schedule(self) -> Result<(Schedule, Vec<AssetDef>), String>;
}

impl IntoSchedule for Schedule {
    fn into_schedule(self) -> Result<(Schedule, Vec<AssetDef>), String> {
        let names = self.waits_for().map(|when| when.names()).unwrap_or_default();
        let assets = names.into_iter().map(|name| AssetDef { name: name.into(), uri: None }).collect();
        Ok((self, assets))
    }
}

impl IntoSchedule for &str {
    fn into_schedule(self) -> Result<(Schedule, Vec<AssetDef>), String> {
        Schedule::parse(self).map_err(|e| e.to_string())?.into_schedule()
    }
}

impl<const N: usize> IntoSchedule for [&str; N] {
    fn into_schedule(self) -> Result<(Schedule, Vec<AssetDef>), String> {
        Schedule::list(&self).map_err(|e| e.to_string())?.into_schedule()
    }
}

/// A timetable of the author's own, by the name under which it is registered: what `custom(..)` stands for.
#[derive(Debug, Clone, Copy)]
pub struct OwnTimetable(pub &'static str);

impl IntoSchedule for OwnTimetable {
    fn into_schedule(self) -> Result<(Schedule, Vec<AssetDef>), String> {
        Schedule::custom(self.0).map_err(|e| e.to_string())?.into_schedule()
    }
}
