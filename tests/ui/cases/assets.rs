use flow_runtime::prelude::*;

const TRIPS: Asset = Asset::new("trips");
const SPACED: Asset = Asset::new("my trips");

#[task(outlets = [TRIPS])]
fn well() {}

#[task(outlets = ["trips"])]
fn text() {}

#[task(inlets = TRIPS)]
fn no_list() {}

#[task(inlets = [3.0f32 as f64])]
fn no_asset() {}

#[dag(schedule = assets(TRIPS, SPACED))]
fn two_conditions() {
    well();
}

#[dag(schedule = assets(TRIPS).or("0 25 * * *"))]
fn bad_times() {
    well();
}

#[dag(schedule = ["2026-01-01", "0 6 * * *"])]
fn mixed() {
    well();
}

#[dag(schedule = [])]
fn empty() {
    well();
}

#[dag(schedule = TRIPS)]
fn bare() {
    well();
}

#[dag(schedule = custom("@daily"))]
fn no_timetable() {
    well();
}

fn main() {}
