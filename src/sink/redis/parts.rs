//! Checkpoints of parts, for a sink that several processes share: JSON text under `walbridge:SINK:TOPIC/PARTITION:checkpoint`.
//!
//! Each names its owner, a number that a process draws when it claims the part. Claiming writes the key; so whatever the owner before has open
//! or begins does nothing, however late it comes. The sink's own checkpoint says that it is shared, and from where parts go on that have no
//! checkpoint yet: so a process that does not share stops, and a sink can be shared that was not before.

use redis::Pipeline;
use serde::{Deserialize, Serialize};

use super::Target;
use super::connect::Connection;
use super::fence::{Fence, Text, read};
use super::{checkpoint, error};
use crate::event::{Offset, Timestamp};
use crate::log::LogId;
use crate::log::share::{Part, Reached};
use crate::sink::{Checkpoint, Claim, SinkError};

/// How often a claim is tried again while others claim at the same moment.
const TRIES: u32 = 100;

/// What is ours.
#[derive(Debug)]
pub(super) struct Owned {
    /// In the order of the fence's keys.
    parts: Vec<Part>,
    log: LogId,
    owner: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    log: String,
    offset: Offset,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<i64>,
    /// Microseconds since 1970.
    time: i64,
    spread: i32,
    owner: String,
}

fn encode(log: LogId, reached: Reached, owner: u64) -> Vec<u8> {
    let stored = Stored {
        log: log.to_string(),
        offset: reached.offset,
        place: reached.place,
        time: reached.time.unix_micros(),
        spread: reached.spread,
        owner: format!("{owner:016x}"),
    };
    // Strings and numbers always have a JSON form.
    serde_json::to_vec(&stored).unwrap_or_default()
}

/// What a part's checkpoint says, and the number of its owner.
fn decode(text: &[u8]) -> Option<(LogId, Reached, u64)> {
    let stored: Stored = serde_json::from_slice(text).ok()?;
    let log = LogId(u128::from_str_radix(&stored.log, 16).ok()?);
    let time = Timestamp::from_unix_micros(stored.time);
    let reached = Reached { offset: stored.offset, place: stored.place, time, spread: stored.spread };
    Some((log, reached, u64::from_str_radix(&stored.owner, 16).ok()?))
}

fn parse(target: &Target, part: &Part, text: &Text) -> Result<Option<(LogId, Reached, u64)>, SinkError> {
    let Some(text) = text else { return Ok(None) };
    let found = decode(text).ok_or_else(|| SinkError::Unusable {
        target: target.address.shown().to_owned(),
        detail: format!("the checkpoint of {part} is none"),
        remedy: format!("Remove the keys walbridge:{}:* to fill the sink anew", target.own.name),
    })?;
    Ok(Some(found))
}

/// Makes the parts ours: from here on nobody else's transaction on them counts.
pub(super) async fn claim(
    target: &Target,
    connection: &mut Connection,
    log: LogId,
    parts: &[Part],
) -> Result<(Fence, Owned, Vec<Claim>), SinkError> {
    let owner = rand::random();
    for _ in 0..TRIES {
        if let Some((fence, claims)) = try_claim(target, connection, log, parts, owner).await? {
            return Ok((fence, Owned { parts: parts.to_vec(), log, owner }, claims));
        }
    }
    let detail = "its checkpoints are being claimed over and over by others".to_owned();
    Err(SinkError::Unavailable { target: target.address.shown().to_owned(), detail })
}

/// `None`: somebody was faster.
async fn try_claim(
    target: &Target,
    connection: &mut Connection,
    log: LogId,
    parts: &[Part],
    owner: u64,
) -> Result<Option<(Fence, Vec<Claim>)>, SinkError> {
    let shown = target.address.shown();
    let keys = parts.iter().map(|part| target.own.part(part)).chain([target.own.checkpoint.clone()]);
    let all = Fence::around(keys.collect());
    let mut pipeline = Pipeline::new();
    all.add_watch(&mut pipeline);
    let found = all.read_watch(shown, connection.ask(&pipeline).await?)?;
    let base = found.last().cloned().flatten();
    let base = base.map(|text| checkpoint::read(target, &text)).transpose()?;
    let is_shared = base.as_ref().is_some_and(|base| base.shared);
    let new = Checkpoint { time: Some(Timestamp::now()), ..Checkpoint::new(log, Offset(0)) };
    let base = base.map_or(new, |base| base.checkpoint);
    let mut claims = Vec::with_capacity(parts.len());
    for (part, text) in parts.iter().zip(&found) {
        let time = base.time.unwrap_or(Timestamp::from_unix_micros(0));
        let fresh = || Reached { offset: base.offset, place: None, time, spread: 0 };
        let found = parse(target, part, text)?;
        claims.push(found.map_or_else(
            || Claim { log: base.log, reached: fresh(), is_new: true },
            |(log, reached, _)| Claim { log, reached, is_new: false },
        ));
    }
    // Of another log nothing is touched: whoever asked will say so.
    if base.log != log || claims.iter().any(|claim| claim.log != log) {
        return Ok(Some((all, claims)));
    }
    let texts: Vec<Vec<u8>> = claims.iter().map(|claim| encode(log, claim.reached, owner)).collect();
    let mut pipeline = Pipeline::new();
    pipeline.cmd("MULTI");
    for (part, text) in parts.iter().zip(&texts) {
        pipeline.cmd("SET").arg(target.own.part(part)).arg(text);
    }
    if !is_shared {
        let text = checkpoint::encode(&base, true);
        pipeline.cmd("SET").arg(&target.own.checkpoint).arg(text);
    }
    let exec_at = pipeline.len();
    pipeline.cmd("EXEC");
    let mut fence = Fence::around(parts.iter().map(|part| target.own.part(part)).collect());
    fence.add_watch(&mut pipeline);
    let mut replies = connection.ask(&pipeline).await?;
    let mut tail = replies.split_off(exec_at);
    for reply in replies {
        reply.accepted(shown, "SET")?;
    }
    let watched = tail.split_off(1);
    let executed = tail.pop().ok_or_else(|| error::strange(shown, "EXEC"))?.accepted(shown, "EXEC")?;
    let texts: Vec<Text> = texts.into_iter().map(Some).collect();
    if executed == super::reply::Reply::Nil || fence.read_watch(shown, watched)? != texts {
        return Ok(None);
    }
    fence.leave(texts);
    Ok(Some((fence, claims)))
}

impl Owned {
    /// What is to be written under the fence's keys, by their numbers.
    pub(super) fn writes(&self, upto: &[(Part, Reached)]) -> Vec<(usize, Vec<u8>)> {
        let write = |(part, reached): &(Part, Reached)| {
            let number = self.parts.iter().position(|ours| ours == part)?;
            Some((number, encode(self.log, *reached, self.owner)))
        };
        upto.iter().filter_map(write).collect()
    }

    /// Says what it means that something else was found than was expected.
    pub(super) fn judge(&self, target: &Target, found: &[Text]) -> SinkError {
        for (part, text) in self.parts.iter().zip(found) {
            match parse(target, part, text) {
                Ok(Some((_, _, owner))) if owner == self.owner => {}
                Ok(Some(_)) => {
                    let detail = format!("{part} has been claimed by another walbridge");
                    return SinkError::TakenOver { target: target.address.shown().to_owned(), detail };
                }
                Ok(None) => {
                    let detail = format!("the checkpoint of {part} is gone");
                    return SinkError::Regressed { target: target.address.shown().to_owned(), detail };
                }
                Err(error) => return error,
            }
        }
        let detail = "the checkpoints of its parts are older than we left them".to_owned();
        SinkError::Regressed { target: target.address.shown().to_owned(), detail }
    }
}

/// How far some parts are, whoever has them.
pub(super) async fn reached(
    target: &Target,
    connection: &mut Connection,
    parts: &[Part],
) -> Result<Vec<Option<Reached>>, SinkError> {
    let keys = Fence::around(parts.iter().map(|part| target.own.part(part)).collect());
    let mut pipeline = Pipeline::new();
    keys.add_reads(&mut pipeline);
    let found = read(target.address.shown(), connection.ask(&pipeline).await?.into_iter())?;
    let parsed =
        parts.iter().zip(&found).map(|(part, text)| Ok(parse(target, part, text)?.map(|(_, reached, _)| reached)));
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_as_it_was_written() {
        let time = Timestamp::from_unix_micros(5);
        for place in [None, Some(7)] {
            let reached = Reached { offset: Offset(u64::MAX), place, time, spread: 3 };
            assert_eq!(decode(&encode(LogId(9), reached, u64::MAX)), Some((LogId(9), reached, u64::MAX)));
        }
        let reached = Reached { offset: Offset(4), place: Some(7), time, spread: 3 };
        let expected = r#"{"log":"00000000000000000000000000000009","offset":4,"place":7,"time":5,"spread":3,"owner":"0000000000000001"}"#;
        assert_eq!(String::from_utf8_lossy(&encode(LogId(9), reached, 1)), expected);
        assert_eq!(decode(b"{}"), None);
    }
}
