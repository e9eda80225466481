//! How far one slot is, as JSON text in it: under `walbridge:{TAG}:SINK:slot`, where `{TAG}` is what puts it there.

use serde::{Deserialize, Serialize};

use crate::event::{Lsn, Position};
use crate::log::LogId;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// Whose Positions these are; `None`: nobody knows yet.
    pub(super) log: Option<LogId>,
    /// All up to here is in the slot; `None`: nothing is known to be.
    pub(super) upto: Option<Position>,
    /// Some of what comes behind it, and no more than up to here, may be.
    pub(super) ahead: Option<Position>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upto: Option<At>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ahead: Option<At>,
    /// Who has sent some, and how often: no two texts are the same then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<String>,
}

/// A Position.
#[derive(Serialize, Deserialize)]
struct At {
    epoch: u32,
    commit_lsn: Lsn,
    ordinal: u64,
}

impl From<Position> for At {
    fn from(Position { epoch, commit_lsn, ordinal }: Position) -> At {
        At { epoch, commit_lsn, ordinal }
    }
}

impl From<At> for Position {
    fn from(At { epoch, commit_lsn, ordinal }: At) -> Position {
        Position { epoch, commit_lsn, ordinal }
    }
}

impl Version {
    /// Its text. `open`: what no other writes.
    pub(super) fn encode(self, open: Option<String>) -> Vec<u8> {
        let Version { log, upto, ahead } = self;
        let (upto, ahead) = (upto.map(At::from), ahead.map(At::from));
        let stored = Stored { log: log.map(|log| log.to_string()), upto, ahead, open };
        // Strings and numbers always have a JSON form.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// What a text says; of one that is none of ours, nothing is known.
    pub(super) fn decode(text: &[u8]) -> Version {
        let Ok(Stored { log, upto, ahead, .. }) = serde_json::from_slice(text) else { return Version::default() };
        let log = log.and_then(|log| u128::from_str_radix(&log, 16).ok()).map(LogId);
        Version { log, upto: upto.map(Position::from), ahead: ahead.map(Position::from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_back_as_it_was_written() {
        let at = |ordinal| Some(Position { epoch: 2, commit_lsn: Lsn::new(0x16_B374_D848), ordinal });
        let version = Version { log: Some(LogId(0xAB)), upto: at(7), ahead: None };
        let text = version.encode(None);
        let expected =
            r#"{"log":"000000000000000000000000000000ab","upto":{"epoch":2,"commit_lsn":"16/B374D848","ordinal":7}}"#;
        assert_eq!(String::from_utf8_lossy(&text), expected);
        for version in [version, Version { ahead: at(9), ..version }, Version { ahead: at(9), ..Version::default() }] {
            assert_eq!(Version::decode(&version.encode(Some("1.2".to_owned()))), version);
        }
        assert_eq!(Version::decode(b"somebody else's"), Version::default());
    }
}
