//! Whether much is being written: then more is gathered before a commit. Pure: the clock is handed in.

use std::time::{Duration, Instant};

/// What was handed over in this window and in the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    began: Instant,
    now_bytes: usize,
    before_bytes: usize,
}

const WINDOW: Duration = Duration::from_millis(200);
/// More than this in two windows is much: some 10,000 narrow rows in a second.
const HIGH_BYTES: usize = 2 << 20;

impl Load {
    pub(super) fn new(now: Instant) -> Self {
        Load { began: now, now_bytes: 0, before_bytes: 0 }
    }

    /// So much was handed over.
    pub(super) fn took(&mut self, bytes: usize, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age >= WINDOW {
            // A pause of more than a window means that nothing was waiting.
            self.before_bytes = if age < WINDOW * 2 { self.now_bytes } else { 0 };
            (self.began, self.now_bytes) = (now, 0);
        }
        self.now_bytes = self.now_bytes.saturating_add(bytes);
    }

    /// Whether it is much.
    pub(super) const fn is_high(&self) -> bool {
        self.now_bytes.saturating_add(self.before_bytes) >= HIGH_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_rows_a_second_are_little_and_a_backlog_is_much() {
        let mut now = Instant::now();
        let mut load = Load::new(now);
        for _ in 0..1000 {
            now += Duration::from_millis(1);
            load.took(1000, now);
            assert!(!load.is_high());
        }
        for _ in 0..20 {
            now += Duration::from_millis(10);
            load.took(300_000, now);
        }
        assert!(load.is_high());
        now += WINDOW * 2;
        load.took(1000, now);
        assert!(!load.is_high(), "the backlog is at its end");
    }
}
