//! Any bytes are parsed or refused. What is accepted holds the cells it claims, and comes back the same from its
//! body, the way it does from the log.

#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use walbridge::decode::message::Message;
use walbridge::decode::pgoutput::{Context, parse};
use walbridge::decode::tuple;
use walbridge::event::{Cell, Cells, Change, Column, OldRow, Op, Relation, ReplicaIdentity, Row, Shape, TableName};

fuzz_target!(|input: (bool, bool, &[u8])| {
    let (in_stream, parallel, bytes) = input;
    let message = match parse(bytes, Context { in_stream, parallel }) {
        Ok(message) => message,
        Err(error) => return assert!(error.at <= bytes.len()),
    };
    match message {
        Message::Insert(insert) => {
            let Some(Change::Insert { new, .. }) = reread(Op::Insert, insert.new, insert.body) else { return };
            check(&new, insert.new);
        }
        Message::Update(update) => {
            let Some(Change::Update { old, new, .. }) = reread(Op::Update, update.new, update.body) else { return };
            check(&new, update.new);
            assert_eq!(old.is_some(), update.old.is_some());
            old.iter().map(OldRow::row).zip(update.old).for_each(|(row, (_, tuple))| check(row, tuple));
        }
        Message::Delete(delete) => {
            let Some(Change::Delete { old, .. }) = reread(Op::Delete, delete.old.1, delete.body) else { return };
            check(old.row(), delete.old.1);
        }
        _ => {}
    }
});

/// What the log's reader makes of the body, with a relation as wide as `tuple`; `None` where another row's width
/// differs.
fn reread(op: Op, tuple: &[u8], body: &[u8]) -> Option<Change> {
    let column = Column { name: String::new(), type_oid: 25, type_modifier: -1, shape: Shape::TEXT };
    let relation = Relation {
        oid: 1,
        name: TableName { schema: String::new(), table: String::new() },
        identity: ReplicaIdentity::Default,
        columns: vec![column; tuple::count(tuple).expect("a tuple that was accepted")],
        key: Vec::new(),
    };
    tuple::change(op, &Arc::new(relation), &Bytes::copy_from_slice(body)).ok()
}

/// The same cells; those in binary form, of a column of text, as text.
fn check(row: &Row, tuple: &[u8]) {
    assert_eq!(tuple::count(row.as_bytes()), Some(row.cells().count()));
    let as_text = |cell| if let Cell::Binary(value) = cell { Cell::Text(value) } else { cell };
    assert!(row.cells().eq(Cells::of_tuple(tuple).map(as_text)));
}
