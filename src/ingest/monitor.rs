//! Looks at the slot from outside, on a connection of its own: how much WAL the server keeps for it, and how far ahead the
//! server is. Only for the board: a monitor that fails changes nothing but what is shown.

use std::time::Duration;

use postgres_protocol::escape::escape_literal;
use tokio_util::task::AbortOnDropHandle;

use super::Source;
use crate::capture::CaptureError;
use crate::capture::address::Address;
use crate::capture::connection::{Connection, Purpose};
use crate::capture::slot::{parsed, text};
use crate::retry::Backoff;
use crate::status::Board;

const INTERVAL: Duration = Duration::from_secs(1);

/// Starts it; dropping the handle ends it.
pub(super) fn start(source: &Source, address: &Address, board: Board) -> AbortOnDropHandle<()> {
    let source = Source { address: address.clone(), ..source.clone() };
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut backoff = Backoff::default();
        loop {
            if let Err(error) = watch(&source, &board, &mut backoff).await {
                tracing::debug!(source = %source.name, %error, "the slot cannot be watched");
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }))
}

async fn watch(source: &Source, board: &Board, backoff: &mut Backoff) -> Result<(), CaptureError> {
    let mut connection = Connection::open(&source.address, Purpose::Query).await?;
    let sql = format!(
        "SELECT pg_current_wal_lsn(), restart_lsn, wal_status FROM pg_replication_slots WHERE slot_name = {}",
        escape_literal(&source.slot)
    );
    loop {
        let rows = connection.query("watching the slot", &sql).await?;
        backoff.reset();
        if let Some(row) = rows.first() {
            board.source(&source.name, |status| {
                status.server_lsn = parsed(row, 0).unwrap_or_default();
                status.restart_lsn = parsed(row, 1).unwrap_or_default();
                status.wal_status = text(row, 2);
            });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
