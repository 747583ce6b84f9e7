//! Every step of a pipeline, ended at random instants: its process is killed, or the step is cancelled. After each end
//! nothing half-made is seen; and after the next try, by a process of its own, all is as if nothing had happened. An end that
//! came too late for that is repeated earlier: what is counted was in the middle.
//!
//! `KILL_POINTS` says how many instants each step is ended at in each way, `KILL_SEED` which. The long form is 100:
//!
//! ```sh
//! KILL_POINTS=100 cargo test -p flow-data --test data killed -- --nocapture --test-threads 4
//! ```

mod bigquery;
mod files;
mod google;
mod order;
mod tables;
mod unload;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use self::order::{End, Order};
use crate::tables::Random;

/// A step, and the world that it works in.
trait World {
    fn name(&self) -> String;

    /// Makes all as it is before the step.
    fn reset(&mut self);

    fn order(&self) -> Order;

    /// What others see: the content of a file, of an object, of a table. At every instant each is as before the step, or as
    /// after it.
    fn seen(&self) -> Vec<String>;

    /// Is what is seen right after a step that nobody disturbed?
    fn check(&self);

    /// What is there besides when all has come to rest, and has no right to be: files on their way, parts of uploads, staging
    /// tables, sessions.
    fn left(&self) -> Vec<String>;

    /// What a cancelled step must not leave, given how far it said that it was.
    fn left_by_cancelled(&self, _reported: Option<(u64, u64)>) -> Vec<String> {
        self.left()
    }

    /// Does what is to be done after killed processes besides trying again.
    fn clean(&self) {}

    /// Where in the step it was ended.
    fn phase(&self, reported: Option<(u64, u64)>) -> String {
        match reported {
            None | Some((0, _)) => "before the first report".into(),
            Some((done, total)) if done >= total => "after the last report".into(),
            Some((done, total)) => format!("quarter {}", done * 4 / total + 1),
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: this is no number")))
}

/// Both ways to end a step.
fn ended_anywhere(mut world: impl World) {
    killed_anywhere(&mut world);
    cancelled_anywhere(&mut world);
}

fn killed_anywhere(world: &mut dyn World) {
    points(world, "killed", |order, after, _| order.killed(after));
}

fn cancelled_anywhere(world: &mut dyn World) {
    // Every other future is not dropped, but hears by its progress that it is to end.
    points(world, "cancelled", |order, after, n| order.cancelled(after, n % 2 == 0));
}

#[allow(clippy::print_stderr, reason = "the tally is for whoever asks for it by --nocapture")]
fn points(world: &mut dyn World, how: &str, end: impl Fn(&Order, Duration, u64) -> End) {
    let points = number("KILL_POINTS").unwrap_or(2);
    let seed = number("KILL_SEED").unwrap_or(4_711);
    let name = world.name();
    world.reset();
    let before = world.seen();
    let whole = world.order().undisturbed();
    world.check();
    let after = world.seen();
    assert_ne!(before, after, "{name} does nothing");
    assert!(world.left().is_empty(), "{name}, undisturbed: {:?}", world.left());

    let mut random = Random(name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())));
    let (mut took, mut late) = (whole.took, 0);
    let (mut phases, mut rests) = (BTreeMap::<String, u64>::new(), Vec::new());
    for n in 0..points {
        // One in each stretch of its time.
        let part = (n as f64 + random.below(1_000) as f64 / 1_000.0) / points as f64;
        let (ended, instant) = loop {
            world.reset();
            let instant = took.mul_f64(part);
            let ended = end(&world.order(), instant, n);
            if !ended.is_whole {
                break (ended, instant);
            }
            // It came too late, which proves nothing: the step is faster than when it was measured.
            took = took.min(ended.took).mul_f64(0.95);
            late += 1;
            assert!(late < 20 + points, "{name} is never ended in the middle");
        };
        let told = format!("{name} {how} after {instant:?} of {took:?} (point {n} of {points}, KILL_SEED={seed})");
        *phases.entry(world.phase(ended.reported)).or_default() += 1;
        for (n, fact) in world.seen().iter().enumerate() {
            assert!(
                *fact == before[n] || *fact == after[n],
                "{told}: {fact} is neither {} nor {}",
                before[n],
                after[n]
            );
        }
        if let Some(rest) = ended.rest {
            let left = world.left_by_cancelled(ended.reported);
            assert!(left.is_empty(), "{told}: {left:?}");
            rests.push(rest);
        }

        let again = world.order().undisturbed();
        assert_eq!(again.result, whole.result, "{told}");
        // Or slower.
        took = took.max(again.took);
        world.clean();
        assert_eq!(world.seen(), after, "{told}, tried again");
        assert!(world.left().is_empty(), "{told}, tried again: {:?}", world.left());
    }
    // Spread over the whole of its time, they must have met it in all kinds of states.
    assert!(points < 20 || phases.len() > 2, "{name} was only {how} {phases:?}");
    let mut line = format!("{name}: {points} times {how} in the middle of {took:?} (and {late} times too late)");
    for (phase, times) in phases {
        let _ = write!(line, ", {times} {phase}");
    }
    rests.sort();
    if let Some(longest) = rests.last() {
        let _ = write!(line, "; at rest after {:?}, at most {longest:?}", rests[rests.len() / 2]);
    }
    eprintln!("{line}; KILL_SEED={seed}");
}

/// Runs it to the end.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A short name of a content.
fn sum(content: &[u8]) -> String {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(content);
    format!("{} bytes, {}", content.len(), hash[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The same of a file.
fn sum_of(path: &std::path::Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    std::fs::read(path).map_or_else(|_| format!("{name}: none"), |content| format!("{name}: {}", sum(&content)))
}

/// The files of a folder that are none of these.
fn besides(folder: &std::path::Path, known: &[&str]) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !known.contains(&name.as_str())).collect()
}
