//! Rows, mutations and checkpoints made by hand, for sinks that need no source.

use std::sync::Arc;

use bytes::Bytes;
use walbridge::event::{
    Cell, Change, Column, Event, Lsn, Offset, OldRow, Position, Relation, ReplicaIdentity, Row, RowBuilder, Scalar,
    Shape, TableName, Timestamp, Transaction,
};
use walbridge::log::LogId;
use walbridge::project::mutation::{Document, Effect, Key, Mutation};
use walbridge::sink::Checkpoint;

/// A table whose first column is its key.
pub(crate) fn table(name: &str, columns: &[(&str, Shape)]) -> Arc<Relation> {
    let column = |(name, shape): &(&str, Shape)| Column {
        name: (*name).to_owned(),
        type_oid: 25,
        type_modifier: -1,
        shape: *shape,
    };
    Arc::new(Relation {
        oid: 16_384,
        name: TableName { schema: "public".to_owned(), table: name.to_owned() },
        identity: ReplicaIdentity::Default,
        columns: columns.iter().map(column).collect(),
        key: vec![0],
    })
}

/// `public.users (id int8, name text, bio text)`.
pub(crate) fn users() -> Arc<Relation> {
    table("users", &[("id", Shape::Scalar(Scalar::Integer)), ("name", Shape::TEXT), ("bio", Shape::TEXT)])
}

/// Each value as text; `None` is NULL; the text `UNCHANGED` is an unchanged TOAST value.
pub(crate) fn row(values: &[Option<&str>]) -> Row {
    let mut builder = RowBuilder::default();
    for value in values {
        builder.push(match value {
            None => Cell::Null,
            Some("UNCHANGED") => Cell::Unchanged,
            Some(text) => Cell::Text(text.as_bytes()),
        });
    }
    builder.finish()
}

pub(crate) fn key(text: &str) -> Key {
    Key(Bytes::copy_from_slice(text.as_bytes()))
}

/// The n-th transaction's only event.
pub(crate) fn position(n: u64) -> Position {
    Position { epoch: 1, commit_lsn: Lsn::new(0x1000 + n * 0x100), ordinal: 0 }
}

/// The checkpoint after the n-th event.
pub(crate) fn after(n: u64) -> Checkpoint {
    Checkpoint { position: Some(position(n)), ..Checkpoint::new(LogId(7), Offset(n)) }
}

pub(crate) fn put(n: u64, relation: &Arc<Relation>, at: &str, values: &[Option<&str>]) -> Mutation {
    let document = Document { relation: Arc::clone(relation), row: row(values) };
    Mutation { key: key(at), position: position(n), effect: Effect::Put { document, moved_from: None } }
}

/// The row's key was `from`.
pub(crate) fn put_moved(n: u64, relation: &Arc<Relation>, from: &str, at: &str, values: &[Option<&str>]) -> Mutation {
    let document = Document { relation: Arc::clone(relation), row: row(values) };
    Mutation { key: key(at), position: position(n), effect: Effect::Put { document, moved_from: Some(key(from)) } }
}

pub(crate) fn delete(n: u64, at: &str) -> Mutation {
    Mutation { key: key(at), position: position(n), effect: Effect::Delete }
}

pub(crate) fn clear(n: u64, relation: &Relation) -> Mutation {
    Mutation { key: key(""), position: position(n), effect: Effect::Clear(relation.name.clone()) }
}

fn append(n: u64, change: Change) -> Mutation {
    let position = position(n);
    let transaction = Arc::new(Transaction {
        epoch: position.epoch,
        xid: 700,
        commit_lsn: position.commit_lsn,
        commit_time: Timestamp::from_unix_micros(1_700_000_000_000_000),
        first_ordinal: 0,
        origin: None,
    });
    let event = Event { transaction, ordinal: position.ordinal, change };
    Mutation { key: key("k"), position, effect: Effect::Append(event) }
}

pub(crate) fn append_insert(n: u64, relation: &Arc<Relation>, values: &[Option<&str>]) -> Mutation {
    append(n, Change::Insert { relation: Arc::clone(relation), new: row(values) })
}

pub(crate) fn append_delete(n: u64, relation: &Arc<Relation>, values: &[Option<&str>]) -> Mutation {
    append(n, Change::Delete { relation: Arc::clone(relation), old: OldRow::Key(row(values)) })
}
