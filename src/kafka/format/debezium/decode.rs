//! Records back into the changes that they were made of.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::envelope::{Parts, Reading};
use super::super::exact::{Exact, Side};
use super::super::kind::Kind;
use super::super::{Format, FormatError, base64};
use super::read;
use crate::event::{Cell, Change, Relation, Row, RowBuilder};

/// Reads envelopes in JSON.
#[derive(Debug)]
pub struct Reader {
    relation: Arc<Relation>,
    kinds: Vec<Kind>,
}

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    op: &'a str,
    #[serde(borrow, default)]
    before: Option<&'a RawValue>,
    #[serde(borrow, default)]
    after: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
}

#[derive(serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    prefix: Cow<'a, str>,
    content: &'a str,
}

/// The message in a record's value.
///
/// # Errors
/// It is none.
pub fn message(value: &[u8]) -> Result<Change, FormatError> {
    let envelope: Envelope<'_> = serde_json::from_slice(value)?;
    let message = envelope.message.ok_or(FormatError::Record("it has no message"))?;
    let content = base64::decode(message.content.as_bytes()).ok_or(FormatError::Record("its message is not base64"))?;
    Ok(Change::Message { prefix: message.prefix.into_owned(), content: Bytes::from(content) })
}

impl Reader {
    pub(super) fn new(relation: &Arc<Relation>, format: Format) -> Self {
        let kinds = relation.columns.iter().map(|column| super::kind(column, format)).collect();
        Reader { relation: Arc::clone(relation), kinds }
    }
}

impl Reading for Reader {
    type Row<'a> = &'a RawValue;

    fn parts<'a>(&self, value: &'a [u8]) -> Result<Parts<&'a RawValue>, FormatError> {
        let Envelope { op, before, after, .. } = serde_json::from_slice(value)?;
        let op = if let [op] = op.as_bytes() { *op } else { 0 };
        Ok(Parts { op, before, after })
    }

    fn row(&self, row: &RawValue, side: Side, exact: &Exact<'_>) -> Result<Row, FormatError> {
        let columns = Columns { reader: self, side, exact };
        serde_json::Deserializer::from_str(row.get()).deserialize_map(columns).map_err(FormatError::from)
    }
}

/// Reads a row's members, which stand in the order of the columns.
struct Columns<'d> {
    reader: &'d Reader,
    side: Side,
    exact: &'d Exact<'d>,
}

impl<'de> Visitor<'de> for Columns<'_> {
    type Value = Row;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a row of {} with its columns in their order", self.reader.relation.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Row, A::Error> {
        use serde::de::Error as _;
        let mut builder = RowBuilder::default();
        let mut text = Vec::new();
        let columns = self.reader.relation.columns.iter().zip(&self.reader.kinds);
        for (index, (column, kind)) in columns.enumerate() {
            let name: Option<Name<'_>> = members.next_key()?;
            if name.is_none_or(|name| name.0 != column.name) {
                return Err(A::Error::custom(format_args!("the column `{}` is not in its place", column.name)));
            }
            let value: &RawValue = members.next_value()?;
            builder.push(match self.exact.cells.get(&(self.side, index)) {
                Some(Some(text)) => Cell::Text(text),
                Some(None) => Cell::Unchanged,
                None if value.get() == "null" => Cell::Null,
                None => {
                    text.clear();
                    read::value(kind, value.get(), &mut text).ok_or_else(|| {
                        A::Error::custom(format_args!("the value of column `{}` is not one of its type", column.name))
                    })?;
                    Cell::Text(&text)
                }
            });
        }
        if members.next_key::<Name<'_>>()?.is_some() {
            return Err(A::Error::custom("there are more columns than the table has"));
        }
        Ok(builder.finish())
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read::Text::deserialize(deserializer).map(|text| Name(text.0))
    }
}
