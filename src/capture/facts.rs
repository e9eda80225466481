//! What a server's settings and this role's rights are, in one look: for those who want to know before anything goes wrong.

use postgres_protocol::escape::escape_literal;

use super::error::CaptureError;
use super::slot::{parsed, text};
use crate::event::TableName;
use crate::postgres::connection::Connection;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `server_version`.
    pub version: String,
    /// `wal_level`.
    pub wal_level: String,
    /// `max_replication_slots`.
    pub slots_max: u32,
    /// How many there are.
    pub slots: u32,
    /// `max_wal_senders`.
    pub senders_max: u32,
    /// How many are at work.
    pub senders: u32,
    /// `max_slot_wal_keep_size` in bytes; `None`: no limit.
    pub slot_wal_keep_bytes: Option<u64>,
    /// The role may replicate.
    pub may_replicate: bool,
    /// The role may make a publication in this database.
    pub may_publish: bool,
}

/// Looks at the server.
///
/// # Errors
/// The query failed.
pub async fn look(connection: &mut Connection) -> Result<Facts, CaptureError> {
    let sql = "SELECT current_setting('server_version'), current_setting('wal_level'), current_setting('max_replication_slots'), \
               (SELECT count(*) FROM pg_replication_slots), current_setting('max_wal_senders'), \
               (SELECT count(*) FROM pg_stat_replication), \
               (SELECT setting::int8 * 1048576 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), \
               rolreplication OR rolsuper, has_database_privilege(current_database(), 'CREATE') \
               FROM pg_roles WHERE rolname = current_user";
    let rows = connection.query("asking for the server's settings", sql).await?;
    let row = rows.first().ok_or_else(|| CaptureError::Protocol("the role is not to be seen".to_owned()))?;
    let number = |index| parsed(row, index).unwrap_or(0);
    let is = |index| text(row, index).as_deref() == Some("t");
    Ok(Facts {
        version: text(row, 0).unwrap_or_default(),
        wal_level: text(row, 1).unwrap_or_default(),
        slots_max: number(2),
        slots: number(3),
        senders_max: number(4),
        senders: number(5),
        // Below zero: no limit.
        slot_wal_keep_bytes: parsed::<i64>(row, 6).and_then(|bytes| u64::try_from(bytes).ok()),
        may_replicate: is(7),
        may_publish: is(8),
    })
}

/// Those of the tables that are not this role's own, which it cannot add to a publication.
///
/// # Errors
/// The query failed.
pub async fn not_owned(connection: &mut Connection, tables: &[TableName]) -> Result<Vec<TableName>, CaptureError> {
    let mut others = Vec::new();
    for name in tables {
        let sql = format!(
            "SELECT pg_has_role(c.relowner, 'USAGE') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = {}",
            escape_literal(&name.schema),
            escape_literal(&name.table)
        );
        let rows = connection.query("asking who owns a table", &sql).await?;
        if rows.first().and_then(|row| text(row, 0)).as_deref() != Some("t") {
            others.push(name.clone());
        }
    }
    Ok(others)
}
