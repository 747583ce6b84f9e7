//! How long until the next try.

use crate::dag::RetryPolicy;
use chrono::{DateTime, Utc};
use sha1::{Digest, Sha1};
use std::time::Duration;

/// Longest wait that backoff may grow to, whatever the policy says.
const CAP: f64 = 86_400.0;

/// What the jitter of a wait is derived from, so that every scheduler derives the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed<'a> {
    /// The DAG.
    pub dag_id: &'a str,
    /// The task.
    pub task_id: &'a str,
    /// The instant that the run is about, if it has one.
    pub logical_date: Option<DateTime<Utc>>,
}

/// The wait after the try `try_number` ended badly.
///
/// Without backoff (a factor of 0 or 1) it is the policy's delay. With it, `base = ceil(delay * backoff^(try_number - 1))` seconds, at
/// least one, plus a jitter below `base` from a SHA-1 of the ids; then no more than a day, and no more than the
/// policy's `max_delay`. That is Airflow's formula, digit by digit.
pub fn retry_delay(policy: &RetryPolicy, seed: Seed<'_>, try_number: u32) -> Duration {
    // Neither does a factor of one grow anything.
    if policy.backoff.is_nan() || policy.backoff <= 0.0 || policy.backoff == 1.0 {
        return policy.delay;
    }
    let factor = policy.backoff.powf(f64::from(try_number) - 1.0);
    // Beyond all numbers, even no delay at all has grown to the cap.
    let grown = if factor.is_infinite() { CAP } else { policy.delay.as_secs_f64() * factor };
    let base = grown.ceil().max(1.0);
    // What is beyond the cap already needs no jitter, and might be too large for the arithmetic below.
    let jittered = if base >= CAP { CAP } else { (base + jitter(seed, try_number, base as u64) as f64).min(CAP) };
    let wait = Duration::from_secs_f64(jittered);
    policy.max_delay.map_or(wait, |longest| wait.min(longest))
}

/// SHA-1 of the ids as one big-endian number, modulo `base`.
fn jitter(seed: Seed<'_>, try_number: u32, base: u64) -> u64 {
    let digest = Sha1::digest(hashed(seed, try_number).as_bytes());
    digest.iter().fold(0, |rest, &byte| (rest * 256 + u64::from(byte)) % base)
}

/// The text that is hashed: `dag#task#2025-01-01 00:00:00+00:00#2`, with `None` for a run that is about no instant.
fn hashed(seed: Seed<'_>, try_number: u32) -> String {
    let date = match seed.logical_date {
        None => "None".to_string(),
        Some(at) if at.timestamp_subsec_micros() == 0 => at.format("%Y-%m-%d %H:%M:%S+00:00").to_string(),
        Some(at) => at.format("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string(),
    };
    format!("{}#{}#{date}#{try_number}", seed.dag_id, seed.task_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(delay: u64, backoff: f64, max_delay: Option<u64>) -> RetryPolicy {
        RetryPolicy {
            retries: 3,
            delay: Duration::from_secs(delay),
            backoff,
            max_delay: max_delay.map(Duration::from_secs),
        }
    }

    const SEED: Seed<'static> = Seed { dag_id: "d", task_id: "t", logical_date: None };

    #[test]
    fn without_backoff_it_is_the_delay() {
        assert_eq!(retry_delay(&policy(10, 0.0, Some(3)), SEED, 7), Duration::from_secs(10));
    }

    #[test]
    fn with_backoff_it_lies_between_once_and_twice_the_base() {
        for n in 1..8 {
            let base = 10 * 2u64.pow(n - 1);
            let wait = retry_delay(&policy(10, 2.0, None), SEED, n).as_secs();
            assert!((base..2 * base).contains(&wait), "try {n}: {wait}");
        }
    }

    #[test]
    fn both_caps_hold_however_late_the_try() {
        assert_eq!(retry_delay(&policy(10, 2.0, None), SEED, u32::MAX), Duration::from_secs(86_400));
        assert_eq!(retry_delay(&policy(10, 2.0, Some(30)), SEED, 20), Duration::from_secs(30));
        assert_eq!(retry_delay(&policy(10, f64::INFINITY, None), SEED, 2), Duration::from_secs(86_400));
    }

    #[test]
    fn the_date_is_hashed_as_airflow_prints_it() {
        let at = |text| Seed { logical_date: Some(crate::parse::date(text).expect(text)), ..SEED };
        assert_eq!(hashed(at("2025-01-01"), 2), "d#t#2025-01-01 00:00:00+00:00#2");
        assert_eq!(hashed(at("2028-02-29T23:59:59.123456Z"), 1), "d#t#2028-02-29 23:59:59.123456+00:00#1");
        assert_eq!(hashed(SEED, 3), "d#t#None#3");
    }
}
