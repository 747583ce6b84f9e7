use flow_runtime::prelude::*;

#[task]
fn count(n: u64) -> u64 {
    n
}

#[task_group]
async fn waits(n: u64) {
    count(n);
}

#[task_group]
fn borrows(n: &str) {}

#[task_group(prefx = false)]
fn misspelt(n: u64) {
    count(n);
}

#[task_group(defaults(id = "x"))]
fn wrong_default(n: u64) {
    count(n);
}

#[task(setup, teardown)]
fn both() {}

#[task(isolation = "container")]
fn isolated() {}

#[params]
struct Tuple(u64);

#[params]
struct Settings {
    #[serde(rename = "m")]
    n: u64,
}

#[dag]
fn defaults(#[params] #[default(7)] settings: u64) {
    count(settings);
}

fn main() {}
