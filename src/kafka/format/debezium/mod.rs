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

use std::ops::Range;
use std::sync::Arc;

pub use super::unit::Unit;
pub use decode::{Decoder, message as decode_message};

use self::cell::Column;
use super::exact::{self, Side};
use super::{Records, Settings};
use crate::decode::tuple::{self, Old, OldKind};
use crate::decode::{DecodeError, Fault, binary, json};
use crate::event::{Cell, Cells, Op, Relation, ReplicaIdentity};

/// The header of a delete whose row goes on under another key: that key.
pub const NEW_KEY_HEADER: &str = "__debezium.newkey";
/// The header of a create that is an update of the key: the old key.
pub const OLD_KEY_HEADER: &str = "__debezium.oldkey";

/// Writes changes of one version of a table.
#[derive(Debug)]
pub struct Encoder {
    relation: Arc<Relation>,
    columns: Vec<Column>,
    /// The names of the key's columns as members begin: `{"id":`.
    key: Vec<Vec<u8>>,
    /// `"schema":"public","table":"t"`
    table: Vec<u8>,
    /// `public.t`
    name: String,
    tombstones: bool,
}

/// A row being named by its key.
type Key = Option<Range<usize>>;

impl Encoder {
    /// An encoder for this version of the table.
    #[must_use]
    pub fn new(relation: &Arc<Relation>, settings: &Settings) -> Self {
        let key = key_columns(relation);
        let slot = |index| key.iter().position(|&column| column == index);
        let columns = relation.columns.iter().enumerate();
        let columns = columns.map(|(index, column)| Column::new(column, index, slot(index))).collect();
        let name = |index: &usize| relation.columns.get(*index).map_or("", |column| column.name.as_str());
        let mut table = b"\"schema\":".to_vec();
        json::write_string(relation.name.schema.as_bytes(), &mut table);
        table.extend_from_slice(b",\"table\":");
        json::write_string(relation.name.table.as_bytes(), &mut table);
        Encoder {
            relation: Arc::clone(relation),
            columns,
            key: key.iter().enumerate().map(|(place, column)| member(name(column), place)).collect(),
            table,
            name: relation.name.to_string(),
            tombstones: settings.tombstones,
        }
    }

    /// The version of the table.
    #[must_use]
    pub fn relation(&self) -> &Arc<Relation> {
        &self.relation
    }

    /// Adds the records of a change: one, or, for a delete, two, or three for a row that gets another key. `body` as in
    /// [`crate::log::Entry::Change`].
    ///
    /// # Errors
    /// The body is not one of this operation, or its rows are not of this relation.
    pub fn change(
        &self,
        unit: &mut Unit,
        ordinal: u64,
        op: Op,
        body: &[u8],
        out: &mut Records,
    ) -> Result<(), DecodeError> {
        unit.count(&self.name);
        let first = out.len();
        self.records(unit, ordinal, op, body, out)?;
        unit.tell(ordinal, op, &self.name, first, out);
        Ok(())
    }

    fn records(
        &self,
        unit: &mut Unit,
        ordinal: u64,
        op: Op,
        body: &[u8],
        out: &mut Records,
    ) -> Result<(), DecodeError> {
        match op {
            Op::Insert => self.new_row(unit, ordinal, b'c', tuple::insert_body(body)?, out),
            Op::Read => self.new_row(unit, ordinal, b'r', tuple::insert_body(body)?, out),
            Op::Update => {
                let (old, new) = tuple::update_body(body)?;
                match old {
                    Some(old) if self.key_differs(old.1, new) => self.another_key(unit, ordinal, old, new, out),
                    old => self.update(unit, ordinal, old, new, out),
                }
            }
            Op::Delete => self.delete(unit, ordinal, tuple::delete_body(body)?, out),
            Op::Truncate => {
                let value = out.mark();
                out.bytes.extend_from_slice(b"{\"before\":null,\"after\":null,");
                unit.finish(ordinal, b't', &self.table, out);
                let value = out.since(value);
                out.push(None, Some(value), []);
                Ok(())
            }
            Op::Message => Err(DecodeError { message: "Message", at: 0, fault: Fault::NotAChange }),
        }
    }

    fn new_row(&self, unit: &Unit, ordinal: u64, op: u8, new: &[u8], out: &mut Records) -> Result<(), DecodeError> {
        let value = out.mark();
        out.bytes.extend_from_slice(b"{\"before\":null,\"after\":");
        self.row(Side::New, new, out)?;
        unit.finish_row(ordinal, op, &self.table, out);
        let value = out.since(value);
        let key = self.take_key(out);
        out.push(key, Some(value), []);
        Ok(())
    }

    fn update(
        &self,
        unit: &Unit,
        ordinal: u64,
        old: Option<Old<'_>>,
        new: &[u8],
        out: &mut Records,
    ) -> Result<(), DecodeError> {
        let value = out.mark();
        out.bytes.extend_from_slice(b"{\"before\":");
        match old {
            Some((kind, tuple)) => {
                self.tell_kind(kind, out);
                self.row(Side::Old, tuple, out)?;
            }
            None => {
                out.key.clear();
                out.bytes.extend_from_slice(b"null");
            }
        }
        out.bytes.extend_from_slice(b",\"after\":");
        self.row(Side::New, new, out)?;
        unit.finish_row(ordinal, b'u', &self.table, out);
        let value = out.since(value);
        let key = self.take_key(out);
        out.push(key, Some(value), []);
        Ok(())
    }

    fn delete(&self, unit: &Unit, ordinal: u64, old: Old<'_>, out: &mut Records) -> Result<(), DecodeError> {
        self.tell_kind(old.0, out);
        let (key, value) = self.gone(unit, ordinal, old.1, Side::New, out)?;
        out.push(key.clone(), Some(value), []);
        if let Some(key) = key.filter(|_| self.tombstones) {
            out.push(Some(key), None, []);
        }
        Ok(())
    }

    /// Writes a delete's key and value.
    fn gone(
        &self,
        unit: &Unit,
        ordinal: u64,
        old: &[u8],
        side: Side,
        out: &mut Records,
    ) -> Result<(Key, Range<usize>), DecodeError> {
        let value = out.mark();
        out.bytes.extend_from_slice(b"{\"before\":");
        self.row(side, old, out)?;
        out.bytes.extend_from_slice(b",\"after\":null");
        unit.finish_row(ordinal, b'd', &self.table, out);
        let value = out.since(value);
        Ok((self.take_key(out), value))
    }

    /// A delete of the old key with its tombstone, and a create under the new one. The create alone tells our own reader all.
    fn another_key(
        &self,
        unit: &mut Unit,
        ordinal: u64,
        (kind, old): Old<'_>,
        new: &[u8],
        out: &mut Records,
    ) -> Result<(), DecodeError> {
        let (old_key, gone) = self.gone(unit, ordinal, old, Side::Old, out)?;
        out.exact.clear();
        let rendered = binary::to_text(&self.relation, old).map_err(|error| error.inside("Update", 0))?;
        exact::put_old(kind, rendered.as_ref().map_or(old, |row| row.as_bytes()), &mut out.exact);
        let mut told = std::mem::take(&mut out.exact);
        unit.count(&self.name);
        let value = out.mark();
        out.bytes.extend_from_slice(b"{\"before\":null,\"after\":");
        self.row(Side::New, new, out)?;
        unit.finish_row(ordinal, b'c', &self.table, out);
        let value = out.since(value);
        let new_key = self.take_key(out);
        told.append(&mut out.exact);
        let header = |name, key: &Key| key.clone().map(|key| (name, key));
        out.push(old_key.clone(), Some(gone), header(NEW_KEY_HEADER, &new_key));
        if self.tombstones {
            out.push(old_key.clone(), None, header(NEW_KEY_HEADER, &new_key));
        }
        out.exact = told;
        out.push(new_key, Some(value), header(OLD_KEY_HEADER, &old_key));
        Ok(())
    }

    /// The table's replica identity tells what an old row is; where it does not, a header does.
    fn tell_kind(&self, kind: OldKind, out: &mut Records) {
        if kind != expected_kind(&self.relation) {
            exact::put_old(kind, b"", &mut out.exact);
        }
    }

    /// Writes a row as an object, and remembers where the key's columns stand.
    fn row(&self, side: Side, tuple: &[u8], out: &mut Records) -> Result<(), DecodeError> {
        tuple::expect_columns("TupleData", tuple, self.columns.len())?;
        out.key.resize(self.key.len(), 0..0);
        out.bytes.push(b'{');
        for (index, (column, cell)) in self.columns.iter().zip(Cells::of_tuple(tuple)).enumerate() {
            let start = column.write(side, index, cell, out)?;
            // A key that is unchanged TOAST stands in the old row, which was written before.
            if let Some(slot) = column.key_slot().filter(|_| cell != Cell::Unchanged)
                && let Some(range) = out.key.get_mut(slot)
            {
                *range = start..out.bytes.len();
            }
        }
        out.bytes.push(b'}');
        Ok(())
    }

    /// Writes the key of the row that was written last.
    fn take_key(&self, out: &mut Records) -> Key {
        let (first, rest) = self.key.split_first()?;
        let mark = out.mark();
        for (member, place) in std::iter::once(first).chain(rest).zip(0_usize..) {
            out.bytes.extend_from_slice(member);
            match out.key.get(place).cloned().filter(|range| !range.is_empty()) {
                Some(range) => out.bytes.extend_from_within(range),
                None => out.bytes.extend_from_slice(b"null"),
            }
        }
        out.bytes.push(b'}');
        out.key.clear();
        Some(out.since(mark))
    }

    /// Whether a row's key is another than before. Cells of one message have one form.
    fn key_differs(&self, old: &[u8], new: &[u8]) -> bool {
        let cells = self.columns.iter().zip(Cells::of_tuple(old).zip(Cells::of_tuple(new)));
        cells
            .into_iter()
            .any(|(column, (old, new))| column.key_slot().is_some() && new != Cell::Unchanged && old != new)
    }
}

/// What an old row of this table is.
fn expected_kind(relation: &Relation) -> OldKind {
    if relation.identity == ReplicaIdentity::Full { OldKind::Full } else { OldKind::Key }
}

/// The columns that name a row. A whole row is no name: two may be the same.
fn key_columns(relation: &Relation) -> &[usize] {
    let whole_row = relation.identity == ReplicaIdentity::Full && relation.key.len() == relation.columns.len();
    if whole_row { &[] } else { &relation.key }
}

/// A member's name with what stands before it: `{"id":` or `,"id":`.
fn member(name: &str, place: usize) -> Vec<u8> {
    let mut out = vec![if place == 0 { b'{' } else { b',' }];
    json::write_string(name.as_bytes(), &mut out);
    out.push(b':');
    out
}
