//! DAGs beyond a straight line: mapping, groups, tuples, setup and teardown, structs of params.

mod group;
mod mapping;
mod params;
mod setup;
