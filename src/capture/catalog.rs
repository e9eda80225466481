//! What the catalog says of tables and types. Asked when a table is first seen and for snapshots, never to decode a row:
//! rows are read with the relation they were written with.

use std::collections::HashSet;
use std::sync::Arc;

use super::error::CaptureError;
use super::publication::sent;
use super::slot::{parsed, text};
use super::types::Types;
use crate::event::{Column, Relation, ReplicaIdentity, Shape, TableName};
use crate::postgres::connection::{Connection, TextRow};
use crate::status::Code;

/// A table that could be captured.
#[derive(Clone, Debug)]
pub struct Table {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its name.
    pub name: TableName,
    /// What PostgreSQL logs of old rows.
    pub identity: ReplicaIdentity,
    /// The primary key's columns; empty if there is none.
    pub primary_key: Vec<String>,
    /// The columns of the index that the identity uses; empty unless the identity is an index.
    pub identity_index: Vec<String>,
    /// It has partitions, and no rows of its own.
    pub partitioned: bool,
    /// Changes are written to the WAL: it is not unlogged.
    pub logged: bool,
    /// Row-level security hides rows from this role.
    pub hides_rows: bool,
    /// This role may read it.
    pub readable: bool,
    /// The planner's estimate of its rows, if it has one.
    pub rows_estimate: Option<u64>,
}

impl Table {
    /// The columns that name a row in the sinks; empty if there are none but the row as a whole.
    #[must_use]
    pub fn key(&self) -> &[String] {
        match self.identity {
            ReplicaIdentity::Index if !self.identity_index.is_empty() => &self.identity_index,
            ReplicaIdentity::Index | ReplicaIdentity::Nothing | ReplicaIdentity::Default | ReplicaIdentity::Full => {
                &self.primary_key
            }
        }
    }

    /// Whether `UPDATE` and `DELETE` tell which row they are about. If not, the server refuses them while they are published.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        match self.identity {
            ReplicaIdentity::Default => !self.primary_key.is_empty(),
            ReplicaIdentity::Index => !self.identity_index.is_empty(),
            ReplicaIdentity::Full => true,
            ReplicaIdentity::Nothing => false,
        }
    }
}

/// The columns in the table's order and not in the index's, for the stream's announcement of a table marks them and tells no other: the copy must call
/// a row what the stream calls it.
///
/// A deferrable key is not taken: within one statement two rows may have it, so it names none. Nor is one with a generated column, whose
/// values PostgreSQL does not send before 18, and later only where the publication says so.
pub(super) const KEY_OF_INDEX: &str = "(SELECT to_json(array_agg(a.attname ORDER BY a.attnum)) FROM pg_index i \
     CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
     WHERE i.indrelid = c.oid AND k.place <= i.indnkeyatts AND i.indimmediate AND NOT EXISTS (SELECT FROM pg_attribute g \
       WHERE g.attrelid = i.indrelid AND g.attnum = ANY (i.indkey) AND g.attgenerated <> '') AND ";

/// Everything below a partitioned table, as an SQL query of `oid`. `pg_partition_tree` would wait for whoever has locked any of it.
pub(super) fn below(root: &str) -> String {
    format!(
        "(WITH RECURSIVE below(oid) AS (SELECT inhrelid FROM pg_inherits WHERE inhparent = {root} AND NOT inhdetachpending \
         UNION ALL SELECT inhrelid FROM pg_inherits JOIN below ON inhparent = below.oid WHERE NOT inhdetachpending) SELECT oid FROM below)"
    )
}

/// Every table of the database that could be captured: plain and partitioned ones. `via_root`: partitions only through their
/// root; else they are tables of their own, and their root is none.
///
/// # Errors
/// The query failed.
pub async fn tables(connection: &mut Connection, via_root: bool) -> Result<Vec<Table>, CaptureError> {
    list(connection, via_root, "true").await
}

/// One of those, if it is there.
///
/// # Errors
/// The query failed.
pub async fn table(connection: &mut Connection, oid: u32, via_root: bool) -> Result<Option<Table>, CaptureError> {
    Ok(list(connection, via_root, &format!("c.oid = {oid}")).await?.pop())
}

/// Which rows of `pg_class` (`c`, with `n` its schema) are those, as an SQL condition.
pub(super) fn is_capturable(via_root: bool) -> String {
    let kinds = if via_root { "c.relkind IN ('r', 'p') AND NOT c.relispartition" } else { "c.relkind = 'r'" };
    format!("{kinds} AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'")
}

async fn list(connection: &mut Connection, via_root: bool, condition: &str) -> Result<Vec<Table>, CaptureError> {
    let is_capturable = is_capturable(via_root);
    let sql = format!(
        "SELECT c.oid, n.nspname, c.relname, c.relreplident, {KEY_OF_INDEX} i.indisprimary), {KEY_OF_INDEX} i.indisreplident), \
         c.relpersistence = 'p', row_security_active(c.oid), has_table_privilege(c.oid, 'SELECT'), c.reltuples::int8, c.relkind = 'p' \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {condition} AND {is_capturable} ORDER BY 2, 3"
    );
    let rows = connection.query("listing the tables", &sql).await?;
    rows.iter().map(|row| read_table(row).ok_or_else(incomplete)).collect()
}

fn read_table(row: &TextRow) -> Option<Table> {
    let is = |index| text(row, index).as_deref() == Some("t");
    Some(Table {
        oid: parsed(row, 0)?,
        name: TableName { schema: text(row, 1)?, table: text(row, 2)? },
        identity: ReplicaIdentity::from_letter(*text(row, 3)?.as_bytes().first()?)?,
        primary_key: names(row, 4)?,
        identity_index: names(row, 5)?,
        partitioned: is(10),
        logged: is(6),
        hides_rows: is(7),
        readable: is(8),
        // -1: never analysed.
        rows_estimate: parsed::<i64>(row, 9).and_then(|estimate| u64::try_from(estimate).ok()),
    })
}

/// A JSON array of names; NULL is none.
pub(super) fn names(row: &TextRow, index: usize) -> Option<Vec<String>> {
    text(row, index).map_or(Some(Vec::new()), |json| serde_json::from_str(&json).ok())
}

fn incomplete() -> CaptureError {
    CaptureError::Protocol("the catalog gave an answer that cannot be read".to_owned())
}

/// A table as a snapshot reads it: the columns that the publication sends, and the filter it sends rows by.
#[derive(Clone, Debug)]
pub struct Published {
    /// As the stream would announce it.
    pub relation: Arc<Relation>,
    /// The publication's row filter, as an SQL expression.
    pub row_filter: Option<String>,
}

/// Describes a table as published. Call it with a lock on the table, so that what follows reads the same columns. `types`: those
/// known by now, of which it makes use and to which it adds.
///
/// # Errors
/// The query failed, or the table is not, or no longer, in the publication.
pub async fn describe(
    connection: &mut Connection,
    table: &Table,
    publication: &str,
    types: &mut Types,
) -> Result<Published, CaptureError> {
    let sql = format!(
        "SELECT to_json(columns), pg_get_expr(filter, oid) FROM ({}) s WHERE oid = {}",
        sent(publication, connection.server_version()),
        table.oid
    );
    let rows = connection.query("looking at the publication", &sql).await?;
    let row = rows.first().ok_or_else(|| {
        CaptureError::wait(
            Code::SourcePublication,
            format!("table {} is not in publication \"{publication}\"", table.name),
            "Add it, or take it out of `tables`",
        )
    })?;
    let published: HashSet<String> = names(row, 0).ok_or_else(incomplete)?.into_iter().collect();
    let row_filter = text(row, 1);
    let sql = format!(
        "SELECT attname, atttypid, atttypmod FROM pg_attribute \
         WHERE attrelid = {} AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        table.oid
    );
    let rows = connection.query("looking at the columns", &sql).await?;
    let mut columns = Vec::new();
    for row in &rows {
        let name = text(row, 0).ok_or_else(incomplete)?;
        if published.contains(&name) {
            let type_oid = parsed(row, 1).ok_or_else(incomplete)?;
            let type_modifier = parsed(row, 2).ok_or_else(incomplete)?;
            columns.push(Column { name, type_oid, type_modifier, shape: Shape::TEXT });
        }
    }
    let mut relation =
        Relation { oid: table.oid, name: table.name.clone(), identity: table.identity, columns, key: Vec::new() };
    relation.key = table.key().iter().filter_map(|name| relation.column_index(name)).collect();
    if relation.key.is_empty() {
        // As the stream announces it: the row as a whole.
        relation.key = (0..relation.columns.len()).collect();
    }
    types.resolve(connection, &mut relation).await?;
    Ok(Published { relation: Arc::new(relation), row_filter })
}

/// Why nothing names a table's rows, for people.
///
/// # Errors
/// The query failed.
pub async fn why_without_key(connection: &mut Connection, table: &Table) -> Result<String, CaptureError> {
    let sql = format!(
        "SELECT string_agg(quote_ident(n.relname), ', ') FILTER (WHERE i.indisprimary), \
         string_agg(quote_ident(n.relname), ', ') FILTER (WHERE i.indisreplident), \
         bool_or(NOT i.indimmediate) FILTER (WHERE i.indisprimary OR i.indisreplident) \
         FROM pg_index i JOIN pg_class n ON n.oid = i.indexrelid WHERE i.indrelid = {}",
        table.oid
    );
    let rows = connection.query("looking for the primary key", &sql).await?;
    let found = |index| rows.first().and_then(|row| text(row, index));
    let why = match found(2).as_deref() {
        Some("t") => "is deferrable: within a statement two rows may have it",
        _ => "has a generated column, which is not sent",
    };
    Ok(match (table.identity, found(0), found(1)) {
        (ReplicaIdentity::Nothing, ..) => "its replica identity is NOTHING".to_owned(),
        (ReplicaIdentity::Index, _, Some(index)) => format!("the index of its replica identity, {index}, {why}"),
        (ReplicaIdentity::Index, ..) => "the index of its replica identity is gone".to_owned(),
        (_, Some(index), _) => format!("its primary key, {index}, {why}"),
        (ReplicaIdentity::Default | ReplicaIdentity::Full, None, _) => "it has no primary key".to_owned(),
    })
}

/// What the catalog says now of a table that the stream has announced.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Its primary key.
    pub primary_key: Vec<String>,
    /// It has partitions.
    pub partitioned: bool,
    /// It is a partition, below this table.
    pub root: Option<u32>,
}

/// Looks a table up; one that is gone is nothing in particular.
///
/// # Errors
/// The query failed.
pub async fn about(connection: &mut Connection, oid: u32) -> Result<About, CaptureError> {
    let sql = format!(
        "SELECT {KEY_OF_INDEX} i.indisprimary), c.relkind = 'p', \
         CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid END FROM pg_class c WHERE c.oid = {oid}"
    );
    let rows = connection.query("looking at an announced table", &sql).await?;
    let about = |row| {
        let partitioned = text(row, 1).as_deref() == Some("t");
        About { primary_key: names(row, 0).unwrap_or_default(), partitioned, root: parsed(row, 2) }
    };
    Ok(rows.first().map(about).unwrap_or_default())
}
