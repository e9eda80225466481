//! Reading rows back from the source: for a row that came without its unchanged TOAST values, to a target that does not
//! have them either.
//!
//! What is read is the row as it is *now*, newer than the event. That is sound for a target that keeps the latest state:
//! every change in between is still to come from the log and will be applied over it. A row that is gone by now has its
//! delete still to come. But until they have come the target is ahead of the log, and [`Readback::take_newest`] tells how far.

use std::fmt::Write as _;
use std::time::Duration;

use postgres_protocol::escape::escape_identifier;
use tokio::sync::oneshot;

use super::error::CaptureError;
use super::publication::quoted;
use super::slot::END_OF_WAL;
use crate::event::{Cell, Lsn, Relation, Row, RowBuilder};
use crate::postgres::address::Address;
use crate::postgres::connection::{Connection, Purpose};
use crate::postgres::literal::literal;

/// A reader that connects when it is needed, and keeps the connection only while more is read: an open one would keep the server
/// from a smart shutdown.
pub struct Readback {
    address: Address,
    parked: Option<Parked>,
    newest: Option<Lsn>,
}

/// Whoever asks in time gets the connection.
type Parked = oneshot::Sender<oneshot::Sender<Connection>>;

/// A connection that is not used for so long is closed.
const IDLE_TIME_MAX: Duration = Duration::from_secs(1);

/// What was found of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The whole row, as it is now.
    Row(Row),
    /// There is no such row any more.
    Gone,
    /// It cannot be read in the shape it was written in: the table or a column is gone, or the role may not read it.
    Unreadable(String),
}

impl Readback {
    /// A reader of this source.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Readback { address, parked: None, newest: None }
    }

    /// Reads the row that has the same key as this one.
    ///
    /// # Errors
    /// The source cannot be reached, for now.
    pub async fn read(&mut self, relation: &Relation, row: &Row) -> Result<Found, CaptureError> {
        let Some(sql) = select(relation, row) else {
            return Ok(Found::Unreadable("its key is not in the event".to_owned()));
        };
        let mut connection = match self.parked_connection().await {
            Some(connection) => connection,
            None => Connection::open(&self.address, Purpose::Query).await?,
        };
        let read = connection.query("reading a row back", &sql).await.map_err(CaptureError::from);
        if matches!(read, Ok(_) | Err(CaptureError::Server { .. })) {
            self.parked = Some(park(connection));
        }
        match read {
            Ok(rows) => {
                let Some((now, values)) = rows.first().and_then(|values| values.split_last()) else {
                    return Ok(Found::Gone);
                };
                let now = now.as_deref().and_then(|now| std::str::from_utf8(now).ok()?.parse().ok());
                self.newest = self.newest.max(now);
                let mut builder = RowBuilder::default();
                values.iter().for_each(|value| builder.push(value.as_deref().map_or(Cell::Null, Cell::Text)));
                Ok(Found::Row(builder.finish()))
            }
            // Undefined table, undefined column, missing privilege: waiting does not bring them back.
            Err(CaptureError::Server { source, .. }) if matches!(&*source.sqlstate, "42P01" | "42703" | "42501") => {
                Ok(Found::Unreadable(source.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// What was committed at this LSN or later is in none of the rows that were read since this was asked last; `None`: there were none.
    pub fn take_newest(&mut self) -> Option<Lsn> {
        self.newest.take()
    }

    async fn parked_connection(&mut self) -> Option<Connection> {
        let (hand_over, handed_over) = oneshot::channel();
        self.parked.take()?.send(hand_over).ok()?;
        handed_over.await.ok()
    }
}

/// Keeps a connection until it is asked for, or for as long as it may idle.
fn park(connection: Connection) -> Parked {
    let (parked, asked) = oneshot::channel::<oneshot::Sender<Connection>>();
    tokio::spawn(async move {
        match tokio::time::timeout(IDLE_TIME_MAX, asked).await {
            // If whoever asked has gone meanwhile, the connection goes too.
            Ok(Ok(hand_over)) => drop(hand_over.send(connection)),
            Ok(Err(_)) | Err(_) => connection.close().await,
        }
    });
    parked
}

fn select(relation: &Relation, row: &Row) -> Option<String> {
    let columns: Vec<String> = relation.columns.iter().map(|column| escape_identifier(&column.name)).collect();
    // Not a row of an inheritance child, which may have the same key. A partition's row is its root's.
    let own = format!(
        "(SELECT FROM pg_class c WHERE c.oid = t.tableoid AND (c.oid = {oid} OR c.relispartition))",
        oid = relation.oid
    );
    let (columns, name) = (columns.join(", "), quoted(&relation.name));
    let mut sql = format!("SELECT {columns}, {END_OF_WAL} FROM {name} t WHERE EXISTS {own}");
    for &index in &relation.key {
        let (Some(Cell::Text(value)), Some(column)) = (row.cell(index), relation.columns.get(index)) else {
            return None;
        };
        write!(sql, " AND {} = {}", escape_identifier(&column.name), literal(value)).ok()?;
    }
    Some(sql)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Column, ReplicaIdentity, Shape, TableName};

    #[test]
    fn hostile_names_and_values_stay_names_and_values() {
        let column = |name: &str| Column { name: name.into(), type_oid: 25, type_modifier: -1, shape: Shape::TEXT };
        let relation = Relation {
            oid: 1,
            name: TableName { schema: "s".into(), table: "x\"; DROP TABLE y; --".into() },
            identity: ReplicaIdentity::Default,
            columns: vec![column("id"), column("b\\c")],
            key: vec![0],
        };
        let mut row = RowBuilder::default();
        row.push(Cell::Text(b"'; DROP TABLE y; --"));
        row.push(Cell::Unchanged);
        let sql = select(&relation, &row.finish()).expect("a statement");
        assert_eq!(
            sql,
            "SELECT \"id\", \"b\\c\", CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END FROM \"s\".\"x\"\"; DROP TABLE y; --\" t \
             WHERE EXISTS (SELECT FROM pg_class c WHERE c.oid = t.tableoid AND (c.oid = 1 OR c.relispartition)) AND \"id\" = '''; DROP TABLE y; --'"
        );
    }
}
