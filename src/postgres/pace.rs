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

/// How long a busy socket is left to fill. On TCP the receive buffer holds many milliseconds' worth. A Unix socket's buffer is
/// counted against the sender, each small message with all its overhead, and is full after some two hundred rows: there the
/// walsender must not be kept waiting. Both were measured: naps of 1 to 8 ms, and of 0 to 400 µs.
const NAP_TCP: Duration = Duration::from_millis(3);
const NAP_UNIX: Duration = Duration::from_micros(150);
/// How much within [`WINDOW`] makes a stream busy: some 10,000 rows per second.
const BUSY_BYTES: usize = 8 * 1024;
/// Over how long it is measured.
pub const WINDOW: Duration = Duration::from_millis(4);

impl Pace {
    /// For a connection over TCP or over a Unix socket.
    #[must_use]
    pub fn of(is_unix: bool, now: Instant) -> Self {
        Pace::new(if is_unix { NAP_UNIX } else { NAP_TCP }, now)
    }

    /// `nap` is how long the socket is left to fill; zero never waits.
    fn new(nap: Duration, now: Instant) -> Self {
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
    fn wait(&self, now: Instant) -> Duration {
        if self.busy(now) { self.nap } else { Duration::ZERO }
    }

    /// Lets the socket fill, if much is coming. Not by tokio's sleep: the runtime would wait in epoll, where every send of the
    /// server wakes it, which is what the nap is there to avoid. Those who call this have their thread to themselves, and a nap is
    /// shorter than an fsync.
    pub fn nap(&self, now: Instant) {
        let wait = self.wait(now);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
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
            assert_eq!(pace.wait(now), Duration::ZERO);
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
        assert_eq!(pace.wait(now), NAP);
        now += WINDOW;
        pace.read(200, now);
        now += WINDOW;
        pace.read(200, now);
        assert_eq!(pace.wait(now), Duration::ZERO);
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
