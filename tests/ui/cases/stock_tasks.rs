use flow_runtime::operators::{self, Bash};
use flow_runtime::prelude::*;

#[task]
fn count() -> u64 {
    0
}

#[dag]
fn wrong_node() {
    operators::bash(count());
}

#[dag]
fn wrong_value() {
    operators::bash_with("make report");
    operators::bash(Bash::new("make report"));
}

fn main() {}
