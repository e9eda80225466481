//! Mutations made by hand, of a table `public.t (id int, name text, big text)`.

use std::sync::Arc;

use bytes::Bytes;
use walbridge::event::{
    Cell, Column, Lsn, Offset, Position, Relation, ReplicaIdentity, RowBuilder, Scalar, Shape, TableName,
};
use walbridge::log::LogId;
use walbridge::project::mutation::{Document, Effect, Key, Mutation};
use walbridge::sink::Checkpoint;

pub(super) const NULL: Cell<'static> = Cell::Null;
pub(super) const UNCHANGED: Cell<'static> = Cell::Unchanged;

pub(super) fn text(value: &str) -> Cell<'_> {
    Cell::Text(value.as_bytes())
}

pub(super) fn table() -> TableName {
    TableName { schema: "public".to_owned(), table: "t".to_owned() }
}

pub(super) fn relation() -> Arc<Relation> {
    let column = |name: &str, type_oid, scalar| Column {
        name: name.to_owned(),
        type_oid,
        type_modifier: -1,
        shape: Shape::Scalar(scalar),
    };
    Arc::new(Relation {
        oid: 16_384,
        name: table(),
        identity: ReplicaIdentity::Default,
        columns: vec![
            column("id", 23, Scalar::Integer),
            column("name", 25, Scalar::Text),
            column("big", 25, Scalar::Text),
        ],
        key: vec![0],
    })
}

/// The only event of the `at`th transaction.
pub(super) fn position(at: u64) -> Position {
    Position { epoch: 1, commit_lsn: Lsn::new(at), ordinal: 0 }
}

/// After the `at`th transaction.
pub(super) fn checkpoint(at: u64) -> Checkpoint {
    Checkpoint { position: Some(position(at)), ..Checkpoint::new(LogId(1), Offset(at)) }
}

pub(super) fn key(key: impl AsRef<[u8]>) -> Key {
    Key(Bytes::copy_from_slice(key.as_ref()))
}

pub(super) fn put(at: u64, name: impl AsRef<[u8]>, cells: [Cell<'_>; 3]) -> Mutation {
    let mut row = RowBuilder::default();
    cells.iter().for_each(|&cell| row.push(cell));
    let document = Document { relation: relation(), row: row.finish() };
    Mutation { key: key(name), position: position(at), effect: Effect::Put { document, moved_from: None } }
}

pub(super) fn moved(at: u64, from: &str, to: &str, cells: [Cell<'_>; 3]) -> [Mutation; 2] {
    let mut put = put(at, to, cells);
    if let Effect::Put { moved_from, .. } = &mut put.effect {
        *moved_from = Some(key(from));
    }
    [delete(at, from), put]
}

pub(super) fn delete(at: u64, name: impl AsRef<[u8]>) -> Mutation {
    Mutation { key: key(name), position: position(at), effect: Effect::Delete }
}

pub(super) fn clear(at: u64) -> Mutation {
    Mutation { key: key(""), position: position(at), effect: Effect::Clear(table()) }
}
