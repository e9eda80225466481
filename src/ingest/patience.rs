//! How often an internal error of the server is answered by trying again. Pure.
//!
//! Such an error (class XX of SQLSTATE) is a bug or damage on its side. Some pass: a `TRUNCATE` beside the making of a slot has
//! made PostgreSQL 17 say "could not map filenumber". Some never do, and then going on trying would only hide them.

use crate::event::Lsn;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failures: u32,
    /// How far the log had come at the last one.
    stood_at: Lsn,
}

/// So often in a row, with nothing new in the log in between: with the growing pauses about a minute.
const FAILURES_MAX: u32 = 10;

impl Patience {
    /// Counts a failure with the log at this place. Whether to try again.
    pub(super) fn lasts(&mut self, log_end: Lsn) -> bool {
        if log_end > self.stood_at {
            *self = Patience { failures: 0, stood_at: log_end };
        }
        self.failures += 1;
        self.failures <= FAILURES_MAX
    }

    /// Whether nothing has come of trying yet: then a session that gets as far as the stream is no success.
    pub(super) fn is_tried(&self, log_end: Lsn) -> bool {
        self.failures > 0 && log_end <= self.stood_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_only_where_nothing_comes_of_trying() {
        let mut patience = Patience::default();
        assert!(!patience.is_tried(Lsn::new(5)));
        assert!((0..FAILURES_MAX).all(|_| patience.lasts(Lsn::new(5))));
        assert!(patience.is_tried(Lsn::new(5)) && !patience.is_tried(Lsn::new(6)));
        assert!(patience.lasts(Lsn::new(6)), "the log went on");
        assert!((1..FAILURES_MAX).all(|_| patience.lasts(Lsn::new(6))));
        assert!(!patience.lasts(Lsn::new(6)));
    }
}
