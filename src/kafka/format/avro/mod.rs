//! Debezium's envelope in Avro (Avro's specification, "Binary Encoding"), in Confluent's wire format.
//!
//! The schema says what stands where, so that a record has nothing but values: integers in zigzag, lengths in front of texts, the
//! number of a union's branch in front of what may be null.

mod read;
mod schema;

use std::sync::Arc;

use self::read::Reader;
pub use self::read::message as decode_message;
pub(super) use self::schema::{of_messages, of_table};
use super::envelope::{self, key_columns};
use super::typed::{self, Meaning, Member, Put, Type};
use super::{Records, Settings, Unit, number, schemas};
use crate::event::Relation;

/// Writes changes of one version of a table.
pub type Encoder = envelope::Encoder<typed::Envelope<Values>>;
/// Reads changes of one version of a table.
pub type Decoder = envelope::Decoder<Reader>;

/// The branches of every union of ours.
const NULL: u8 = 0;
const PRESENT: u8 = 2;

/// An encoder for this version of the table.
#[must_use]
pub fn encoder(relation: &Arc<Relation>, settings: &Settings) -> Encoder {
    let key = key_columns(relation);
    let slot = |index| key.iter().position(|&column| column == index);
    let around = || typed::Around { prefix: vec![PRESENT], null: &[NULL], key_skips: 1 };
    let columns = relation.columns.iter().enumerate();
    let columns = columns.map(|(index, column)| typed::Column::new(column, Type::of(column), slot(index), around()));
    let missing = key.iter().filter_map(|&index| relation.columns.get(index)).map(|column| missing(&Type::of(column)));
    let wire = typed::Envelope::new(settings, &relation.name, missing.collect());
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
    const PREFIX: &'static [u8] = &schemas::PREFIX;

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

    fn decimal(text: &[u8], out: &mut Vec<u8>) {
        number::unscaled(text, |bytes| Values::bytes(bytes, out));
    }

    fn open_element(_: &Type, out: &mut Vec<u8>) -> usize {
        out.push(PRESENT);
        0
    }

    fn close_element(_: usize, _: &mut Vec<u8>) {}

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

    #[inline]
    fn open(member: Member, out: &mut Vec<u8>) -> usize {
        put_branch(member, out);
        0
    }

    #[inline]
    fn close(_: usize, _: &mut Vec<u8>) -> usize {
        0
    }

    #[inline]
    fn integer_member(member: Member, out: &mut Vec<u8>) {
        put_branch(member, out);
    }

    #[inline]
    fn bytes_member(member: Member, out: &mut Vec<u8>) {
        put_branch(member, out);
    }

    #[inline]
    fn null_member(out: &mut Vec<u8>) {
        out.push(NULL);
    }
}

/// In front of what may be null.
#[inline]
fn put_branch(member: Member, out: &mut Vec<u8>) {
    if member.nullable {
        out.push(PRESENT);
    }
}

/// Adds the record of a logical message, whose key is its prefix.
pub fn message(unit: &mut Unit, ordinal: u64, prefix: &str, content: &[u8], records: &mut Records) {
    typed::message::<Values>(unit, ordinal, prefix, content, records);
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
            Values::decimal(digits.as_bytes(), &mut out);
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
