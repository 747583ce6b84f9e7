use flow_runtime::prelude::*;

const TRIPS: Asset = Asset::new("trips");

#[task(outlets = [TRIPZ])]
fn misspelt() {}

#[dag(schedule = assets(TRIPS & WEATHER))]
fn misspelt_too() {
    misspelt().inlets([WEAHTER]);
}

fn main() {}
