//! The publication: made for the configured tables and nothing else, or adopted and checked.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::error::CaptureError;
use super::slot::text;
use crate::event::TableName;
use crate::postgres::connection::Connection;
use crate::status::{Code, Disposition};

/// `"schema"."table"`, quoted for SQL.
#[must_use]
pub fn quoted(name: &TableName) -> String {
    format!("{}.{}", escape_identifier(&name.schema), escape_identifier(&name.table))
}

/// A publication's name, quoted for SQL.
#[must_use]
pub fn quoted_name(publication: &str) -> String {
    escape_identifier(publication)
}

/// Tables as a publication's statements name them. `ONLY`: without it the children that inherit from a table are published with it, also
/// those that nobody means and that have no key, whose `UPDATE`s the server then refuses. Partitions always belong to their root.
fn list(tables: &[TableName]) -> String {
    tables.iter().map(|table| format!("ONLY {}", quoted(table))).collect::<Vec<_>>().join(", ")
}

/// The statement that makes the publication.
#[must_use]
pub fn create_statement(publication: &str, tables: &[TableName]) -> String {
    format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
        escape_identifier(publication),
        list(tables)
    )
}

/// The statement that has it send these tables too.
#[must_use]
pub fn add_statement(publication: &str, tables: &[TableName]) -> String {
    format!("ALTER PUBLICATION {} ADD TABLE {}", escape_identifier(publication), list(tables))
}

/// What says of a publication, in its comment, that walbridge may remove it.
pub const MARK: &str = "made by walbridge";

/// The statement that says so.
#[must_use]
pub fn mark_statement(publication: &str) -> String {
    format!("COMMENT ON PUBLICATION {} IS {}", escape_identifier(publication), escape_literal(MARK))
}

/// The statement that removes it.
#[must_use]
pub fn drop_statement(publication: &str) -> String {
    format!("DROP PUBLICATION {}", escape_identifier(publication))
}

/// Whether the publication is there and bears the mark; `None` if it is not there.
///
/// # Errors
/// The query failed.
pub async fn is_ours(connection: &mut Connection, publication: &str) -> Result<Option<bool>, CaptureError> {
    let sql = format!(
        "SELECT coalesce(obj_description(oid, 'pg_publication'), '') = {} FROM pg_publication WHERE pubname = {}",
        escape_literal(MARK),
        escape_literal(publication)
    );
    let rows = connection.query("looking for the publication", &sql).await?;
    Ok(rows.first().map(|row| text(row, 0).as_deref() == Some("t")))
}

/// Makes sure that the publication is there and sends these tables. It may send more; those are passed over.
///
/// # Errors
/// It is missing, or lacks tables, and this role may not change that: the error holds the SQL for one who may.
pub async fn ensure(connection: &mut Connection, publication: &str, tables: &[TableName]) -> Result<(), CaptureError> {
    let literal = escape_literal(publication);
    let sql = format!(
        "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate FROM pg_publication WHERE pubname = {literal}"
    );
    let rows = connection.query("looking for the publication", &sql).await?;
    let identifier = escape_identifier(publication);
    match rows.first() {
        None => {
            let sql = create_statement(publication, tables);
            change(connection, publication, "does not exist", &sql).await?;
            return change(connection, publication, "is not marked", &mark_statement(publication)).await;
        }
        Some(row) if text(row, 0).as_deref() != Some("t") => {
            return Err(CaptureError::halt(
                Code::SourcePublication,
                format!("publication \"{publication}\" leaves out some kinds of changes"),
                format!("Run ALTER PUBLICATION {identifier} SET (publish = 'insert, update, delete, truncate');"),
            ));
        }
        Some(_) => {}
    }
    let missing = missing_tables(connection, publication, tables).await?;
    if missing.is_empty() {
        return Ok(());
    }
    add(connection, publication, &missing).await
}

/// Has the publication send these tables too.
///
/// # Errors
/// This role may not change it: the error holds the SQL for one who may.
pub async fn add(connection: &mut Connection, publication: &str, tables: &[TableName]) -> Result<(), CaptureError> {
    let lacks = format!("lacks {}", tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    change(connection, publication, &lacks, &add_statement(publication, tables)).await
}

/// From this version on generated columns can be sent. Before it they are listed, and never sent (manual, "Generated Column
/// Replication").
pub(super) const SENDS_GENERATED: u32 = 180_000;

/// What a publication sends, as an SQL query: each table's `oid`, its `columns` by name in their order, and its row `filter`
/// (`pg_node_tree`). As `pg_publication_tables` says it, but that view waits for whoever has locked one of the tables (16 and newer), for
/// as long as it takes: a `VACUUM FULL` of one table would hold up the capture of all.
#[must_use]
pub fn sent(publication: &str, server_version: u32) -> String {
    let generated = match server_version {
        ..SENDS_GENERATED => "a.attgenerated = ''",
        _ => "(a.attgenerated = '' OR a.attgenerated = 's' AND p.pubgencols = 's')",
    };
    let by_schema = "EXISTS (SELECT FROM pg_publication_namespace WHERE pnpubid = p.oid AND pnnspid = c.relnamespace)";
    let publication = escape_literal(publication);
    format!(
        "WITH p AS (SELECT * FROM pg_publication WHERE pubname = {publication}), \
           listed AS MATERIALIZED (SELECT c.oid FROM p CROSS JOIN pg_class c \
             WHERE p.puballtables OR {by_schema} OR EXISTS (SELECT FROM pg_publication_rel WHERE prpubid = p.oid AND prrelid = c.oid)) \
         SELECT c.oid, r.prqual AS filter, ARRAY(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
             AND NOT a.attisdropped AND CASE WHEN r.prattrs IS NULL THEN {generated} ELSE a.attnum = ANY (r.prattrs) END \
             ORDER BY a.attnum) AS columns \
         FROM p CROSS JOIN pg_class c LEFT JOIN pg_publication_rel r \
           ON r.prpubid = p.oid AND r.prrelid = c.oid AND NOT p.puballtables AND NOT {by_schema} \
         CROSS JOIN LATERAL (SELECT c.relispartition AND EXISTS (SELECT FROM pg_partition_ancestors(c.oid) up \
             WHERE up.relid <> c.oid AND up.relid IN (SELECT oid FROM listed)) AS above) _ \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384 \
           AND CASE WHEN p.pubviaroot THEN c.oid IN (SELECT oid FROM listed) AND NOT above \
               ELSE c.relkind = 'r' AND (c.oid IN (SELECT oid FROM listed) OR above) END"
    )
}

/// Those of the tables that the publication does not send.
///
/// # Errors
/// The query failed.
pub async fn missing_tables(
    connection: &mut Connection,
    publication: &str,
    tables: &[TableName],
) -> Result<Vec<TableName>, CaptureError> {
    let sql = format!(
        "SELECT nspname, relname FROM ({}) s JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace",
        sent(publication, connection.server_version())
    );
    let rows = connection.query("listing the publication's tables", &sql).await?;
    let published: std::collections::HashSet<TableName> =
        rows.iter().filter_map(|row| Some(TableName { schema: text(row, 0)?, table: text(row, 1)? })).collect();
    Ok(tables.iter().filter(|name| !published.contains(*name)).cloned().collect())
}

async fn change(connection: &mut Connection, publication: &str, state: &str, sql: &str) -> Result<(), CaptureError> {
    match connection.query("changing the publication", sql).await.map_err(CaptureError::from) {
        Ok(_) => {
            tracing::info!(publication, sql, "publication changed");
            Ok(())
        }
        Err(CaptureError::Server { source, .. }) if source.disposition() == Disposition::Stop => {
            Err(CaptureError::halt(
                Code::SourcePublication,
                format!("publication \"{publication}\" {state}, and this role cannot change that: {source}"),
                format!("Let the tables' owner run: {sql};"),
            ))
        }
        Err(error) => Err(error),
    }
}
