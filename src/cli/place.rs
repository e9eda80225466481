//! Where in the log to begin: `--from`.

use std::str::FromStr;
use std::time::Duration;

use super::output::Failure;
use crate::config::parse_duration;
use crate::event::{self, Offset, Timestamp};
use crate::log::embedded::ReadOnly;

/// As it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind the newest event.
    End,
    /// So long ago.
    Ago(Duration),
    /// Anything else.
    At(event::Place),
}

/// For `--help`.
pub(super) const HELP: &str = "Where to begin: start, end, an offset (42), an LSN (16/B374D848), a time (2026-11-24T10:00:00Z), or how long \
ago (10m)";

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "end" {
            return Ok(Place::End);
        }
        if let Ok(place) = text.parse() {
            return Ok(Place::At(place));
        }
        let ago = parse_duration(text).map(Place::Ago);
        ago.ok_or_else(|| "write start, end, 42, 16/B374D848, 2026-11-24T10:00:00Z or 10m".to_owned())
    }
}

impl Place {
    /// The offset in this log.
    pub(super) fn offset(self, log: &ReadOnly) -> Result<Offset, Failure> {
        Ok(match self {
            Place::End => log.end().offset,
            // Just that event, and not what else is of its transaction.
            Place::At(event::Place::Offset(offset)) => offset,
            Place::At(place) => log.find(place)?,
            Place::Ago(duration) => log.find(ago(duration))?,
        })
    }

    /// Where there is something behind it; `None`: the end.
    pub(super) fn before_the_end(self) -> Option<event::Place> {
        match self {
            Place::End => None,
            Place::At(place) => Some(place),
            Place::Ago(duration) => Some(ago(duration)),
        }
    }
}

fn ago(duration: Duration) -> event::Place {
    let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let now = Timestamp::now().unix_micros();
    event::Place::Time(Timestamp::from_unix_micros(now.saturating_sub(micros)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_and_a_time_ago_are_told_from_other_places() {
        let cases = [
            ("end", Place::End),
            ("10m", Place::Ago(Duration::from_secs(600))),
            ("start", Place::At(event::Place::Start)),
            ("42", Place::At(event::Place::Offset(Offset(42)))),
        ];
        for (text, place) in cases {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
        for text in ["", "-1", "yesterday", "2026-11-24", "1/2/3"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
