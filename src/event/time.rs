//! Points in time as PostgreSQL sends them.

use std::fmt;

/// Microseconds since the Unix epoch, UTC. PostgreSQL counts from 2000-01-01; [`Timestamp::from_postgres`] converts.
///
/// Commit times may run backwards when a clock is stepped; nothing but lag and look-up by time depends on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 2000-01-01T00:00:00Z in Unix seconds (PostgreSQL's `POSTGRES_EPOCH_JDATE`).
const POSTGRES_EPOCH_UNIX_SECONDS: i64 = 946_684_800;

impl Timestamp {
    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// From microseconds since 2000-01-01, as the replication protocol has them.
    #[must_use]
    pub const fn from_postgres(micros: i64) -> Self {
        Timestamp(micros.saturating_add(POSTGRES_EPOCH_UNIX_SECONDS * 1_000_000))
    }

    /// Microseconds since 2000-01-01, as the replication protocol wants them.
    #[must_use]
    pub const fn to_postgres(self) -> i64 {
        self.0.saturating_sub(POSTGRES_EPOCH_UNIX_SECONDS * 1_000_000)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// The bridge's own clock, now.
    #[must_use]
    pub fn now() -> Self {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }

    /// Seconds from here to `later`; never negative, so that a stepped clock cannot make a lag negative.
    #[must_use]
    pub fn seconds_until(self, later: Timestamp) -> f64 {
        let micros = later.0.saturating_sub(self.0).max(0);
        std::time::Duration::from_micros(micros.unsigned_abs()).as_secs_f64()
    }
}

/// RFC 3339 in UTC with microseconds: `2026-11-24T10:00:00.123456Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{} microseconds since 1970", self.0),
        }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_counts_from_2000() {
        let time = Timestamp::from_postgres(1);
        assert_eq!(time.to_string(), "2000-01-01T00:00:00.000001Z");
        assert_eq!(time.to_postgres(), 1);
    }

    #[test]
    fn a_clock_stepped_back_gives_no_negative_lag() {
        let late = Timestamp::from_unix_micros(5_000_000);
        let early = Timestamp::from_unix_micros(2_000_000);
        assert_eq!(late.seconds_until(early).total_cmp(&0.0), std::cmp::Ordering::Equal);
        assert_eq!(early.seconds_until(late).total_cmp(&3.0), std::cmp::Ordering::Equal);
    }
}
