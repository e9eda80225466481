//! One event as one line of JSON: what `log dump --json`, `tail --json` and the file sink print.
//!
//! The fields are a public interface, always all of them and in this order:
//!
//! | field | |
//! | --- | --- |
//! | `source` | the source's name in the configuration |
//! | `position` | `epoch`, `commit_lsn`, `ordinal` |
//! | `xid`, `commit_time` | of the transaction; a snapshot chunk has xid 0 and the time of its snapshot |
//! | `op` | `insert`, `update`, `delete`, `truncate`, `read` (a snapshot's row), `message` |
//! | `schema`, `table` | when the change was made |
//! | `key` | the key's columns: the new row's, or a deleted row's; `null` if there is no row |
//! | `before` | the old row as far as it was logged: all of it under `REPLICA IDENTITY FULL`, otherwise its key, on an update only if that changed |
//! | `after` | the new row |
//! | `unchanged` | columns missing from `after` because they are large, stored out of line and untouched; never the same as `null` |
//!
//! A `message` also has `prefix`, `content` and `content_encoding`, which is `utf-8`, or `hex` (`\x…`) for other bytes.

use std::io::Write;

use crate::decode::json;
use crate::event::{Change, Event, OldRow, Relation, Row};

/// Appends the event as one JSON object, without a newline. The object itself has none either, whatever the values.
pub fn write_event(source: &str, event: &Event, out: &mut Vec<u8>) {
    write_head(source, event, out);
    match &event.change {
        Change::Insert { relation, new } | Change::Read { relation, row: new } => {
            write_table(relation, out);
            write_rows(relation, None, Some(new), out);
        }
        Change::Update { relation, old, new } => {
            write_table(relation, out);
            write_rows(relation, old.as_ref(), Some(new), out);
        }
        Change::Delete { relation, old } => {
            write_table(relation, out);
            write_rows(relation, Some(old), None, out);
        }
        Change::Truncate { relation } => {
            write_table(relation, out);
            write_rows(relation, None, None, out);
        }
        Change::Message { prefix, content } => write_message(prefix, content, out),
    }
    out.push(b'}');
}

/// The fields that every event has.
fn write_head(source: &str, event: &Event, out: &mut Vec<u8>) {
    let (transaction, position) = (&event.transaction, event.position());
    out.extend_from_slice(b"{\"source\":");
    json::write_string(source.as_bytes(), out);
    // Writing to a Vec does not fail.
    let _ = write!(
        out,
        r#","position":{{"epoch":{},"commit_lsn":"{}","ordinal":{}}},"xid":{},"commit_time":"{}","op":"{}""#,
        position.epoch,
        position.commit_lsn,
        position.ordinal,
        transaction.xid,
        transaction.commit_time,
        event.change.op().as_str()
    );
}

fn write_table(relation: &Relation, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"schema\":");
    json::write_string(relation.name.schema.as_bytes(), out);
    out.extend_from_slice(b",\"table\":");
    json::write_string(relation.name.table.as_bytes(), out);
}

/// `key`, `before`, `after` and `unchanged`.
fn write_rows(relation: &Relation, old: Option<&OldRow>, new: Option<&Row>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"key\":");
    match (new, old.map(OldRow::row)) {
        (Some(new), old) => json::write_key(relation, new, old, out),
        (None, Some(old)) => json::write_key(relation, old, None, out),
        (None, None) => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"before\":");
    match old {
        Some(OldRow::Full(row)) => json::write_row(relation, row, out),
        Some(OldRow::Key(row)) => json::write_key(relation, row, None, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"after\":");
    match new {
        Some(row) => json::write_row(relation, row, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"unchanged\":[");
    let unchanged = new.into_iter().flat_map(|row| json::unchanged_columns(relation, row));
    for (index, name) in unchanged.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::write_string(name.as_bytes(), out);
    }
    out.push(b']');
}

fn write_message(prefix: &str, content: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(br#","schema":null,"table":null,"key":null,"before":null,"after":null,"unchanged":[]"#);
    out.extend_from_slice(b",\"prefix\":");
    json::write_string(prefix.as_bytes(), out);
    out.extend_from_slice(b",\"content\":");
    if std::str::from_utf8(content).is_ok() {
        json::write_string(content, out);
        out.extend_from_slice(br#","content_encoding":"utf-8""#);
    } else {
        json::write_hex(content, out);
        out.extend_from_slice(br#","content_encoding":"hex""#);
    }
}
