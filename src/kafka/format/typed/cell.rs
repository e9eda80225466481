//! One column of a row, in a format with types.

use std::marker::PhantomData;

use super::super::Records;
use super::super::envelope::{UNAVAILABLE, WriteColumn};
use super::super::exact::{self, Side};
use super::super::kind::Kind;
use super::write::{Told, from_binary, from_text};
use super::{Meaning, Put, Type};
use crate::decode::{DecodeError, Fault, binary};
use crate::event::{self, Cell};

/// What stands around a column's values.
#[derive(Debug)]
pub(in crate::kafka::format) struct Around {
    /// In front of a value.
    pub(in crate::kafka::format) prefix: Vec<u8>,
    /// For NULL.
    pub(in crate::kafka::format) null: &'static [u8],
    /// How much of the prefix a key does without.
    pub(in crate::kafka::format) key_skips: usize,
}

/// A column, prepared.
#[derive(Debug)]
pub(in crate::kafka::format) struct Column<P> {
    column: event::Column,
    kind: Kind,
    of: Type,
    around: Around,
    /// What stands for unchanged TOAST, with the prefix.
    placeholder: Vec<u8>,
    key_slot: Option<usize>,
    put: PhantomData<P>,
}

impl<P: Put> Column<P> {
    /// The column, whose values are of this type.
    pub(in crate::kafka::format) fn new(
        column: &event::Column,
        of: Type,
        key_slot: Option<usize>,
        around: Around,
    ) -> Self {
        let mut placeholder = around.prefix.clone();
        if !put_placeholder::<P>(&of, &mut placeholder) {
            placeholder = around.null.to_vec();
        }
        Column { column: column.clone(), kind: Kind::of(column), of, around, placeholder, key_slot, put: PhantomData }
    }

    fn by_text(&self, side: Side, index: usize, text: &[u8], out: &mut Records) {
        let start = out.bytes.len();
        out.bytes.extend_from_slice(&self.around.prefix);
        let told = from_text::<P>(&self.of, text, &mut out.bytes);
        if told == Told::Not {
            out.bytes.truncate(start);
            out.bytes.extend_from_slice(self.around.null);
        }
        if told != Told::Exactly {
            exact::put_text(side, index, text, &mut out.exact);
        }
    }

    fn rendered(&self, side: Side, index: usize, bytes: &[u8], out: &mut Records) -> Result<(), DecodeError> {
        let mut text = std::mem::take(&mut out.scratch);
        text.clear();
        let rendered = binary::render(&self.column, bytes, &mut text);
        if rendered.is_some() {
            self.by_text(side, index, &text, out);
        }
        out.scratch = text;
        let fault = Fault::BinaryValue { type_oid: self.column.type_oid };
        rendered.ok_or(DecodeError { message: "TupleData", at: 0, fault })
    }
}

impl<P: Put> WriteColumn for Column<P> {
    fn key_slot(&self) -> Option<usize> {
        self.key_slot
    }

    #[inline]
    fn write(&self, side: Side, index: usize, cell: Cell<'_>, out: &mut Records) -> Result<usize, DecodeError> {
        let start = out.bytes.len();
        match cell {
            Cell::Null => out.bytes.extend_from_slice(self.around.null),
            Cell::Unchanged => {
                out.bytes.extend_from_slice(&self.placeholder);
                exact::put_unchanged(side, index, &mut out.exact);
            }
            Cell::Text(text) => self.by_text(side, index, text, out),
            Cell::Binary(bytes) => {
                out.bytes.extend_from_slice(&self.around.prefix);
                let told = from_binary::<P>(&self.of, &self.kind, self.column.type_oid, bytes, &mut out.bytes);
                if told != Some(Told::Exactly) {
                    // Rare: told again in a way that keeps the text.
                    out.bytes.truncate(start);
                    self.rendered(side, index, bytes, out)?;
                }
            }
        }
        Ok(start.saturating_add(self.around.key_skips))
    }
}

/// The connector's word for a value that it does not have, where the type has room for it.
fn put_placeholder<P: Put>(of: &Type, out: &mut Vec<u8>) -> bool {
    match of {
        Type::Text(Meaning::Plain | Meaning::Json) | Type::Bytes => P::bytes(UNAVAILABLE.as_bytes(), out),
        Type::Array(element, _) if matches!(**element, Type::Text(Meaning::Plain | Meaning::Json)) => {
            let start = out.len();
            let opened = P::open_element(element, out);
            P::bytes(UNAVAILABLE.as_bytes(), out);
            P::close_element(opened, out);
            P::array(start, 1, out);
        }
        _ => return false,
    }
    true
}
