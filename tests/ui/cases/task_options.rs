use flow_runtime::prelude::*;

#[task(retry = 3)]
fn unknown() {}

#[task(retrys = 3)]
fn misspelt() {}

#[task(retries = -1, retry_delay = "soon", retry_backoff = 0.5)]
fn bad_literals() {}

#[task(trigger_rule = "all_good")]
fn bad_rule() {}

#[task(retries = 1, retries = 2)]
fn given_twice() {}

#[task(retries)]
fn no_value() {}

#[task(timeout = "0s", pool = "", id = "a b")]
fn bad_texts() {}

#[task(pool_slots = 0, queue = 3)]
fn bad_numbers() {}

#[task(crate = self::flow)]
fn near_path() {}

fn main() {}
