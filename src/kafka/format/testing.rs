//! What the formats' tests make changes of.

use std::sync::Arc;

use bytes::Bytes;

use super::{Format, Record, Settings, Unit};
use crate::decode::shape;
use crate::event::{
    Cell, Column, Lsn, Relation, ReplicaIdentity, Row, RowBuilder, Shape, TableName, Timestamp, Transaction,
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
