use flow_runtime::prelude::*;

type Outcome = std::result::Result<u8, String>;

#[task]
fn work() -> Outcome {
    Ok(1)
}

#[task]
fn bare() -> std::fmt::Result {
    Ok(())
}

fn main() {}
