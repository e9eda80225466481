//! Debezium's envelope in Protobuf (its documentation, "Encoding"), in Confluent's wire format.
//!
//! In front of each field stands its number, in front of each message, text and array its length. What is null is not there. The
//! numbers of the envelope are fixed, those of columns follow from the columns themselves (`field`).

mod field;
mod history;
mod number;
mod read;
mod schema;

use std::sync::Arc;

use self::number::{Wire, put_tag};
use self::read::Reader;
pub use self::read::message as decode_message;
pub use self::schema::File;
pub(super) use self::schema::{of_messages, of_table};
use super::envelope::{self, key_columns};
use super::number::push_varint;
use super::typed::{self, Member, Put, Type};
use super::{Records, Settings, Unit};
use crate::event::Relation;

/// Writes changes of one version of a table.
pub type Encoder = envelope::Encoder<typed::Envelope<Values>>;
/// Reads changes of one version of a table.
pub type Decoder = envelope::Decoder<Reader>;

/// In front of every key and value: a zero, the schema's number, and which message of the schema it is, namely the first.
const PREFIX: [u8; 6] = [0; 6];

/// The only field of an array's element, and of the array.
const VALUE: u32 = 1;

/// An encoder for this version of the table.
#[must_use]
pub fn encoder(relation: &Arc<Relation>, settings: &Settings) -> Encoder {
    let key = key_columns(relation);
    let slot = |index| key.iter().position(|&column| column == index);
    let columns = relation.columns.iter().zip(field::of_table(relation)).enumerate();
    let columns = columns.map(|(index, (column, field))| {
        let (of, mut prefix) = (field::type_of(column), Vec::new());
        put_tag(field.number, wire(&of), &mut prefix);
        typed::Column::new(column, of, slot(index), typed::Around { prefix, null: &[], key_skips: 0 })
    });
    let envelope = typed::Envelope::new(settings, &relation.name, vec![Vec::new(); key.len()]);
    Encoder::with(relation, settings, columns.collect(), envelope)
}

/// A decoder for this version of the table.
#[must_use]
pub fn decoder(relation: &Arc<Relation>) -> Decoder {
    Decoder::with(relation, Reader::new(relation))
}

/// Adds the record of a logical message, whose key is its prefix.
pub fn message(unit: &mut Unit, ordinal: u64, prefix: &str, content: &[u8], records: &mut Records) {
    typed::message::<Values>(unit, ordinal, prefix, content, records);
}

/// How values of a type are written.
fn wire(of: &Type) -> Wire {
    match of {
        Type::Boolean
        | Type::Bit
        | Type::Int
        | Type::Long
        | Type::Date
        | Type::Time
        | Type::Timestamp
        | Type::TimestampTz => Wire::Varint,
        Type::Float => Wire::Four,
        Type::Double => Wire::Eight,
        Type::Decimal { .. } | Type::Money | Type::Text(_) | Type::Bytes | Type::Array(..) => Wire::Bytes,
    }
}

/// How Protobuf writes values.
#[derive(Debug)]
pub struct Values;

impl Put for Values {
    const PREFIX: &'static [u8] = &PREFIX;

    #[inline]
    fn boolean(value: bool, out: &mut Vec<u8>) {
        out.push(u8::from(value));
    }

    /// Of 32 bits too: a negative one is as long as if it had 64.
    #[inline]
    fn integer(value: i64, out: &mut Vec<u8>) {
        push_varint(value.cast_unsigned(), out);
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
        push_varint(value.len() as u64, out);
        out.extend_from_slice(value);
    }

    #[inline]
    fn decimal(text: &[u8], out: &mut Vec<u8>) {
        Values::bytes(text, out);
    }

    fn open_element(element: &Type, out: &mut Vec<u8>) -> usize {
        let opened = open(VALUE, out);
        put_tag(VALUE, wire(element), out);
        opened
    }

    fn close_element(opened: usize, out: &mut Vec<u8>) {
        close(opened, out);
    }

    fn null_element(out: &mut Vec<u8>) {
        close(open(VALUE, out), out);
    }

    fn array(start: usize, _: usize, out: &mut Vec<u8>) {
        out.insert(start, 0);
        close(start.saturating_add(1), out);
    }

    #[inline]
    fn open(member: Member, out: &mut Vec<u8>) -> usize {
        open(member.number, out)
    }

    #[inline]
    fn close(opened: usize, out: &mut Vec<u8>) -> usize {
        close(opened, out)
    }

    #[inline]
    fn integer_member(member: Member, out: &mut Vec<u8>) {
        put_tag(member.number, Wire::Varint, out);
    }

    #[inline]
    fn bytes_member(member: Member, out: &mut Vec<u8>) {
        put_tag(member.number, Wire::Bytes, out);
    }

    #[inline]
    fn null_member(_: &mut Vec<u8>) {}
}

/// Begins a message with room for a length of one byte, which most have. Gives where its content begins.
#[inline]
fn open(number: u32, out: &mut Vec<u8>) -> usize {
    put_tag(number, Wire::Bytes, out);
    out.push(0);
    out.len()
}

/// Fills in the length of what begins there. Gives by how much that had to move.
#[inline]
fn close(opened: usize, out: &mut Vec<u8>) -> usize {
    let end = out.len();
    let length = end.saturating_sub(opened);
    let start = opened.saturating_sub(1);
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out.get_mut(start).into_iter().for_each(|byte| *byte = short);
        return 0;
    }
    // The length is written behind the content, then brought to its place.
    push_varint(length as u64, out);
    let width = out.len().saturating_sub(end);
    let mut head = [0; 10];
    if let (Some(head), Some(written)) = (head.get_mut(..width), out.get(end..)) {
        head.copy_from_slice(written);
    }
    let moved = width.saturating_sub(1);
    out.truncate(end.saturating_add(moved));
    out.copy_within(opened..end, opened.saturating_add(moved));
    if let (Some(place), Some(head)) = (out.get_mut(start..start.saturating_add(width)), head.get(..width)) {
        place.copy_from_slice(head);
    }
    moved
}

#[cfg(test)]
pub(super) mod tests;
