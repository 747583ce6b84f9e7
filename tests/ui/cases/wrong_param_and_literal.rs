use flow_runtime::prelude::*;

#[task]
fn wait(seconds: u64) {
    drop(seconds);
}

#[dag]
fn pause(text: String) {
    wait(text);
    wait("10");
    wait(-1.5);
}

fn main() {}
