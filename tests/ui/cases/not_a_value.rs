use flow_runtime::prelude::*;

struct Raw(*const u8);

#[task]
fn make() -> Raw {
    Raw(std::ptr::null())
}

struct Plain;

#[task]
fn take(plain: Plain) {
    drop(plain);
}

fn main() {}
