//! Tables: given a graph, when this happens, then that follows.

mod ends;
mod mapped;
mod reasons;
mod rules;
mod tries;
mod work;
pub(crate) mod world;
