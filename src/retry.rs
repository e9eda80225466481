//! How long to wait before trying again.

use std::time::Duration;

/// Exponential backoff with jitter, without end: what may pass by itself is tried for ever, ever less often.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(15);

impl Backoff {
    /// It worked: the next failure is a first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How often in a row it has failed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure and tells how long to wait: twice as long each time, up to 15 s, less a random part of up to half,
    /// so that many clients do not come back at once.
    pub fn next_delay(&mut self) -> Duration {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let whole = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        for failure in 0..100u32 {
            let whole = FIRST.saturating_mul(1 << failure.min(16)).min(LONGEST);
            let delay = backoff.next_delay();
            assert!(delay <= whole && delay >= whole / 2, "{failure}: {delay:?}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST);
    }
}
