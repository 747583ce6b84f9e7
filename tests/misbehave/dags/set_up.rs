//! Tasks between a setup and a teardown, each of which stays until its file is there.

use flow_runtime::prelude::*;
use std::path::Path;

/// Stays until the file `{name}` is in the home folder.
fn stay(ctx: &Context, name: &str) -> Result<()> {
    info!("{name} begins");
    while !Path::new(&ctx.in_home(name)).exists() {
        ensure!(!ctx.is_cancelled(), "it was told to stop");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    ensure!(!Path::new(&ctx.in_home(&format!("{name}.fails"))).exists(), "{name} is to fail");
    Ok(())
}

#[task(setup)]
fn opens(ctx: &Context) -> Result<u32> {
    stay(ctx, "opens").map(|()| 1)
}

#[task]
fn uses(ctx: &Context) -> Result<u32> {
    stay(ctx, "uses").map(|()| 2)
}

#[task(teardown, retries = 1)]
fn closes(ctx: &Context) -> Result<()> {
    stay(ctx, "closes")
}

/// Opens, uses, closes.
#[dag]
pub fn set_up() {
    let opened = opens();
    opened >> uses() >> closes().teardown_of(opened);
}

/// The same, and the teardown tells how the run ends.
#[dag]
pub fn set_up_strictly() {
    let opened = opens();
    opened >> uses() >> closes().teardown_of(opened).on_failure_fail_dagrun(true);
}

/// The same, in five seconds.
#[dag(dagrun_timeout = "5s")]
pub fn set_up_in_time() {
    let opened = opens();
    opened >> uses() >> closes().teardown_of(opened);
}
