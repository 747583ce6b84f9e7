use flow_runtime::prelude::*;

#[task]
fn copy(from: String, to: String) {
    drop((from, to));
}

#[dag]
fn copies() {
    copy("a");
    copy("a", "b", "c");
}

fn main() {}
