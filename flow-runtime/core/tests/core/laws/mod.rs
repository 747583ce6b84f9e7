//! Laws: what holds in every world, not only in those that somebody thought of.

mod admission;
mod history;
mod json;
mod planner;
mod worlds;
