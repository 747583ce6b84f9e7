//! A task that is tried again after an hour, and is for workers of its own; one that logs outside of its try.

use flow_runtime::prelude::*;

#[task(retries = 1, retry_delay = "1h", queue = "gpu")]
fn an_hour_later(ctx: &Context) -> Result<u32> {
    if ctx.try_number() == 1 {
        bail!("not yet");
    }
    Ok(7)
}

/// Takes an hour.
#[dag]
pub fn patient() {
    an_hour_later();
}

#[task]
fn warns() -> Result<()> {
    let thread = std::thread::spawn(|| warn!("said by a thread of its own"));
    thread.join().map_err(|_| anyhow!("it has panicked"))?;
    Ok(())
}

/// Says what goes to standard error.
#[dag]
pub fn warned() {
    warns();
}
