//! Rows as Redis values, and rows that lack unchanged TOAST values completed from what is stored already.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::reply::Reply;
use super::stream::Id;
use super::{Form, ValueKind, member};
use crate::decode::json;
use crate::event::Cell;
use crate::project::mutation::Document;
use crate::sink::Image;
use crate::sink::bloom::{Bloom, hash_of};

/// What stands, or is to stand, under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A string: the row as JSON, or a text made of it.
    String(Vec<u8>),
    /// A hash: a field for each column that is not NULL, with the value's text as PostgreSQL has it.
    Fields(Vec<(Vec<u8>, Vec<u8>)>),
    /// A member of a collection, of a sorted set with its score.
    Member(Option<String>),
    /// An entry of a stream.
    Entry(Id, Vec<u8>),
}

impl Content {
    /// What it weighs.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Content::String(text) | Content::Entry(_, text) => text.len(),
            Content::Fields(fields) => fields.iter().map(|(name, value)| name.len().saturating_add(value.len())).sum(),
            Content::Member(score) => score.as_ref().map_or(0, String::len),
        }
    }

    /// The longest single value in it.
    pub(super) fn longest(&self) -> usize {
        match self {
            Content::String(text) | Content::Entry(_, text) => text.len(),
            Content::Fields(fields) => fields.iter().map(|(_, value)| value.len()).max().unwrap_or_default(),
            Content::Member(_) => 0,
        }
    }

    /// From the reply to `GET` or `HGETALL`; `None` for anything else, and for nothing.
    pub(super) fn from_reply(reply: Reply) -> Option<Self> {
        if let Reply::Bytes(text) = reply {
            return Some(Content::String(text));
        }
        let mut flat = reply.strings()?.into_iter();
        let mut fields = Vec::with_capacity(flat.len() / 2);
        while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
            fields.push((name, value));
        }
        if fields.is_empty() { None } else { Some(Content::Fields(fields)) }
    }

    /// Of a hash that others write to as well, what is ours by the field that says so; `None` if nothing is.
    pub(super) fn own(self, mark: &[u8]) -> Option<Self> {
        let Content::Fields(mut fields) = self else { return None };
        let (_, names) = fields.iter().find(|(name, _)| name == mark)?;
        let names: HashSet<String> = serde_json::from_slice(names).ok()?;
        fields.retain(|(name, _)| std::str::from_utf8(name).is_ok_and(|name| names.contains(name)));
        Some(Content::Fields(fields))
    }

    /// For those who compare. A text is only equal to itself, whatever it looks like.
    pub(super) fn image(&self, kind: ValueKind) -> Image {
        match self {
            Content::String(text) if kind == ValueKind::Text => {
                let mut quoted = Vec::new();
                json::write_string(String::from_utf8_lossy(text).as_bytes(), &mut quoted);
                Image::of_json(String::from_utf8_lossy(&quoted).into_owned())
            }
            Content::String(text) | Content::Entry(_, text) => {
                Image::of_json(String::from_utf8_lossy(text).into_owned())
            }
            Content::Fields(fields) => Image::of_fields(fields.iter().map(|(name, value)| (&**name, &**value))),
            Content::Member(score) => score.as_deref().map_or_else(member::present, member::scored),
        }
    }
}

/// The document's value. Columns that it lacks are taken from `stored`; `None` if they are not there either.
pub(super) fn encode(form: &Form, document: &Document, stored: Option<&Content>) -> Option<Content> {
    match form.value {
        ValueKind::Set | ValueKind::List => Some(Content::Member(None)),
        ValueKind::SortedSet => form.score(document).ok().map(Content::Member),
        ValueKind::Hash | ValueKind::Fields => fields(document, stored).map(Content::Fields),
        ValueKind::Text => form.text.as_ref()?.render(&document.relation, &document.row).map(Content::String),
        ValueKind::Json | ValueKind::Invalidate | ValueKind::Stream => {
            let names =
                document.relation.columns.iter().map(|column| column.name.len().saturating_add(8)).sum::<usize>();
            let mut text = Vec::with_capacity(document.row.as_bytes().len().saturating_add(names));
            if document.row.lacks_values() {
                write_merged(document, stored?, &mut text)?;
            } else {
                json::write_row(&document.relation, &document.row, &mut text);
            }
            Some(Content::String(text))
        }
    }
}

/// Writes the same bytes as if the row had been whole: all columns in their order, the missing ones copied unread.
fn write_merged(document: &Document, stored: &Content, out: &mut Vec<u8>) -> Option<()> {
    let Content::String(stored) = stored else { return None };
    let stored: HashMap<String, &RawValue> = serde_json::from_slice(stored).ok()?;
    let columns = document.relation.columns.iter().zip(document.row.cells());
    for (index, (column, cell)) in columns.enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        json::write_string(column.name.as_bytes(), out);
        out.push(b':');
        match cell {
            Cell::Null => out.extend_from_slice(b"null"),
            Cell::Text(text) => json::write_cell(column.shape, text, out),
            Cell::Binary(bytes) => json::write_hex(bytes, out),
            Cell::Unchanged => out.extend_from_slice(stored.get(&column.name)?.get().as_bytes()),
        }
    }
    out.push(b'}');
    Some(())
}

fn fields(document: &Document, stored: Option<&Content>) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut fields = Vec::with_capacity(document.relation.columns.len());
    for (column, cell) in document.relation.columns.iter().zip(document.row.cells()) {
        let name = column.name.as_bytes();
        let value = match cell {
            Cell::Null => continue,
            Cell::Text(text) => text.to_vec(),
            Cell::Binary(bytes) => hex(bytes),
            // A value that is stored out of line is not NULL, so its field is there if the document is.
            Cell::Unchanged => match stored? {
                Content::Fields(stored) => stored.iter().find(|(field, _)| field == name)?.1.clone(),
                Content::String(_) | Content::Member(_) | Content::Entry(..) => return None,
            },
        };
        fields.push((name.to_vec(), value));
    }
    Some(fields)
}

/// As PostgreSQL writes `bytea`.
fn hex(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    json::put_hex(bytes, &mut text);
    text
}

/// Remembers, in 1 MiB however large the transaction, which keys have been sent into it: their stored documents are out of
/// date. Sometimes it takes another key for one of them, and that row is read from the source for nothing.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// `None`: no key was sent.
    filter: Option<Bloom>,
    listed: Vec<Bytes>,
    listed_bytes: usize,
}

const SENT_WORDS: usize = 1 << 17;
const SENT_LOOKS: u64 = 2;
/// About a million short keys, with what the list itself weighs.
const LISTED_BYTES_MAX: usize = 64 << 20;

impl Sent {
    pub(super) fn insert(&mut self, key: &[u8]) {
        self.filter.get_or_insert_with(|| Bloom::new(SENT_WORDS, SENT_LOOKS)).add(hash_of(key));
    }

    /// Remembers the key itself too, while there is room: a TRUNCATE of one table among several must find its documents.
    pub(super) fn list(&mut self, key: &Bytes) {
        self.listed_bytes = self.listed_bytes.saturating_add(key.len()).saturating_add(size_of::<Bytes>());
        if self.listed_bytes <= LISTED_BYTES_MAX {
            self.listed.push(key.clone());
        }
    }

    /// Takes those keys that match off the list; `None` if it is not complete.
    pub(super) fn take_listed(&mut self, matches: impl Fn(&[u8]) -> bool) -> Option<Vec<Bytes>> {
        if self.listed_bytes > LISTED_BYTES_MAX {
            return None;
        }
        let (gone, kept) = std::mem::take(&mut self.listed).into_iter().partition(|key| matches(key));
        self.listed = kept;
        Some(gone)
    }

    /// False means certainly not.
    pub(super) fn may_contain(&self, key: &[u8]) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.may_have(hash_of(key)))
    }

    pub(super) fn clear(&mut self) {
        *self = Sent::default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Column, Relation, ReplicaIdentity, RowBuilder, Scalar, Shape, TableName};

    fn document(cells: &[Cell<'_>]) -> Document {
        let column = |name: &str, scalar| Column {
            name: name.to_owned(),
            type_oid: 0,
            type_modifier: -1,
            shape: Shape::Scalar(scalar),
        };
        let relation = Relation {
            oid: 1,
            name: TableName { schema: "public".to_owned(), table: "t".to_owned() },
            identity: ReplicaIdentity::Default,
            columns: vec![
                column("id", Scalar::Integer),
                column("note \"q\"", Scalar::Text),
                column("big", Scalar::Json),
            ],
            key: vec![0],
        };
        let mut row = RowBuilder::default();
        cells.iter().for_each(|&cell| row.push(cell));
        Document { relation: Arc::new(relation), row: row.finish() }
    }

    #[test]
    fn a_merged_row_has_the_bytes_of_the_whole_row() {
        let whole = document(&[Cell::Text(b"1"), Cell::Text(b"a"), Cell::Text(br#"{"n": 1e400}"#)]);
        let partial = document(&[Cell::Text(b"1"), Cell::Text(b"a"), Cell::Unchanged]);
        for kind in [ValueKind::Json, ValueKind::Hash] {
            let form = Form::of(kind);
            let old = document(&[Cell::Text(b"1"), Cell::Null, Cell::Text(br#"{"n": 1e400}"#)]);
            let stored = encode(&form, &old, None).expect("a whole row");
            assert_eq!(encode(&form, &partial, Some(&stored)), encode(&form, &whole, None), "{kind:?}");
        }
    }

    #[test]
    fn a_missing_value_that_is_not_stored_leaves_the_row_incomplete() {
        let partial = document(&[Cell::Text(b"1"), Cell::Null, Cell::Unchanged]);
        let without = Content::String(br#"{"id":1}"#.to_vec());
        let foreign = Content::String(b"not a document".to_vec());
        let fields = Content::Fields(vec![(b"id".to_vec(), b"1".to_vec())]);
        for stored in [None, Some(&without), Some(&foreign), Some(&fields)] {
            assert_eq!(encode(&Form::of(ValueKind::Json), &partial, stored), None);
            assert_eq!(encode(&Form::of(ValueKind::Hash), &partial, stored), None);
        }
    }

    #[test]
    fn null_is_an_absent_field_and_empty_text_is_an_empty_one() {
        let content =
            encode(&Form::of(ValueKind::Hash), &document(&[Cell::Text(b"1"), Cell::Text(b""), Cell::Null]), None);
        let expected = vec![(b"id".to_vec(), b"1".to_vec()), (b"note \"q\"".to_vec(), Vec::new())];
        assert_eq!(content, Some(Content::Fields(expected)));
        assert_eq!(hex(&[0, 255]), b"\\x00ff");
    }

    #[test]
    fn sent_keys_are_remembered_and_others_rarely_confused_with_them() {
        let mut sent = Sent::default();
        assert!(!sent.may_contain(b"1"));
        (0..10_000_u32).for_each(|key| sent.insert(&key.to_be_bytes()));
        assert!((0..10_000_u32).all(|key| sent.may_contain(&key.to_be_bytes())));
        let confused = (10_000..20_000_u32).filter(|key| sent.may_contain(&key.to_be_bytes())).count();
        assert!(confused < 10, "{confused} of 10000");
        sent.clear();
        assert!(!sent.may_contain(&1_u32.to_be_bytes()));
    }
}
