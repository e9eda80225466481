//! The replication slot: looked at, made, and let go of only on a decision that somebody took.

use std::time::Duration;

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::continuity::Server;
use super::error::{CaptureError, ServerError};
use crate::event::Lsn;
use crate::postgres::connection::{Connection, DataRow, TextRow, unexpected};
use crate::status::Code;

/// A row of `pg_replication_slots`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// How much more WAL may be written before it is lost, if there is a limit.
    pub safe_wal_size: Option<i64>,
    /// Prepared transactions are sent when they are prepared; once on, no stream can turn it off.
    pub two_phase: bool,
    /// It goes with the connection that made it.
    pub temporary: bool,
    /// Why the server invalidated it, if it has and says so (16 and newer).
    pub invalidation: Option<String>,
    /// It is copied to standbys (17 and newer).
    pub failover: bool,
    /// It is such a copy (17 and newer).
    pub synced: bool,
}

impl Slot {
    /// Whether the server has given it up. Nothing can be read from it any more.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost") || self.invalidation.is_some()
    }

    /// The row's columns in a query on `pg_replication_slots`, for a server of this version.
    fn columns(server_version: u32) -> String {
        let (invalidation, failover, synced) = match server_version / 10_000 {
            ..16 => ("NULL", "false", "false"),
            16 => ("CASE WHEN conflicting THEN 'conflict with recovery' END", "false", "false"),
            17.. => ("invalidation_reason", "failover", "synced"),
        };
        format!(
            "coalesce(plugin, ''), coalesce(database, ''), current_database(), active_pid, restart_lsn, confirmed_flush_lsn, \
             wal_status, safe_wal_size, two_phase, temporary, {invalidation}, {failover}, {synced}"
        )
    }

    fn read(row: &TextRow) -> Self {
        let is = |index| text(row, index).as_deref() == Some("t");
        Slot {
            plugin: text(row, 0).unwrap_or_default(),
            database: text(row, 1).unwrap_or_default(),
            connected_database: text(row, 2).unwrap_or_default(),
            active_pid: parsed(row, 3),
            restart_lsn: parsed(row, 4),
            confirmed_flush_lsn: parsed(row, 5),
            wal_status: text(row, 6),
            safe_wal_size: parsed(row, 7),
            two_phase: is(8),
            temporary: is(9),
            invalidation: text(row, 10),
            failover: is(11),
            synced: is(12),
        }
    }
}

/// Looks a slot up.
///
/// # Errors
/// The query failed.
pub async fn inspect(connection: &mut Connection, name: &str) -> Result<Option<Slot>, CaptureError> {
    let columns = Slot::columns(connection.server_version());
    let sql = format!("SELECT {columns} FROM pg_replication_slots WHERE slot_name = {}", escape_literal(name));
    let rows = connection.query("looking at the slot", &sql).await?;
    Ok(rows.first().map(Slot::read))
}

/// Slots can be read from on a standby from this version on.
const STANDBY_DECODES: u32 = 160_000;

/// Asks the server who it is. Needs a replication connection.
///
/// # Errors
/// The query failed, or the server is a standby that cannot decode, or that nobody asked for.
pub async fn identify(connection: &mut Connection, may_be_standby: bool) -> Result<Server, CaptureError> {
    let rows = connection.query("identifying the server", "IDENTIFY_SYSTEM").await?;
    let incomplete = || CaptureError::Protocol("IDENTIFY_SYSTEM gave no answer".to_owned());
    let row = rows.first().ok_or_else(incomplete)?;
    let system_identifier = parsed(row, 0).ok_or_else(incomplete)?;
    let timeline = parsed(row, 1).ok_or_else(incomplete)?;
    let sql = format!("SELECT pg_is_in_recovery(), current_setting('wal_level'), {END_OF_WAL}");
    let rows = connection.query("asking for the server's state", &sql).await?;
    let row = rows.first().ok_or_else(incomplete)?;
    let standby = text(row, 0).as_deref() == Some("t");
    if standby && connection.server_version() < STANDBY_DECODES {
        return Err(CaptureError::halt(
            Code::SourceNotPrimary,
            "the server is a standby, where logical decoding is not possible before PostgreSQL 16",
            "Point the url at the primary",
        ));
    }
    if standby && !may_be_standby {
        return Err(CaptureError::halt(
            Code::SourceNotPrimary,
            "the server is a standby, and the url does not say that it may be",
            "Point the url at the primary, or add target_session_attrs=standby to it",
        ));
    }
    if text(row, 1).as_deref() != Some("logical") {
        return Err(CaptureError::halt(
            Code::SourceWalLevel,
            format!("wal_level is \"{}\"", text(row, 1).unwrap_or_default()),
            "Run ALTER SYSTEM SET wal_level = logical; and restart the server",
        ));
    }
    let end_lsn = parsed(row, 2).ok_or_else(incomplete)?;
    Ok(Server { system_identifier, timeline, end_lsn, standby, left: Vec::new() })
}

/// How far the server's WAL goes, as an SQL expression that a standby understands too.
pub const END_OF_WAL: &str =
    "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END";

/// The server's clock, in microseconds since 1970, as an SQL expression.
pub(super) const CLOCK_MICROS: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::int8";

/// Which timelines the server's own one comes from, and where each was left (manual: "Streaming Replication Protocol",
/// `TIMELINE_HISTORY`). Needs a replication connection.
///
/// # Errors
/// The query failed.
pub async fn timelines_left(connection: &mut Connection, timeline: u32) -> Result<Vec<(u32, Lsn)>, CaptureError> {
    if timeline < 2 {
        return Ok(Vec::new());
    }
    let rows = connection.query("reading the timeline's history", &format!("TIMELINE_HISTORY {timeline}")).await?;
    Ok(parse_history(&rows.first().and_then(|row| text(row, 1)).unwrap_or_default()))
}

/// Lines of a timeline, the LSN at which it was left, and why; comments begin with `#`.
fn parse_history(content: &str) -> Vec<(u32, Lsn)> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    content.lines().filter(|text| !text.trim_start().starts_with('#')).filter_map(line).collect()
}

/// Longest wait for transactions older than the slot to end, before it is given up and tried again.
const CREATE_TIMEOUT: Duration = Duration::from_secs(300);
const CREATE_POLL: Duration = Duration::from_secs(2);
/// Slots are copied to standbys from this version on.
const FAILOVER_SLOTS: u32 = 170_000;

/// Of slots that hand out prepared transactions, from this one on: before it a copy may forget where that began (`two_phase_at`), and the
/// server refuses.
const TWO_PHASE_FAILOVER_SLOTS: u32 = 180_000;

/// Whether this server knows of copies of a slot on its standbys.
#[must_use]
pub fn knows_failover(connection: &Connection) -> bool {
    connection.server_version() >= FAILOVER_SLOTS && !connection.is_standby()
}

/// Whether this server can keep copies of such a slot on its standbys.
#[must_use]
pub fn can_fail_over(connection: &Connection, two_phase: bool) -> bool {
    knows_failover(connection) && (!two_phase || connection.server_version() >= TWO_PHASE_FAILOVER_SLOTS)
}

/// What a slot is to be.
#[derive(Clone, Copy, Debug)]
pub struct SlotOptions {
    /// Standbys keep copies of it. The server must be one that [`can_fail_over`].
    pub failover: bool,
    /// Prepared transactions are sent when they are prepared.
    pub two_phase: bool,
}

/// Makes the slot on a replication connection and returns its consistent point. The server waits for every transaction
/// that is running to end; meanwhile `tell` is called now and then with those, found out by `watcher`. Giving up, or dying,
/// leaves no half slot: it is ephemeral until it is ready.
///
/// # Errors
/// The server refused, or waited too long.
pub async fn create(
    connection: &mut Connection,
    name: &str,
    options: SlotOptions,
    watcher: &mut Connection,
    mut tell: impl FnMut(&str) + Send,
) -> Result<Lsn, CaptureError> {
    let failover = if options.failover { ", FAILOVER true" } else { "" };
    let two_phase = if options.two_phase { ", TWO_PHASE" } else { "" };
    let slot = escape_identifier(name);
    let sql = format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput (SNAPSHOT 'nothing'{two_phase}{failover})");
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
            Some((tag, _)) => return Err(unexpected(tag).into()),
            None if tokio::time::Instant::now() >= deadline => return Err(not_ready(name, watcher.is_standby())),
            None => match tokio::time::timeout(CREATE_POLL, connection.fill()).await {
                Ok(filled) => _ = filled?,
                Err(_) => tell(&waited_for(watcher).await.unwrap_or_default()),
            },
        }
    }
    if let Some(source) = failure {
        return Err(CaptureError::Server { doing: "making the replication slot", source });
    }
    consistent_point.ok_or_else(|| CaptureError::Protocol("CREATE_REPLICATION_SLOT gave no answer".to_owned()))
}

fn not_ready(name: &str, standby: bool) -> CaptureError {
    let seconds = CREATE_TIMEOUT.as_secs();
    let (what, remedy) = match standby {
        true => ("the primary has not logged its running transactions", ON_THE_PRIMARY),
        false => (
            "older transactions are still running",
            "End long-running transactions (pg_stat_activity, oldest xact_start first)",
        ),
    };
    CaptureError::wait(
        Code::SourceSlotMissing,
        format!("slot \"{name}\" could not be made within {seconds} s: {what}"),
        remedy,
    )
}

const ON_THE_PRIMARY: &str = "Run SELECT pg_log_standby_snapshot(); on the primary";

/// What a slot in the making waits for, for the operator.
async fn waited_for(watcher: &mut Connection) -> Result<String, CaptureError> {
    if watcher.is_standby() {
        return Ok(format!("the primary to log its running transactions. {ON_THE_PRIMARY}"));
    }
    Ok(format!("transactions older than it: {}", blockers(watcher).await?))
}

/// The transactions that a slot in the making waits for, oldest first, for the operator.
///
/// # Errors
/// The query failed.
pub async fn blockers(connection: &mut Connection) -> Result<String, CaptureError> {
    let sql = "SELECT pid, coalesce(state, 'hidden'), coalesce(xact_start::text, '?') FROM pg_stat_activity \
               WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY age(backend_xid) DESC LIMIT 5";
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

/// Has copies of the slot kept on standbys from now on, or no longer. Needs a replication connection to a server that
/// [`knows_failover`], and nobody reading from the slot.
///
/// # Errors
/// The server refused.
pub async fn set_failover(connection: &mut Connection, name: &str, failover: bool) -> Result<(), CaptureError> {
    let sql = format!("ALTER_REPLICATION_SLOT {} (FAILOVER {failover})", escape_identifier(name));
    connection.query("changing the replication slot", &sql).await?;
    Ok(())
}

/// Lets go of the slot, once whoever reads from it has gone. Somebody must have decided that.
///
/// # Errors
/// The server refused.
pub async fn release(connection: &mut Connection, name: &str) -> Result<(), CaptureError> {
    connection.query("dropping the replication slot", &release_statement(name)).await?;
    Ok(())
}

/// The statement that does it; one that is gone already is no error.
#[must_use]
pub fn release_statement(name: &str) -> String {
    let name = escape_literal(name);
    format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {name}")
}

/// A column of an answer as text.
pub(crate) fn text(row: &TextRow, index: usize) -> Option<String> {
    row.get(index)?.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
}

/// A column of an answer, parsed.
pub(crate) fn parsed<T: std::str::FromStr>(row: &TextRow, index: usize) -> Option<T> {
    text(row, index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_history_is_read_line_by_line() {
        let text = "# a comment\n1\t0/5000148\tno recovery target specified\n\n2\t1/A0\tbefore 2026-11-25\n";
        assert_eq!(parse_history(text), [(1, Lsn::new(0x500_0148)), (2, Lsn::new(0x1_0000_00A0))]);
        assert_eq!(parse_history("nothing of the kind"), []);
    }
}
