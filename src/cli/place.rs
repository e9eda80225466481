//! Where in the log to begin: `--from`.

use std::str::FromStr;
use std::time::Duration;

use super::output::Failure;
use crate::config::parse_duration;
use crate::event::{Lsn, Offset, Position, Timestamp};
use crate::log::embedded::ReadOnly;

/// As it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The oldest event that is kept.
    Start,
    /// Behind the newest.
    End,
    /// So many events behind the beginning.
    Offset(Offset),
    /// The first event committed there or after, in the current epoch.
    Lsn(Lsn),
    /// The first event committed then or after.
    Time(Timestamp),
    /// So long ago.
    Ago(Duration),
}

/// For `--help`.
pub(super) const HELP: &str = "Where to begin: start, end, an offset (42), an LSN (16/B374D848), a time (2026-11-24T10:00:00Z), or how long \
ago (10m)";

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" => return Ok(Place::Start),
            "end" => return Ok(Place::End),
            _ => {}
        }
        if let Ok(offset) = text.parse() {
            return Ok(Place::Offset(Offset(offset)));
        }
        if let Ok(lsn) = text.parse() {
            return Ok(Place::Lsn(lsn));
        }
        if let Some(duration) = parse_duration(text) {
            return Ok(Place::Ago(duration));
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Place::Time(Timestamp::from_unix_micros(time.as_microsecond()))),
            Err(_) => Err("write start, end, 42, 16/B374D848, 2026-11-24T10:00:00Z or 10m".to_owned()),
        }
    }
}

impl Place {
    /// The offset in this log.
    pub(super) fn offset(self, log: &ReadOnly) -> Result<Offset, Failure> {
        Ok(match self {
            Place::Start => log.start(),
            Place::End => log.end().offset,
            Place::Offset(offset) => offset,
            Place::Lsn(commit_lsn) => {
                let Some(last) = log.end().position else { return Ok(log.start()) };
                log.offset_of_position(Position { epoch: last.epoch, commit_lsn, ordinal: 0 })?
            }
            Place::Time(time) => log.offset_at_time(time)?,
            Place::Ago(duration) => {
                let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
                let now = Timestamp::now().unix_micros();
                log.offset_at_time(Timestamp::from_unix_micros(now.saturating_sub(micros)))?
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_place_is_told_from_the_others() {
        let cases = [
            ("start", Place::Start),
            ("end", Place::End),
            ("42", Place::Offset(Offset(42))),
            ("0/2A", Place::Lsn(Lsn::new(42))),
            ("10m", Place::Ago(Duration::from_secs(600))),
            ("1970-01-01T00:00:01Z", Place::Time(Timestamp::from_unix_micros(1_000_000))),
            ("1970-01-01T01:00:01+01:00", Place::Time(Timestamp::from_unix_micros(1_000_000))),
        ];
        for (text, place) in cases {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
        for text in ["", "-1", "yesterday", "2026-11-24", "1/2/3"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
