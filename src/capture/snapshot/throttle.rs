//! A budget of bytes per second. Pure.

use std::time::{Duration, Instant};

/// Allows so many bytes a second, on average. What was spent too fast is waited for afterwards; what was not spent is not saved.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// Bytes a second; `None`: no limit.
    rate: Option<u64>,
    free_at: Option<Instant>,
}

impl Throttle {
    /// So many bytes a second; `None`: no limit.
    #[must_use]
    pub fn new(rate: Option<u64>) -> Self {
        Throttle { rate, free_at: None }
    }

    /// Whether more may be spent.
    #[must_use]
    pub fn allows(&self, now: Instant) -> bool {
        self.free_at.is_none_or(|at| at <= now)
    }

    /// Bytes were spent.
    pub fn spent(&mut self, bytes: u64, now: Instant) {
        let Some(rate) = self.rate else { return };
        #[expect(clippy::cast_precision_loss, reason = "a duration")]
        let cost = Duration::try_from_secs_f64(bytes as f64 / rate.max(1) as f64).unwrap_or(Duration::MAX);
        let from = self.free_at.map_or(now, |at| at.max(now));
        self.free_at = from.checked_add(cost);
    }

    /// When more may be spent, if not now.
    #[must_use]
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.free_at.filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_average_the_budget_is_kept_and_idle_time_is_not_saved_up() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut throttle = Throttle::new(Some(1000));
        assert!(throttle.allows(start));
        throttle.spent(500, start);
        throttle.spent(500, start);
        assert!(!throttle.allows(after(999)) && throttle.allows(after(1000)));
        throttle.spent(1000, after(60_000));
        assert!(!throttle.allows(after(60_999)), "a quiet minute buys nothing");
        let mut unlimited = Throttle::new(None);
        unlimited.spent(u64::MAX, start);
        assert!(unlimited.allows(start));
    }
}
