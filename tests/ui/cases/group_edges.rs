use flow_runtime::prelude::*;

#[task]
fn count(n: u64) -> u64 {
    n
}

#[task_group]
fn twice(n: u64) -> Node<u64> {
    count(count(n))
}

#[dag]
fn wrong_argument() {
    twice("seven");
}

#[dag]
fn wrong_result() {
    let all = twice::expand(each([1u64, 2]));
    count(all);
}

fn main() {}
