//! Records back into the changes that they were made of.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::exact::{Exact, HEADER, Side};
use super::super::kind::Kind;
use super::super::{Decoded, FormatError, base64};
use super::{NEW_KEY_HEADER, expected_kind, read};
use crate::decode::tuple::{self, OldKind};
use crate::event::{Cell, Change, OldRow, Relation, Row, RowBuilder};

/// Reads changes of one version of a table.
#[derive(Debug)]
pub struct Decoder {
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

impl Decoder {
    /// A decoder for this version of the table.
    #[must_use]
    pub fn new(relation: &Arc<Relation>) -> Self {
        Decoder { relation: Arc::clone(relation), kinds: relation.columns.iter().map(Kind::of).collect() }
    }

    /// Reads a record. `header` looks one up by its name.
    ///
    /// # Errors
    /// It is not a record that the encoder for this version of the table made.
    pub fn decode<'h>(
        &self,
        value: Option<&[u8]>,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Result<Decoded, FormatError> {
        let Some(value) = value.filter(|_| header(NEW_KEY_HEADER).is_none()) else { return Ok(Decoded::Companion) };
        let envelope: Envelope<'_> = serde_json::from_slice(value)?;
        let exact = header(HEADER).map_or_else(|| Some(Exact::default()), Exact::read);
        let exact = exact.ok_or(FormatError::Record("its header walbridge.exact is damaged"))?;
        let relation = Arc::clone(&self.relation);
        let new = |side| {
            let row = envelope.after.ok_or(FormatError::Record("it has no row"))?;
            self.row(row, side, &exact)
        };
        Ok(Decoded::Change(match envelope.op {
            "c" => match exact.old.filter(|(_, tuple)| !tuple.is_empty()) {
                None => Change::Insert { relation, new: new(Side::New)? },
                Some((kind, tuple)) => {
                    tuple::check(tuple, self.relation.columns.len())?;
                    let old = Row::from_tuple_data(Bytes::copy_from_slice(tuple));
                    Change::Update { relation, old: Some(old_row(kind, old)), new: new(Side::New)? }
                }
            },
            "r" => Change::Read { relation, row: new(Side::New)? },
            "u" => {
                let old = envelope.before.map(|row| self.old(row, Side::Old, &exact)).transpose()?;
                Change::Update { relation, old, new: new(Side::New)? }
            }
            "d" => {
                let row = envelope.before.ok_or(FormatError::Record("it has no old row"))?;
                Change::Delete { relation, old: self.old(row, Side::New, &exact)? }
            }
            "t" => Change::Truncate { relation },
            _ => return Err(FormatError::Record("its op is none of c, r, u, d and t")),
        }))
    }

    fn old(&self, row: &RawValue, side: Side, exact: &Exact<'_>) -> Result<OldRow, FormatError> {
        let kind = exact.old.map_or_else(|| expected_kind(&self.relation), |(kind, _)| kind);
        Ok(old_row(kind, self.row(row, side, exact)?))
    }

    fn row(&self, row: &RawValue, side: Side, exact: &Exact<'_>) -> Result<Row, FormatError> {
        let columns = Columns { decoder: self, side, exact };
        serde_json::Deserializer::from_str(row.get()).deserialize_map(columns).map_err(FormatError::from)
    }
}

const fn old_row(kind: OldKind, row: Row) -> OldRow {
    match kind {
        OldKind::Key => OldRow::Key(row),
        OldKind::Full => OldRow::Full(row),
    }
}

/// Reads a row's members, which stand in the order of the columns.
struct Columns<'d> {
    decoder: &'d Decoder,
    side: Side,
    exact: &'d Exact<'d>,
}

impl<'de> Visitor<'de> for Columns<'_> {
    type Value = Row;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a row of {} with its columns in their order", self.decoder.relation.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Row, A::Error> {
        use serde::de::Error as _;
        let mut builder = RowBuilder::default();
        let mut text = Vec::new();
        let columns = self.decoder.relation.columns.iter().zip(&self.decoder.kinds);
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
