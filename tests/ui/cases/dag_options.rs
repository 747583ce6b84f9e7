use flow_runtime::prelude::*;

#[task]
fn work() {}

#[dag(schedule = "61 * * * *")]
fn bad_cron() {
    work();
}

#[dag(schedule = "@dayly")]
fn bad_preset() {
    work();
}

#[dag(start_date = "2021-02-30")]
fn bad_date() {
    work();
}

#[dag(start_date = "2021-02-03", end_date = "2021-02-02")]
fn backwards() {
    work();
}

#[dag(catchup = "yes", tags = "taxi", max_active_runs = 0, dagrun_timeout = "long")]
fn bad_literals() {
    work();
}

#[dag(every = "1h")]
fn unknown() {
    work();
}

#[dag(defaults(retry = 2))]
fn unknown_default() {
    work();
}

#[dag(schedule = "@daily", timezone = "Berlin")]
fn no_zone() {
    work();
}

fn main() {}
