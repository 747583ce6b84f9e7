use flow_runtime::prelude::*;

#[task]
fn a() {}

#[dag]
fn wrong_order() {
    a() >> 3;
    a() >> "b";
}

fn main() {}
