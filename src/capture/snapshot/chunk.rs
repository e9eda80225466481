//! Reading one chunk: the SQL, and the rows as the stream would have sent them.

use std::sync::Arc;

use bytes::Bytes;
use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::super::catalog::{self, Published, Table};
use super::super::connection::{Connection, DataRow};
use super::super::error::CaptureError;
use super::super::publication::quoted;
use super::super::slot::{parsed, text};
use super::Chunk;
use super::visibility::Visibility;
use crate::event::{Cell, Lsn, Row, RowBuilder, Timestamp};

/// A chunk's rows are kept in memory until it is placed.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// One key column, and where its type's operators live. With `search_path` pinned, an extension type's `>` is not found by
/// name, and the fallback (text's `>` for `citext`, say) has another order than `ORDER BY`: rows would be skipped.
struct KeyColumn {
    name: String,
    operator_schema: String,
}

/// Reads the next chunk of a table.
///
/// # Errors
/// The connection, or the server's answer: privileges, row-level security, a table that changed underneath.
pub async fn read(
    connection: &mut Connection,
    table: &Table,
    publication: &str,
    resume_after: Option<&Bytes>,
    rows_max: usize,
) -> Result<Chunk, CaptureError> {
    connection.query("beginning a chunk", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let chunk = read_in_transaction(connection, table, publication, resume_after, rows_max).await;
    if chunk.is_err() {
        // Whatever it was, the next statement needs a clean session; if the connection is gone this fails too, unheard.
        let _ = connection.query("ending a chunk", "ROLLBACK").await;
        return chunk;
    }
    connection.query("ending a chunk", "COMMIT").await?;
    chunk
}

async fn read_in_transaction(
    connection: &mut Connection,
    table: &Table,
    publication: &str,
    resume_after: Option<&Bytes>,
    rows_max: usize,
) -> Result<Chunk, CaptureError> {
    // The first statement takes the transaction's snapshot, then evaluates the functions: so the WAL's end it tells lies
    // behind every commit that the snapshot sees.
    let sql = "SELECT pg_current_snapshot(), pg_current_wal_insert_lsn(), \
               (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
    let rows = connection.query("taking a snapshot", sql).await?;
    let row = rows.first().ok_or_else(|| CaptureError::Protocol("no snapshot was told".to_owned()))?;
    let visibility = Visibility::parse(&text(row, 0).unwrap_or_default())?;
    let seen_upto = without_page_header(parsed(row, 1).unwrap_or_default());
    let taken_at = Timestamp::from_unix_micros(parsed(row, 2).unwrap_or_default());

    let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", quoted(&table.name));
    connection.query("locking the table for reading", &lock).await?;
    let published = catalog::describe(connection, table, publication).await?;
    let key = key_columns(connection, table).await?;
    let sql = select(table, &published, &key, resume_after, rows_max);

    let (mut rows, mut bytes, mut returned) = (Vec::new(), 0, 0);
    let read = |row: DataRow<'_>| {
        returned += 1;
        // Behind the byte limit rows are left for the next chunk; the server has been asked for few more.
        if bytes < CHUNK_BYTES_MAX {
            let row = to_row(row);
            bytes += row.as_bytes().len();
            rows.push(row);
        }
    };
    connection.query_each("reading a chunk", &sql, read).await?;
    let last = returned < rows_max && rows.len() == returned;
    let last_key = rows.last().map(|row| key_of(&published, row));
    Ok(Chunk { relation: Arc::new(published.relation), rows, visibility, seen_upto, taken_at, last_key, last })
}

/// At a page's start the insert position stands behind the page's header, which nothing has been written after; the
/// stream, which knows only what is written, would never be seen to get there (`XLogBytePosToRecPtr`).
pub(in crate::capture) fn without_page_header(lsn: Lsn) -> Lsn {
    const PAGE_BYTES: u64 = 8192;
    const LONG_HEADER_BYTES: u64 = 40;
    let into_page = lsn.get() % PAGE_BYTES;
    if into_page <= LONG_HEADER_BYTES { Lsn::new(lsn.get() - into_page) } else { lsn }
}

async fn key_columns(connection: &mut Connection, table: &Table) -> Result<Vec<KeyColumn>, CaptureError> {
    let sql = format!(
        "SELECT a.attname, n.nspname FROM pg_index i \
         CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY AS k(attnum, opclass, place) \
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
         JOIN pg_opclass c ON c.oid = k.opclass \
         JOIN pg_amop o ON o.amopfamily = c.opcfamily AND o.amopstrategy = 5 \
              AND o.amoplefttype = c.opcintype AND o.amoprighttype = c.opcintype \
         JOIN pg_operator p ON p.oid = o.amopopr JOIN pg_namespace n ON n.oid = p.oprnamespace \
         WHERE i.indrelid = {} AND {} AND k.place <= i.indnkeyatts ORDER BY k.place",
        table.oid,
        if table.primary_key == table.key() { "i.indisprimary" } else { "i.indisreplident" }
    );
    let rows = connection.query("looking at the key", &sql).await?;
    let read = |row| Some(KeyColumn { name: text(row, 0)?, operator_schema: text(row, 1)? });
    Ok(rows.iter().filter_map(read).collect())
}

fn select(
    table: &Table,
    published: &Published,
    key: &[KeyColumn],
    resume_after: Option<&Bytes>,
    rows_max: usize,
) -> String {
    let list = |names: &mut dyn Iterator<Item = &str>| names.map(escape_identifier).collect::<Vec<_>>().join(", ");
    let columns = list(&mut published.relation.columns.iter().map(|column| column.name.as_str()));
    let order = list(&mut key.iter().map(|column| column.name.as_str()));
    let mut conditions = Vec::new();
    conditions.extend(published.row_filter.as_ref().map(|filter| format!("({filter})")));
    conditions.extend(resume_after.map(|values| behind(key, values)));
    let condition = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
    // ONLY: a parent's stream carries its own rows, not its inheritance children's. A partitioned table has none of its own.
    let only = if table.partitioned { "" } else { "ONLY " };
    format!("SELECT {columns} FROM {only}{} WHERE {condition} ORDER BY {order} LIMIT {rows_max}", quoted(&table.name))
}

/// "The key is greater than these values", in the order that `ORDER BY` gives.
fn behind(key: &[KeyColumn], values: &Bytes) -> String {
    let row = Row::from_tuple_data(values.clone());
    let literal = |cell| match cell {
        Cell::Text(value) | Cell::Binary(value) => escape_literal(&String::from_utf8_lossy(value)),
        Cell::Null | Cell::Unchanged => "NULL".to_owned(),
    };
    let pairs: Vec<_> = key.iter().zip(row.cells().map(literal)).collect();
    if key.iter().all(|column| column.operator_schema == "pg_catalog") {
        // A row comparison can use the key's index as a whole.
        let names = pairs.iter().map(|(column, _)| escape_identifier(&column.name)).collect::<Vec<_>>().join(", ");
        let values = pairs.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ");
        return format!("ROW({names}) > ROW({values})");
    }
    // a > x OR (a = x AND (b > y OR …)), each with its own type's operators.
    pairs.iter().rev().fold(String::new(), |inner, (column, value)| {
        let name = escape_identifier(&column.name);
        let compare =
            |operator| format!("{name} OPERATOR({}.{operator}) {value}", escape_identifier(&column.operator_schema));
        match inner.as_str() {
            "" => compare(">"),
            inner => format!("({} OR ({} AND {inner}))", compare(">"), compare("=")),
        }
    })
}

/// The row as pgoutput would have sent it: the text is the same, the session's settings being the same.
fn to_row(row: DataRow<'_>) -> Row {
    let mut builder = RowBuilder::default();
    row.values().for_each(|value| builder.push(value.map_or(Cell::Null, Cell::Text)));
    builder.finish()
}

fn key_of(published: &Published, row: &Row) -> Bytes {
    let mut builder = RowBuilder::default();
    for &index in &published.relation.key {
        builder.push(row.cell(index).unwrap_or(Cell::Null));
    }
    builder.finish().as_bytes().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(schema: &str) -> Vec<KeyColumn> {
        ["a", "b\"c"].map(|name| KeyColumn { name: name.into(), operator_schema: schema.into() }).into()
    }

    fn values() -> Bytes {
        let mut builder = RowBuilder::default();
        builder.push(Cell::Text(b"1"));
        builder.push(Cell::Text(b"it's"));
        builder.finish().as_bytes().clone()
    }

    #[test]
    fn names_and_values_are_quoted_and_extension_types_compare_by_their_own_operators() {
        assert_eq!(behind(&key("pg_catalog"), &values()), r#"ROW("a", "b""c") > ROW('1', 'it''s')"#);
        assert_eq!(
            behind(&key("ext"), &values()),
            r#"("a" OPERATOR("ext".>) '1' OR ("a" OPERATOR("ext".=) '1' AND "b""c" OPERATOR("ext".>) 'it''s'))"#
        );
    }

    #[test]
    fn the_place_behind_a_page_header_is_the_pages_start() {
        // On an idle server whose WAL ends at a page's edge a chunk would otherwise wait for ever.
        assert_eq!(without_page_header(Lsn::new(8192 * 5 + 24)), Lsn::new(8192 * 5));
        assert_eq!(without_page_header(Lsn::new(8192 * 5 + 40)), Lsn::new(8192 * 5));
        assert_eq!(without_page_header(Lsn::new(8192 * 5 + 48)), Lsn::new(8192 * 5 + 48));
    }
}
