//! The checkpoint as Redis keeps it: JSON text under `walbridge:SINK:checkpoint`, so that people can read it too.

use serde::{Deserialize, Serialize};

use crate::event::{Lsn, Offset, Position};
use crate::log::LogId;
use crate::sink::{Checkpoint, SinkError};

/// The keys that are ours and not a document's.
#[derive(Clone, Debug)]
pub(super) struct OwnKeys {
    pub(super) checkpoint: Vec<u8>,
    /// Exists only inside a transaction: counts the parts that have been applied.
    pub(super) guard: Vec<u8>,
}

const PREFIX: &[u8] = b"walbridge:";

impl OwnKeys {
    pub(super) fn new(sink: &str) -> Self {
        let key = |last: &str| format!("walbridge:{sink}:{last}").into_bytes();
        OwnKeys { checkpoint: key("checkpoint"), guard: key("guard") }
    }
}

/// Whether a key is a checkpoint's or a guard's, of any sink: no document may have it and no TRUNCATE may remove it.
pub(super) fn is_reserved(key: &[u8]) -> bool {
    key.starts_with(PREFIX) && (key.ends_with(b":checkpoint") || key.ends_with(b":guard"))
}

#[derive(Serialize, Deserialize)]
struct Stored {
    log: String,
    offset: Offset,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commit_lsn: Option<Lsn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ordinal: Option<u64>,
}

pub(super) fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let position = checkpoint.position;
    let stored = Stored {
        log: checkpoint.log.to_string(),
        offset: checkpoint.offset,
        epoch: position.map(|position| position.epoch),
        commit_lsn: position.map(|position| position.commit_lsn),
        ordinal: position.map(|position| position.ordinal),
    };
    // Strings and numbers always have a JSON form.
    serde_json::to_vec(&stored).unwrap_or_default()
}

/// `None` if this is not a checkpoint.
pub(super) fn decode(text: &[u8]) -> Option<Checkpoint> {
    let stored: Stored = serde_json::from_slice(text).ok()?;
    let log = LogId(u128::from_str_radix(&stored.log, 16).ok()?);
    let position = match (stored.epoch, stored.commit_lsn, stored.ordinal) {
        (Some(epoch), Some(commit_lsn), Some(ordinal)) => Some(Position { epoch, commit_lsn, ordinal }),
        (None, None, None) => None,
        _ => return None,
    };
    Some(Checkpoint { log, offset: stored.offset, position })
}

/// Compares what the target says with what we last wrote or read there.
///
/// # Errors
/// `Regressed` if the target lost something, `Fenced` if somebody else moved it on.
pub(super) fn verify(target: &str, found: Option<Checkpoint>, belief: Option<Checkpoint>) -> Result<(), SinkError> {
    if found == belief {
        return Ok(());
    }
    let show = |checkpoint: Option<Checkpoint>| match checkpoint {
        Some(checkpoint) => format!("offset {} of log {}", checkpoint.offset, checkpoint.log),
        None => "no checkpoint".to_owned(),
    };
    let detail = format!("it has {}, and we left it at {}", show(found), show(belief));
    let target = target.to_owned();
    let moved_on = match (found, belief) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(found), Some(belief)) => found.log != belief.log || found.offset > belief.offset,
    };
    Err(if moved_on { SinkError::Fenced { target, detail } } else { SinkError::Regressed { target, detail } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Checkpoint {
        let position = Position { epoch: 2, commit_lsn: Lsn::new(0x16_B374_D848), ordinal: 7 };
        Checkpoint { log: LogId(0xAB), offset: Offset(offset), position: Some(position) }
    }

    #[test]
    fn a_checkpoint_reads_back_as_it_was_written() {
        let text = encode(&at(5));
        let expected =
            r#"{"log":"000000000000000000000000000000ab","offset":5,"epoch":2,"commit_lsn":"16/B374D848","ordinal":7}"#;
        assert_eq!(String::from_utf8_lossy(&text), expected);
        assert_eq!(decode(&text), Some(at(5)));
        let first = Checkpoint { position: None, ..at(0) };
        assert_eq!(decode(&encode(&first)), Some(first));
        assert_eq!(decode(&encode(&at(u64::MAX))), Some(at(u64::MAX)));
    }

    #[test]
    fn what_is_no_checkpoint_is_not_taken_for_one() {
        for text in
            ["", "5", "{}", r#"{"log":"ab"}"#, r#"{"log":"xy","offset":1}"#, r#"{"log":"ab","offset":1,"epoch":1}"#]
        {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn lost_progress_is_a_regression_and_foreign_progress_a_fence() {
        let ours = Some(at(5));
        assert!(verify("t", ours, ours).is_ok());
        assert!(matches!(verify("t", None, ours), Err(SinkError::Regressed { .. })));
        assert!(matches!(verify("t", Some(at(4)), ours), Err(SinkError::Regressed { .. })));
        assert!(matches!(verify("t", Some(at(6)), ours), Err(SinkError::Fenced { .. })));
        assert!(matches!(verify("t", ours, None), Err(SinkError::Fenced { .. })));
        let foreign = Some(Checkpoint { log: LogId(1), ..at(4) });
        assert!(matches!(verify("t", foreign, ours), Err(SinkError::Fenced { .. })));
    }
}
