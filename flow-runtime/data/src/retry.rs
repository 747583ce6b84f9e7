//! How often a request is made again, and after what wait.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The wait before the second attempt; it doubles from there.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait, whatever a server asks for.
const LONGEST: Duration = Duration::from_secs(20);
/// How many attempts in a row may fail.
const MOST: u32 = 6;

/// Attempts of one thing.
pub(crate) struct Attempts {
    made: u32,
}

impl Attempts {
    /// Before the first attempt.
    pub(crate) fn new() -> Self {
        Self { made: 0 }
    }

    /// After a failed attempt: waits, then true; false when it was the last. What the server asks for comes before what we
    /// would wait.
    pub(crate) async fn again(&mut self, asked: Option<Duration>) -> bool {
        self.made += 1;
        if self.made >= MOST {
            return false;
        }
        tokio::time::sleep(pause(self.made, asked)).await;
        true
    }

    /// The last attempt got somewhere: counting begins anew.
    pub(crate) fn progressed(&mut self) {
        self.made = 0;
    }

    /// How many failed in a row.
    pub(crate) fn made(&self) -> u32 {
        self.made
    }
}

/// The wait after so many failed attempts: the doubled first one, of which a random part is left away so that many clients
/// do not come back at once.
pub(crate) fn pause(made: u32, asked: Option<Duration>) -> Duration {
    let own = FIRST.saturating_mul(2u32.saturating_pow(made.saturating_sub(1))).min(LONGEST);
    asked.map_or_else(|| own.mul_f64(0.5 + fastrand::f64() / 2.0), |asked| asked.min(LONGEST))
}

/// What `Retry-After` asks for: seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.to_utc() - chrono::Utc::now()).to_std().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_and_have_an_end() {
        for (made, least, most) in
            [(1, 100, 200), (2, 200, 400), (4, 800, 1_600), (12, 10_000, 20_000), (99, 10_000, 20_000)]
        {
            for _ in 0..50 {
                let wait = pause(made, None).as_millis();
                assert!((least..=most).contains(&wait), "{made}: {wait}");
            }
        }
        assert_eq!(pause(1, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(pause(1, Some(Duration::from_secs(700))), LONGEST);
    }

    #[test]
    fn a_server_asks_by_seconds_or_by_date() {
        let asked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(asked("3"), Some(Duration::from_secs(3)));
        assert_eq!(asked("Fri, 01 Jan 2021 00:00:00 GMT"), Some(Duration::ZERO));
        let later = (chrono::Utc::now() + chrono::TimeDelta::seconds(3_000)).to_rfc2822();
        assert!(asked(&later).is_some_and(|wait| wait.as_secs() > 2_900), "{later}");
        assert_eq!(asked("soon"), None);
    }
}
