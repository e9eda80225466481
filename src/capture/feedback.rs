//! What PostgreSQL is told, and when. Pure: the clock is handed in.
//!
//! Invariant: `confirmed ≤ durable`. A keepalive's position counts only once the log holds it (as a transaction's end or as
//! progress without changes); confirming it from the message alone is how others lost transactions that
//! were still on their way to disk.

use std::time::{Duration, Instant};

use crate::event::Lsn;

/// The state of the conversation about progress.
#[derive(Clone, Debug)]
pub struct Feedback {
    received: Lsn,
    durable: Lsn,
    confirmed: Lsn,
    last_sent: Instant,
    reply_wanted: bool,
    question: bool,
}

/// A `Standby status update` to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Written: what has been received.
    pub received: Lsn,
    /// Flushed and applied: what may be forgotten.
    pub durable: Lsn,
    /// Ask for an answer, to learn that the server is there.
    pub reply_requested: bool,
}

/// A connection on which nothing happens is spoken to this often, and asked to answer: `wal_sender_timeout` may be 0.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);
/// New progress is reported no more often than this, unless the server asks.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

impl Feedback {
    /// A stream that starts at `start`, which the log has.
    #[must_use]
    pub fn new(start: Lsn, now: Instant) -> Self {
        Feedback {
            received: start,
            durable: start,
            confirmed: Lsn::ZERO,
            last_sent: now,
            reply_wanted: true,
            question: false,
        }
    }

    /// The stream has come this far.
    pub fn received(&mut self, lsn: Lsn) {
        self.received = self.received.max(lsn);
    }

    /// The log holds everything before this.
    pub fn durable(&mut self, lsn: Lsn) {
        self.durable = self.durable.max(lsn);
        self.received = self.received.max(lsn);
    }

    /// The server wants to hear at once: it is about to give us up, or to shut down and waiting only for us.
    pub fn reply_requested(&mut self) {
        self.reply_wanted = true;
    }

    /// Ask the server at once how far it is: it answers with a keepalive.
    pub fn ask(&mut self) {
        self.reply_wanted = true;
        self.question = true;
    }

    /// As [`Feedback::ask`], unless something was sent less than `interval` ago.
    pub fn ask_again_after(&mut self, interval: Duration, now: Instant) {
        if now.saturating_duration_since(self.last_sent) >= interval {
            self.ask();
        }
    }

    /// What the server asks is not read for a while: let it hear from us every `interval` all the same.
    pub fn remind_after(&mut self, interval: Duration, now: Instant) {
        self.reply_wanted |= now.saturating_duration_since(self.last_sent) >= interval;
    }

    /// What to send now, if anything.
    pub fn due(&mut self, now: Instant) -> Option<StatusUpdate> {
        let since = now.saturating_duration_since(self.last_sent);
        let idle = since >= IDLE_INTERVAL;
        let progress = self.durable > self.confirmed && since >= PROGRESS_INTERVAL;
        if !(self.reply_wanted || idle || progress) {
            return None;
        }
        self.last_sent = now;
        self.reply_wanted = false;
        self.confirmed = self.durable;
        let reply_requested = idle || std::mem::take(&mut self.question);
        Some(StatusUpdate { received: self.received, durable: self.durable, reply_requested })
    }

    /// When [`Feedback::due`] will next have something to say without anything happening.
    #[must_use]
    pub fn next_due(&self) -> Instant {
        let wait = if self.durable > self.confirmed { PROGRESS_INTERVAL } else { IDLE_INTERVAL };
        self.last_sent + wait
    }

    /// What the server has been told last.
    #[must_use]
    pub fn confirmed(&self) -> Lsn {
        self.confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(n: u64) -> Lsn {
        Lsn::new(n)
    }

    #[test]
    fn a_keepalive_never_confirms_what_is_not_durable() {
        // Others acknowledged a keepalive's position while a transaction before it was not stored yet, and lost it.
        let start = Instant::now();
        let mut feedback = Feedback::new(lsn(10), start);
        feedback.received(lsn(500));
        feedback.reply_requested();
        let update = feedback.due(start).expect("asked for");
        assert_eq!((update.received, update.durable), (lsn(500), lsn(10)));
        feedback.durable(lsn(500));
        assert_eq!(feedback.due(start), None, "not yet, nobody asks");
        let update = feedback.due(start + PROGRESS_INTERVAL).expect("progress");
        assert_eq!(update.durable, lsn(500));
        assert_eq!(feedback.confirmed(), lsn(500));
    }

    #[test]
    fn positions_never_move_back() {
        let start = Instant::now();
        let mut feedback = Feedback::new(lsn(100), start);
        feedback.durable(lsn(90));
        feedback.received(lsn(1));
        let update = feedback.due(start).expect("the first one is due at once");
        assert_eq!((update.received, update.durable), (lsn(100), lsn(100)));
    }

    #[test]
    fn a_server_that_is_not_read_from_hears_of_us_all_the_same() {
        // Assembling a huge transaction takes longer than a short wal_sender_timeout, and its questions wait unread.
        let (start, interval) = (Instant::now(), Duration::from_millis(500));
        let mut feedback = Feedback::new(lsn(1), start);
        assert!(feedback.due(start).is_some());
        feedback.remind_after(interval, start + interval / 2);
        assert_eq!(feedback.due(start + interval / 2), None);
        feedback.remind_after(interval, start + interval);
        assert!(feedback.due(start + interval).is_some());
    }

    #[test]
    fn an_idle_connection_is_asked_whether_it_lives() {
        let start = Instant::now();
        let mut feedback = Feedback::new(lsn(1), start);
        assert!(feedback.due(start).is_some());
        assert_eq!(feedback.due(start + IDLE_INTERVAL / 2), None);
        assert_eq!(feedback.next_due(), start + IDLE_INTERVAL);
        assert!(feedback.due(start + IDLE_INTERVAL).expect("idle").reply_requested);
    }
}
