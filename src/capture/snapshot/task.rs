//! The snapshot's own loop: table after table, chunk after chunk, on a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::super::address::Address;
use super::super::catalog::Table;
use super::super::connection::{Connection, Purpose};
use super::super::error::CaptureError;
use super::{Placed, Request, chunk};
use crate::retry::Backoff;

/// A table to copy, and where to begin.
#[derive(Clone, Debug)]
pub struct Job {
    /// The table.
    pub table: Table,
    /// The last key that is in the log already.
    pub resume_after: Option<Bytes>,
}

/// Copies the tables. Ends when all are done, or when the ingest loop has gone. Trouble is told to the loop and tried
/// again for ever: a privilege may be granted, a server come back.
pub async fn run(address: Address, publication: String, jobs: Vec<Job>, requests: mpsc::Sender<Request>) {
    let mut connection = None;
    for mut job in jobs {
        let mut size = ChunkSize::default();
        let mut backoff = Backoff::default();
        loop {
            match next_chunk(&mut connection, &address, &publication, &mut job, &mut size, &requests).await {
                Ok(Next::More) => backoff.reset(),
                Ok(Next::Done) => break,
                Ok(Next::LoopGone) => return,
                Err(error) => {
                    if matches!(error, CaptureError::Unreachable { .. } | CaptureError::Protocol(_)) {
                        connection = None;
                    }
                    let table = job.table.name.to_string();
                    if requests.send(Request::Trouble { table, error }).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }
    if let Some(connection) = connection {
        connection.close().await;
    }
}

enum Next {
    More,
    Done,
    LoopGone,
}

async fn next_chunk(
    slot: &mut Option<Connection>,
    address: &Address,
    publication: &str,
    job: &mut Job,
    size: &mut ChunkSize,
    requests: &mpsc::Sender<Request>,
) -> Result<Next, CaptureError> {
    let connection = match slot {
        Some(connection) => connection,
        None => slot.insert(Connection::open(address, Purpose::Query).await?),
    };
    let (opened, is_open) = oneshot::channel();
    if requests.send(Request::Open { oid: job.table.oid, opened }).await.is_err() || is_open.await.is_err() {
        return Ok(Next::LoopGone);
    }
    let rows_max = size.rows;
    let chunk = chunk::read(connection, &job.table, publication, job.resume_after.as_ref(), rows_max).await?;
    size.learn(&chunk);
    let (last, last_key) = (chunk.last, chunk.last_key.clone());
    let (placed, is_placed) = oneshot::channel();
    if requests.send(Request::Place { chunk, placed }).await.is_err() {
        return Ok(Next::LoopGone);
    }
    match await_place(connection, is_placed).await {
        None => Ok(Next::LoopGone),
        Some(Placed::ReadAgain) => Ok(Next::More),
        Some(Placed::Yes) if last => Ok(Next::Done),
        Some(Placed::Yes) => {
            job.resume_after = last_key;
            Ok(Next::More)
        }
    }
}

/// How long the stream may take to pass a chunk on its own.
const PATIENCE: Duration = Duration::from_millis(500);

/// Waits for the chunk's place. On a server where nobody else writes, the WAL's last page may stay unflushed for many
/// seconds (its writer flushes whole pages and commits), and the stream cannot pass it; an empty logical message makes a
/// commit that is flushed. It needs no privilege and touches no table; where it is refused the wait is only longer.
async fn await_place(connection: &mut Connection, mut placed: oneshot::Receiver<Placed>) -> Option<Placed> {
    loop {
        match tokio::time::timeout(PATIENCE, &mut placed).await {
            Ok(answer) => return answer.ok(),
            Err(_) => {
                let sql = "SELECT pg_logical_emit_message(true, 'walbridge', '')";
                if let Err(error) = connection.query("nudging the server", sql).await {
                    tracing::debug!(%error, "the server was not nudged");
                }
            }
        }
    }
}

/// Chunks of about a second's work at most: their size in rows follows from the size of the rows.
struct ChunkSize {
    rows: usize,
}

impl Default for ChunkSize {
    fn default() -> Self {
        ChunkSize { rows: 1000 }
    }
}

impl ChunkSize {
    fn learn(&mut self, chunk: &super::Chunk) {
        const TARGET_BYTES: usize = 2 << 20;
        let bytes: usize = chunk.rows.iter().map(|row| row.as_bytes().len()).sum();
        if let Some(average) = bytes.checked_div(chunk.rows.len()) {
            self.rows = (TARGET_BYTES / average.max(1)).clamp(10, 20_000);
        }
    }
}
