//! Tasks that take every slot there is.

use flow_runtime::prelude::*;

/// Stays until it is told to stop.
#[task]
fn stays(ctx: &Context) -> Result<()> {
    while !ctx.is_cancelled() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bail!("it was told to stop")
}

/// One at a time.
#[dag(max_active_tasks = 1)]
pub fn one_at_a_time() {
    stays();
    stays().id("behind");
}

/// One slot of two.
#[dag]
pub fn few_slots() {
    stays().pool("api").priority(2);
    stays().pool("api").pool_slots(2).id("behind");
}
