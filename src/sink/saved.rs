//! A checkpoint as JSON, for the targets that keep it in a file of their own.

use serde::{Deserialize, Serialize};

use super::Checkpoint;
use crate::event::{Lsn, Offset, Position, Span, Timestamp};
use crate::log::LogId;

/// `{"log":"…32 hex digits…","offset":7,"epoch":1,"commit_lsn":"0/16B3748","ordinal":0}`. The last three are missing
/// together if there is no event before the offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    log: String,
    offset: Offset,
    /// Microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<i64>,
    #[serde(default, skip_serializing_if = "crate::sink::is_zero")]
    retries: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replay: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ahead: Option<Position>,
    #[serde(flatten)]
    position: Option<SavedPosition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedPosition {
    epoch: u32,
    commit_lsn: Lsn,
    ordinal: u64,
}

impl From<Checkpoint> for Saved {
    fn from(checkpoint: Checkpoint) -> Self {
        let position = checkpoint.position.map(|Position { epoch, commit_lsn, ordinal }| SavedPosition {
            epoch,
            commit_lsn,
            ordinal,
        });
        let time = checkpoint.time.map(Timestamp::unix_micros);
        let Checkpoint { log, offset, retries, replay, ahead, .. } = checkpoint;
        Saved { log: log.to_string(), offset, time, retries, replay, ahead, position }
    }
}

impl Saved {
    /// The checkpoint; `None` if the log's name is not one.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        let log = LogId(u128::from_str_radix(&self.log, 16).ok()?);
        let position =
            self.position.map(|SavedPosition { epoch, commit_lsn, ordinal }| Position { epoch, commit_lsn, ordinal });
        let time = self.time.map(Timestamp::from_unix_micros);
        let Saved { offset, retries, replay, ahead, .. } = *self;
        Some(Checkpoint { log, offset, position, time, retries, replay, ahead })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_as_it_was_saved() {
        let position = Some(Position { epoch: 3, commit_lsn: Lsn::new(0x1_0000_0001), ordinal: u64::MAX });
        let replay = Some(Span { from: Offset(3), until: Offset(u64::MAX) });
        for (position, time, replay) in
            [(None, None, None), (position, Some(Timestamp::from_unix_micros(7)), None), (None, None, replay)]
        {
            let (ahead, retries) = (position, position.map_or(0, |_| 3));
            let fresh = Checkpoint::new(LogId(1 << 127), Offset(u64::MAX));
            let checkpoint = Checkpoint { position, time, retries, replay, ahead, ..fresh };
            let json = serde_json::to_string(&Saved::from(checkpoint)).unwrap();
            let saved: Saved = serde_json::from_str(&json).unwrap();
            assert_eq!(saved.checkpoint(), Some(checkpoint), "{json}");
        }
    }
}
