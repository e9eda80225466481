//! A row as a document: its JSON text, and what of it goes into the index.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tantivy::TantivyDocument;
use tantivy::schema::{Field, OwnedValue};

use super::fields::{Fields, Kind, date};
use crate::project::mutation::Key;

/// A longer key is found by its hash: an index term must be shorter than 64 KiB, and a table without a primary key may
/// have megabytes for a key.
const KEY_TERM_BYTES_MAX: usize = 1024;
/// A longer path in a JSON column is not indexed, for the same reason.
const JSON_PATH_BYTES_MAX: usize = 1024;
/// PostgreSQL's arrays have at most six dimensions (`MAXDIM`).
const ARRAY_DEPTH_MAX: usize = 6;

/// The term that finds a key's document. The byte before it keeps a key from looking like another one's hash.
pub(super) fn id_of(key: &Key) -> Vec<u8> {
    if key.0.len() <= KEY_TERM_BYTES_MAX {
        let mut id = vec![0];
        id.extend_from_slice(&key.0);
        return id;
    }
    let mut id = vec![1];
    id.extend_from_slice(&Sha256::digest(&key.0));
    id
}

/// What is given to the index. A value that its field cannot hold (`NaN`, `infinity`, a year beyond 2261) is left out of
/// the field and stays in `_source`.
pub(super) fn document(fields: &Fields, table: &str, (key, id): (&Key, &[u8]), source: &str) -> TantivyDocument {
    let mut document = TantivyDocument::default();
    document.add_bytes(fields.id, id);
    document.add_bytes(fields.key, &key.0);
    document.add_text(fields.table, table);
    // It is an object, which we have just made.
    let _ = serde_json::Deserializer::from_str(source).deserialize_map(Members { fields, document: &mut document });
    document.add_text(fields.source, source);
    document
}

/// Takes the members of a row's object one after the other, without keeping them.
struct Members<'a> {
    fields: &'a Fields,
    document: &'a mut TantivyDocument,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = members.next_key()? {
            let value: &RawValue = members.next_value()?;
            if let Some(&(field, kind)) = self.fields.columns.get(&*name) {
                add(self.document, field, kind, value.get());
            }
        }
        Ok(())
    }
}

/// Borrowed where no character of it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Calls `take` with the text of each value in a JSON value: its own, or its elements'. `null` has none.
pub(super) fn for_each_text(value: &str, take: &mut impl FnMut(&str)) {
    texts(value, ARRAY_DEPTH_MAX, take);
}

fn texts(value: &str, depth: usize, take: &mut impl FnMut(&str)) {
    if value.starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
        for element in elements.into_iter().filter(|_| depth > 0) {
            texts(element.get(), depth.saturating_sub(1), take);
        }
    } else if value.starts_with('"') {
        serde_json::from_str::<Name<'_>>(value).iter().for_each(|Name(text)| take(text));
    } else if value != "null" {
        // Numbers, booleans, and objects where two tables disagree about a column.
        take(value);
    }
}

/// Adds a JSON value to a field; an array adds each of its elements.
fn add(document: &mut TantivyDocument, field: Field, kind: Kind, value: &str) {
    if let Kind::Json(_) = kind {
        let parsed = serde_json::from_str(value).ok();
        if let Some(value) = parsed.and_then(|value| json_value(value, 0)) {
            document.add_field_value(field, &value);
        }
    } else {
        for_each_text(value, &mut |text| add_text(document, field, kind, text));
    }
}

fn add_text(document: &mut TantivyDocument, field: Field, kind: Kind, text: &str) {
    match kind {
        Kind::Text { .. } => document.add_text(field, text),
        Kind::Integer => text.parse().into_iter().for_each(|value| document.add_i64(field, value)),
        Kind::Float => {
            text.parse()
                .into_iter()
                .filter(|value: &f64| value.is_finite())
                .for_each(|value| document.add_f64(field, value));
        }
        Kind::Boolean => text.parse().into_iter().for_each(|value| document.add_bool(field, value)),
        Kind::Date => date(text).into_iter().for_each(|value| document.add_date(field, value)),
        Kind::Json(_) => {}
    }
}

/// As `OwnedValue::from` does it, which panics on a number that no double can hold (`1e999`, which `jsonb` can).
fn json_value(value: serde_json::Value, path_bytes: usize) -> Option<OwnedValue> {
    use serde_json::Value;
    Some(match value {
        Value::Null => OwnedValue::Null,
        Value::Bool(value) => OwnedValue::Bool(value),
        Value::String(text) => OwnedValue::Str(text),
        Value::Number(number) => {
            let integer = number.as_i64().map(OwnedValue::I64).or_else(|| number.as_u64().map(OwnedValue::U64));
            integer.or_else(|| number.as_f64().filter(|value| value.is_finite()).map(OwnedValue::F64))?
        }
        Value::Array(elements) => {
            OwnedValue::Array(elements.into_iter().filter_map(|element| json_value(element, path_bytes)).collect())
        }
        Value::Object(members) => {
            let members = members.into_iter().filter_map(|(name, value)| {
                let path_bytes = path_bytes.saturating_add(name.len()).saturating_add(1);
                let fits = path_bytes <= JSON_PATH_BYTES_MAX;
                Some((name, json_value(value, path_bytes).filter(|_| fits)?))
            });
            OwnedValue::Object(members.collect())
        }
    })
}
