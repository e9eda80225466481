//! Parses pgoutput messages of protocol versions 1 to 4.
//!
//! [`parse`] is also the ingest loop's hot path: for a row change it reads one number, walks the tuples once, and copies
//! and allocates nothing. `decode walk` of `make bench` measures it.

use super::message::{
    Begin, Commit, CommitPrepared, Delete, Insert, LogicalMessage, Message, Origin, Prepared, Relation, RelationColumn,
    RollbackPrepared, StreamAbort, StreamCommit, StreamStart, Truncate, Type, Update,
};
use super::reader::Reader;
use super::tuple;
use super::{DecodeError, Fault};
use crate::event::ReplicaIdentity;

/// What must be known of the stream to parse a message: the bytes alone do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Between `Stream Start` and `Stream Stop`, where changes carry a transaction id.
    pub in_stream: bool,
    /// The stream was started with `streaming 'parallel'`, and `Stream Abort` is long.
    pub parallel: bool,
}

/// Parses one message: the payload of an `XLogData` frame.
///
/// # Errors
/// The bytes are not exactly one message. The column counts of tuples are not compared with their relation, which is not
/// known here: see [`Insert::check_columns`].
pub fn parse(bytes: &[u8], context: Context) -> Result<Message<'_>, DecodeError> {
    let Some((&letter, rest)) = bytes.split_first() else {
        return Err(DecodeError { message: "message", at: 0, fault: Fault::Truncated });
    };
    let fields = |name| Reader::new(name, bytes.len(), rest);
    match letter {
        b'I' => insert(fields("Insert"), context).map(Message::Insert),
        b'U' => update(fields("Update"), context).map(Message::Update),
        b'D' => delete(fields("Delete"), context).map(Message::Delete),
        b'B' => begin(fields("Begin")).map(Message::Begin),
        b'C' => commit(fields("Commit")).map(Message::Commit),
        b'O' => origin(fields("Origin")).map(Message::Origin),
        b'R' => relation(fields("Relation"), context).map(Message::Relation),
        b'Y' => type_(fields("Type"), context).map(Message::Type),
        b'T' => truncate(fields("Truncate"), context).map(Message::Truncate),
        b'M' => logical_message(fields("Message"), context).map(Message::Message),
        b'S' => stream_start(fields("Stream Start")).map(Message::StreamStart),
        b'E' => fields("Stream Stop").end().map(|()| Message::StreamStop),
        b'c' => stream_commit(fields("Stream Commit")).map(Message::StreamCommit),
        b'A' => stream_abort(fields("Stream Abort"), context).map(Message::StreamAbort),
        b'b' => begin_prepare(fields("Begin Prepare")).map(Message::BeginPrepare),
        b'P' => prepare(fields("Prepare")).map(Message::Prepare),
        b'p' => prepare(fields("Stream Prepare")).map(Message::StreamPrepare),
        b'K' => commit_prepared(fields("Commit Prepared")).map(Message::CommitPrepared),
        b'r' => rollback_prepared(fields("Rollback Prepared")).map(Message::RollbackPrepared),
        unknown => Err(DecodeError { message: "message", at: 0, fault: Fault::Unknown(unknown) }),
    }
}

/// The transaction id that stands before the other fields inside a stream block.
#[inline]
fn prefix(fields: &mut Reader<'_>, context: Context) -> Result<Option<u32>, DecodeError> {
    context.in_stream.then(|| fields.u32()).transpose()
}

#[inline]
fn insert<'a>(mut fields: Reader<'a>, context: Context) -> Result<Insert<'a>, DecodeError> {
    let (xid, relation_oid) = (prefix(&mut fields, context)?, fields.u32()?);
    let (at, body) = fields.remainder();
    let new = tuple::insert_body(body).map_err(|error| error.inside("Insert", at))?;
    Ok(Insert { xid, relation_oid, new, body })
}

#[inline]
fn update<'a>(mut fields: Reader<'a>, context: Context) -> Result<Update<'a>, DecodeError> {
    let (xid, relation_oid) = (prefix(&mut fields, context)?, fields.u32()?);
    let (at, body) = fields.remainder();
    let (old, new) = tuple::update_body(body).map_err(|error| error.inside("Update", at))?;
    Ok(Update { xid, relation_oid, old, new, body })
}

#[inline]
fn delete<'a>(mut fields: Reader<'a>, context: Context) -> Result<Delete<'a>, DecodeError> {
    let (xid, relation_oid) = (prefix(&mut fields, context)?, fields.u32()?);
    let (at, body) = fields.remainder();
    let old = tuple::delete_body(body).map_err(|error| error.inside("Delete", at))?;
    Ok(Delete { xid, relation_oid, old, body })
}

fn begin(mut fields: Reader<'_>) -> Result<Begin, DecodeError> {
    let begin = Begin { final_lsn: fields.lsn()?, commit_time: fields.time()?, xid: fields.u32()? };
    fields.end().map(|()| begin)
}

fn commit(mut fields: Reader<'_>) -> Result<Commit, DecodeError> {
    let _unused_flags = fields.u8()?;
    let commit = Commit { commit_lsn: fields.lsn()?, end_lsn: fields.lsn()?, commit_time: fields.time()? };
    fields.end().map(|()| commit)
}

fn origin(mut fields: Reader<'_>) -> Result<Origin<'_>, DecodeError> {
    let origin = Origin { commit_lsn: fields.lsn()?, name: fields.str()? };
    fields.end().map(|()| origin)
}

/// The wire abbreviates `pg_catalog` to an empty string.
fn schema<'a>(fields: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    fields.str().map(|name| if name.is_empty() { "pg_catalog" } else { name })
}

fn relation<'a>(mut fields: Reader<'a>, context: Context) -> Result<Relation<'a>, DecodeError> {
    let xid = prefix(&mut fields, context)?;
    let (oid, schema, table) = (fields.u32()?, schema(&mut fields)?, fields.str()?);
    let letter = fields.u8()?;
    let identity = ReplicaIdentity::from_letter(letter).ok_or_else(|| fields.error(Fault::Unknown(letter)))?;
    // Grows with the columns that are really there, not with the count that is claimed.
    let mut columns = Vec::new();
    for _ in 0..fields.u16()? {
        columns.push(RelationColumn {
            key: fields.u8()? & 1 == 1,
            name: fields.str()?,
            type_oid: fields.u32()?,
            type_modifier: fields.i32()?,
        });
    }
    fields.end().map(|()| Relation { xid, oid, schema, table, identity, columns })
}

fn type_<'a>(mut fields: Reader<'a>, context: Context) -> Result<Type<'a>, DecodeError> {
    let xid = prefix(&mut fields, context)?;
    let type_ = Type { xid, oid: fields.u32()?, schema: schema(&mut fields)?, name: fields.str()? };
    fields.end().map(|()| type_)
}

fn truncate(mut fields: Reader<'_>, context: Context) -> Result<Truncate, DecodeError> {
    let xid = prefix(&mut fields, context)?;
    let (count, options) = (fields.u32()?, fields.u8()?);
    let mut relation_oids = Vec::new();
    for _ in 0..count {
        relation_oids.push(fields.u32()?);
    }
    let (cascade, restart_identity) = (options & 1 != 0, options & 2 != 0);
    fields.end().map(|()| Truncate { xid, cascade, restart_identity, relation_oids })
}

fn logical_message<'a>(mut fields: Reader<'a>, context: Context) -> Result<LogicalMessage<'a>, DecodeError> {
    let message = LogicalMessage {
        xid: prefix(&mut fields, context)?,
        transactional: fields.u8()? & 1 == 1,
        lsn: fields.lsn()?,
        prefix: fields.str()?,
        content: fields.counted()?,
    };
    fields.end().map(|()| message)
}

fn stream_start(mut fields: Reader<'_>) -> Result<StreamStart, DecodeError> {
    let start = StreamStart { xid: fields.u32()?, first_segment: fields.u8()? == 1 };
    fields.end().map(|()| start)
}

fn stream_commit(mut fields: Reader<'_>) -> Result<StreamCommit, DecodeError> {
    let xid = fields.u32()?;
    let _unused_flags = fields.u8()?;
    let commit = StreamCommit { xid, commit_lsn: fields.lsn()?, end_lsn: fields.lsn()?, commit_time: fields.time()? };
    fields.end().map(|()| commit)
}

fn stream_abort(mut fields: Reader<'_>, context: Context) -> Result<StreamAbort, DecodeError> {
    let (xid, subtransaction_xid) = (fields.u32()?, fields.u32()?);
    let aborted = if context.parallel { Some((fields.lsn()?, fields.time()?)) } else { None };
    fields.end().map(|()| StreamAbort { xid, subtransaction_xid, aborted })
}

fn begin_prepare(mut fields: Reader<'_>) -> Result<Prepared<'_>, DecodeError> {
    let prepared = Prepared {
        prepare_lsn: fields.lsn()?,
        end_lsn: fields.lsn()?,
        prepare_time: fields.time()?,
        xid: fields.u32()?,
        gid: fields.str()?,
    };
    fields.end().map(|()| prepared)
}

/// As `Begin Prepare`, with flags before.
fn prepare(mut fields: Reader<'_>) -> Result<Prepared<'_>, DecodeError> {
    let _unused_flags = fields.u8()?;
    begin_prepare(fields)
}

fn commit_prepared(mut fields: Reader<'_>) -> Result<CommitPrepared<'_>, DecodeError> {
    let _unused_flags = fields.u8()?;
    let commit = CommitPrepared {
        commit_lsn: fields.lsn()?,
        end_lsn: fields.lsn()?,
        commit_time: fields.time()?,
        xid: fields.u32()?,
        gid: fields.str()?,
    };
    fields.end().map(|()| commit)
}

fn rollback_prepared(mut fields: Reader<'_>) -> Result<RollbackPrepared<'_>, DecodeError> {
    let _unused_flags = fields.u8()?;
    let rollback = RollbackPrepared {
        prepare_end_lsn: fields.lsn()?,
        rollback_end_lsn: fields.lsn()?,
        prepare_time: fields.time()?,
        rollback_time: fields.time()?,
        xid: fields.u32()?,
        gid: fields.str()?,
    };
    fields.end().map(|()| rollback)
}
