//! A row as a document, and the name it has there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::decode::json;
use crate::event::{Position, TableName};
use crate::project::mutation::Key;
use crate::sink::Image;

/// The field that is ours.
pub(super) const OWN: &str = "_walbridge";
/// What it takes, about.
const OWN_BYTES: usize = 160;
/// The server takes no longer ids.
const ID_BYTES_MAX: usize = 512;
/// What a name begins with that is not the key itself.
const HASHED: &str = "walbridge-sha256:";

/// The id of a key's document: the key, or where that cannot be one, its hash.
pub(super) fn id_of(key: &[u8]) -> String {
    match str::from_utf8(key) {
        Ok(text) if !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.starts_with(HASHED) => text.to_owned(),
        _ => {
            let mut id = HASHED.to_owned();
            // Writing to a string does not fail.
            Sha256::digest(key).iter().for_each(|byte| _ = write!(id, "{byte:02x}"));
            id
        }
    }
}

/// The row's JSON, with our own field behind its columns: the table, the place of the event that put it, and the key where the id does not
/// tell it.
pub(super) fn with_own(row: String, table: &TableName, at: Position, key: &Key, id: &str) -> Vec<u8> {
    let mut text = row.into_bytes();
    text.pop();
    if text.len() > 1 {
        text.push(b',');
    }
    text.reserve(OWN_BYTES);
    text.extend_from_slice(b"\"_walbridge\":{\"table\":");
    json::write_string(table.to_string().as_bytes(), &mut text);
    text.extend_from_slice(b",\"at\":");
    // Writing to memory does not fail, and numbers and a text always have a JSON form.
    let _ = serde_json::to_writer(&mut text, &at);
    if id.as_bytes() != &*key.0 {
        text.extend_from_slice(b",\"key\":");
        json::write_hex(&key.0, &mut text);
    }
    text.extend_from_slice(b"}}");
    text
}

/// Our own field, read back.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Own {
    /// The event that put it.
    pub(super) at: Option<Position>,
    #[serde(default)]
    table: Option<String>,
    key: Option<String>,
}

/// What of a document is ours.
#[derive(Default, Deserialize)]
pub(super) struct Source {
    #[serde(default, rename = "_walbridge")]
    pub(super) own: Own,
}

/// The key of a document, of its id and our own field in it.
pub(super) fn key_of(id: &str, own: &Own) -> Option<Key> {
    let Some(written) = &own.key else { return Some(Key(id.to_owned().into())) };
    let digits = written.strip_prefix("\\x")?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    Some(Key(digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>()?.into()))
}

/// A document without our own field. One that does not say whose it is is none of ours: no search for a table's documents finds it.
pub(super) fn image(source: &str) -> Option<Image> {
    let mut members: BTreeMap<String, &RawValue> = match serde_json::from_str(source) {
        Ok(members) => members,
        Err(_) => return Some(Image::of_json(source.to_owned())),
    };
    let own = members.remove(OWN).and_then(|own| serde_json::from_str::<Own>(own.get()).ok());
    if own.is_none_or(|own| own.table.is_none()) {
        return Some(Image::foreign(source));
    }
    serde_json::to_string(&members).ok().map(Image::of_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_has_an_id_of_its_own_and_is_told_by_its_document() {
        let table = TableName { schema: "public".to_owned(), table: "t".to_owned() };
        let keys: [&[u8]; 5] = [b"public.t:1", b"", b"walbridge-sha256:00", &[0xFF, 0], &[b'x'; 513]];
        let mut ids = Vec::new();
        for key in keys {
            let key = Key(key.to_vec().into());
            let id = id_of(&key.0);
            assert!(!id.is_empty() && id.len() <= ID_BYTES_MAX, "{id}");
            let document = with_own(r#"{"id":1}"#.to_owned(), &table, Position::default(), &key, &id);
            let mut read: serde_json::Value = serde_json::from_slice(&document).unwrap();
            assert_eq!(read["id"], 1);
            let own: Own = serde_json::from_value(read[OWN].take()).unwrap();
            assert_eq!(key_of(&id, &own), Some(key));
            ids.push(id);
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), keys.len());
        let whole = with_own("{}".to_owned(), &table, Position::default(), &Key("a".into()), "a");
        let at = r#"{"epoch":0,"commit_lsn":"0/0","ordinal":0}"#;
        assert_eq!(whole, format!(r#"{{"_walbridge":{{"table":"public.t","at":{at}}}}}"#).into_bytes());
    }
}
