//! Assets as an author names them: data that tasks make and read, and that DAGs wait for.
//!
//! ```
//! use flow_runtime::prelude::*;
//!
//! pub const TRIPS: Asset = Asset::new("trips").uri("gs://lake/trips");
//! pub const WEATHER: Asset = Asset::new("weather");
//!
//! #[task(outlets = [TRIPS])]
//! fn load(ctx: &Context) {
//!     ctx.made(&TRIPS).rows(3);
//! }
//!
//! #[task(inlets = [TRIPS, WEATHER])]
//! fn report() {}
//!
//! #[dag(schedule = "@daily")]
//! fn trips() {
//!     load();
//! }
//!
//! #[dag(schedule = assets(TRIPS & WEATHER).or("0 6 * * 1"))]
//! fn reports() {
//!     report();
//! }
//!
//! # fn main() {
//! assert_eq!(reports::dag().schedule.unwrap().to_string(), "assets(trips & weather) or 0 6 * * 1");
//! # }
//! ```

/// Something that became of an asset, as a task that was started by it sees it.
pub use crate::store::AssetEventRow as AssetEvent;

use crate::builder::IntoSchedule;
use flow_core::schedule::Schedule;
use flow_core::{AssetDef, AssetExpr, asset};
use std::ops::{BitAnd, BitOr};

/// Data that tasks make, known by its name in all DAGs of a project. A constant, so that a misspelt one does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asset {
    name: &'static str,
    uri: Option<&'static str>,
}

impl Asset {
    /// The asset of this name: letters, digits and `_ - . / :`, beginning with a letter or a digit.
    ///
    /// # Panics
    /// If that is no name; in a constant, the compiler says so.
    pub const fn new(name: &'static str) -> Asset {
        assert!(
            asset::is_name(name),
            "the name of an asset is made of letters, digits and `_ - . / :`, and begins with a letter or a digit"
        );
        Asset { name, uri: None }
    }

    /// Where it lies, for people.
    pub const fn uri(self, uri: &'static str) -> Asset {
        Asset { uri: Some(uri), ..self }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// As data.
    pub fn def(&self) -> AssetDef {
        AssetDef { name: self.name.into(), uri: self.uri.map(String::from) }
    }
}

/// Which assets must have come, with what is known of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetCondition {
    when: AssetExpr,
    assets: Vec<AssetDef>,
}

impl From<Asset> for AssetCondition {
    fn from(asset: Asset) -> AssetCondition {
        AssetCondition { when: AssetExpr::Asset(asset.name.into()), assets: vec![asset.def()] }
    }
}

impl AssetCondition {
    fn join(self, other: AssetCondition, how: fn(AssetExpr, AssetExpr) -> AssetExpr) -> AssetCondition {
        AssetCondition { when: how(self.when, other.when), assets: [self.assets, other.assets].concat() }
    }
}

impl<T: Into<AssetCondition>> BitAnd<T> for Asset {
    type Output = AssetCondition;

    fn bitand(self, other: T) -> AssetCondition {
        AssetCondition::from(self).join(other.into(), AssetExpr::and)
    }
}

impl<T: Into<AssetCondition>> BitOr<T> for Asset {
    type Output = AssetCondition;

    fn bitor(self, other: T) -> AssetCondition {
        AssetCondition::from(self).join(other.into(), AssetExpr::or)
    }
}

impl<T: Into<AssetCondition>> BitAnd<T> for AssetCondition {
    type Output = AssetCondition;

    fn bitand(self, other: T) -> AssetCondition {
        self.join(other.into(), AssetExpr::and)
    }
}

impl<T: Into<AssetCondition>> BitOr<T> for AssetCondition {
    type Output = AssetCondition;

    fn bitor(self, other: T) -> AssetCondition {
        self.join(other.into(), AssetExpr::or)
    }
}

/// A schedule that waits for assets: what [`assets`] makes.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetSchedule {
    schedule: Result<Schedule, String>,
    when: AssetCondition,
}

/// Runs when these assets have come: `assets(TRIPS & (WEATHER | NEWS))`.
pub fn assets(when: impl Into<AssetCondition>) -> AssetSchedule {
    let when = when.into();
    AssetSchedule { schedule: Ok(Schedule::assets(when.when.clone())), when }
}

impl AssetSchedule {
    /// And at these times as well: `assets(TRIPS).or("0 6 * * *")`.
    pub fn or(self, times: impl IntoSchedule) -> AssetSchedule {
        let joined = |times: Schedule| Schedule::assets_or(self.when.when.clone(), &times).map_err(|e| e.to_string());
        AssetSchedule { schedule: times.into_schedule().and_then(|(times, _)| joined(times)), when: self.when }
    }
}

impl IntoSchedule for AssetSchedule {
    fn into_schedule(self) -> Result<(Schedule, Vec<AssetDef>), String> {
        Ok((self.schedule?, self.when.assets))
    }
}

/// Adds an asset to those of a DAG, which has each once; two of one name and of different places are a mistake.
pub(crate) fn note(assets: &mut Vec<AssetDef>, def: AssetDef) -> Result<(), String> {
    match assets.binary_search_by(|known| known.name.cmp(&def.name)) {
        Err(at) => assets.insert(at, def),
        Ok(at) if assets[at].uri == def.uri => {}
        Ok(at) => {
            let place = |uri: &Option<String>| uri.as_ref().map_or("nowhere".into(), |uri| format!("`{uri}`"));
            return Err(format!(
                "two different assets are called `{}`: one lies at {}, the other at {}",
                def.name,
                place(&assets[at].uri),
                place(&def.uri)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Asset = Asset::new("a");
    const B: Asset = Asset::new("b").uri("file://b");
    const C: Asset = Asset::new("c");

    #[test]
    fn conditions_are_written_as_they_are_meant() {
        let text = |schedule: AssetSchedule| schedule.into_schedule().map(|(schedule, _)| schedule.to_string());
        assert_eq!(text(assets(A)), Ok("assets(a)".into()));
        assert_eq!(text(assets(A & B | C)), Ok("assets(a & b | c)".into()));
        assert_eq!(text(assets(A & (B | C))), Ok("assets(a & (b | c))".into()));
        assert_eq!(text(assets(A).or(["@daily", "0 6 * * 5"])), Ok("assets(a) or @daily or 0 6 * * 5".into()));
        let wrong = text(assets(A).or("@once")).expect_err("once is no time");
        assert!(wrong.contains("beside assets there may be"), "{wrong}");
        assert_eq!(assets(A & B).into_schedule().expect("assets").1, [A.def(), B.def()]);
    }

    #[test]
    fn an_asset_lies_at_one_place() {
        let mut all = Vec::new();
        for asset in [C, A, B, A] {
            note(&mut all, asset.def()).expect("the same again");
        }
        assert_eq!(all, [A.def(), B.def(), C.def()]);
        let error = note(&mut all, Asset::new("b").def()).expect_err("another");
        assert_eq!(error, "two different assets are called `b`: one lies at `file://b`, the other at nowhere");
    }
}
