//! Laws: what holds in every world, not only in those that somebody thought of.

mod admission;
mod asset;
mod history;
mod json;
mod planner;
mod timetable;
mod worlds;

use proptest::prelude::ProptestConfig;

/// As many cases as `PROPTEST_CASES` says, else so many. A failure prints what it takes to see it again.
fn cases(otherwise: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(otherwise), failure_persistence: None, ..ProptestConfig::default() }
}
