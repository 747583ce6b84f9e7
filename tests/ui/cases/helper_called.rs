use flow_runtime::prelude::*;

#[task]
fn greet(name: String) {
    drop(name);
}

fn shout(text: &str) -> String {
    text.to_uppercase()
}

#[dag]
fn hello() {
    greet((shout)("ada"));
    greet(shout("ada"));
}

fn main() {}
