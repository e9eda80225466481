//! Small relations, rows and events for the unit tests of this stage.

use std::sync::Arc;

use crate::event::{
    Cell, Change, Column, Event, Lsn, Relation, ReplicaIdentity, Row, RowBuilder, Shape, TableName, Timestamp,
    Transaction,
};

pub(crate) fn relation(table: &str, columns: &[&str], key: &[usize]) -> Relation {
    let column = |name: &&str| Column { name: (*name).into(), type_oid: 25, type_modifier: -1, shape: Shape::TEXT };
    Relation {
        oid: 1,
        name: TableName { schema: "public".into(), table: table.into() },
        identity: ReplicaIdentity::Default,
        columns: columns.iter().map(column).collect(),
        key: key.into(),
    }
}

/// `"~"` is an unchanged cell.
pub(crate) fn row(values: &[&str]) -> Row {
    let mut builder = RowBuilder::default();
    for value in values {
        builder.push(if *value == "~" { Cell::Unchanged } else { Cell::Text(value.as_bytes()) });
    }
    builder.finish()
}

pub(crate) fn event(change: Change) -> Event {
    let transaction = Transaction {
        epoch: 1,
        xid: 1,
        commit_lsn: Lsn::new(1),
        commit_time: Timestamp::from_unix_micros(0),
        first_ordinal: 0,
        origin: None,
    };
    Event { transaction: Arc::new(transaction), ordinal: 0, change }
}
