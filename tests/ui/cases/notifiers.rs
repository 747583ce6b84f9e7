use flow_runtime::prelude::*;

#[task(on_failure = ops)]
fn no_quotes() {}

#[task(on_failure = "https://example.com/hook", on_retry = webhook("example.com"))]
fn no_name_and_no_url() {}

#[task(on_success = slack("https://hooks.example.com/T1"))]
fn a_secret() {}

#[task(on_skipped = [], on_failure = command())]
fn nobody() {}

#[task(on_deadline = log)]
fn of_a_dag() {}

#[dag(deadline = "soon", deadline_from = "end", on_failure = [log, 3])]
fn bad_deadline() {
    nobody();
}

fn main() {}
