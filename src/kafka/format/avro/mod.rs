//! Debezium's envelope in Avro (Avro's specification, "Binary Encoding"), in Confluent's wire format.
//!
//! The schema says what stands where, so that a record has nothing but values: integers in zigzag, lengths in front of texts, the
//! number of a union's branch in front of what may be null.

mod read;
mod schema;

use std::ops::Range;
use std::sync::Arc;

use self::read::Reader;
pub use self::read::message as decode_message;
pub(super) use self::schema::{of_messages, of_table};
use super::envelope::{self, Place, Wire, key_columns};
use super::typed::{self, Meaning, Put, Type};
use super::unit::MESSAGES;
use super::{Records, Settings, Unit, number, schemas};
use crate::event::{Op, Relation};

/// Writes changes of one version of a table.
pub type Encoder = envelope::Encoder<Avro>;
/// Reads changes of one version of a table.
pub type Decoder = envelope::Decoder<Reader>;

/// The branches of every union of ours.
const NULL: u8 = 0;
const PRESENT: u8 = 2;

/// An envelope in Avro.
#[derive(Debug)]
pub struct Avro {
    source: Source,
    /// What stands in the key for a value that its type does not have.
    missing: Vec<Vec<u8>>,
}

/// An encoder for this version of the table.
#[must_use]
pub fn encoder(relation: &Arc<Relation>, settings: &Settings) -> Encoder {
    let key = key_columns(relation);
    let slot = |index| key.iter().position(|&column| column == index);
    let columns = relation.columns.iter().enumerate();
    let columns = columns.map(|(index, column)| typed::Column::new(column, slot(index), &[PRESENT], &[NULL], 1));
    let missing = key.iter().filter_map(|&index| relation.columns.get(index)).map(|column| missing(&Type::of(column)));
    let wire =
        Avro { source: Source::new(settings, &relation.name.schema, &relation.name.table), missing: missing.collect() };
    Encoder::with(relation, settings, columns.collect(), wire)
}

/// A decoder for this version of the table.
#[must_use]
pub fn decoder(relation: &Arc<Relation>) -> Decoder {
    Decoder::with(relation, Reader::new(relation))
}

/// How Avro writes values.
#[derive(Debug)]
pub struct Values;

impl Put for Values {
    #[inline]
    fn boolean(value: bool, out: &mut Vec<u8>) {
        out.push(u8::from(value));
    }

    #[inline]
    fn integer(value: i64, out: &mut Vec<u8>) {
        put_long(value, out);
    }

    #[inline]
    fn float(value: f32, out: &mut Vec<u8>) {
        out.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn double(value: f64, out: &mut Vec<u8>) {
        out.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn bytes(value: &[u8], out: &mut Vec<u8>) {
        put_long(value.len().cast_signed() as i64, out);
        out.extend_from_slice(value);
    }

    fn element(_: &Type, out: &mut Vec<u8>) {
        out.push(PRESENT);
    }

    fn null_element(out: &mut Vec<u8>) {
        out.push(NULL);
    }

    /// One block with all elements, then the end of the blocks.
    fn array(start: usize, count: usize, out: &mut Vec<u8>) {
        if count > 0 {
            let mut head = Vec::with_capacity(10);
            put_long(count.cast_signed() as i64, &mut head);
            out.splice(start..start, head);
        }
        out.push(0);
    }
}

impl Wire for Avro {
    type Column = typed::Column<Values>;

    #[inline]
    fn open(&self, out: &mut Records) {
        out.bytes.extend_from_slice(&schemas::PREFIX);
    }

    #[inline]
    fn no_row(&self, _: Place, out: &mut Records) {
        out.bytes.push(NULL);
    }

    #[inline]
    fn open_row(&self, _: Place, out: &mut Records) -> usize {
        out.bytes.push(PRESENT);
        0
    }

    fn close_row(&self, _: usize, _: &mut Records) {}

    #[inline]
    fn close(&self, unit: &Unit, ordinal: u64, op: u8, out: &mut Records) {
        self.source.write(unit, ordinal, op, out);
        put_place(unit, &mut out.bytes);
        Values::bytes(&[op], &mut out.bytes);
        let micros = unit.clock.unix_micros();
        for time in [micros.div_euclid(1000), micros, micros.saturating_mul(1000)] {
            out.bytes.push(PRESENT);
            put_long(time, &mut out.bytes);
        }
    }

    fn key(&self, out: &mut Records) {
        out.bytes.extend_from_slice(&schemas::PREFIX);
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
struct Source {
    /// `version`, `connector`, `name`.
    head: Vec<u8>,
    database: Vec<u8>,
    /// `schema`, `table`.
    table: Vec<u8>,
}

impl Source {
    fn new(settings: &Settings, schema: &str, table: &str) -> Self {
        let texts = |texts: &[&str]| {
            let mut out = Vec::new();
            texts.iter().for_each(|text| Values::bytes(text.as_bytes(), &mut out));
            out
        };
        Source {
            head: texts(&[env!("CARGO_PKG_VERSION"), "postgresql", &settings.name]),
            database: texts(&[&settings.database]),
            table: texts(&[schema, table]),
        }
    }

    #[inline]
    fn write(&self, unit: &Unit, ordinal: u64, op: u8, records: &mut Records) {
        let micros = unit.committed.unix_micros();
        let out = &mut records.bytes;
        out.extend_from_slice(&self.head);
        put_long(micros.div_euclid(1000), out);
        out.push(PRESENT);
        // Chunks come between transactions, with the stream running: what the connector calls an incremental snapshot.
        Values::bytes(if op == b'r' { b"incremental".as_slice() } else { b"false" }, out);
        out.extend_from_slice(&self.database);
        records.scratch.clear();
        unit.put_sequence(ordinal, &mut records.scratch);
        out.push(PRESENT);
        Values::bytes(&records.scratch, out);
        for time in [micros, micros.saturating_mul(1000)] {
            out.push(PRESENT);
            put_long(time, out);
        }
        out.extend_from_slice(&self.table);
        if unit.xid == 0 {
            out.push(NULL);
        } else {
            out.push(PRESENT);
            put_long(i64::from(unit.xid), out);
        }
        out.push(PRESENT);
        put_long(unit.commit_lsn.get().cast_signed(), out);
        out.push(NULL);
        match &unit.origin {
            None => out.push(NULL),
            Some(origin) => {
                out.push(PRESENT);
                Values::bytes(origin.as_bytes(), out);
            }
        }
        out.push(NULL);
    }
}

/// Adds the record of a logical message, whose key is its prefix.
pub fn message(unit: &mut Unit, ordinal: u64, prefix: &str, content: &[u8], records: &mut Records) {
    unit.count(MESSAGES);
    let (value, first) = (records.mark(), records.len());
    records.bytes.extend_from_slice(&schemas::PREFIX);
    Values::bytes(b"m", &mut records.bytes);
    records.bytes.push(PRESENT);
    put_long(unit.clock.unix_micros().div_euclid(1000), &mut records.bytes);
    Source::new(&unit.settings, "", "").write(unit, ordinal, b'm', records);
    let out = &mut records.bytes;
    put_place(unit, out);
    for part in [prefix.as_bytes(), content] {
        out.push(PRESENT);
        Values::bytes(part, out);
    }
    let value = records.since(value);
    let key = records.mark();
    records.bytes.extend_from_slice(&schemas::PREFIX);
    records.bytes.push(PRESENT);
    Values::bytes(prefix.as_bytes(), &mut records.bytes);
    let key = records.since(key);
    records.push(Some(key), Some(value), []);
    unit.tell(ordinal, Op::Message, prefix, first, records);
}

/// `transaction`
fn put_place(unit: &Unit, out: &mut Vec<u8>) {
    let Some((id, total, of_table)) = unit.place() else { return out.push(NULL) };
    out.push(PRESENT);
    Values::bytes(id, out);
    for count in [total, of_table] {
        put_long(count.cast_signed(), out);
    }
}

/// What stands in a key where a value has no place in its type: `NaN` as a `numeric(p, s)`, for all else that a key may be is there.
/// It is the number that has one digit more than the type takes, so that no other row has it.
fn missing(of: &Type) -> Vec<u8> {
    let mut out = Vec::new();
    match of {
        Type::Boolean | Type::Bit => Values::boolean(false, &mut out),
        Type::Int | Type::Long | Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz => put_long(0, &mut out),
        Type::Float => Values::float(f32::NAN, &mut out),
        Type::Double => Values::double(f64::NAN, &mut out),
        Type::Decimal { precision, .. } => {
            let digits = format!("1{}", "0".repeat(*precision));
            number::unscaled(digits.as_bytes(), |bytes| Values::bytes(bytes, &mut out));
        }
        Type::Money => Values::bytes(&[0], &mut out),
        Type::Text(Meaning::Uuid) => Values::bytes(b"00000000-0000-0000-0000-000000000000", &mut out),
        Type::Text(_) | Type::Bytes => Values::bytes(b"", &mut out),
        Type::Array(..) => Values::array(0, 0, &mut out),
    }
    out
}

/// A `long`: in zigzag, so that small negative numbers are short too.
#[inline]
fn put_long(value: i64, out: &mut Vec<u8>) {
    number::push_varint((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned(), out);
}

#[cfg(test)]
pub(super) mod tests;
