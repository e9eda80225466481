//! The envelope of Debezium's PostgreSQL connector with its default settings, as its JSON converter writes it without schemas:
//! `{"before":…,"after":…,"source":{…},"transaction":…,"op":"u","ts_ms":…}`.
//!
//! What it looks like was learnt from the connector's documentation and from what it writes for the same changes; a test
//! compares the two. `docs/kafka.md` says where this differs, and why.

mod array;
mod cell;
mod decode;
mod geometry;
mod read;
mod value;

use std::sync::Arc;

use self::cell::Column as Prepared;
use self::decode::Reader;
pub use self::decode::message as decode_message;
use super::envelope::{self, Place, Wire, key_columns};
use super::kind::Kind;
use super::{Format, Records, Settings, Unit};
use crate::decode::json;
use crate::event::{Column, Relation};

/// Writes changes of one version of a table.
pub type Encoder = envelope::Encoder<Json>;
/// Reads changes of one version of a table.
pub type Decoder = envelope::Decoder<Reader>;

/// An envelope in JSON.
#[derive(Debug)]
pub struct Json {
    /// The names of the key's columns as members begin: `{"id":`.
    key: Vec<Vec<u8>>,
    /// `"schema":"public","table":"t"`
    table: Vec<u8>,
}

/// An encoder for this version of the table.
#[must_use]
pub fn encoder(relation: &Arc<Relation>, settings: &Settings) -> Encoder {
    let key = key_columns(relation);
    let slot = |index| key.iter().position(|&column| column == index);
    let columns = relation.columns.iter().enumerate();
    let columns =
        columns.map(|(index, column)| Prepared::new(column, kind(column, settings.format), index, slot(index)));
    let columns = columns.collect();
    let name = |index: &usize| relation.columns.get(*index).map_or("", |column| column.name.as_str());
    let mut table = b"\"schema\":".to_vec();
    json::write_string(relation.name.schema.as_bytes(), &mut table);
    table.extend_from_slice(b",\"table\":");
    json::write_string(relation.name.table.as_bytes(), &mut table);
    let key = key.iter().enumerate().map(|(place, column)| member(name(column), place)).collect();
    Encoder::with(relation, settings, columns, Json { key, table })
}

/// A decoder for this version of the table.
#[must_use]
pub fn decoder(relation: &Arc<Relation>, format: Format) -> Decoder {
    Decoder::with(relation, Reader::new(relation, format))
}

impl Wire for Json {
    type Column = Prepared;

    #[inline]
    fn open(&self, out: &mut Records) {
        out.bytes.push(b'{');
    }

    #[inline]
    fn no_row(&self, place: Place, out: &mut Records) {
        out.bytes.extend_from_slice(match place {
            Place::Before => b"\"before\":null,".as_slice(),
            Place::After => b"\"after\":null",
        });
    }

    #[inline]
    fn open_row(&self, place: Place, out: &mut Records) -> usize {
        out.bytes.extend_from_slice(match place {
            Place::Before => b"\"before\":{".as_slice(),
            Place::After => b"\"after\":{",
        });
        usize::from(place == Place::Before)
    }

    #[inline]
    fn close_row(&self, more: usize, out: &mut Records) {
        out.bytes.extend_from_slice(if more > 0 { b"},".as_slice() } else { b"}" });
    }

    #[inline]
    fn close(&self, unit: &Unit, ordinal: u64, op: u8, out: &mut Records) {
        unit.finish(ordinal, op, &self.table, out);
    }

    fn key(&self, out: &mut Records) {
        for (member, place) in self.key.iter().zip(0_usize..) {
            out.bytes.extend_from_slice(member);
            match out.key.get(place).cloned().filter(|range| !range.is_empty()) {
                Some(range) => out.bytes.extend_from_within(range),
                None => out.bytes.extend_from_slice(b"null"),
            }
        }
        out.bytes.push(b'}');
    }
}

/// What a column's values are in this format.
fn kind(column: &Column, format: Format) -> Kind {
    let kind = Kind::of(column);
    if format == Format::DebeziumPlain { kind.in_digits() } else { kind }
}

/// A member's name with what stands before it: `{"id":` or `,"id":`.
fn member(name: &str, place: usize) -> Vec<u8> {
    let mut out = vec![if place == 0 { b'{' } else { b',' }];
    json::write_string(name.as_bytes(), &mut out);
    out.push(b':');
    out
}
