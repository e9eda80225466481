//! The replication slot: looked at, made, never dropped.

use std::time::Duration;

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::connection::{Connection, DataRow, TextRow, unexpected};
use super::continuity::Server;
use super::error::{CaptureError, ServerError};
use crate::event::Lsn;
use crate::status::Code;

/// A row of `pg_replication_slots`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its output plugin; empty for a physical slot.
    pub plugin: String,
    /// The database it decodes.
    pub database: String,
    /// The database we are connected to.
    pub connected_database: String,
    /// The backend that reads from it.
    pub active_pid: Option<i32>,
    /// The oldest WAL it keeps.
    pub restart_lsn: Option<Lsn>,
    /// What its reader has confirmed; NULL while the slot is being made.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Prepared transactions are sent when they are prepared; once on, no stream can turn it off.
    pub two_phase: bool,
}

/// Looks a slot up.
///
/// # Errors
/// The query failed.
pub async fn inspect(connection: &mut Connection, name: &str) -> Result<Option<Slot>, CaptureError> {
    let sql = format!(
        "SELECT coalesce(plugin, ''), coalesce(database, ''), current_database(), active_pid, restart_lsn, \
         confirmed_flush_lsn, wal_status, two_phase FROM pg_replication_slots WHERE slot_name = {}",
        escape_literal(name)
    );
    let rows = connection.query("looking at the slot", &sql).await?;
    Ok(rows.first().map(|row| Slot {
        plugin: text(row, 0).unwrap_or_default(),
        database: text(row, 1).unwrap_or_default(),
        connected_database: text(row, 2).unwrap_or_default(),
        active_pid: parsed(row, 3),
        restart_lsn: parsed(row, 4),
        confirmed_flush_lsn: parsed(row, 5),
        wal_status: text(row, 6),
        two_phase: text(row, 7).as_deref() == Some("t"),
    }))
}

/// Asks the server who it is. Needs a replication connection.
///
/// # Errors
/// The query failed, or the server is a standby: decoding there needs PostgreSQL 16 and is not supported yet.
pub async fn identify(connection: &mut Connection) -> Result<Server, CaptureError> {
    let rows = connection.query("identifying the server", "IDENTIFY_SYSTEM").await?;
    let incomplete = || CaptureError::Protocol("IDENTIFY_SYSTEM gave no answer".to_owned());
    let row = rows.first().ok_or_else(incomplete)?;
    let system_identifier = parsed(row, 0).ok_or_else(incomplete)?;
    let timeline = parsed(row, 1).ok_or_else(incomplete)?;
    let sql = "SELECT pg_is_in_recovery(), current_setting('wal_level'), \
               CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END";
    let rows = connection.query("asking for the server's state", sql).await?;
    let row = rows.first().ok_or_else(incomplete)?;
    if text(row, 0).as_deref() == Some("t") {
        return Err(CaptureError::halt(
            Code::SourceNotPrimary,
            "the server is a standby, where logical decoding is not possible",
            "Point the url at the primary",
        ));
    }
    if text(row, 1).as_deref() != Some("logical") {
        return Err(CaptureError::halt(
            Code::SourceWalLevel,
            format!("wal_level is \"{}\"", text(row, 1).unwrap_or_default()),
            "Run ALTER SYSTEM SET wal_level = logical; and restart the server",
        ));
    }
    Ok(Server { system_identifier, timeline, end_lsn: parsed(row, 2).ok_or_else(incomplete)? })
}

/// Longest wait for transactions older than the slot to end, before it is given up and tried again.
const CREATE_TIMEOUT: Duration = Duration::from_secs(300);
const CREATE_POLL: Duration = Duration::from_secs(2);

/// Makes the slot on a replication connection and returns its consistent point. The server waits for every transaction
/// that is running to end; meanwhile `tell` is called now and then with those, found out by `watcher`. Giving up, or dying,
/// leaves no half slot: it is ephemeral until it is ready.
///
/// # Errors
/// The server refused, or waited too long.
pub async fn create(
    connection: &mut Connection,
    name: &str,
    two_phase: bool,
    watcher: &mut Connection,
    mut tell: impl FnMut(&str) + Send,
) -> Result<Lsn, CaptureError> {
    let two_phase = if two_phase { ", TWO_PHASE" } else { "" };
    let sql =
        format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput (SNAPSHOT 'nothing'{two_phase})", escape_identifier(name));
    connection.start_query(&sql).await?;
    let deadline = tokio::time::Instant::now() + CREATE_TIMEOUT;
    let mut consistent_point = None;
    let mut failure = None;
    loop {
        match connection.buffered_message()? {
            Some((b'D', body)) => {
                // slot_name, consistent_point, snapshot_name, output_plugin
                let value = DataRow::new(body)?.values().nth(1).flatten();
                consistent_point = value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
            }
            Some((b'E', body)) => failure = Some(ServerError::parse(body)),
            Some((b'Z', _)) => break,
            Some((b'T' | b'C', _)) => {}
            Some((tag, _)) => return Err(unexpected(tag)),
            None if tokio::time::Instant::now() >= deadline => {
                return Err(CaptureError::wait(
                    Code::SourceSlotMissing,
                    format!(
                        "slot \"{name}\" could not be made within {} s: older transactions are still running",
                        CREATE_TIMEOUT.as_secs()
                    ),
                    "End long-running transactions (pg_stat_activity, oldest xact_start first)",
                ));
            }
            None => match tokio::time::timeout(CREATE_POLL, connection.fill()).await {
                Ok(filled) => _ = filled?,
                Err(_) => tell(&blockers(watcher).await.unwrap_or_default()),
            },
        }
    }
    if let Some(source) = failure {
        return Err(CaptureError::Server { doing: "making the replication slot", source });
    }
    consistent_point.ok_or_else(|| CaptureError::Protocol("CREATE_REPLICATION_SLOT gave no answer".to_owned()))
}

/// The transactions that a slot in the making waits for, oldest first, for the operator.
///
/// # Errors
/// The query failed.
pub async fn blockers(connection: &mut Connection) -> Result<String, CaptureError> {
    let sql = "SELECT pid, coalesce(state, 'hidden'), coalesce(xact_start::text, '?') FROM pg_stat_activity \
               WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 5";
    let rows = connection.query("looking for long transactions", sql).await?;
    let one = |row: &TextRow| {
        format!(
            "pid {} ({} since {})",
            text(row, 0).unwrap_or_default(),
            text(row, 1).unwrap_or_default(),
            text(row, 2).unwrap_or_default()
        )
    };
    Ok(rows.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// A column of an answer as text.
pub(crate) fn text(row: &TextRow, index: usize) -> Option<String> {
    row.get(index)?.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
}

/// A column of an answer, parsed.
pub(crate) fn parsed<T: std::str::FromStr>(row: &TextRow, index: usize) -> Option<T> {
    text(row, index)?.parse().ok()
}
