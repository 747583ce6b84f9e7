use flow_runtime::prelude::*;

#[task]
fn months() -> Vec<String> {
    vec![]
}

#[task]
fn download(month: String, lake: String) -> u64 {
    (month + &lake).len() as u64
}

#[task]
fn total(all: Vec<u64>) -> u64 {
    all.iter().sum()
}

#[dag]
fn wrong_element() {
    download::expand(each(vec![1, 2, 3]), "lake");
}

#[dag]
fn each_in_a_plain_call() {
    download(each(months()), "lake");
}

#[dag]
fn not_a_list() {
    download::expand(each(7), "lake");
}

#[dag]
fn a_list_for_one() {
    let all = download::expand(each(months()), "lake");
    download(all, "lake");
    total(all);
}

#[dag]
fn no_tuple() {
    let (a, b) = months();
    total(a);
    total(b);
}

fn main() {}
