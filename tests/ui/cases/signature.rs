use flow_runtime::prelude::*;

struct Thing;

impl Thing {
    #[task]
    fn method(&self) {}
}

#[task]
fn generic<T>(value: T) {}

#[task]
fn changes(list: &mut Vec<u8>) {}

#[task]
fn twice(a: &Context, b: &Context) {}

#[task]
fn owned_context(ctx: Context) {}

#[task]
fn pattern((a, b): (u8, u8)) {}

#[task]
fn expand() {}

#[task]
fn anonymous() -> impl Iterator<Item = u8> {
    0..3
}

#[task]
struct NotAFunction;

fn main() {}
