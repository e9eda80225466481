//! Envelopes in Avro back into rows. The version of the table says what stands where; the schema's number is for others.

use std::sync::Arc;

use bytes::Bytes;

use super::super::envelope::{Parts, Reading};
use super::super::exact::{Exact, Side};
use super::super::typed::{self, Type, Value};
use super::super::{FormatError, number, schemas};
use crate::event::{Change, Relation, Row};

/// Reads envelopes in Avro.
#[derive(Debug)]
pub struct Reader {
    types: Vec<Type>,
}

impl Reader {
    pub(super) fn new(relation: &Arc<Relation>) -> Self {
        Reader { types: relation.columns.iter().map(Type::of).collect() }
    }

    fn raw_row<'a>(&self, input: &mut Input<'a>) -> Option<Option<Vec<Option<Value<'a>>>>> {
        input.optional(|input| self.types.iter().map(|of| input.optional(|input| input.value(of))).collect())
    }

    fn envelope<'a>(&self, value: &'a [u8]) -> Option<Parts<Vec<Option<Value<'a>>>>> {
        let mut input = Input(schemas::strip(value)?);
        let before = self.raw_row(&mut input)?;
        let after = self.raw_row(&mut input)?;
        input.source()?;
        let op = if let [op] = input.bytes()? { *op } else { 0 };
        for _ in 0..3 {
            input.optional(Input::long)?;
        }
        input.0.is_empty().then_some(Parts { op, before, after })
    }
}

impl Reading for Reader {
    type Row<'a> = Vec<Option<Value<'a>>>;

    fn parts<'a>(&self, value: &'a [u8]) -> Result<Parts<Self::Row<'a>>, FormatError> {
        self.envelope(value).ok_or(FormatError::Record("it is not an envelope of this table in Avro"))
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
        let mut input = Input(schemas::strip(value)?);
        input.bytes()?;
        input.optional(Input::long)?;
        input.source()?;
        let prefix = input.optional(Input::bytes)??;
        let content = input.optional(Input::bytes)??;
        let prefix = std::str::from_utf8(prefix).ok()?.to_owned();
        input.0.is_empty().then(|| Change::Message { prefix, content: Bytes::copy_from_slice(content) })
    };
    read().ok_or(FormatError::Record("it is not a message in Avro"))
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn long(&mut self) -> Option<i64> {
        let zigzag = number::take_varint(&mut self.0)?;
        Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// The second branch of a union, or `null`.
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            super::NULL => Some(None),
            super::PRESENT => read(self).map(Some),
            _ => None,
        }
    }

    fn value(&mut self, of: &Type) -> Option<Value<'a>> {
        Some(match of {
            Type::Boolean | Type::Bit => Value::Boolean(self.byte()? != 0),
            Type::Int | Type::Long | Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz => {
                Value::Integer(self.long()?)
            }
            Type::Float => Value::Float(f32::from_le_bytes(self.array()?)),
            Type::Double => Value::Double(f64::from_le_bytes(self.array()?)),
            Type::Decimal { .. } | Type::Money | Type::Text(_) | Type::Bytes => Value::Bytes(self.bytes()?),
            Type::Array(element, _) => {
                let mut values = Vec::new();
                loop {
                    // No block of ours has its size beside its count.
                    let count = u64::try_from(self.long()?).ok()?;
                    if count == 0 {
                        break;
                    }
                    for _ in 0..count {
                        values.push(self.optional(|input| input.value(element))?);
                    }
                }
                Value::Array(values)
            }
        })
    }

    /// Passes over `source` and `transaction`.
    fn source(&mut self) -> Option<()> {
        for _ in 0..3 {
            self.bytes()?;
        }
        self.long()?;
        self.optional(Input::bytes)?;
        self.bytes()?;
        self.optional(Input::bytes)?;
        self.optional(Input::long)?;
        self.optional(Input::long)?;
        self.bytes()?;
        self.bytes()?;
        for _ in 0..3 {
            self.optional(Input::long)?;
        }
        self.optional(Input::bytes)?;
        self.optional(Input::long)?;
        self.optional(|input| {
            input.bytes()?;
            input.long()?;
            input.long()
        })?;
        Some(())
    }
}
