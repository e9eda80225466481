//! Flat records: the row's columns, and beside them what happened and where. In JSON, Avro or Protobuf.
//!
//! One event is one record, but for a delete, behind which a tombstone stands, and a row that gets another key: the old key's
//! delete and tombstone come first. An update's old row is only in the header for our own reader.

mod decode;
mod json;

use std::ops::Range;
use std::sync::Arc;

pub use decode::{Decoder, message as decode_message_json};

use super::exact::{self, Side};
use super::{Records, Settings, Unit};
use crate::decode::tuple::{self, Old, OldKind};
use crate::decode::{DecodeError, Fault, binary};
use crate::event::{Cell, Cells, Op, Relation, ReplicaIdentity};

/// The header of a delete whose row goes on under another key: that key.
pub const NEW_KEY_HEADER: &str = "walbridge.newkey";

/// Writes changes of one version of a table.
#[derive(Debug)]
pub struct Encoder {
    relation: Arc<Relation>,
    key: Vec<usize>,
    /// `public.t`
    name: String,
    tombstones: bool,
    writer: Writer,
}

/// How values are written.
#[derive(Debug)]
enum Writer {
    Json(json::Writer),
}

/// What a value tells beside the row.
#[derive(Clone, Copy, Debug)]
struct About<'a> {
    unit: &'a Unit,
    ordinal: u64,
    op: Op,
}

/// Which of a tuple's columns are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    All,
    Key,
    Nothing,
}

impl Encoder {
    /// An encoder to JSON for this version of the table.
    #[must_use]
    pub fn json(relation: &Arc<Relation>, settings: &Settings) -> Self {
        Encoder::new(relation, settings, Writer::Json(json::Writer::new(relation)))
    }

    fn new(relation: &Arc<Relation>, settings: &Settings, writer: Writer) -> Self {
        let whole_row = relation.identity == ReplicaIdentity::Full && relation.key.len() == relation.columns.len();
        Encoder {
            relation: Arc::clone(relation),
            // A whole row is no name: two may be the same.
            key: if whole_row { Vec::new() } else { relation.key.clone() },
            name: relation.name.to_string(),
            tombstones: settings.tombstones,
            writer,
        }
    }

    /// Adds the records of a change. `body` as in [`crate::log::Entry::Change`].
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
        let first = out.len();
        let about = About { unit, ordinal, op };
        match op {
            Op::Insert | Op::Read => self.put(about, tuple::insert_body(body)?, None, out)?,
            Op::Update => {
                let (old, new) = tuple::update_body(body)?;
                self.put(about, new, old, out)?;
            }
            Op::Delete => {
                let (kind, old) = tuple::delete_body(body)?;
                self.tell_kind(kind, out);
                self.gone(about, kind, old, None, out)?;
            }
            Op::Truncate => {
                let value = out.mark();
                self.value(about, b"\0\0", Known::Nothing, out)?;
                let value = out.since(value);
                out.push(None, Some(value), []);
            }
            Op::Message => return Err(DecodeError { message: "Message", at: 0, fault: Fault::NotAChange }),
        }
        unit.count_since(first, &self.name, out);
        unit.tell(ordinal, op, &self.name, first, out);
        Ok(())
    }

    /// A row as it is now.
    fn put(&self, about: About<'_>, new: &[u8], old: Option<Old<'_>>, out: &mut Records) -> Result<(), DecodeError> {
        let key = self.key(new, old.map(|(_, old)| old), out)?;
        if let Some((kind, old)) = old {
            if self.key_differs(old, new) {
                self.gone(About { op: Op::Delete, ..about }, kind, old, key.clone(), out)?;
            }
            let rendered = binary::to_text(&self.relation, old).map_err(|error| error.inside("Update", 0))?;
            exact::put_old(kind, rendered.as_ref().map_or(old, |row| row.as_bytes()), &mut out.exact);
        }
        let value = out.mark();
        self.value(about, new, Known::All, out)?;
        let value = out.since(value);
        out.push(key, Some(value), []);
        Ok(())
    }

    /// A row that is no more, at least not under this key.
    fn gone(
        &self,
        about: About<'_>,
        kind: OldKind,
        old: &[u8],
        new_key: Option<Range<usize>>,
        out: &mut Records,
    ) -> Result<(), DecodeError> {
        let key = self.key(old, None, out)?;
        let value = out.mark();
        self.value(about, old, if kind == OldKind::Full { Known::All } else { Known::Key }, out)?;
        let value = out.since(value);
        let header = new_key.map(|key| (NEW_KEY_HEADER, key));
        if header.is_some() {
            out.exact.clear();
        }
        out.push(key.clone(), Some(value), header.clone());
        if key.is_some() && self.tombstones {
            out.push(key, None, header);
        }
        Ok(())
    }

    fn value(&self, about: About<'_>, tuple: &[u8], known: Known, out: &mut Records) -> Result<(), DecodeError> {
        if known != Known::Nothing {
            tuple::expect_columns("TupleData", tuple, self.relation.columns.len())?;
        }
        let told = |index: usize| known == Known::All || self.relation.key.contains(&index);
        match &self.writer {
            Writer::Json(writer) => {
                json::about(about, &self.name, &mut out.bytes);
                for (index, cell) in Cells::of_tuple(tuple).enumerate().filter(|(index, _)| told(*index)) {
                    self.cell(index, cell, out, |text, out| writer.column(index, text, out))?;
                }
                out.bytes.push(b'}');
            }
        }
        Ok(())
    }

    /// Writes a cell, and what it does not tell exactly into the header.
    fn cell(
        &self,
        index: usize,
        cell: Cell<'_>,
        out: &mut Records,
        write: impl Fn(Option<&[u8]>, &mut Vec<u8>) -> bool,
    ) -> Result<(), DecodeError> {
        match cell {
            Cell::Null => {
                write(None, &mut out.bytes);
            }
            Cell::Unchanged => exact::put_unchanged(Side::New, index, &mut out.exact),
            Cell::Text(text) => {
                if !write(Some(text), &mut out.bytes) {
                    exact::put_text(Side::New, index, text, &mut out.exact);
                }
            }
            Cell::Binary(bytes) => {
                out.scratch.clear();
                let column = self.relation.columns.get(index);
                let rendered = column.and_then(|column| binary::render(column, bytes, &mut out.scratch));
                let type_oid = column.map_or(0, |column| column.type_oid);
                rendered.ok_or(DecodeError { message: "TupleData", at: 0, fault: Fault::BinaryValue { type_oid } })?;
                if !write(Some(&out.scratch), &mut out.bytes) {
                    exact::put_text(Side::New, index, &out.scratch, &mut out.exact);
                }
            }
        }
        Ok(())
    }

    /// Writes the key of a row; a column that the row lacks as unchanged TOAST is in the older one.
    fn key(&self, tuple: &[u8], older: Option<&[u8]>, out: &mut Records) -> Result<Option<Range<usize>>, DecodeError> {
        if self.key.is_empty() {
            return Ok(None);
        }
        let (mark, told) = (out.mark(), out.exact.len());
        for (place, &index) in self.key.iter().enumerate() {
            let newest = Cells::of_tuple(tuple).nth(index).filter(|cell| *cell != Cell::Unchanged);
            let cell = newest.or_else(|| Cells::of_tuple(older?).nth(index)).unwrap_or(Cell::Null);
            match &self.writer {
                Writer::Json(writer) => {
                    self.cell(index, cell, out, |text, out| writer.key_column(place, index, text, out))?;
                }
            }
        }
        match &self.writer {
            Writer::Json(_) => out.bytes.push(b'}'),
        }
        // What a key does not tell exactly is told of the value.
        out.exact.truncate(told);
        Ok(Some(out.since(mark)))
    }

    fn key_differs(&self, old: &[u8], new: &[u8]) -> bool {
        self.key.iter().any(|&index| {
            let cell = |tuple| Cells::of_tuple(tuple).nth(index);
            cell(new) != Some(Cell::Unchanged) && cell(old) != cell(new)
        })
    }

    fn tell_kind(&self, kind: OldKind, out: &mut Records) {
        if kind != exact::expected_kind(&self.relation) {
            exact::put_old(kind, b"", &mut out.exact);
        }
    }
}

/// Adds the record of a logical message in JSON: its prefix is the key.
pub fn message_json(unit: &Unit, ordinal: u64, prefix: &str, content: &[u8], out: &mut Records) {
    json::message(unit, ordinal, prefix, content, out);
}
