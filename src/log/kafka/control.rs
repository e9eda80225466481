//! The control topic: what its records are, and what they add up to. Pure.
//!
//! One partition, compacted, so that it stays as small as what it says. Each Kafka transaction of the log ends with a record under
//! [`STATE`], which says what the log holds with that transaction: it becomes true at the moment at which the transaction's
//! records can be read. Values are little-endian; epochs, tables' versions and the progress of copies are written as in the embedded
//! log's records (docs/log-format.md).

use std::collections::BTreeMap;

use crate::event::{Lsn, Offset, Position, Relation, Timestamp, Transaction};
use crate::log::history::History;
use crate::log::input::{Input, TooLong};
use crate::log::record::{
    Record, put_epoch_record, put_relation, put_snapshot_record, put_transaction, read_transaction,
};
use crate::log::{Durable, Epoch, LogId, TableSnapshot};

/// Of what the control topic holds; a newer one is refused.
const FORMAT: u8 = 1;

/// The key of the log's name.
const LOG: &[u8] = b"log";
/// The key of the format's name.
const FORMAT_NAME: &[u8] = b"format";
/// The key of the state.
const STATE: &[u8] = b"state";
const EPOCH: &str = "epoch/";
const RELATION: &str = "relation/";
const SNAPSHOT: &str = "snapshot/";
const TOPIC: &str = "topic/";
/// Of events that are in the topics and count as never written: their number, under the offset of the first.
const VOID: &str = "void/";
/// Of the events that no table's topic takes: the beginnings and ends of copies. Not read by the writer.
const COPY: &str = "copy/";
/// Of a topic's last truncation: its number. The event itself is in the topic's first partition; whoever reads the others is told here.
const TRUNCATE: &str = "truncate/";

/// A record for the control topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ControlRecord {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// Of an event its offset in the log.
    pub(super) event: Option<EventHeaders>,
}

/// What the headers of an event in the control topic say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventHeaders {
    pub(super) offset: Vec<u8>,
    pub(super) position: Vec<u8>,
    pub(super) unit: Vec<u8>,
}

/// The log as of one transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Counts the writers there have been: two never have the same.
    pub(super) writer: u64,
    /// Without its epoch and snapshots, which are records of their own.
    pub(super) history: History,
    /// The unit that is in the log in part.
    pub(super) rest: Option<Rest>,
}

/// A unit whose first events are in the log, and the others not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) transaction: Transaction,
    /// How many are.
    pub(super) events: u64,
    /// Of those, so that the same unit with other events is found out.
    pub(super) digest: u64,
}

impl State {
    fn read(value: &[u8]) -> Option<State> {
        let mut input = Input::new(value.strip_prefix(&[FORMAT])?);
        let input = &mut input;
        let mut state = State { writer: input.u64()?, ..State::default() };
        let closed = &mut state.history.closed;
        (closed.offset, closed.bytes, closed.end_lsn) = (Offset(input.u64()?), input.u64()?, Lsn::new(input.u64()?));
        if input.bool()? {
            let (epoch, commit_lsn, ordinal) = (input.u32()?, Lsn::new(input.u64()?), input.u64()?);
            closed.position = Some(Position { epoch, commit_lsn, ordinal });
        }
        let time = |input: &mut Input<'_>| {
            let there = input.bool()?;
            let micros = input.i64()?;
            Some(there.then(|| Timestamp::from_unix_micros(micros)))
        };
        closed.commit_time = time(input)?;
        state.history.commit_time_max = time(input)?;
        for _ in 0..input.u32()? {
            state.history.copies.insert(input.u32()?, Offset(input.u64()?));
        }
        if input.bool()? {
            let transaction = read_transaction(input)?;
            state.rest = Some(Rest { transaction, events: input.u64()?, digest: input.u64()? });
        }
        (input.len() == 0).then_some(state)
    }
}

/// What the log holds, from the transaction on that ends with this record.
pub(super) fn state_record(writer: u64, history: &History, rest: Option<&Rest>) -> ControlRecord {
    let mut out = vec![FORMAT];
    out.extend_from_slice(&writer.to_le_bytes());
    let Durable { offset, bytes, position, commit_time, end_lsn } = history.closed;
    out.extend_from_slice(&offset.0.to_le_bytes());
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&end_lsn.get().to_le_bytes());
    out.push(u8::from(position.is_some()));
    if let Some(Position { epoch, commit_lsn, ordinal }) = position {
        out.extend_from_slice(&epoch.to_le_bytes());
        out.extend_from_slice(&commit_lsn.get().to_le_bytes());
        out.extend_from_slice(&ordinal.to_le_bytes());
    }
    for time in [commit_time, history.commit_time_max] {
        out.push(u8::from(time.is_some()));
        out.extend_from_slice(&time.map_or(0, Timestamp::unix_micros).to_le_bytes());
    }
    let copies = u32::try_from(history.copies.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&copies.to_le_bytes());
    for (oid, begun) in &history.copies {
        out.extend_from_slice(&oid.to_le_bytes());
        out.extend_from_slice(&begun.0.to_le_bytes());
    }
    out.push(u8::from(rest.is_some()));
    if let Some(rest) = rest {
        put_transaction(&mut out, &rest.transaction);
        out.extend_from_slice(&rest.events.to_le_bytes());
        out.extend_from_slice(&rest.digest.to_le_bytes());
    }
    ControlRecord { key: STATE.to_vec(), value: out, event: None }
}

/// The log's name, for as long as it exists.
pub(super) fn log_record(id: LogId) -> ControlRecord {
    let mut value = vec![FORMAT];
    value.extend_from_slice(&id.0.to_le_bytes());
    ControlRecord { key: LOG.to_vec(), value, event: None }
}

/// What the log's records look like, for as long as it exists.
pub(super) fn format_record(name: &str) -> ControlRecord {
    let value = [&[FORMAT], name.as_bytes()].concat();
    ControlRecord { key: FORMAT_NAME.to_vec(), value, event: None }
}

/// A new stretch of history.
pub(super) fn epoch_record(epoch: &Epoch) -> Result<ControlRecord, TooLong> {
    keyed(format!("{EPOCH}{}", epoch.number), |out| put_epoch_record(out, epoch))
}

/// A version of a table, under the number that the headers of its rows have.
pub(super) fn relation_record(id: u32, relation: &Relation) -> Result<ControlRecord, TooLong> {
    keyed(format!("{RELATION}{id}"), |out| put_relation(out, id, relation))
}

/// A copy's progress.
pub(super) fn snapshot_record(snapshot: &TableSnapshot) -> Result<ControlRecord, TooLong> {
    keyed(format!("{SNAPSHOT}{}", snapshot.oid), |out| put_snapshot_record(out, snapshot))
}

/// Where a topic's partitions end, at least.
pub(super) fn topic_record(name: &str, ends: &[i64]) -> ControlRecord {
    let mut value = vec![FORMAT];
    ends.iter().for_each(|end| value.extend_from_slice(&end.to_le_bytes()));
    ControlRecord { key: format!("{TOPIC}{name}").into_bytes(), value, event: None }
}

/// The events of a unit that will never be whole.
pub(super) fn void_record(from: Offset, events: u64) -> ControlRecord {
    let mut value = vec![FORMAT];
    value.extend_from_slice(&events.to_le_bytes());
    ControlRecord { key: format!("{VOID}{from}").into_bytes(), value, event: None }
}

/// A topic's truncation.
pub(super) fn truncate_record(topic: &str, offset: Offset) -> ControlRecord {
    let value = [&[FORMAT], offset.0.to_le_bytes().as_slice()].concat();
    ControlRecord { key: format!("{TRUNCATE}{topic}").into_bytes(), value, event: None }
}

/// The beginning or end of a table's copy: an event.
pub(super) fn copy_record(offset: Offset, headers: EventHeaders, put: impl FnOnce(&mut Vec<u8>)) -> ControlRecord {
    let mut value = Vec::new();
    put(&mut value);
    ControlRecord { key: format!("{COPY}{offset}").into_bytes(), value, event: Some(headers) }
}

fn keyed(key: String, put: impl FnOnce(&mut Vec<u8>) -> Result<(), TooLong>) -> Result<ControlRecord, TooLong> {
    let mut value = Vec::new();
    put(&mut value)?;
    Ok(ControlRecord { key: key.into_bytes(), value, event: None })
}

/// What the topic adds up to.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// `None` in a new log.
    pub(super) id: Option<LogId>,
    /// What the log's records look like.
    pub(super) format: Option<String>,
    pub(super) state: State,
    pub(super) epochs: BTreeMap<u32, Epoch>,
    pub(super) relations: BTreeMap<u32, Relation>,
    pub(super) snapshots: BTreeMap<u32, TableSnapshot>,
    /// Where each topic's partitions ended when that was last noted.
    pub(super) topics: BTreeMap<String, Vec<i64>>,
}

impl Control {
    /// Takes the next record.
    ///
    /// # Errors
    /// It is not one of ours.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let name = String::from_utf8_lossy(key).into_owned();
        let refuse = || format!("the record under \"{name}\" is none of this version of walbridge");
        match key {
            LOG => {
                let mut input = Input::new(value.strip_prefix(&[FORMAT]).ok_or_else(refuse)?);
                self.id = Some(LogId(input.u128().ok_or_else(refuse)?));
                return Ok(());
            }
            FORMAT_NAME => {
                let name = value.strip_prefix(&[FORMAT]).ok_or_else(refuse)?;
                self.format = Some(String::from_utf8_lossy(name).into_owned());
                return Ok(());
            }
            STATE => {
                self.state = State::read(value).ok_or_else(refuse)?;
                return Ok(());
            }
            _ if [COPY, VOID, TRUNCATE].iter().any(|kind| name.starts_with(kind)) => return Ok(()),
            _ => {}
        }
        if let Some(topic) = name.strip_prefix(TOPIC) {
            let ends = value.strip_prefix(&[FORMAT]).ok_or_else(refuse)?;
            let ends = ends.chunks_exact(8).filter_map(|end| end.try_into().ok().map(i64::from_le_bytes));
            self.topics.insert(topic.to_owned(), ends.collect());
            return Ok(());
        }
        match Record::read(&mut Input::new(value)).ok_or_else(refuse)? {
            Record::Epoch(epoch) => drop(self.epochs.insert(epoch.number, epoch)),
            Record::Relation { id, relation } => drop(self.relations.insert(id, relation)),
            Record::Snapshot(snapshot) => drop(self.snapshots.insert(snapshot.oid, snapshot)),
            _ => return Err(refuse()),
        }
        Ok(())
    }

    /// Whether a record under this key says what the log holds.
    pub(super) fn is_state(key: &[u8]) -> bool {
        key == STATE
    }

    /// The history that all of it tells.
    pub(super) fn history(&self) -> History {
        let mut history = self.state.history.clone();
        history.epoch = self.epochs.values().next_back().cloned();
        history.snapshots.clone_from(&self.snapshots);
        history
    }
}

/// What a reader wants to know of a record besides the state.
#[derive(Debug)]
pub(super) enum Noted<'a> {
    /// A topic that events are in.
    Topic(&'a str),
    /// Events that count as never written.
    Void { from: Offset, events: u64 },
    /// A truncation in this topic.
    Truncate(&'a str, Offset),
    /// A table's version.
    Relation(u32, Relation),
    /// The beginning or end of a copy.
    Copy(Record<'a>),
    /// Nothing of these.
    Other,
}

impl<'a> Noted<'a> {
    /// Reads a record's key and value.
    ///
    /// # Errors
    /// It is not one of ours.
    pub(super) fn read(key: &'a [u8], value: &'a [u8]) -> Result<Self, String> {
        let name = std::str::from_utf8(key).unwrap_or_default();
        let refuse = || format!("the record under \"{name}\" is none of this version of walbridge");
        let record = || Record::read(&mut Input::new(value)).ok_or_else(refuse);
        if let Some(topic) = name.strip_prefix(TOPIC) {
            return Ok(Noted::Topic(topic));
        }
        if let Some(from) = name.strip_prefix(VOID) {
            let events = value.strip_prefix(&[FORMAT]).and_then(|value| Input::new(value).u64());
            let from = from.parse().ok().map(Offset);
            return Ok(Noted::Void { from: from.ok_or_else(refuse)?, events: events.ok_or_else(refuse)? });
        }
        if let Some(topic) = name.strip_prefix(TRUNCATE) {
            let offset = value.strip_prefix(&[FORMAT]).and_then(|value| Input::new(value).u64());
            return Ok(Noted::Truncate(topic, Offset(offset.ok_or_else(refuse)?)));
        }
        if name.starts_with(COPY) {
            return Ok(Noted::Copy(record()?));
        }
        if name.starts_with(RELATION) {
            return match record()? {
                Record::Relation { id, relation } => Ok(Noted::Relation(id, relation)),
                _ => Err(refuse()),
            };
        }
        Ok(Noted::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TableName;

    fn take(control: &mut Control, record: &ControlRecord) {
        control.take(&record.key, &record.value).expect("one of ours");
    }

    #[test]
    fn what_is_written_adds_up_to_what_it_was() {
        let mut state = State { writer: 7, ..State::default() };
        let position = Position { epoch: 2, commit_lsn: Lsn::new(0x100), ordinal: 5 };
        state.history.closed = Durable {
            offset: Offset(42),
            bytes: 1000,
            position: Some(position),
            commit_time: Some(Timestamp::from_unix_micros(-5)),
            end_lsn: Lsn::new(0x110),
        };
        state.history.copies.insert(16_384, Offset(3));
        let transaction = Transaction {
            epoch: 2,
            xid: 9,
            commit_lsn: Lsn::new(0x200),
            commit_time: Timestamp::from_unix_micros(8),
            first_ordinal: 0,
            origin: None,
        };
        state.rest = Some(Rest { transaction, events: 11, digest: 99 });
        let name = TableName { schema: "s".into(), table: "t".into() };
        let snapshot = TableSnapshot::begin(16_384, name, 2, Offset(3), "rewritten".into());
        let epoch = Epoch { number: 2, system_identifier: 1, timeline: 1, slot: "slot".into(), start_lsn: Lsn::new(1) };
        let mut control = Control::default();
        take(&mut control, &log_record(LogId(5)));
        take(&mut control, &epoch_record(&epoch).expect("short"));
        take(&mut control, &snapshot_record(&snapshot).expect("short"));
        take(&mut control, &topic_record("a.b", &[3, 4]));
        take(&mut control, &state_record(1, &History::default(), None));
        take(&mut control, &state_record(state.writer, &state.history, state.rest.as_ref()));
        let history = control.history();
        assert_eq!(control.id, Some(LogId(5)));
        assert_eq!((control.state.writer, control.state.rest), (7, state.rest));
        assert_eq!((history.closed, history.copies), (state.history.closed, state.history.copies));
        assert_eq!((history.epoch, history.snapshots.get(&16_384)), (Some(epoch), Some(&snapshot)));
        assert_eq!(control.topics.get("a.b"), Some(&vec![3, 4]));
    }

    #[test]
    fn what_somebody_else_wrote_is_refused() {
        let mut control = Control::default();
        let mut state = state_record(1, &History::default(), None);
        state.value.push(0);
        assert!(control.take(&state.key, &state.value).is_err());
        assert!(control.take(b"state", b"\x02").is_err());
        assert!(control.take(b"hello", b"world").is_err_and(|why| why.contains("hello")));
    }
}
