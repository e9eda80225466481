//! The time by which retention judges age: the wall clock, unless it jumps.

use std::time::{Duration, Instant};

use crate::event::Timestamp;

/// How far the wall clock may stray from the monotonic one before it is doubted.
const TOLERANCE: Duration = Duration::from_secs(60 * 60);
/// How long a jump must last before it is believed: long enough for an operator, or NTP, to notice.
const PROBATION: Duration = Duration::from_secs(24 * 60 * 60);

/// A wall clock that does not jump. Deleting by a wrong clock cannot be undone; deleting a day late can be borne.
#[derive(Clone, Copy, Debug)]
pub(super) struct SteadyClock {
    wall: Timestamp,
    monotonic: Instant,
}

impl SteadyClock {
    /// Starts from the last time known to be real.
    pub(super) const fn new(wall: Timestamp, monotonic: Instant) -> Self {
        SteadyClock { wall, monotonic }
    }

    /// The time to go by when the wall clock says `wall`.
    pub(super) fn believe(&mut self, wall: Timestamp, monotonic: Instant) -> Timestamp {
        let passed = monotonic.saturating_duration_since(self.monotonic);
        let expected = self.wall.unix_micros().saturating_add(micros(passed));
        let stray = wall.unix_micros().saturating_sub(expected).unsigned_abs();
        if stray <= micros(TOLERANCE).unsigned_abs() || passed >= PROBATION {
            *self = SteadyClock { wall, monotonic };
            return wall;
        }
        Timestamp::from_unix_micros(expected)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const YEAR: i64 = 365 * 24 * 3600 * 1_000_000;

    fn after(wall: Timestamp, passed: Duration) -> Timestamp {
        Timestamp::from_unix_micros(wall.unix_micros() + micros(passed))
    }

    /// A virtual machine resumed with its clock a year ahead must not delete a year of log at once; nor may a clock set
    /// right after having been wrong for long be doubted for ever.
    #[test]
    fn a_jump_of_a_year_is_believed_only_after_a_day() {
        let (start, wall) = (Instant::now(), Timestamp::from_unix_micros(2 * YEAR));
        for jump in [YEAR, -YEAR] {
            let mut clock = SteadyClock::new(wall, start);
            let jumped = |passed| Timestamp::from_unix_micros(after(wall, passed).unix_micros() + jump);
            assert_eq!(clock.believe(jumped(HOUR), start + HOUR), after(wall, HOUR));
            assert_eq!(clock.believe(jumped(23 * HOUR), start + 23 * HOUR), after(wall, 23 * HOUR));
            assert_eq!(clock.believe(jumped(25 * HOUR), start + 25 * HOUR), jumped(25 * HOUR));
        }
    }

    #[test]
    fn a_clock_that_drifts_or_is_set_right_within_the_hour_is_believed() {
        let (start, wall) = (Instant::now(), Timestamp::from_unix_micros(2 * YEAR));
        let mut clock = SteadyClock::new(wall, start);
        let set = after(wall, HOUR + HOUR / 2);
        assert_eq!(clock.believe(set, start + HOUR), set);
    }
}
