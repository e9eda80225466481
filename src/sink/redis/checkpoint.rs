//! The checkpoint as Redis keeps it: JSON text under `walbridge:SINK:checkpoint`, so that people can read it too.

use serde::{Deserialize, Serialize};

use super::beside::Prefix;
use super::{Target, slot};
use crate::event::{Lsn, Offset, Position, Span, Timestamp};
use crate::log::LogId;
use crate::log::share::Part;
use crate::sink::{Checkpoint, SinkError};

/// The keys that are ours and not a document's.
#[derive(Clone, Debug)]
pub(super) struct OwnKeys {
    /// The sink's name, with its hash tag before it where it has one.
    pub(super) name: String,
    pub(super) checkpoint: Vec<u8>,
    /// Exists only inside a transaction: counts the parts that have been applied.
    pub(super) guard: Vec<u8>,
    /// The same: which part it was that set many values at once.
    pub(super) mark: Vec<u8>,
    /// What tells this target from any other of its name, once something was built beside.
    pub(super) identity: Vec<u8>,
    /// Of what is built beside: the names that are to become what they are there.
    pub(super) plan: Vec<u8>,
    /// The field of a hash that says which of its fields are ours.
    pub(super) field: Vec<u8>,
    /// Before the names of documents.
    pub(super) before: Prefix,
}

const PREFIX: &[u8] = b"walbridge:";
const LAST: [&[u8]; 6] = [b":checkpoint", b":guard", b":mark", b":identity", b":plan", b":slot"];
const BUILT: &str = ":built:";
const KEPT: &str = ":kept:";

impl OwnKeys {
    /// `hash_tag`: what keeps them in one slot of a cluster with the documents.
    pub(super) fn new(sink: &str, hash_tag: Option<&str>) -> Self {
        let name = hash_tag.map_or_else(|| sink.to_owned(), |tag| format!("{{{tag}}}:{sink}"));
        OwnKeys::of(&name, &name, format!("walbridge:{sink}").into_bytes(), Prefix::default())
    }

    /// Of what is built beside.
    pub(super) fn beside(&self) -> Self {
        let before = Prefix::new(format!("walbridge:{}{BUILT}", self.name));
        OwnKeys::of(&self.name, &format!("{}:beside", self.name), self.field.clone(), before)
    }

    fn of(name: &str, place: &str, field: Vec<u8>, before: Prefix) -> Self {
        let key = |last: &str| format!("walbridge:{place}:{last}").into_bytes();
        OwnKeys {
            name: name.to_owned(),
            checkpoint: key("checkpoint"),
            guard: key("guard"),
            mark: key("mark"),
            identity: key("identity"),
            plan: key("plan"),
            field,
            before,
        }
    }

    /// The same names in a slot of a cluster.
    pub(super) fn in_slot(&self, slot: u16) -> Self {
        OwnKeys::new(&self.name, Some(&slot::tag(slot).to_string()))
    }

    /// How far a slot is, in it.
    pub(super) fn version(&self, slot: u16) -> Vec<u8> {
        format!("walbridge:{{{}}}:{}:slot", slot::tag(slot), self.name).into_bytes()
    }

    /// A slot's copy of the checkpoint.
    pub(super) fn copy(&self, slot: u16) -> Vec<u8> {
        format!("walbridge:{{{}}}:{}:checkpoint", slot::tag(slot), self.name).into_bytes()
    }

    /// Of a part of the log, where several processes share the sink.
    pub(super) fn part(&self, part: &Part) -> Vec<u8> {
        format!("walbridge:{}:{part}:checkpoint", self.name).into_bytes()
    }

    /// Before the names of what readers had when the target of this identity took its place.
    pub(super) fn kept(&self, identity: &str) -> Vec<u8> {
        format!("walbridge:{}{KEPT}{identity}:", self.name).into_bytes()
    }

    /// Whether a key is one of ours, of any sink: no document may have it and no TRUNCATE may remove it.
    pub(super) fn is_reserved(&self, key: &[u8]) -> bool {
        let key = self.before.take(key);
        let holds = |part: &str| key.windows(part.len()).any(|window| window == part.as_bytes());
        key.starts_with(PREFIX) && (LAST.iter().any(|last| key.ends_with(last)) || holds(BUILT) || holds(KEPT))
    }
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
    /// Microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<i64>,
    #[serde(default, skip_serializing_if = "crate::sink::is_zero")]
    retries: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replay: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ahead: Option<Position>,
    /// Parts have checkpoints of their own, and this one says only from where on those do that have none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shared: bool,
}

/// What stands under the sink's own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) checkpoint: Checkpoint,
    pub(super) shared: bool,
}

pub(super) fn encode(checkpoint: &Checkpoint, shared: bool) -> Vec<u8> {
    let position = checkpoint.position;
    let stored = Stored {
        log: checkpoint.log.to_string(),
        offset: checkpoint.offset,
        epoch: position.map(|position| position.epoch),
        commit_lsn: position.map(|position| position.commit_lsn),
        ordinal: position.map(|position| position.ordinal),
        time: checkpoint.time.map(Timestamp::unix_micros),
        retries: checkpoint.retries,
        replay: checkpoint.replay,
        ahead: checkpoint.ahead,
        shared,
    };
    // Strings and numbers always have a JSON form.
    serde_json::to_vec(&stored).unwrap_or_default()
}

/// What stands under the sink's own key.
///
/// # Errors
/// It is no checkpoint.
pub(super) fn read(target: &Target, text: &[u8]) -> Result<Found, SinkError> {
    let key = || match target.is_spread {
        false => String::from_utf8_lossy(&target.own.checkpoint).into_owned(),
        true => format!("a walbridge:{{NUMBER}}:{}:checkpoint", target.own.name),
    };
    decode(text).ok_or_else(|| SinkError::Unusable {
        target: target.address.shown().to_owned(),
        detail: format!("what stands under {} is no checkpoint", key()),
        remedy: "Give the sink another name, or remove that key to begin from the start".to_owned(),
    })
}

/// The same for a process that has the sink to itself.
///
/// # Errors
/// It is no checkpoint, or one of a sink that others share.
pub(super) fn read_whole(target: &Target, text: &[u8]) -> Result<Checkpoint, SinkError> {
    match read(target, text)? {
        Found { checkpoint, shared: false } => Ok(checkpoint),
        Found { shared: true, .. } => Err(SinkError::Unusable {
            target: target.address.shown().to_owned(),
            detail: "several walbridges share this sink by partitions".to_owned(),
            remedy: format!(
                "Say share = \"partitions\" here too; or stop all of them and remove the keys walbridge:{}:*, and the sink is filled anew",
                target.own.name
            ),
        }),
    }
}

/// `None` if this is not a checkpoint.
fn decode(text: &[u8]) -> Option<Found> {
    let stored: Stored = serde_json::from_slice(text).ok()?;
    let log = LogId(u128::from_str_radix(&stored.log, 16).ok()?);
    let position = match (stored.epoch, stored.commit_lsn, stored.ordinal) {
        (Some(epoch), Some(commit_lsn), Some(ordinal)) => Some(Position { epoch, commit_lsn, ordinal }),
        (None, None, None) => None,
        _ => return None,
    };
    let time = stored.time.map(Timestamp::from_unix_micros);
    let Stored { offset, retries, replay, ahead, .. } = stored;
    let checkpoint = Checkpoint { log, offset, position, time, retries, replay, ahead };
    Some(Found { checkpoint, shared: stored.shared })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Checkpoint {
        let position = Position { epoch: 2, commit_lsn: Lsn::new(0x16_B374_D848), ordinal: 7 };
        Checkpoint { position: Some(position), ..Checkpoint::new(LogId(0xAB), Offset(offset)) }
    }

    #[test]
    fn a_checkpoint_reads_back_as_it_was_written() {
        let found = |checkpoint| Some(Found { checkpoint, shared: false });
        let text = encode(&at(5), false);
        let expected =
            r#"{"log":"000000000000000000000000000000ab","offset":5,"epoch":2,"commit_lsn":"16/B374D848","ordinal":7}"#;
        assert_eq!(String::from_utf8_lossy(&text), expected);
        assert_eq!(decode(&text), found(at(5)));
        let first = Checkpoint { position: None, time: Some(Timestamp::from_unix_micros(7)), ..at(0) };
        assert_eq!(decode(&encode(&first, false)), found(first));
        let again =
            Checkpoint { replay: Some(Span { from: Offset(3), until: Offset(9) }), ahead: at(5).position, ..first };
        assert_eq!(decode(&encode(&again, false)), found(again));
        assert_eq!(decode(&encode(&at(u64::MAX), false)), found(at(u64::MAX)));
        assert_eq!(decode(&encode(&at(5), true)), Some(Found { checkpoint: at(5), shared: true }));
    }

    #[test]
    fn what_is_no_checkpoint_is_not_taken_for_one() {
        for text in
            ["", "5", "{}", r#"{"log":"ab"}"#, r#"{"log":"xy","offset":1}"#, r#"{"log":"ab","offset":1,"epoch":1}"#]
        {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
