//! A place in a log as people name it.

use std::fmt;
use std::str::FromStr;

use super::{Lsn, Offset, Timestamp};

/// Where in a log to begin. The first event there is meant, and what belongs to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The oldest event that is kept.
    Start,
    /// So many events behind the log's beginning.
    Offset(Offset),
    /// The first event committed there or after, in the current epoch.
    Lsn(Lsn),
    /// The first event committed then or after.
    Time(Timestamp),
}

/// A text that names no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write start, 42, 16/B374D848 or 2026-11-24T10:00:00Z")]
pub struct ParsePlaceError;

impl FromStr for Place {
    type Err = ParsePlaceError;

    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        if text == "start" {
            return Ok(Place::Start);
        }
        if let Ok(offset) = text.parse() {
            return Ok(Place::Offset(Offset(offset)));
        }
        if let Ok(lsn) = text.parse() {
            return Ok(Place::Lsn(lsn));
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| ParsePlaceError)?;
        Ok(Place::Time(Timestamp::from_unix_micros(time.as_microsecond())))
    }
}

/// As it is read.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Start => f.write_str("start"),
            Place::Offset(offset) => offset.fmt(f),
            Place::Lsn(lsn) => lsn.fmt(f),
            Place::Time(time) => time.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_place_is_told_from_the_others_and_written_as_it_is_read() {
        let cases = [
            ("start", Place::Start),
            ("42", Place::Offset(Offset(42))),
            ("0/2A", Place::Lsn(Lsn::new(42))),
            ("1970-01-01T00:00:01Z", Place::Time(Timestamp::from_unix_micros(1_000_000))),
            ("1970-01-01T01:00:01+01:00", Place::Time(Timestamp::from_unix_micros(1_000_000))),
        ];
        for (text, place) in cases {
            assert_eq!(text.parse(), Ok(place), "{text}");
            assert_eq!(place.to_string().parse(), Ok(place), "{place}");
        }
        for text in ["", "-1", "yesterday", "2026-11-24", "1/2/3", "end"] {
            assert_eq!(text.parse::<Place>(), Err(ParsePlaceError), "{text}");
        }
    }
}
