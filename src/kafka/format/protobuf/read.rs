//! Envelopes in Protobuf back into rows. The version of the table says which number is which column; the schema is for others.

use std::sync::Arc;

use bytes::Bytes;

use super::super::FormatError;
use super::super::envelope::{Parts, Reading};
use super::super::exact::{Exact, Side};
use super::super::number::take_varint;
use super::super::typed::{self, Type, Value};
use super::number::tag;
use super::{PREFIX, VALUE, field, wire};
use crate::event::{Change, Relation, Row};

/// Reads envelopes in Protobuf.
#[derive(Debug)]
pub struct Reader {
    types: Vec<Type>,
    /// What stands in front of each column.
    tags: Vec<u64>,
}

/// A row's values, in the order of its columns.
type Values<'a> = Vec<Option<Value<'a>>>;

impl Reader {
    pub(super) fn new(relation: &Arc<Relation>) -> Self {
        let types: Vec<Type> = relation.columns.iter().map(field::type_of).collect();
        let fields = field::of_table(relation);
        let tags = fields.iter().zip(&types).map(|(field, of)| tag(field.number, wire(of))).collect();
        Reader { types, tags }
    }

    /// Fields come in the order of the columns, as far as they are there.
    fn raw_row<'a>(&self, mut input: Input<'a>) -> Option<Values<'a>> {
        let mut values = vec![None; self.types.len()];
        let mut next = 0_usize;
        while !input.is_empty() {
            let tag = input.varint()?;
            let ahead = self.tags.get(next..)?.iter().position(|known| *known == tag)?;
            let at = next.checked_add(ahead)?;
            *values.get_mut(at)? = Some(input.value(self.types.get(at)?)?);
            next = at.checked_add(1)?;
        }
        Some(values)
    }

    fn envelope<'a>(&self, value: &'a [u8]) -> Option<Parts<Values<'a>>> {
        let mut input = Input(strip(value)?);
        let mut parts = Parts { op: 0, before: None, after: None };
        while !input.is_empty() {
            match input.member()? {
                (1, Member::Bytes(row)) => parts.before = Some(self.raw_row(Input(row))?),
                (2, Member::Bytes(row)) => parts.after = Some(self.raw_row(Input(row))?),
                (5, Member::Bytes([op])) => parts.op = *op,
                (3 | 4, Member::Bytes(_)) | (6..=8, Member::Integer) => {}
                _ => return None,
            }
        }
        Some(parts)
    }
}

impl Reading for Reader {
    type Row<'a> = Values<'a>;

    fn parts<'a>(&self, value: &'a [u8]) -> Result<Parts<Self::Row<'a>>, FormatError> {
        self.envelope(value).ok_or(FormatError::Record("it is not an envelope of this table in Protobuf"))
    }

    fn row(&self, row: Self::Row<'_>, side: Side, exact: &Exact<'_>) -> Result<Row, FormatError> {
        typed::row(&self.types, &row, side, exact)
    }
}

/// The message in a record's value.
///
/// # Errors
/// It is none.
pub fn message(value: &[u8]) -> Result<Change, FormatError> {
    let read = || {
        let mut input = Input(strip(value)?);
        let (mut prefix, mut content): (Option<&[u8]>, Option<&[u8]>) = (None, None);
        while !input.is_empty() {
            let (5, Member::Bytes(message)) = input.member()? else { continue };
            let mut message = Input(message);
            while !message.is_empty() {
                match message.member()? {
                    (1, Member::Bytes(bytes)) => prefix = Some(bytes),
                    (2, Member::Bytes(bytes)) => content = Some(bytes),
                    _ => return None,
                }
            }
        }
        let prefix = std::str::from_utf8(prefix?).ok()?.to_owned();
        Some(Change::Message { prefix, content: Bytes::copy_from_slice(content?) })
    };
    read().ok_or(FormatError::Record("it is not a message in Protobuf"))
}

/// What follows the number of the schema and of its message.
fn strip(bytes: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = bytes.split_first_chunk::<{ PREFIX.len() }>()?;
    matches!(prefix, [0, .., 0]).then_some(rest)
}

/// A member of the envelope.
enum Member<'a> {
    Integer,
    Bytes(&'a [u8]),
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn varint(&mut self) -> Option<u64> {
        take_varint(&mut self.0)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// A field of the envelope, and its number.
    fn member(&mut self) -> Option<(u64, Member<'a>)> {
        let tag = self.varint()?;
        let member = match tag & 7 {
            0 => {
                self.varint()?;
                Member::Integer
            }
            2 => Member::Bytes(self.bytes()?),
            _ => return None,
        };
        Some((tag >> 3, member))
    }

    fn value(&mut self, of: &Type) -> Option<Value<'a>> {
        Some(match of {
            Type::Boolean | Type::Bit => Value::Boolean(self.varint()? != 0),
            Type::Int | Type::Long | Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz => {
                Value::Integer(self.varint()?.cast_signed())
            }
            Type::Float => Value::Float(f32::from_le_bytes(self.array()?)),
            Type::Double => Value::Double(f64::from_le_bytes(self.array()?)),
            Type::Decimal { .. } | Type::Money => Value::Digits(self.bytes()?),
            Type::Text(_) | Type::Bytes => Value::Bytes(self.bytes()?),
            Type::Array(element, _) => {
                let (mut values, mut elements) = (Vec::new(), Input(self.bytes()?));
                while !elements.is_empty() {
                    values.push(elements.element(element)?);
                }
                Value::Array(values)
            }
        })
    }

    fn element(&mut self, of: &Type) -> Option<Option<Value<'a>>> {
        let (number, Member::Bytes(element)) = self.member()? else { return None };
        let mut element = Input(element);
        if number != u64::from(VALUE) {
            return None;
        }
        if element.is_empty() {
            return Some(None);
        }
        let value = (element.varint()? == tag(VALUE, wire(of))).then(|| element.value(of))??;
        element.is_empty().then_some(Some(value))
    }
}
