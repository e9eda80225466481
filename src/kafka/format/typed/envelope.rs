//! Debezium's envelope in a format with types: which members there are, in which order, under which numbers.

use std::ops::Range;

use super::super::envelope::{Place, Wire};
use super::super::unit::MESSAGES;
use super::super::{Records, Settings, Unit};
use super::{Column, Put};
use crate::event::{Op, TableName};

/// A member of a message: its number, for the formats that have such, and whether it may be null.
#[derive(Clone, Copy, Debug)]
pub(in crate::kafka::format) struct Member {
    pub(in crate::kafka::format) number: u32,
    pub(in crate::kafka::format) nullable: bool,
}

const fn required(number: u32) -> Member {
    Member { number, nullable: false }
}

const fn nullable(number: u32) -> Member {
    Member { number, nullable: true }
}

// Of an envelope, and of a message's value as far as they are the same.
const BEFORE: Member = nullable(1);
const AFTER: Member = nullable(2);
const SOURCE: Member = required(3);
const TRANSACTION: Member = nullable(4);
const OP: Member = required(5);
/// `ts_ms`, `ts_us`, `ts_ns`.
const TIMES: [Member; 3] = [nullable(6), nullable(7), nullable(8)];

/// An envelope in a format with types.
#[derive(Debug)]
pub struct Envelope<P> {
    source: Source<P>,
    /// What stands in the key for a value that its type does not have.
    missing: Vec<Vec<u8>>,
}

#[expect(private_bounds, reason = "the ways of writing are the formats' own")]
impl<P: Put> Envelope<P> {
    pub(in crate::kafka::format) fn new(settings: &Settings, table: &TableName, missing: Vec<Vec<u8>>) -> Self {
        Envelope { source: Source::new(settings, &table.schema, &table.table), missing }
    }
}

impl<P: Put> Wire for Envelope<P> {
    type Column = Column<P>;

    #[inline]
    fn open(&self, out: &mut Records) {
        out.bytes.extend_from_slice(P::PREFIX);
    }

    #[inline]
    fn no_row(&self, _: Place, out: &mut Records) {
        P::null_member(&mut out.bytes);
    }

    #[inline]
    fn open_row(&self, place: Place, out: &mut Records) -> usize {
        P::open(if place == Place::Before { BEFORE } else { AFTER }, &mut out.bytes)
    }

    #[inline]
    fn close_row(&self, opened: usize, out: &mut Records) {
        let moved = P::close(opened, &mut out.bytes);
        if moved > 0 {
            // A key's column that only the row before has stays where it is.
            for range in out.key.iter_mut().filter(|range| range.start >= opened) {
                *range = range.start.saturating_add(moved)..range.end.saturating_add(moved);
            }
        }
    }

    #[inline]
    fn close(&self, unit: &Unit, ordinal: u64, op: u8, out: &mut Records) {
        self.source.write(unit, ordinal, op, out);
        put_place::<P>(unit, &mut out.bytes);
        put_text::<P>(OP, &[op], &mut out.bytes);
        let micros = unit.clock.unix_micros();
        for (member, time) in TIMES.into_iter().zip([micros.div_euclid(1000), micros, micros.saturating_mul(1000)]) {
            put_long::<P>(member, time, &mut out.bytes);
        }
    }

    fn key(&self, out: &mut Records) {
        out.bytes.extend_from_slice(P::PREFIX);
        for (place, missing) in self.missing.iter().enumerate() {
            match out.key.get(place).cloned().filter(|range: &Range<usize>| !range.is_empty()) {
                Some(range) => out.bytes.extend_from_within(range),
                None => out.bytes.extend_from_slice(missing),
            }
        }
    }
}

/// `source`, of which most is the same for all changes of a table.
#[derive(Debug)]
struct Source<P> {
    /// `version`, `connector`, `name`.
    head: Vec<u8>,
    database: Vec<u8>,
    /// `schema`, `table`.
    table: Vec<u8>,
    put: std::marker::PhantomData<P>,
}

impl<P: Put> Source<P> {
    fn new(settings: &Settings, schema: &str, table: &str) -> Self {
        let texts = |texts: &[(u32, &str)]| {
            let mut out = Vec::new();
            texts.iter().for_each(|(number, text)| put_text::<P>(required(*number), text.as_bytes(), &mut out));
            out
        };
        Source {
            head: texts(&[(1, env!("CARGO_PKG_VERSION")), (2, "postgresql"), (3, &settings.name)]),
            database: texts(&[(6, &settings.database)]),
            table: texts(&[(10, schema), (11, table)]),
            put: std::marker::PhantomData,
        }
    }

    #[inline]
    fn write(&self, unit: &Unit, ordinal: u64, op: u8, records: &mut Records) {
        let micros = unit.committed.unix_micros();
        let out = &mut records.bytes;
        let opened = P::open(SOURCE, out);
        out.extend_from_slice(&self.head);
        put_long::<P>(required(4), micros.div_euclid(1000), out);
        // Chunks come between transactions, with the stream running: what the connector calls an incremental snapshot.
        put_text::<P>(nullable(5), if op == b'r' { b"incremental".as_slice() } else { b"false" }, out);
        out.extend_from_slice(&self.database);
        records.scratch.clear();
        unit.put_sequence(ordinal, &mut records.scratch);
        put_text::<P>(nullable(7), &records.scratch, out);
        put_long::<P>(nullable(8), micros, out);
        put_long::<P>(nullable(9), micros.saturating_mul(1000), out);
        out.extend_from_slice(&self.table);
        match unit.xid {
            0 => P::null_member(out),
            xid => put_long::<P>(nullable(12), i64::from(xid), out),
        }
        put_long::<P>(nullable(13), unit.commit_lsn.get().cast_signed(), out);
        // `xmin`
        P::null_member(out);
        match &unit.origin {
            None => P::null_member(out),
            Some(origin) => put_text::<P>(nullable(15), origin.as_bytes(), out),
        }
        // `origin_lsn`
        P::null_member(out);
        P::close(opened, out);
    }
}

/// Adds the record of a logical message, whose key is its prefix.
pub(in crate::kafka::format) fn message<P: Put>(
    unit: &mut Unit,
    ordinal: u64,
    prefix: &str,
    content: &[u8],
    records: &mut Records,
) {
    unit.count(MESSAGES);
    let (value, first) = (records.mark(), records.len());
    records.bytes.extend_from_slice(P::PREFIX);
    put_text::<P>(required(1), b"m", &mut records.bytes);
    put_long::<P>(nullable(2), unit.clock.unix_micros().div_euclid(1000), &mut records.bytes);
    Source::<P>::new(&unit.settings, "", "").write(unit, ordinal, b'm', records);
    let out = &mut records.bytes;
    put_place::<P>(unit, out);
    let opened = P::open(required(5), out);
    put_text::<P>(nullable(1), prefix.as_bytes(), out);
    put_text::<P>(nullable(2), content, out);
    P::close(opened, out);
    let value = records.since(value);
    let key = records.mark();
    records.bytes.extend_from_slice(P::PREFIX);
    put_text::<P>(nullable(1), prefix.as_bytes(), &mut records.bytes);
    let key = records.since(key);
    records.push(Some(key), Some(value), []);
    unit.tell(ordinal, Op::Message, prefix, first, records);
}

/// `transaction`
#[inline]
fn put_place<P: Put>(unit: &Unit, out: &mut Vec<u8>) {
    let Some((id, total, of_table)) = unit.place() else { return P::null_member(out) };
    let opened = P::open(TRANSACTION, out);
    put_text::<P>(required(1), id, out);
    put_long::<P>(required(2), total.cast_signed(), out);
    put_long::<P>(required(3), of_table.cast_signed(), out);
    P::close(opened, out);
}

#[inline]
fn put_text<P: Put>(member: Member, text: &[u8], out: &mut Vec<u8>) {
    P::bytes_member(member, out);
    P::bytes(text, out);
}

#[inline]
fn put_long<P: Put>(member: Member, value: i64, out: &mut Vec<u8>) {
    P::integer_member(member, out);
    P::integer(value, out);
}
