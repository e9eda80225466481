//! One event as one line of JSON: what `log dump --json`, `tail --json` and the file sink print.
//!
//! The fields are a public interface, in this order, and but for `origin` always all of them:
//!
//! | field | |
//! | --- | --- |
//! | `source` | the source's name in the configuration |
//! | `position` | `epoch`, `commit_lsn`, `ordinal` |
//! | `xid`, `commit_time` | of the transaction; a snapshot chunk has xid 0 and the time of its snapshot, a message outside any transaction xid 0 and the time it was sent |
//! | `origin` | only if the transaction came to the source by replication: the origin's name there |
//! | `op` | `insert`, `update`, `delete`, `truncate`, `read` (a snapshot's row), `message` |
//! | `schema`, `table` | when the change was made |
//! | `key` | the key's columns: the new row's, or a deleted row's; `null` if there is no row |
//! | `before` | the old row as far as it was logged: whole under `REPLICA IDENTITY FULL`, else its key if need be |
//! | `after` | the new row |
//! | `unchanged` | columns missing from `after`: large, stored out of line, untouched; not the same as `null` |
//!
//! Under the default identity an update has its old key only if that changed, or is itself stored out of line.
//! A table that is copied again begins with a `truncate` that also has `"copy": "begun"`: its rows follow, as `read`. Behind the
//! last of them stands a `message` of the prefix `walbridge.copy`, with the table's name: it has all its rows again.
//!
//! A `message` also has `prefix`, `content` and `content_encoding`, which is `utf-8`, or `hex` (`\x…`) for other bytes.

use std::io::Write;

use crate::decode::json;
use crate::event::{COPY_PREFIX, Change, Event, Offset, OldRow, Relation, Row};

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
        Change::CopyBegun { relation } => {
            write_table(relation, out);
            write_rows(relation, None, None, out);
            out.extend_from_slice(br#","copy":"begun""#);
        }
        Change::CopyDone { relation, since } => {
            write_table(relation, out);
            write_rows(relation, None, None, out);
            write_content(COPY_PREFIX, copy_done(*since).as_bytes(), out);
        }
        Change::Message { prefix, content } => {
            out.extend_from_slice(
                br#","schema":null,"table":null,"key":null,"before":null,"after":null,"unchanged":[]"#,
            );
            write_content(prefix, content, out);
        }
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
        r#","position":{{"epoch":{},"commit_lsn":"{}","ordinal":{}}},"xid":{},"commit_time":"{}","#,
        position.epoch, position.commit_lsn, position.ordinal, transaction.xid, transaction.commit_time,
    );
    if let Some(origin) = &transaction.origin {
        out.extend_from_slice(br#""origin":"#);
        json::write_string(origin.as_bytes(), out);
        out.push(b',');
    }
    let _ = write!(out, r#""op":"{}""#, event.change.op().as_str());
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

/// What a finished copy is told as.
fn copy_done(since: Offset) -> String {
    format!("done since {since}")
}

fn write_content(prefix: &str, content: &[u8], out: &mut Vec<u8>) {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use expect_test::{Expect, expect};

    use super::*;
    use crate::event::{
        Cell, Column, Lsn, ReplicaIdentity, RowBuilder, Scalar, Shape, TableName, Timestamp, Transaction,
    };

    fn relation() -> Arc<Relation> {
        let column = |name: &str, scalar| Column {
            name: name.to_owned(),
            type_oid: 0,
            type_modifier: -1,
            shape: Shape::Scalar(scalar),
        };
        Arc::new(Relation {
            oid: 16_384,
            name: TableName { schema: "public".into(), table: "Users \"quoted\"".into() },
            identity: ReplicaIdentity::Default,
            columns: vec![
                column("id", Scalar::Integer),
                column("bio", Scalar::Text),
                column("at", Scalar::TimestampTz),
            ],
            key: vec![0],
        })
    }

    fn row(cells: [Cell<'_>; 3]) -> Row {
        let mut builder = RowBuilder::default();
        cells.iter().for_each(|&cell| builder.push(cell));
        builder.finish()
    }

    fn line(change: Change) -> String {
        let transaction = Arc::new(Transaction {
            epoch: 1,
            xid: 742,
            commit_lsn: Lsn::new(0x16_B374_D848),
            commit_time: Timestamp::from_unix_micros(1_795_514_400_000_500),
            first_ordinal: 0,
            origin: None,
        });
        let mut out = Vec::new();
        write_event("shop", &Event { transaction, ordinal: 3, change }, &mut out);
        let line = String::from_utf8(out).expect("JSON is UTF-8");
        assert!(!line.contains('\n'));
        serde_json::from_str::<serde_json::Value>(&line).expect("JSON");
        line
    }

    /// Compares what follows the fields that all events have alike.
    fn check(change: Change, expected: Expect) {
        let op = change.op().as_str();
        let line = line(change);
        let (head, tail) = line.split_once(r#","key":"#).expect("a key field");
        assert!(head.contains(&format!(r#","op":"{op}","schema":"#)), "{head}");
        expected.assert_eq(&format!(r#""key":{tail}"#));
    }

    #[test]
    fn an_event_is_placed_dated_and_named() {
        let head = line(Change::Truncate { relation: relation() });
        let (head, _) = head.split_once(r#","key":"#).expect("a key field");
        let expected = concat!(
            r#"{"source":"shop","position":{"epoch":1,"commit_lsn":"16/B374D848","ordinal":3},"xid":742,"#,
            r#""commit_time":"2026-11-24T10:00:00.000500Z","op":"truncate","schema":"public","table":"Users \"quoted\"""#
        );
        assert_eq!(head, expected);
    }

    #[test]
    fn an_origin_is_told_where_there_is_one() {
        let transaction = Arc::new(Transaction {
            epoch: 1,
            xid: 1,
            commit_lsn: Lsn::new(1),
            commit_time: Timestamp::from_unix_micros(0),
            first_ordinal: 0,
            origin: Some("the \"other\" site".into()),
        });
        let mut out = Vec::new();
        write_event(
            "shop",
            &Event { transaction, ordinal: 0, change: Change::Truncate { relation: relation() } },
            &mut out,
        );
        let line: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!((&line["origin"], &line["op"]), (&"the \"other\" site".into(), &"truncate".into()));
    }

    #[test]
    fn an_insert_has_its_key_and_the_new_row() {
        let new = row([Cell::Text(b"7"), Cell::Text(b"two\nlines"), Cell::Text(b"2026-11-24 10:00:00+00")]);
        check(
            Change::Insert { relation: relation(), new },
            expect![[
                r#""key":{"id":7},"before":null,"after":{"id":7,"bio":"two\nlines","at":"2026-11-24T10:00:00Z"},"unchanged":[]}"#
            ]],
        );
    }

    #[test]
    fn a_snapshot_row_reads_like_an_insert() {
        let row = row([Cell::Text(b"7"), Cell::Null, Cell::Null]);
        check(
            Change::Read { relation: relation(), row },
            expect![[r#""key":{"id":7},"before":null,"after":{"id":7,"bio":null,"at":null},"unchanged":[]}"#]],
        );
    }

    #[test]
    fn an_update_that_moves_the_key_shows_the_old_key_before_and_the_new_one_as_key() {
        let old = OldRow::Key(row([Cell::Text(b"7"), Cell::Null, Cell::Null]));
        let new = row([Cell::Text(b"8"), Cell::Unchanged, Cell::Null]);
        check(
            Change::Update { relation: relation(), old: Some(old), new },
            expect![[r#""key":{"id":8},"before":{"id":7},"after":{"id":8,"at":null},"unchanged":["bio"]}"#]],
        );
    }

    #[test]
    fn an_update_under_identity_full_shows_the_whole_old_row() {
        let old = OldRow::Full(row([Cell::Text(b"7"), Cell::Text(b"old"), Cell::Null]));
        let new = row([Cell::Text(b"7"), Cell::Text(b"new"), Cell::Null]);
        check(
            Change::Update { relation: relation(), old: Some(old), new },
            expect![[
                r#""key":{"id":7},"before":{"id":7,"bio":"old","at":null},"after":{"id":7,"bio":"new","at":null},"unchanged":[]}"#
            ]],
        );
    }

    /// Under the default identity every column but the key is sent as NULL, which means "not sent" here. Shown as
    /// null it would be a lie.
    #[test]
    fn a_delete_by_key_shows_the_key_and_no_nulls_for_what_was_not_sent() {
        let old = OldRow::Key(row([Cell::Text(b"7"), Cell::Null, Cell::Null]));
        check(
            Change::Delete { relation: relation(), old },
            expect![[r#""key":{"id":7},"before":{"id":7},"after":null,"unchanged":[]}"#]],
        );
    }

    #[test]
    fn a_truncate_has_a_table_and_no_row() {
        check(
            Change::Truncate { relation: relation() },
            expect![[r#""key":null,"before":null,"after":null,"unchanged":[]}"#]],
        );
    }

    #[test]
    fn a_table_copied_again_is_emptied_first_and_told_complete_in_the_end() {
        check(
            Change::CopyBegun { relation: relation() },
            expect![[r#""key":null,"before":null,"after":null,"unchanged":[],"copy":"begun"}"#]],
        );
        check(
            Change::CopyDone { relation: relation(), since: Offset(17) },
            expect![[
                r#""key":null,"before":null,"after":null,"unchanged":[],"prefix":"walbridge.copy","content":"done since 17","content_encoding":"utf-8"}"#
            ]],
        );
    }

    #[test]
    fn a_message_has_its_content_as_text_or_as_hex() {
        check(
            Change::Message { prefix: "app".into(), content: Bytes::from_static(b"hello \"you\"") },
            expect![[
                r#""key":null,"before":null,"after":null,"unchanged":[],"prefix":"app","content":"hello \"you\"","content_encoding":"utf-8"}"#
            ]],
        );
        check(
            Change::Message { prefix: "app".into(), content: Bytes::from_static(&[0xFF, 0x00]) },
            expect![[
                r#""key":null,"before":null,"after":null,"unchanged":[],"prefix":"app","content":"\\xff00","content_encoding":"hex"}"#
            ]],
        );
    }
}
