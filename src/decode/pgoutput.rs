//! Parses pgoutput messages of protocol versions 1 to 4.
//!
//! [`parse`] is also the ingest loop's hot path: for a row change it reads one number, walks the tuples once, and
//! copies and allocates nothing. `decode walk` of `make bench` measures it.

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
/// The bytes are not exactly one message. The column counts of tuples are not compared with their relation, which is
/// not known here: see [`Insert::check_columns`].
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

#[cfg(test)]
mod tests {
    use super::super::tuple::OldKind;
    use super::*;
    use crate::event::{Lsn, Timestamp};

    const PLAIN: Context = Context { in_stream: false, parallel: false };
    const STREAM: Context = Context { in_stream: true, parallel: false };
    const PARALLEL: Context = Context { in_stream: false, parallel: true };

    const LSN: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 2];
    const END: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 3];
    const TIME: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 4];
    const LATER: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 5];
    const XID: &[u8] = &[0, 0, 0, 7];
    const OID: &[u8] = &[0, 0, 0x40, 0];

    const fn lsn(low: u64) -> Lsn {
        Lsn::new(1 << 32 | low)
    }

    const fn time(micros: i64) -> Timestamp {
        Timestamp::from_postgres(micros)
    }

    type Case = (Context, Vec<u8>, Message<'static>);

    /// Messages about tables and rows, laid out by hand from the manual, with the context each needs.
    fn row_messages() -> Vec<Case> {
        const ROW: &[u8] = b"\0\x02t\0\0\0\x01an";
        const NEW: &[u8] = b"N\0\x02t\0\0\0\x01an";
        const BOTH: &[u8] = b"K\0\x02t\0\0\0\x01anN\0\x02t\0\0\0\x01an";
        const OLD: &[u8] = b"O\0\x02t\0\0\0\x01an";
        const FIELDS: &[u8] = b"\0t\0i\0\x02\x01id\0\0\0\0\x17\xFF\xFF\xFF\xFF\0n\0\0\0\x06\xA4\0\x0A\0\x06";
        let relation = |xid| {
            Message::Relation(Relation {
                xid,
                oid: 0x4000,
                schema: "pg_catalog",
                table: "t",
                identity: ReplicaIdentity::Index,
                columns: vec![
                    RelationColumn { key: true, name: "id", type_oid: 23, type_modifier: -1 },
                    RelationColumn { key: false, name: "n", type_oid: 1700, type_modifier: 0x000A_0006 },
                ],
            })
        };
        let type_ = |xid, schema| Message::Type(Type { xid, oid: 0x4000, schema, name: "mood" });
        let insert = |xid| Message::Insert(Insert { xid, relation_oid: 0x4000, new: ROW, body: NEW });
        let update = |xid, old, body| Message::Update(Update { xid, relation_oid: 0x4000, old, new: ROW, body });
        let delete = |old, body| Message::Delete(Delete { xid: None, relation_oid: 0x4000, old, body });
        let truncate = |xid| {
            let relation_oids = vec![0x4000, 7];
            Message::Truncate(Truncate { xid, cascade: true, restart_identity: true, relation_oids })
        };
        vec![
            (PLAIN, [b"R", OID, FIELDS].concat(), relation(None)),
            (STREAM, [b"R", XID, OID, FIELDS].concat(), relation(Some(7))),
            (PLAIN, [b"Y", OID, b"s\0mood\0"].concat(), type_(None, "s")),
            (STREAM, [b"Y", XID, OID, b"\0mood\0"].concat(), type_(Some(7), "pg_catalog")),
            (PLAIN, [b"I", OID, NEW].concat(), insert(None)),
            (STREAM, [b"I", XID, OID, NEW].concat(), insert(Some(7))),
            (PLAIN, [b"U", OID, NEW].concat(), update(None, None, NEW)),
            (STREAM, [b"U", XID, OID, BOTH].concat(), update(Some(7), Some((OldKind::Key, ROW)), BOTH)),
            (PLAIN, [b"D", OID, OLD].concat(), delete((OldKind::Full, ROW), OLD)),
            (PLAIN, [b"T\0\0\0\x02\x03", OID, XID].concat(), truncate(None)),
            (STREAM, [b"T", XID, b"\0\0\0\x02\x03", OID, XID].concat(), truncate(Some(7))),
        ]
    }

    /// The other messages: what transactions are made of.
    fn transaction_messages() -> Vec<Case> {
        let (commit_lsn, end_lsn, commit_time, xid, gid) = (lsn(2), lsn(3), time(4), 7, "gid");
        let prepared = Prepared { prepare_lsn: lsn(2), end_lsn, prepare_time: time(4), xid, gid };
        let content = |xid| {
            Message::Message(LogicalMessage { xid, transactional: true, lsn: lsn(2), prefix: "p", content: b"\0c" })
        };
        let begin = Begin { final_lsn: lsn(2), commit_time, xid };
        let commit = Commit { commit_lsn, end_lsn, commit_time };
        let abort = |aborted| Message::StreamAbort(StreamAbort { xid, subtransaction_xid: 0x4000, aborted });
        let commit_prepared = CommitPrepared { commit_lsn, end_lsn, commit_time, xid, gid };
        let rollback_prepared = RollbackPrepared {
            prepare_end_lsn: lsn(2),
            rollback_end_lsn: lsn(3),
            prepare_time: time(4),
            rollback_time: time(5),
            xid,
            gid,
        };
        let stream_commit = StreamCommit { xid, commit_lsn, end_lsn, commit_time };
        let stream_start = StreamStart { xid, first_segment: true };
        vec![
            (PLAIN, [b"B", LSN, TIME, XID].concat(), Message::Begin(begin)),
            (PLAIN, [b"C\0", LSN, END, TIME].concat(), Message::Commit(commit)),
            (PLAIN, [b"O", LSN, b"far\0"].concat(), Message::Origin(Origin { commit_lsn, name: "far" })),
            (PLAIN, [b"M\x01", LSN, b"p\0\0\0\0\x02\0c"].concat(), content(None)),
            (STREAM, [b"M", XID, b"\x01", LSN, b"p\0\0\0\0\x02\0c"].concat(), content(Some(7))),
            (PLAIN, [b"S", XID, b"\x01"].concat(), Message::StreamStart(stream_start)),
            (STREAM, b"E".to_vec(), Message::StreamStop),
            (PLAIN, [b"c", XID, b"\0", LSN, END, TIME].concat(), Message::StreamCommit(stream_commit)),
            (PLAIN, [b"A", XID, OID].concat(), abort(None)),
            (PARALLEL, [b"A", XID, OID, LSN, TIME].concat(), abort(Some((lsn(2), time(4))))),
            (PLAIN, [b"b", LSN, END, TIME, XID, b"gid\0"].concat(), Message::BeginPrepare(prepared)),
            (PLAIN, [b"P\0", LSN, END, TIME, XID, b"gid\0"].concat(), Message::Prepare(prepared)),
            (PLAIN, [b"p\0", LSN, END, TIME, XID, b"gid\0"].concat(), Message::StreamPrepare(prepared)),
            (PLAIN, [b"K\0", LSN, END, TIME, XID, b"gid\0"].concat(), Message::CommitPrepared(commit_prepared)),
            (
                PLAIN,
                [b"r\0", LSN, END, TIME, LATER, XID, b"gid\0"].concat(),
                Message::RollbackPrepared(rollback_prepared),
            ),
        ]
    }

    fn every_message() -> impl Iterator<Item = Case> {
        row_messages().into_iter().chain(transaction_messages())
    }

    #[test]
    fn every_message_is_parsed_as_the_manual_lays_it_out() {
        for (context, bytes, expected) in every_message() {
            assert_eq!(parse(&bytes, context), Ok(expected), "{bytes:?}");
        }
    }

    #[test]
    fn a_message_cut_anywhere_or_with_a_byte_too_many_is_refused() {
        for (context, whole, message) in every_message() {
            for end in 0..whole.len() {
                let error = parse(&whole[..end], context).expect_err("cut short");
                assert!(error.at <= end, "{message:?} cut at {end} blamed byte {}", error.at);
            }
            let error = parse(&[whole.as_slice(), b"x"].concat(), context).expect_err("a byte too many");
            assert_eq!((error.at, error.fault), (whole.len(), Fault::Trailing), "{message:?}");
        }
    }

    /// Counts come from the wire. If they were used to reserve memory, one short message could ask for gigabytes.
    #[test]
    fn a_count_beyond_the_bytes_is_refused() {
        for bytes in [
            [b"R".as_slice(), OID, b"s\0t\0d\xFF\xFF\x01id\0\0\0\0\x17\xFF\xFF\xFF\xFF"].concat(),
            [b"T\xFF\xFF\xFF\xFF\0".as_slice(), OID].concat(),
            [b"M\0".as_slice(), LSN, b"p\0\xFF\xFF\xFF\xFFc"].concat(),
            [b"I".as_slice(), OID, b"N\xFF\xFFnn"].concat(),
        ] {
            let fault = parse(&bytes, PLAIN).expect_err("a false claim").fault;
            assert!(matches!(fault, Fault::Truncated | Fault::Unterminated), "{fault:?}");
        }
    }

    #[test]
    fn an_error_names_the_message_and_the_byte() {
        let bytes = [b"I".as_slice(), OID, b"N\0\x02nz"].concat();
        let error = parse(&bytes, PLAIN).expect_err("an unknown kind");
        assert_eq!(error.to_string(), "Insert is malformed at byte 9: 0x7A is not known here");
        assert_eq!(error.code().as_str(), "source.protocol");
        assert_eq!(parse(b"Z", PLAIN).expect_err("an unknown message").fault, Fault::Unknown(b'Z'));
        assert_eq!(parse(b"", PLAIN).expect_err("no message").fault, Fault::Truncated);
        let bytes = [b"Y".as_slice(), OID, b"s\0m\xFFod\0"].concat();
        assert_eq!(parse(&bytes, PLAIN).expect_err("a bad name").fault, Fault::NotUtf8);
        let bytes = [b"R".as_slice(), OID, b"s\0t\0x\0\0"].concat();
        assert_eq!(parse(&bytes, PLAIN).expect_err("a bad identity").fault, Fault::Unknown(b'x'));
    }

    #[test]
    fn a_row_is_compared_with_its_relation_once_that_is_known() {
        let bytes = [b"U".as_slice(), OID, b"K\0\x01nN\0\x02nn"].concat();
        let Ok(Message::Update(update)) = parse(&bytes, PLAIN) else { panic!("an update") };
        let fault = |columns| update.check_columns(columns).expect_err("another width").fault;
        assert_eq!(fault(1), Fault::Columns { expected: 1, found: 2 });
        assert_eq!(fault(2), Fault::Columns { expected: 2, found: 1 });
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused_without_a_panic(
            letter in proptest::sample::select(b"BCORYIUDTMSEcAbPpKr".to_vec()),
            rest in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
            in_stream: bool,
            parallel: bool,
        ) {
            let bytes = [&[letter], rest.as_slice()].concat();
            if let Err(error) = parse(&bytes, Context { in_stream, parallel }) {
                proptest::prop_assert!(error.at <= bytes.len());
            }
        }
    }
}
