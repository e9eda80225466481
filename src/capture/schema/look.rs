//! Asking the catalog. One statement a look, for all tables, so that it costs a busy server little.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use postgres_protocol::escape::escape_literal;

use super::super::catalog::{KEY_OF_INDEX, below, is_capturable};
use super::super::error::CaptureError;
use super::super::publication::{SENDS_GENERATED, sent};
use super::super::slot::{CLOCK_MICROS, END_OF_WAL, parsed, text};
use super::super::snapshot::look::{IS_WRITERS_LOCK, without_page_header};
use super::fingerprint::{ColumnPrint, Fingerprint, Inventory, Publication, TypePrint};
use crate::event::{Lsn, TableFilter, TableName, Timestamp};
use crate::postgres::connection::Connection;

/// What a look found.
#[derive(Clone, Debug)]
pub struct Look {
    /// The catalog as it was.
    pub inventory: Inventory,
    /// Tables that are there and not meant.
    pub unwanted: HashMap<u32, TableName>,
    /// Everything in it was committed before this LSN.
    pub seen_upto: Lsn,
    /// The server's clock.
    pub at: Timestamp,
}

/// Looks at the tables that are meant. `via_root`: partitions are part of their root, else tables of their own.
///
/// # Errors
/// The query failed.
pub async fn look(
    connection: &mut Connection,
    publication: &str,
    wanted: &TableFilter,
    via_root: bool,
) -> Result<Look, CaptureError> {
    let found = self::publication(connection, publication).await?;
    let sql = statement(publication, via_root, connection.server_version());
    let rows = connection.query("looking at the tables", &sql).await?;
    let (mut tables, mut unwanted) = (BTreeMap::new(), HashMap::new());
    for row in &rows {
        let json = text(row, 0).unwrap_or_default();
        let print: Fingerprint = serde_json::from_str(&json).map_err(|error| {
            CaptureError::Protocol(format!("the catalog gave an answer that cannot be read: {error}"))
        })?;
        if wanted(&print.name()) {
            tables.insert(print.oid, print);
        } else {
            unwanted.insert(print.oid, print.name());
        }
    }
    // Behind the tables: what is renamed in between is found to be so now.
    let types = types(connection, via_root).await?;
    tables.values_mut().for_each(|print| print.types = reach(&print.columns, &types));
    // Behind the look, so that it lies behind every commit that the look saw.
    let sql = format!("SELECT {END_OF_WAL}, {CLOCK_MICROS}");
    let rows = connection.query("asking for the WAL's end", &sql).await?;
    let row = rows.first().ok_or_else(|| CaptureError::Protocol("no WAL position was told".to_owned()))?;
    let seen_upto = without_page_header(parsed(row, 0).unwrap_or_default());
    let at = Timestamp::from_unix_micros(parsed(row, 1).unwrap_or_default());
    Ok(Look { inventory: Inventory { publication: found, tables, left: Vec::new() }, unwanted, seen_upto, at })
}

/// The types that users made and that columns of tables are made of. A look like any other finds none, and costs little.
async fn types(connection: &mut Connection, via_root: bool) -> Result<BTreeMap<u32, TypePrint>, CaptureError> {
    let is_capturable = is_capturable(via_root);
    let sql = format!(
        "WITH RECURSIVE used(oid) AS (\
           SELECT a.atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
           WHERE a.attnum > 0 AND a.atttypid >= 16384 AND {is_capturable} \
           UNION SELECT part FROM used CROSS JOIN LATERAL ({PARTS}) p(part) WHERE part >= 16384) \
         SELECT oid, json_build_object('made_of', ARRAY(SELECT part::int8 FROM ({PARTS}) p(part) WHERE part >= 16384), \
           'labels', (SELECT coalesce(json_object_agg(e.oid, e.enumlabel), '{{}}') FROM pg_enum e WHERE e.enumtypid = used.oid), \
           'attributes', ARRAY(SELECT a.attnum FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid \
              WHERE t.oid = used.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1))::text FROM used"
    );
    let rows = connection.query("looking at the types", &sql).await?;
    let read = |row| Some((parsed(row, 0)?, serde_json::from_str(&text(row, 1)?).ok()?));
    let unread = || CaptureError::Protocol("the catalog gave an answer that cannot be read".to_owned());
    rows.iter().map(|row| read(row).ok_or_else(unread)).collect()
}

/// What the type `used.oid` is made of: base type, elements, bounds, attributes.
const PARTS: &str = "SELECT unnest(ARRAY[typbasetype, typelem]) FROM pg_type WHERE oid = used.oid \
     UNION SELECT rngsubtype FROM pg_range WHERE used.oid IN (rngtypid, rngmultitypid) \
     UNION SELECT a.atttypid FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid \
       WHERE t.oid = used.oid AND a.attnum > 0 AND NOT a.attisdropped";

/// Those of the types that these columns are made of.
fn reach(columns: &[ColumnPrint], types: &BTreeMap<u32, TypePrint>) -> BTreeMap<u32, TypePrint> {
    let mut reached = BTreeMap::new();
    let mut ahead: Vec<u32> = columns.iter().map(|column| column.type_oid).collect();
    while let Some(oid) = ahead.pop() {
        if let Some(print) = types.get(&oid).filter(|_| !reached.contains_key(&oid)) {
            ahead.extend(&print.made_of);
            reached.insert(oid, print.clone());
        }
    }
    reached
}

/// The transactions that have written to a table, or to a partition of it, and not ended: idle ones too.
///
/// # Errors
/// The query failed.
pub async fn writers(connection: &mut Connection, table: u32) -> Result<BTreeSet<String>, CaptureError> {
    let sql = format!(
        "SELECT DISTINCT virtualtransaction FROM pg_locks WHERE {IS_WRITERS_LOCK} \
         AND (relation = {table} OR relation IN {})",
        below(&table.to_string())
    );
    let rows = connection.query("looking for writers", &sql).await?;
    Ok(rows.iter().filter_map(|row| text(row, 0)).collect())
}

/// A partitioned table and everything below it.
///
/// # Errors
/// The query failed.
pub async fn partition_tree(connection: &mut Connection, root: u32) -> Result<Vec<u32>, CaptureError> {
    let sql = format!("SELECT {root} UNION ALL {}", below(&root.to_string()));
    let rows = connection.query("looking at partitions", &sql).await?;
    Ok(rows.iter().filter_map(|row| parsed(row, 0)).collect())
}

/// The publication as it is.
///
/// # Errors
/// The query failed.
pub async fn publication(connection: &mut Connection, name: &str) -> Result<Option<Publication>, CaptureError> {
    let sql = format!(
        "SELECT oid, pubviaroot, pubinsert AND pubupdate AND pubdelete AND pubtruncate FROM pg_publication \
         WHERE pubname = {}",
        escape_literal(name)
    );
    let rows = connection.query("looking for the publication", &sql).await?;
    let is = |index| rows.first().and_then(|row| text(row, index)).as_deref() == Some("t");
    let oid = rows.first().and_then(|row| parsed(row, 0));
    let counts_generated = connection.server_version() >= SENDS_GENERATED;
    Ok(oid.map(|oid| Publication { oid, via_root: is(1), complete: is(2), counts_generated }))
}

/// An attached partition's columns were touched when it was attached (`attislocal`); one that was made as a partition has
/// all of its definition from one command.
const BORN: &str = "i.xmin = t.xmin AND NOT EXISTS (SELECT FROM pg_attribute u WHERE u.attrelid = i.inhrelid \
     AND u.attnum > 0 AND (u.xmin <> t.xmin OR u.cmin::text <> t.cmin::text))";

/// Nothing in it waits for a lock on a table: expressions are told by the hash of their inner form, for `pg_get_expr` would.
fn statement(publication: &str, via_root: bool, server_version: u32) -> String {
    let sent = sent(publication, server_version);
    let publication = escape_literal(publication);
    let (is_capturable, members) = (is_capturable(via_root), below("c.oid"));
    format!(
        "WITH sent AS MATERIALIZED ({sent}), \
              pub AS (SELECT oid FROM pg_publication WHERE pubname = {publication}) \
         SELECT json_build_object('oid', c.oid::int8, 'schema', n.nspname, 'table', c.relname, \
           'logged', c.relpersistence = 'p', 'identity', c.relreplident, \
           'primary_key', coalesce({KEY_OF_INDEX} i.indisprimary), '[]'), \
           'identity_index', coalesce({KEY_OF_INDEX} i.indisreplident), '[]'), \
           'columns', (SELECT coalesce(json_agg(json_build_object('number', a.attnum, 'name', a.attname, \
                'type_oid', a.atttypid::int8, 'type_modifier', a.atttypmod, \
                'generated', a.attgenerated::text || CASE WHEN a.attgenerated = '' THEN '' ELSE (SELECT md5(d.adbin::text) \
                    FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END, \
                'has_missing', a.atthasmissing, 'version', a.xmin::text::int8) ORDER BY a.attnum), '[]') \
              FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
           'filenode', coalesce(pg_relation_filenode(c.oid)::int8, 0), \
           'members', CASE WHEN c.relkind <> 'p' THEN '[]'::json ELSE (SELECT coalesce(json_agg(json_build_object( \
                'oid', i.inhrelid::int8, 'filenode', coalesce(pg_relation_filenode(i.inhrelid)::int8, 0), \
                'since', i.xmin::text::int8, 'born', {BORN}) ORDER BY i.inhrelid), '[]') \
              FROM {members} m JOIN pg_inherits i ON i.inhrelid = m.oid \
              JOIN pg_attribute t ON t.attrelid = i.inhrelid AND t.attname = 'tableoid') END, \
           'published', (SELECT json_build_object('columns', s.columns, 'row_filter', md5(s.filter::text), \
                'membership', coalesce( \
                  (SELECT min(r.oid::int8) FROM pg_publication_rel r WHERE r.prpubid = pub.oid AND (r.prrelid = c.oid \
                     OR c.relispartition AND r.prrelid IN (SELECT relid FROM pg_partition_ancestors(c.oid)))), \
                  (SELECT min(m.oid::int8) FROM pg_publication_namespace m WHERE m.pnpubid = pub.oid AND m.pnnspid = c.relnamespace), \
                  pub.oid::int8)) FROM sent s, pub WHERE s.oid = c.oid), \
           'readable', has_table_privilege(c.oid, 'SELECT'), 'hides_rows', row_security_active(c.oid))::text \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {is_capturable}"
    )
}
