use flow_runtime::prelude::*;

#[task]
fn work(text: String) {
    drop(text);
}

#[dag]
async fn waits() {
    work("a");
}

#[dag]
fn returns() -> u8 {
    3
}

#[dag]
fn generic<T>(value: T) {}

#[dag]
fn borrowed(text: &str) {
    work(text);
}

#[dag]
fn context(ctx: &Context) {
    work("a");
}

#[dag]
fn odd_attribute(#[fallback("x")] text: String) {
    work(text);
}

fn main() {}
