//! Records: what stands in a frame after its header.

use super::input::{Input, TooLong, len32, put_bytes32, put_sized, put_string};
use crate::event::{
    Column, Lsn, Offset, Op, Relation, ReplicaIdentity, Scalar, Shape, TableName, Timestamp, Transaction,
};
use crate::log::{Epoch, Storage, TableSnapshot};

const EPOCH: u8 = 1;
const RELATION: u8 = 2;
const BEGIN: u8 = 3;
const RESUME: u8 = 4;
const CHANGE: u8 = 5;
const MESSAGE: u8 = 6;
const SNAPSHOT: u8 = 7;
const COMMIT: u8 = 8;
const PROGRESS: u8 = 9;
const ORIGIN: u8 = 10;
const COPY_BEGUN: u8 = 11;
const COPY_DONE: u8 = 12;
const SNAPSHOT2: u8 = 13;

/// One record. Rows and messages stay slices of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// A new stretch of history.
    Epoch(Epoch),
    /// A relation's version, before its first use in the segment.
    Relation { id: u32, relation: Relation },
    /// Opens a unit.
    Begin(Transaction),
    /// Says in which unit a frame begins, and the ordinal of the next event.
    Resume(Transaction, u64),
    /// A change.
    Change { op: Op, relation: u32, body: &'a [u8] },
    /// A logical message.
    Message { prefix: &'a [u8], content: &'a [u8] },
    /// A table's snapshot progress.
    Snapshot(TableSnapshot),
    /// Closes a unit.
    Commit { end_lsn: Lsn },
    /// The source has nothing for us before this.
    Progress(Lsn),
    /// Where the open unit came to the source from; behind its begin, and behind each resume.
    Origin(&'a str),
    /// A table is copied again.
    CopyBegun { relation: u32 },
    /// It has been, since the event at this offset.
    CopyDone { relation: u32, since: Offset },
}

impl<'a> Record<'a> {
    /// Reads the next record; `None` if the bytes are not one.
    pub(super) fn read(input: &mut Input<'a>) -> Option<Record<'a>> {
        Some(match input.u8()? {
            CHANGE => {
                let op = op_from_letter(input.u8()?)?;
                Record::Change { op, relation: input.u32()?, body: input.bytes32()? }
            }
            BEGIN => Record::Begin(read_transaction(input)?),
            COMMIT => Record::Commit { end_lsn: Lsn::new(input.u64()?) },
            RESUME => Record::Resume(read_transaction(input)?, input.u64()?),
            MESSAGE => {
                let (prefix, content) = (input.len32()?, input.len32()?);
                Record::Message { prefix: input.take(prefix)?, content: input.take(content)? }
            }
            RELATION => {
                let id = input.u32()?;
                let mut body = Input::new(input.bytes32()?);
                let relation = read_relation(&mut body).filter(|_| body.len() == 0)?;
                Record::Relation { id, relation }
            }
            SNAPSHOT | SNAPSHOT2 => Record::Snapshot(read_snapshot(input)?),
            EPOCH => Record::Epoch(read_epoch(input)?),
            PROGRESS => Record::Progress(Lsn::new(input.u64()?)),
            ORIGIN => Record::Origin(input.string()?),
            COPY_BEGUN => Record::CopyBegun { relation: input.u32()? },
            COPY_DONE => Record::CopyDone { relation: input.u32()?, since: Offset(input.u64()?) },
            _ => return None,
        })
    }
}

pub(super) fn put_change(out: &mut Vec<u8>, op: Op, relation: u32, body: &[u8]) -> Result<(), TooLong> {
    out.extend_from_slice(&[CHANGE, op_letter(op)]);
    out.extend_from_slice(&relation.to_le_bytes());
    put_bytes32(out, body)
}

pub(super) fn put_message(out: &mut Vec<u8>, prefix: &str, content: &[u8]) -> Result<(), TooLong> {
    let (prefix_len, content_len) = (len32(prefix.len())?, len32(content.len())?);
    out.push(MESSAGE);
    out.extend_from_slice(&prefix_len.to_le_bytes());
    out.extend_from_slice(&content_len.to_le_bytes());
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(content);
    Ok(())
}

pub(super) fn put_copy_begun(out: &mut Vec<u8>, relation: u32) {
    out.push(COPY_BEGUN);
    out.extend_from_slice(&relation.to_le_bytes());
}

pub(super) fn put_copy_done(out: &mut Vec<u8>, relation: u32, since: Offset) {
    out.push(COPY_DONE);
    out.extend_from_slice(&relation.to_le_bytes());
    out.extend_from_slice(&since.0.to_le_bytes());
}

pub(super) fn put_begin(out: &mut Vec<u8>, transaction: &Transaction) {
    out.push(BEGIN);
    put_transaction(out, transaction);
}

pub(super) fn put_resume(out: &mut Vec<u8>, transaction: &Transaction, ordinal: u64) {
    out.push(RESUME);
    put_transaction(out, transaction);
    out.extend_from_slice(&ordinal.to_le_bytes());
}

pub(super) fn put_commit(out: &mut Vec<u8>, end_lsn: Lsn) {
    out.push(COMMIT);
    out.extend_from_slice(&end_lsn.get().to_le_bytes());
}

pub(super) fn put_origin(out: &mut Vec<u8>, origin: Option<&str>) -> Result<(), TooLong> {
    let Some(origin) = origin else { return Ok(()) };
    out.push(ORIGIN);
    put_string(out, origin)
}

pub(super) fn put_progress(out: &mut Vec<u8>, lsn: Lsn) {
    out.push(PROGRESS);
    out.extend_from_slice(&lsn.get().to_le_bytes());
}

pub(super) fn put_epoch_record(out: &mut Vec<u8>, epoch: &Epoch) -> Result<(), TooLong> {
    out.push(EPOCH);
    put_epoch(out, epoch)
}

pub(super) fn put_snapshot_record(out: &mut Vec<u8>, snapshot: &TableSnapshot) -> Result<(), TooLong> {
    out.push(SNAPSHOT2);
    put_snapshot(out, snapshot)
}

pub(super) fn put_relation(out: &mut Vec<u8>, id: u32, relation: &Relation) -> Result<(), TooLong> {
    out.push(RELATION);
    out.extend_from_slice(&id.to_le_bytes());
    put_sized(out, |out| {
        out.extend_from_slice(&relation.oid.to_le_bytes());
        put_string(out, &relation.name.schema)?;
        put_string(out, &relation.name.table)?;
        out.push(relation.identity as u8);
        put_count(out, relation.columns.len())?;
        for column in &relation.columns {
            put_string(out, &column.name)?;
            out.extend_from_slice(&column.type_oid.to_le_bytes());
            out.extend_from_slice(&column.type_modifier.to_le_bytes());
            out.extend_from_slice(&match column.shape {
                Shape::Scalar(scalar) => [scalar.number(), 0],
                Shape::Array { element, delimiter } => [element.number(), delimiter],
            });
        }
        put_count(out, relation.key.len())?;
        relation.key.iter().try_for_each(|&index| put_count(out, index))
    })
}

fn put_count(out: &mut Vec<u8>, count: usize) -> Result<(), TooLong> {
    out.extend_from_slice(&u16::try_from(count).map_err(|_| TooLong)?.to_le_bytes());
    Ok(())
}

fn read_relation(input: &mut Input<'_>) -> Option<Relation> {
    let oid = input.u32()?;
    let name = TableName { schema: input.string()?.to_owned(), table: input.string()?.to_owned() };
    let identity = ReplicaIdentity::from_letter(input.u8()?)?;
    let columns = (0..input.u16()?).map(|_| read_column(input)).collect::<Option<Vec<_>>>()?;
    let key = (0..input.u16()?)
        .map(|_| input.u16().map(usize::from).filter(|&index| index < columns.len()))
        .collect::<Option<Vec<_>>>()?;
    Some(Relation { oid, name, identity, columns, key })
}

fn read_column(input: &mut Input<'_>) -> Option<Column> {
    let name = input.string()?.to_owned();
    let (type_oid, type_modifier) = (input.u32()?, input.i32()?);
    let element = Scalar::from_number(input.u8()?)?;
    let shape = match input.u8()? {
        0 => Shape::Scalar(element),
        delimiter => Shape::Array { element, delimiter },
    };
    Some(Column { name, type_oid, type_modifier, shape })
}

pub(super) fn put_transaction(out: &mut Vec<u8>, transaction: &Transaction) {
    let Transaction { epoch, xid, commit_lsn, commit_time, first_ordinal, origin: _ } = *transaction;
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&xid.to_le_bytes());
    out.extend_from_slice(&commit_lsn.get().to_le_bytes());
    out.extend_from_slice(&commit_time.unix_micros().to_le_bytes());
    out.extend_from_slice(&first_ordinal.to_le_bytes());
}

pub(super) fn read_transaction(input: &mut Input<'_>) -> Option<Transaction> {
    Some(Transaction {
        epoch: input.u32()?,
        xid: input.u32()?,
        commit_lsn: Lsn::new(input.u64()?),
        commit_time: Timestamp::from_unix_micros(input.i64()?),
        first_ordinal: input.u64()?,
        // A record of its own.
        origin: None,
    })
}

pub(super) fn put_epoch(out: &mut Vec<u8>, epoch: &Epoch) -> Result<(), TooLong> {
    out.extend_from_slice(&epoch.number.to_le_bytes());
    out.extend_from_slice(&epoch.system_identifier.to_le_bytes());
    out.extend_from_slice(&epoch.timeline.to_le_bytes());
    out.extend_from_slice(&epoch.start_lsn.get().to_le_bytes());
    put_string(out, &epoch.slot)
}

pub(super) fn read_epoch(input: &mut Input<'_>) -> Option<Epoch> {
    let (number, system_identifier, timeline) = (input.u32()?, input.u64()?, input.u32()?);
    let start_lsn = Lsn::new(input.u64()?);
    Some(Epoch { number, system_identifier, timeline, slot: input.string()?.to_owned(), start_lsn })
}

/// The first form's fields, then what the second form adds. In the first form a place in the key's order stood where `0` is
/// written here.
pub(super) fn put_snapshot(out: &mut Vec<u8>, snapshot: &TableSnapshot) -> Result<(), TooLong> {
    put_sized(out, |out| {
        out.extend_from_slice(&snapshot.oid.to_le_bytes());
        put_string(out, &snapshot.name.schema)?;
        put_string(out, &snapshot.name.table)?;
        out.extend_from_slice(&snapshot.rows.to_le_bytes());
        out.push(u8::from(snapshot.done));
        out.push(0);
        out.extend_from_slice(&snapshot.generation.to_le_bytes());
        out.extend_from_slice(&snapshot.begun.0.to_le_bytes());
        put_string(out, &snapshot.reason)?;
        out.extend_from_slice(&snapshot.bytes.to_le_bytes());
        out.push(u8::from(snapshot.storage.is_some()));
        if let Some(Storage { fingerprint, end }) = snapshot.storage {
            out.extend_from_slice(&fingerprint.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
        }
        out.extend_from_slice(&len32(snapshot.copied.len())?.to_le_bytes());
        for stretch in &snapshot.copied {
            out.extend_from_slice(&stretch.start.to_le_bytes());
            out.extend_from_slice(&stretch.end.to_le_bytes());
        }
        Ok(())
    })
}

pub(super) fn read_snapshot(input: &mut Input<'_>) -> Option<TableSnapshot> {
    let mut input = Input::new(input.bytes32()?);
    let oid = input.u32()?;
    let name = TableName { schema: input.string()?.to_owned(), table: input.string()?.to_owned() };
    let mut snapshot = TableSnapshot::begin(oid, name, 1, Offset(0), String::new());
    (snapshot.rows, snapshot.done) = (input.u64()?, input.bool()?);
    if input.bool()? {
        input.bytes32()?;
    }
    if input.len() == 0 {
        // The first form: what it says of an unfinished copy is of no use, so that begins anew.
        snapshot.rows = if snapshot.done { snapshot.rows } else { 0 };
        return Some(snapshot);
    }
    (snapshot.generation, snapshot.begun) = (input.u32()?, Offset(input.u64()?));
    input.string()?.clone_into(&mut snapshot.reason);
    snapshot.bytes = input.u64()?;
    if input.bool()? {
        snapshot.storage = Some(Storage { fingerprint: input.u64()?, end: input.u64()? });
    }
    let stretch = |input: &mut Input<'_>| Some(input.u64()?..input.u64()?);
    snapshot.copied = (0..input.u32()?).map(|_| stretch(&mut input)).collect::<Option<_>>()?;
    (input.len() == 0).then_some(snapshot)
}

const fn op_letter(op: Op) -> u8 {
    match op {
        Op::Insert => b'I',
        Op::Update => b'U',
        Op::Delete => b'D',
        Op::Truncate => b'T',
        Op::Read => b'R',
        Op::Message => b'M',
    }
}

const fn op_from_letter(letter: u8) -> Option<Op> {
    Some(match letter {
        b'I' => Op::Insert,
        b'U' => Op::Update,
        b'D' => Op::Delete,
        b'T' => Op::Truncate,
        b'R' => Op::Read,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_progress_of_the_first_form_is_read_and_an_unfinished_copy_begins_anew() {
        let name = TableName { schema: "s".into(), table: "t".into() };
        for (done, rows) in [(true, 9), (false, 0)] {
            let mut old = vec![SNAPSHOT];
            let written = put_sized(&mut old, |out| {
                out.extend_from_slice(&5_u32.to_le_bytes());
                put_string(out, "s")?;
                put_string(out, "t")?;
                out.extend_from_slice(&9_u64.to_le_bytes());
                out.extend_from_slice(&[u8::from(done), 1]);
                put_bytes32(out, b"a key")
            });
            written.expect("short");
            let begun = TableSnapshot::begin(5, name.clone(), 1, Offset(0), String::new());
            let expected = TableSnapshot { rows, done, ..begun };
            assert_eq!(Record::read(&mut Input::new(&old)), Some(Record::Snapshot(expected)));
        }
    }
}
