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

/// Stays as well, with the key of its table.
#[task(at_once(1, key = "load {table}"))]
fn holds(ctx: &Context, table: String) -> Result<()> {
    info!("loading {table}");
    stays(ctx)
}

/// Gives a table, so that a key is known only when the run is under way.
#[task]
fn table() -> String {
    "trips".into()
}

/// One after the other by key, and by time.
#[dag]
pub fn one_key() {
    let table = table();
    holds("trips").id("stays").priority(2) << table;
    holds(table).id("behind");
    holds("zones").id("elsewhere");
    quick().rate("1/1h", "api").priority(2);
    quick().rate("1/1h", "api").id("later");
}

/// Ends at once.
#[task]
fn quick() {}

/// Three, of which two may start in eight seconds, in whatever run.
#[dag]
pub fn few_calls() {
    quick().rate("2/8s", "service").id("one");
    quick().rate("2/8s", "service").id("two");
    quick().rate("2/8s", "service").id("three");
}

/// Two runs, and both get stuck: the second waits for the first.
#[dag(schedule = "* * * * * *", catchup = true, start_date = "2026-01-01", max_active_runs = 2)]
pub fn in_line() {
    stays().depends_on_past(true);
    stays().pool("api").pool_slots(2).id("wide");
}

/// Stays where it is about the past, and is quick about the present.
#[task]
fn stays_in_the_past(ctx: &Context) -> Result<()> {
    if ctx.run_id().starts_with("backfill") { stays(ctx) } else { Ok(()) }
}

/// Has one run of its own at a time.
#[dag(schedule = "* * * * * *", max_active_runs = 1)]
pub fn filled_up() {
    stays_in_the_past();
}

/// Takes a slot for a moment.
#[task(retries = 9, retry_delay = "1ms", pool = "api")]
async fn takes_a_slot(n: u32) -> u32 {
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    n
}

/// Fifty tasks a day for one pool; its days are over, and are run when somebody asks.
#[dag(schedule = "@daily", start_date = "2026-01-01", end_date = "2026-01-04", max_active_runs = 4)]
pub fn pooled() {
    takes_a_slot::expand(each(1..=50u32));
}

/// As many numbers.
#[task]
fn numbers(n: u32) -> Vec<u32> {
    (0..n).collect()
}

/// Writes into one ledger for all processes which of them has begun it, and that it has ended.
#[task(retries = 1000, retry_delay = "1ms", pool = "api")]
async fn counted(ctx: &Context, number: u32, ledger: String) -> Result<u32> {
    let note = |what: &str| -> Result<()> {
        let (run, process) = (ctx.run_id(), std::process::id());
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&ledger)?;
        // In one piece: others write as well.
        let line = format!("{run} {number} {} {process} {what}\n", ctx.try_number());
        Ok(std::io::Write::write_all(&mut file, line.as_bytes())?)
    };
    note("begins")?;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    note("ends")?;
    Ok(number)
}

/// Twenty ticks of a crowd of tasks, for a pool that is smaller.
#[dag(
    schedule = "* * * * * *",
    catchup = true,
    start_date = "2026-01-01",
    end_date = "2026-01-01T00:00:19",
    max_active_runs = 4
)]
pub fn crowd(
    /// How many in each.
    #[default(15)]
    n: u32,
    /// The file that they all write into.
    #[default("crowd")]
    ledger: String,
) {
    counted::expand(each(numbers(n).retries(1000).retry_delay("1ms")), ledger);
}
