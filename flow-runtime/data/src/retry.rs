//! How often a request is made again, and after what wait.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::Instant;

/// The wait before the second attempt; it doubles from there.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait of our own.
const LONGEST: Duration = Duration::from_secs(20);
/// The longest wait that a server is given which asks for one: limits by the minute pass in it. Beyond, a later call is better.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// How many attempts in a row may fail.
const MOST: u32 = 6;

/// Attempts of one thing.
pub(crate) struct Attempts {
    made: u32,
    /// The wait that a server asked for and was not given.
    refused: Option<Duration>,
    /// When the last one may be, whatever their number.
    until: Option<Instant>,
}

impl Attempts {
    /// Before the first attempt.
    pub(crate) fn new() -> Self {
        Self { made: 0, refused: None, until: None }
    }

    /// As many as there are in so long a time.
    pub(crate) fn within(patience: Duration) -> Self {
        Self { until: Instant::now().checked_add(patience), ..Self::new() }
    }

    /// After a failed attempt: waits, then true; false when it was the last. What the server asks for comes before what we
    /// would wait; when it asks for more than five minutes, this attempt was the last.
    pub(crate) async fn again(&mut self, asked: Option<Duration>) -> bool {
        self.made += 1;
        self.refused = asked.filter(|asked| *asked > LONGEST_ASKED);
        let last = self.until.map_or(self.made >= MOST, |until| Instant::now() >= until);
        if last || self.refused.is_some() {
            return false;
        }
        let pause = pause(self.made, asked);
        if pause > LONGEST {
            tracing::info!("a server asks to be left alone for {} s: it is asked again after that", pause.as_secs());
        }
        tokio::time::sleep(pause).await;
        true
    }

    /// [`Attempts::again`] where the client has waited for what the server asked for: only too long a wait counts, as the end.
    pub(crate) async fn again_waited(&mut self, asked: Option<Duration>) -> bool {
        self.again(asked.filter(|asked| *asked > LONGEST_ASKED)).await
    }

    /// The last attempt got somewhere: counting begins anew.
    pub(crate) fn progressed(&mut self) {
        self.made = 0;
    }

    /// Why the last attempt was the last: its cause, and the wait that the server asked for, if it was that.
    pub(crate) fn told(&self, cause: String) -> String {
        match self.refused {
            Some(asked) => format!(
                "{cause}; it asks to be left alone for {} s, and no more than {} s are waited for",
                asked.as_secs(),
                LONGEST_ASKED.as_secs()
            ),
            None => cause,
        }
    }

    /// How many failed in a row.
    pub(crate) fn made(&self) -> u32 {
        self.made
    }
}

/// The wait after so many failed attempts: the doubled first one, of which a random part is left away so that many clients
/// do not come back at once. What a server asks for comes before, up to five minutes; beyond them it is not kept, and whoever
/// goes on all the same waits the longest of their own.
fn pause(made: u32, asked: Option<Duration>) -> Duration {
    let own = FIRST.saturating_mul(2u32.saturating_pow(made.saturating_sub(1))).min(LONGEST);
    match asked {
        Some(asked) if asked <= LONGEST_ASKED => asked,
        Some(_) => LONGEST,
        None => own.mul_f64(0.5 + fastrand::f64() / 2.0),
    }
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
        for (asked, given) in [(7, 7), (60, 60), (300, 300), (301, 20)] {
            assert_eq!(pause(1, Some(Duration::from_secs(asked))), Duration::from_secs(given));
        }
    }

    /// Six attempts under a limit by the minute.
    #[tokio::test(start_paused = true)]
    async fn what_a_server_asks_for_is_waited_for() {
        let (begun, minute) = (Instant::now(), Duration::from_secs(60));
        let mut attempts = Attempts::new();
        for n in 1..MOST {
            assert!(attempts.again(Some(minute)).await);
            assert!(begun.elapsed() >= minute * n, "{n}");
        }
        assert!(!attempts.again(Some(minute)).await);
        assert_eq!(attempts.told("busy".into()), "busy");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_within_a_time_are_bounded_by_it_alone() {
        let (begun, patience) = (Instant::now(), Duration::from_secs(180));
        let mut attempts = Attempts::within(patience);
        while attempts.again(None).await {}
        assert!(begun.elapsed() >= patience && begun.elapsed() <= patience + LONGEST, "{:?}", begun.elapsed());
        assert!(attempts.made() > MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_asks_for_too_long_a_wait_is_given_up_at_once() {
        let begun = Instant::now();
        let mut attempts = Attempts::new();
        assert!(!attempts.again(Some(Duration::from_secs(3_600))).await);
        assert!(!attempts.again_waited(Some(Duration::from_secs(3_600))).await);
        assert_eq!((begun.elapsed(), attempts.made()), (Duration::ZERO, 2));
        assert_eq!(
            attempts.told("busy".into()),
            "busy; it asks to be left alone for 3600 s, and no more than 300 s are waited for"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_client_has_waited_for_is_not_waited_for_twice() {
        let begun = Instant::now();
        assert!(Attempts::new().again_waited(Some(Duration::from_secs(20))).await);
        assert!(begun.elapsed() <= FIRST + Duration::from_millis(1), "{:?}", begun.elapsed());
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
