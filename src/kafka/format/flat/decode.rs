//! Flat records in JSON back into the changes that they were made of.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::NEW_KEY_HEADER;
use crate::decode::tuple::{self, OldKind};
use crate::event::{Cell, Change, OldRow, Relation, Row, RowBuilder, Scalar, Shape};
use crate::kafka::format::exact::{Exact, HEADER, Side, expected_kind};
use crate::kafka::format::quote::elements;
use crate::kafka::format::{Decoded, FormatError, number};

/// Reads changes of one version of a table.
#[derive(Debug)]
pub struct Decoder {
    relation: Arc<Relation>,
}

type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

impl Decoder {
    /// A decoder for this version of the table.
    #[must_use]
    pub fn json(relation: &Arc<Relation>) -> Self {
        Decoder { relation: Arc::clone(relation) }
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
        let members = serde_json::Deserializer::from_slice(value).deserialize_map(All)?;
        let exact = Exact::of(header(HEADER))?;
        let relation = Arc::clone(&self.relation);
        let op = members.first().filter(|(name, _)| name == "__op").map(|(_, op)| op.get());
        Ok(Decoded::Change(match op {
            Some("\"insert\"") => Change::Insert { relation, new: self.row(&members, &exact)? },
            Some("\"read\"") => Change::Read { relation, row: self.row(&members, &exact)? },
            Some("\"update\"") => {
                let old = exact.old.map(|(kind, tuple)| self.old(kind, tuple)).transpose()?;
                Change::Update { relation, old, new: self.row(&members, &exact)? }
            }
            Some("\"delete\"") => {
                let kind = exact.old.map_or_else(|| expected_kind(&self.relation), |(kind, _)| kind);
                Change::Delete { relation, old: kind.old_row(self.row(&members, &exact)?) }
            }
            Some("\"truncate\"") => Change::Truncate { relation },
            _ => return Err(FormatError::Record("its __op is none of insert, update, delete, read and truncate")),
        }))
    }

    fn old(&self, kind: OldKind, tuple: &[u8]) -> Result<OldRow, FormatError> {
        tuple::check(tuple, self.relation.columns.len())?;
        Ok(kind.old_row(Row::from_tuple_data(Bytes::copy_from_slice(tuple))))
    }

    /// The row, whose columns stand in their order behind what tells of the event.
    fn row(&self, members: &Members<'_>, exact: &Exact<'_>) -> Result<Row, FormatError> {
        let mut members = members.iter().skip(ABOUT).peekable();
        let (mut builder, mut text) = (RowBuilder::default(), Vec::new());
        for (index, column) in self.relation.columns.iter().enumerate() {
            let member = members.next_if(|(name, _)| *name == column.name);
            builder.push(match (exact.cells.get(&(Side::New, index)), member.map(|(_, value)| value.get())) {
                (Some(Some(text)), _) => Cell::Text(text),
                (Some(None), _) => Cell::Unchanged,
                (None, None | Some("null")) => Cell::Null,
                (None, Some(json)) => {
                    text.clear();
                    value(column.shape, json, &mut text)
                        .ok_or(FormatError::Record("the value of a column is not one of its type"))?;
                    Cell::Text(&text)
                }
            });
        }
        members.next().map_or(Ok(()), |_| Err(FormatError::Record("it has columns that the table has not")))?;
        Ok(builder.finish())
    }
}

/// The message in a record's value.
///
/// # Errors
/// It is none.
pub fn message(value: &[u8]) -> Result<Change, FormatError> {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        prefix: Cow<'a, str>,
        #[serde(borrow)]
        content: Cow<'a, str>,
        content_encoding: &'a str,
    }
    let Message { prefix, content, content_encoding } = serde_json::from_slice(value)?;
    let content = if content_encoding == "hex" {
        let digits = content.strip_prefix("\\x").unwrap_or(&content).as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        bytes.ok_or(FormatError::Record("its message is not hex"))?
    } else {
        content.into_owned().into_bytes()
    };
    Ok(Change::Message { prefix: prefix.into_owned(), content: Bytes::from(content) })
}

/// How many members tell of the event.
const ABOUT: usize = 5;

/// All members, as they stand.
struct All;

impl<'de> Visitor<'de> for All {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        #[derive(serde::Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        let mut members = Vec::new();
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            members.push((name, value));
        }
        Ok(members)
    }
}

/// Appends the text of a JSON value; `None` if it is not one of the shape.
fn value(shape: Shape, json: &str, out: &mut Vec<u8>) -> Option<()> {
    match shape {
        Shape::Array { element, delimiter } if json.starts_with('[') => {
            elements(delimiter, json, out, &|json, out| one(element, json, out))
        }
        Shape::Scalar(Scalar::Json) => {
            out.extend_from_slice(json.as_bytes());
            Some(())
        }
        Shape::Scalar(scalar) => one(scalar, json, out),
        Shape::Array { .. } => one(Scalar::Text, json, out),
    }
}

fn one(scalar: Scalar, json: &str, out: &mut Vec<u8>) -> Option<()> {
    let text: Cow<'_, str> = match json {
        "true" => "t".into(),
        "false" => "f".into(),
        _ if json.starts_with('"') => {
            #[derive(serde::Deserialize)]
            struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
            serde_json::from_str::<Text<'_>>(json).ok()?.0
        }
        number => number.into(),
    };
    match scalar {
        Scalar::Timestamp | Scalar::TimestampTz | Scalar::Date => moment(&text, out)?,
        Scalar::TimeTz => {
            // PostgreSQL leaves minutes out where there are none.
            let whole = text.len() >= 6
                && text.ends_with(":00")
                && matches!(text.as_bytes().get(text.len() - 6), Some(b'+' | b'-'));
            out.extend_from_slice(if whole { text.strip_suffix(":00")? } else { &text }.as_bytes());
        }
        _ => out.extend_from_slice(text.as_bytes()),
    }
    Some(())
}

/// `-0043-03-15T12:00:00.5Z` as `0044-03-15 12:00:00.5+00 BC`.
fn moment(text: &str, out: &mut Vec<u8>) -> Option<()> {
    if text.ends_with("infinity") {
        out.extend_from_slice(text.as_bytes());
        return Some(());
    }
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let (year, month_day) = date.split_at_checked(date.len().checked_sub(6)?)?;
    let year = year.strip_prefix('+').unwrap_or(year);
    let astronomical = number::integer(year.as_bytes())?;
    let before_christ = astronomical <= 0;
    if before_christ {
        out.extend_from_slice(format!("{:04}", 1 - astronomical).as_bytes());
    } else {
        out.extend_from_slice(year.as_bytes());
    }
    out.extend_from_slice(month_day.as_bytes());
    if let Some(time) = time {
        out.push(b' ');
        match time.strip_suffix('Z') {
            Some(utc) => {
                out.extend_from_slice(utc.as_bytes());
                out.extend_from_slice(b"+00");
            }
            None => out.extend_from_slice(time.as_bytes()),
        }
    }
    if before_christ {
        out.extend_from_slice(b" BC");
    }
    Some(())
}
