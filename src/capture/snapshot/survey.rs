//! Looking at a table before its rows are read: what it is, where it ends, and who is writing to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::catalog::{self, Published, Table};
use super::super::error::CaptureError;
use super::super::slot::{parsed, text};
use super::super::types::Types;
use super::chunk::{self, KeyColumn};
use super::{Refusal, Survey, Target, look};
use crate::event::TableFilter;
use crate::postgres::connection::Connection;
use crate::status::Code;

/// Surveys a table. `table` may be older than what is there now.
///
/// # Errors
/// Why not.
pub async fn survey(
    connection: &mut Connection,
    table: &Table,
    publication: &str,
    wanted: &TableFilter,
    via_root: bool,
    binary: bool,
) -> Result<Survey, Refusal> {
    let found = catalog::table(connection, table.oid, via_root).await.map_err(Refusal::Failed)?;
    let table = found.filter(|found| wanted(&found.name)).ok_or(Refusal::Gone)?;
    let surveyed = in_transaction(connection, table, publication, binary).await;
    let end = if surveyed.is_ok() { "COMMIT" } else { "ROLLBACK" };
    // If the connection is gone this fails too, and the next use of it will say so.
    let _ = connection.query("ending a survey", end).await;
    let survey = surveyed.map_err(chunk::refusal)?;
    Ok(survey)
}

async fn in_transaction(
    connection: &mut Connection,
    table: Table,
    publication: &str,
    binary: bool,
) -> Result<Survey, CaptureError> {
    connection.query("locking a table for reading", &look::lock(&table)).await?;
    let rows = connection.query("taking a snapshot", &look::sql(&table, publication)).await?;
    let row = rows.first().ok_or_else(|| CaptureError::Protocol("no snapshot was told".to_owned()))?;
    let look = look::read(row)?;
    let mut types = Types::default();
    let published = catalog::describe(connection, &table, publication, &mut types).await?;
    let key = key_columns(connection, &table).await?;
    let sql = format!(
        "SELECT max(pg_relation_size(c.oid)) / current_setting('block_size')::int8, \
         sum(pg_relation_size(c.oid) + coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0)), \
         sum(reltuples) FILTER (WHERE reltuples >= 0)::int8 \
         FROM {} leaf JOIN pg_class c USING (oid) WHERE relkind <> 'f'",
        look::leaves(&table)
    );
    let rows = connection.query("measuring a table", &sql).await?;
    let row = rows.first().cloned().unwrap_or_default();
    let blocks = parsed::<u64>(&row, 0).unwrap_or_default();
    let binary = binary && all_binary(connection, &published, &types).await?;
    let target = Target { table, published, key, storage: look.storage, binary, shape: look.shape };
    if look.hides_rows {
        return Err(chunk::hides_rows(&target));
    }
    Ok(Survey {
        target: Arc::new(target),
        end: blocks << 16,
        bytes: parsed(&row, 1).unwrap_or_default(),
        rows_estimate: parsed(&row, 2),
    })
}

/// Whether the binary form of every column is known, and the server has one. (A stream sends values of a type that has none as
/// text; a COPY refuses.)
async fn all_binary(connection: &mut Connection, published: &Published, types: &Types) -> Result<bool, CaptureError> {
    if types.text_only(&published.relation).is_some() {
        return Ok(false);
    }
    let oids = published.relation.columns.iter().map(|column| column.type_oid.to_string()).collect::<Vec<_>>();
    if oids.is_empty() {
        return Ok(false);
    }
    let sql = format!("SELECT 1 FROM pg_type WHERE oid IN ({}) AND typsend = 0 LIMIT 1", oids.join(","));
    Ok(connection.query("looking at the columns' types", &sql).await?.is_empty())
}

async fn key_columns(connection: &mut Connection, table: &Table) -> Result<Vec<KeyColumn>, CaptureError> {
    let sql = format!(
        "SELECT a.attname, n.nspname FROM pg_index i \
         CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY AS k(attnum, opclass, place) \
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
         JOIN pg_opclass c ON c.oid = k.opclass \
         JOIN pg_amop o ON o.amopfamily = c.opcfamily AND o.amopstrategy = 3 \
              AND o.amoplefttype = c.opcintype AND o.amoprighttype = c.opcintype \
         JOIN pg_operator p ON p.oid = o.amopopr JOIN pg_namespace n ON n.oid = p.oprnamespace \
         WHERE i.indrelid = {} AND {} AND k.place <= i.indnkeyatts ORDER BY a.attnum",
        table.oid,
        if table.primary_key == table.key() { "i.indisprimary" } else { "i.indisreplident" }
    );
    let rows = connection.query("looking at the key", &sql).await?;
    let columns: BTreeMap<String, String> =
        rows.iter().filter_map(|row| Some((text(row, 0)?, text(row, 1)?))).collect();
    // In the order in which the relation has them.
    let found = table.key().iter().filter_map(|name| Some((name.clone(), columns.get(name)?.clone())));
    Ok(found.map(|(name, operator_schema)| KeyColumn { name, operator_schema }).collect())
}

/// How often those who write are looked for, and how long.
const POLL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until every transaction that has written to the table by now has ended, or is seen idle, which no committing one is. One
/// that is committed in the WAL, and waits for a synchronous standby, may have been decoded before the table was watched, and is
/// seen by no snapshot yet: it holds its lock until it is.
///
/// # Errors
/// The query failed, or somebody has been writing for long: he is named, and it is to be tried again.
pub async fn wait_for_writers(connection: &mut Connection, table: &Table) -> Result<(), CaptureError> {
    let sql = format!(
        "SELECT virtualtransaction, coalesce('pid ' || l.pid, 'a prepared transaction') \
         FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE {} AND relation IN (SELECT oid FROM {} leaf UNION SELECT {}::oid) \
         AND coalesce(state, '') NOT LIKE 'idle in transaction%'",
        look::IS_WRITERS_LOCK,
        look::leaves(table),
        table.oid
    );
    let deadline = Instant::now() + PATIENCE;
    let mut waited_for: Option<BTreeMap<String, String>> = None;
    loop {
        let rows = connection.query("looking for writers", &sql).await?;
        let mut now: BTreeMap<_, _> = rows.iter().filter_map(|row| Some((text(row, 0)?, text(row, 1)?))).collect();
        if let Some(before) = &waited_for {
            now.retain(|transaction, _| before.contains_key(transaction));
        }
        if now.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let who = now.values().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(CaptureError::wait(
                Code::SnapshotInterrupted,
                format!("its copy waits for transactions that were writing to it before: {who}"),
                "It goes on when they have ended",
            ));
        }
        waited_for = Some(now);
        tokio::time::sleep(POLL).await;
    }
}
