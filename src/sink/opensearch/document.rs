//! A row as a document, and the name it has there.

use std::fmt::Write as _;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::decode::json;
use crate::event::{Position, TableName};
use crate::project::mutation::Key;

/// The field that is ours.
pub(super) const OWN: &str = "_walbridge";
/// The server takes no longer ids.
const ID_BYTES_MAX: usize = 512;
/// What a name begins with that is not the key itself.
const HASHED: &str = "walbridge-sha256:";

/// The id of a key's document: the key, or where that cannot be one, its hash.
pub(super) fn id_of(key: &Key) -> String {
    match str::from_utf8(&key.0) {
        Ok(text) if !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.starts_with(HASHED) => text.to_owned(),
        _ => {
            let mut id = HASHED.to_owned();
            // Writing to a string does not fail.
            Sha256::digest(&key.0).iter().for_each(|byte| _ = write!(id, "{byte:02x}"));
            id
        }
    }
}

/// The row's JSON, with our own field behind its columns: the table, the place of the event that put it, and the key where the id does not
/// tell it.
pub(super) fn with_own(row: &str, table: &TableName, at: Position, key: &Key, id: &str) -> String {
    let columns = row.strip_suffix('}').unwrap_or(row);
    let comma = if columns.len() > 1 { "," } else { "" };
    let mut own = format!("{columns}{comma}\"{OWN}\":{{\"table\":").into_bytes();
    json::write_string(table.to_string().as_bytes(), &mut own);
    // Numbers and a text always have a JSON form.
    let at = serde_json::to_string(&at).unwrap_or_default();
    own.extend_from_slice(b",\"at\":");
    own.extend_from_slice(at.as_bytes());
    if id.as_bytes() != &*key.0 {
        own.extend_from_slice(b",\"key\":");
        json::write_hex(&key.0, &mut own);
    }
    own.extend_from_slice(b"}}");
    String::from_utf8_lossy(&own).into_owned()
}

/// Our own field, read back.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Own {
    /// The event that put it.
    pub(super) at: Option<Position>,
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
            let id = id_of(&key);
            assert!(!id.is_empty() && id.len() <= ID_BYTES_MAX, "{id}");
            let document = with_own(r#"{"id":1}"#, &table, Position::default(), &key, &id);
            let mut read: serde_json::Value = serde_json::from_str(&document).unwrap();
            assert_eq!(read["id"], 1);
            let own: Own = serde_json::from_value(read[OWN].take()).unwrap();
            assert_eq!(key_of(&id, &own), Some(key));
            ids.push(id);
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), keys.len());
        let whole = with_own("{}", &table, Position::default(), &Key("a".into()), "a");
        let at = r#"{"epoch":0,"commit_lsn":"0/0","ordinal":0}"#;
        assert_eq!(whole, format!(r#"{{"_walbridge":{{"table":"public.t","at":{at}}}}}"#));
    }
}
