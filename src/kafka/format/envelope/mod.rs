//! Debezium's envelope, whichever way it is written: `before`, `after`, `source`, `op` and the times, in JSON, Avro or Protobuf.
//!
//! One event is one record, but for a delete, behind which a tombstone stands, and for a row that gets another key: a delete and a
//! tombstone of the old key, then a create under the new one. What happens is decided here; a [`Wire`] only writes.

mod decode;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

pub(super) use self::decode::{Decoder, Parts, Reading};
use super::exact::{self, Side};
use super::{Records, Settings, Unit};
use crate::decode::tuple::{self, Old, OldKind};
use crate::decode::{DecodeError, Fault, binary};
use crate::event::{Cell, Cells, Op, Relation, ReplicaIdentity};

/// The header of a delete whose row goes on under another key: that key.
pub(super) const NEW_KEY_HEADER: &str = "__debezium.newkey";
/// The header of a create that is an update of the key: the old key.
pub(super) const OLD_KEY_HEADER: &str = "__debezium.oldkey";

/// What stands for a value that PostgreSQL did not send.
pub(super) const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// Which of an envelope's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Before,
    After,
}

/// How an envelope is written. Everything is appended, in this order: `open`, both rows, `close`.
pub(super) trait Wire: Debug {
    /// A column, prepared.
    type Column: WriteColumn;

    fn open(&self, out: &mut Records);
    fn no_row(&self, place: Place, out: &mut Records);
    /// The columns follow. What it gives, [`Wire::close_row`] gets.
    fn open_row(&self, place: Place, out: &mut Records) -> usize;
    fn close_row(&self, opened: usize, out: &mut Records);
    fn close(&self, unit: &Unit, ordinal: u64, op: u8, out: &mut Records);
    /// Writes the key of the row that was written last: `out.key` says where its columns stand, an empty range that it has none.
    fn key(&self, out: &mut Records);
}

/// How a column is written.
pub(super) trait WriteColumn: Debug {
    /// The column's place in the key.
    fn key_slot(&self) -> Option<usize>;
    /// Writes it, and into the header what that does not tell. Gives where what the key takes of it begins.
    fn write(&self, side: Side, index: usize, cell: Cell<'_>, out: &mut Records) -> Result<usize, DecodeError>;
}

/// Writes changes of one version of a table.
#[derive(Debug)]
#[expect(private_bounds, reason = "the wires are this module's own")]
pub struct Encoder<W: Wire> {
    relation: Arc<Relation>,
    columns: Vec<W::Column>,
    /// How many columns name a row.
    key_columns: usize,
    /// `public.t`
    name: String,
    tombstones: bool,
    wire: W,
}

/// A row as it is now, and as it was.
#[derive(Clone, Copy, Debug)]
struct New<'a> {
    row: &'a [u8],
    /// What was logged of it.
    old: Option<&'a [u8]>,
}

impl<'a> New<'a> {
    const fn of(row: &'a [u8]) -> Self {
        New { row, old: None }
    }

    /// What a column was before, if that was logged.
    fn was(&self, index: usize) -> Option<Cell<'a>> {
        self.old.and_then(|old| Cells::of_tuple(old).nth(index)).filter(|cell| *cell != Cell::Null)
    }
}

/// A row being named by its key.
type Key = Option<Range<usize>>;

#[expect(private_bounds, reason = "the wires are this module's own")]
impl<W: Wire> Encoder<W> {
    pub(super) fn with(relation: &Arc<Relation>, settings: &Settings, columns: Vec<W::Column>, wire: W) -> Self {
        Encoder {
            relation: Arc::clone(relation),
            columns,
            key_columns: key_columns(relation).len(),
            name: relation.name.to_string(),
            tombstones: settings.tombstones,
            wire,
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
        out.key.clear();
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
                let value = self.value(unit, ordinal, b't', None, None, out)?;
                out.push(None, Some(value), []);
                Ok(())
            }
            Op::Message => Err(DecodeError { message: "Message", at: 0, fault: Fault::NotAChange }),
        }
    }

    fn new_row(&self, unit: &Unit, ordinal: u64, op: u8, new: &[u8], out: &mut Records) -> Result<(), DecodeError> {
        let value = self.value(unit, ordinal, op, None, Some(New::of(new)), out)?;
        let key = self.key(out);
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
        if let Some((kind, _)) = old {
            self.tell_kind(kind, out);
        }
        let old = old.map(|(_, tuple)| tuple);
        let before = old.map(|tuple| (Side::Old, tuple));
        let value = self.value(unit, ordinal, b'u', before, Some(New { row: new, old }), out)?;
        let key = self.key(out);
        out.push(key, Some(value), []);
        Ok(())
    }

    fn delete(&self, unit: &Unit, ordinal: u64, old: Old<'_>, out: &mut Records) -> Result<(), DecodeError> {
        self.tell_kind(old.0, out);
        let value = self.value(unit, ordinal, b'd', Some((Side::New, old.1)), None, out)?;
        let key = self.key(out);
        out.push(key.clone(), Some(value), []);
        if let Some(key) = key.filter(|_| self.tombstones) {
            out.push(Some(key), None, []);
        }
        Ok(())
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
        let gone = self.value(unit, ordinal, b'd', Some((Side::Old, old)), None, out)?;
        // Where its columns stand is kept: one that is unchanged TOAST in the new row is only here.
        let old_key = self.key(out);
        out.exact.clear();
        let rendered = binary::to_text(&self.relation, old).map_err(|error| error.inside("Update", 0))?;
        exact::put_old(kind, rendered.as_ref().map_or(old, |row| row.as_bytes()), &mut out.exact);
        let mut told = std::mem::take(&mut out.exact);
        unit.count(&self.name);
        let value = self.value(unit, ordinal, b'c', None, Some(New { row: new, old: Some(old) }), out)?;
        let new_key = self.key(out);
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

    /// Writes an envelope.
    #[inline]
    fn value(
        &self,
        unit: &Unit,
        ordinal: u64,
        op: u8,
        before: Option<(Side, &[u8])>,
        after: Option<New<'_>>,
        out: &mut Records,
    ) -> Result<Range<usize>, DecodeError> {
        let value = out.mark();
        self.wire.open(out);
        match before {
            None => self.wire.no_row(Place::Before, out),
            Some((side, tuple)) => self.row(Place::Before, side, New::of(tuple), out)?,
        }
        match after {
            None => self.wire.no_row(Place::After, out),
            Some(new) => self.row(Place::After, Side::New, new, out)?,
        }
        self.wire.close(unit, ordinal, op, out);
        Ok(out.since(value))
    }

    /// Writes a row, and remembers where the key's columns stand. Unchanged TOAST is told as what it was, where that was logged.
    #[inline]
    fn row(&self, place: Place, side: Side, new: New<'_>, out: &mut Records) -> Result<(), DecodeError> {
        tuple::expect_columns("TupleData", new.row, self.columns.len())?;
        out.key.resize(self.key_columns, 0..0);
        let opened = self.wire.open_row(place, out);
        for (index, (column, cell)) in self.columns.iter().zip(Cells::of_tuple(new.row)).enumerate() {
            let was = if cell == Cell::Unchanged { new.was(index) } else { None };
            let (cell, start) = match was {
                None => (cell, column.write(side, index, cell, out)?),
                Some(was) => {
                    // For our own reader it is what PostgreSQL sent.
                    let told = out.exact.len();
                    let start = column.write(side, index, was, out)?;
                    out.exact.truncate(told);
                    exact::put_unchanged(side, index, &mut out.exact);
                    (was, start)
                }
            };
            // A key that is unchanged TOAST stands in the old row alone, which was written before.
            if let Some(slot) = column.key_slot().filter(|_| cell != Cell::Unchanged)
                && let Some(range) = out.key.get_mut(slot)
            {
                *range = start..out.bytes.len();
            }
        }
        self.wire.close_row(opened, out);
        Ok(())
    }

    /// Writes the key of the row that was written last.
    fn key(&self, out: &mut Records) -> Key {
        if self.key_columns == 0 {
            return None;
        }
        let mark = out.mark();
        self.wire.key(out);
        Some(out.since(mark))
    }

    /// The table's replica identity tells what an old row is; where it does not, a header does.
    fn tell_kind(&self, kind: OldKind, out: &mut Records) {
        if kind != exact::expected_kind(&self.relation) {
            exact::put_old(kind, b"", &mut out.exact);
        }
    }

    /// Whether a row's key is another than before. Cells of one message have one form.
    fn key_differs(&self, old: &[u8], new: &[u8]) -> bool {
        let cells = self.columns.iter().zip(Cells::of_tuple(old).zip(Cells::of_tuple(new)));
        cells
            .into_iter()
            .any(|(column, (old, new))| column.key_slot().is_some() && new != Cell::Unchanged && old != new)
    }
}

/// The columns that name a row. A whole row is no name: two may be the same.
pub(super) fn key_columns(relation: &Relation) -> &[usize] {
    let whole_row = relation.identity == ReplicaIdentity::Full && relation.key.len() == relation.columns.len();
    if whole_row { &[] } else { &relation.key }
}
