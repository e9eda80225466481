//! What the formats' tests make changes of.

use std::sync::Arc;

use bytes::Bytes;

use super::{Decoded, Format, Record, Records, Schema, Settings, Unit};
use crate::decode::shape;
use crate::event::{
    Cell, Change, Column, Lsn, Op, Relation, ReplicaIdentity, Row, RowBuilder, Shape, TableName, Timestamp, Transaction,
};

pub(super) fn settings(format: Format) -> Settings {
    Settings { format, name: "shop".to_owned(), database: "db".to_owned(), tombstones: true, ..Settings::default() }
}

pub(super) fn relation(identity: ReplicaIdentity, columns: &[(&str, u32, i32)], key: Vec<usize>) -> Arc<Relation> {
    let column = |&(name, type_oid, type_modifier): &(&str, u32, i32)| Column {
        name: name.to_owned(),
        type_oid,
        type_modifier,
        shape: shape::builtin(type_oid).unwrap_or(Shape::TEXT),
    };
    let name = TableName { schema: "public".into(), table: "t".into() };
    Arc::new(Relation { oid: 1, name, identity, columns: columns.iter().map(column).collect(), key })
}

pub(super) fn unit(settings: &Settings) -> Unit {
    let mut unit = Unit::new(settings);
    let transaction = Transaction {
        epoch: 1,
        xid: 7,
        commit_lsn: Lsn::new(0x100),
        commit_time: Timestamp::from_unix_micros(1_500_000),
        first_ordinal: 0,
        origin: None,
    };
    unit.begin(&transaction, Timestamp::from_unix_micros(2_000_001));
    unit
}

pub(super) fn row(cells: &[Cell<'_>]) -> Row {
    let mut builder = RowBuilder::default();
    cells.iter().for_each(|&cell| builder.push(cell));
    builder.finish()
}

pub(super) fn body(parts: &[(u8, &Row)]) -> Bytes {
    parts.iter().flat_map(|(letter, row)| [&[*letter], row.as_bytes().as_ref()].concat()).collect()
}

pub(super) fn header_of<'a>(record: &Record<'a>, name: &str) -> Option<&'a [u8]> {
    record.headers().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The records of a change in a format.
pub(super) fn encoded(format: Format, relation: &Arc<Relation>, op: Op, body: &[u8]) -> Records {
    let (settings, mut records) = (settings(format), Records::default());
    let encoder = format.encoder(relation, &settings);
    encoder.change(&mut unit(&settings), 3, op, body, &mut records).expect("a change");
    records
}

/// The texts of a table's schemas: its keys', and its values'.
pub(super) fn schemas(format: Format, relation: &Relation) -> (Option<String>, String) {
    let schemas = format.schemas(relation, "shop.public.t").expect("a format with schemas");
    let text = |schema: &Schema| schema.text(None);
    (schemas.key.as_ref().map(text), text(&schemas.value))
}

/// Another implementation reads every key and value by its schema (`read`), and we get the change back.
pub(super) fn round_trip(
    format: Format,
    relation: &Arc<Relation>,
    op: Op,
    body: &[u8],
    read: impl Fn(&str, &[u8]),
) -> Change {
    let (key, value) = schemas(format, relation);
    let (records, decoder) = (encoded(format, relation, op, body), format.decoder(relation));
    let mut changes = records.iter().filter_map(|record| {
        assert_eq!(record.key.is_some(), key.is_some() && op != Op::Truncate);
        record.key.zip(key.as_deref()).into_iter().for_each(|(bytes, schema)| read(schema, bytes));
        record.value.into_iter().for_each(|bytes| read(&value, bytes));
        match decoder.decode(record.value, |name| header_of(&record, name)).expect("our own record") {
            Decoded::Change(change) => Some(change),
            Decoded::Companion => None,
        }
    });
    let change = changes.next().expect("a change");
    assert_eq!(changes.next(), None, "one change, not more");
    change
}
