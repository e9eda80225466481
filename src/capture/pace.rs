//! When to read: at once while little comes, in gulps while much comes. Pure: the clock is handed in.
//!
//! A walsender sends once per change. A reader that wakes for each of these costs both sides a wake-up per row: the
//! walsender then spends 6.4 CPU seconds per million rows instead of 2.7. So under backlog the reader lets the socket
//! fill for a moment first; an idle stream is read without delay, so that latency stays.

use std::time::{Duration, Instant};

/// Decides before each read.
#[derive(Clone, Debug)]
pub struct Pace {
    nap: Duration,
    window_start: Instant,
    window_bytes: usize,
    busy: bool,
}

/// How much within [`WINDOW`] makes a stream busy: some 10,000 rows per second.
const BUSY_BYTES: usize = 8 * 1024;
/// Over how long it is measured.
pub const WINDOW: Duration = Duration::from_millis(4);

impl Pace {
    /// `nap` is how long the socket is left to fill; zero never waits.
    #[must_use]
    pub fn new(nap: Duration, now: Instant) -> Self {
        Pace { nap, window_start: now, window_bytes: 0, busy: false }
    }

    /// So many bytes were read.
    pub fn read(&mut self, bytes: usize, now: Instant) {
        self.window_bytes += bytes;
        if now.saturating_duration_since(self.window_start) >= WINDOW {
            self.busy = self.window_bytes >= BUSY_BYTES;
            (self.window_start, self.window_bytes) = (now, 0);
        }
    }

    /// Whether much is coming: it has been, until a moment ago.
    #[must_use]
    pub fn busy(&self, now: Instant) -> bool {
        self.busy && now.saturating_duration_since(self.window_start) < WINDOW * 2
    }

    /// How long to wait before the next read.
    #[must_use]
    pub fn nap(&self, now: Instant) -> Duration {
        if self.busy(now) { self.nap } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAP: Duration = Duration::from_millis(1);

    #[test]
    fn a_trickle_is_never_made_to_wait() {
        let mut now = Instant::now();
        let mut pace = Pace::new(NAP, now);
        for _ in 0..1000 {
            now += Duration::from_millis(1);
            pace.read(300, now);
            assert_eq!(pace.nap(now), Duration::ZERO);
        }
    }

    #[test]
    fn a_backlog_is_read_in_gulps_and_its_end_is_noticed() {
        let mut now = Instant::now();
        let mut pace = Pace::new(NAP, now);
        for _ in 0..100 {
            now += Duration::from_micros(100);
            pace.read(1000, now);
        }
        assert_eq!(pace.nap(now), NAP);
        now += WINDOW;
        pace.read(200, now);
        now += WINDOW;
        pace.read(200, now);
        assert_eq!(pace.nap(now), Duration::ZERO);
    }

    #[test]
    fn a_stream_that_falls_silent_is_busy_no_longer() {
        // Nothing is read any more, so nothing would tell; what waited for more to come would wait for ever.
        let mut now = Instant::now();
        let mut pace = Pace::new(NAP, now);
        now += WINDOW;
        pace.read(BUSY_BYTES, now);
        assert!(pace.busy(now) && !pace.busy(now + WINDOW * 2));
    }
}
