use flow_runtime::prelude::*;

#[value]
enum Load {
    Full,
    Delta,
}

#[task]
fn choose() -> Load {
    Load::Full
}

#[task]
fn load() {}

#[dag]
fn branches() {
    let choice = choose();
    load().when(choice, "full");
}

fn main() {}
