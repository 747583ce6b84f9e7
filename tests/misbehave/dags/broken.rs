//! A DAG that cannot be built.

use flow_runtime::prelude::*;

/// Does nothing.
#[task]
fn never() {}

/// Its task has no time at all.
#[dag]
pub fn broken() {
    never().timeout(std::time::Duration::ZERO);
}
