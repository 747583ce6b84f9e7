use flow_runtime::prelude::*;

#[task(at_once(1, key = "load {tabel}"))]
fn misspelt(_ctx: &Context, _table: String, _url: String) {}

#[task(rate("ten a second", key = "api"))]
fn no_rate() {}

#[task(at_once(0, key = "api"))]
fn never() {}

#[task(at_once = 3)]
fn no_key() {}

#[task(rate("10/s", key = "api {"))]
fn open() {}

fn main() {}
