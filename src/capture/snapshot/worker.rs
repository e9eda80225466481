//! A worker of the copy: asks the ingest loop for something to do, does it on a connection of its own, tells the outcome.
//!
//! It keeps nothing but its connection. Every decision is the loop's; a worker that is dropped in the middle of anything leaves
//! nothing behind.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::error::CaptureError;
use super::{Refusal, Request, Work, chunk, survey};
use crate::event::TableFilter;
use crate::postgres::address::Address;
use crate::postgres::connection::{Connection, Purpose};

/// What a worker must know of its source.
#[derive(Clone)]
pub struct Setting {
    /// Where it is.
    pub address: Address,
    /// The publication whose columns and rows are copied.
    pub publication: String,
    /// The tables to capture.
    pub tables: TableFilter,
    /// Ask for values in binary form where all of a table's are known.
    pub binary: bool,
    /// Partitions come as their root's rows.
    pub via_root: bool,
}

/// Starts so many workers, which stop when what is returned is dropped. Each has a thread of its own: it lets its socket fill by
/// sleeping, and nothing else should have to wait for that.
pub fn start(setting: &Setting, count: usize, requests: &mpsc::Sender<Request>) -> DropGuard {
    let stop = CancellationToken::new();
    for number in 1..=count {
        let (setting, requests, stop) = (setting.clone(), requests.clone(), stop.clone());
        let body = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => _ = runtime.block_on(stop.run_until_cancelled(run(setting, requests))),
            Err(error) => tracing::error!(%error, "a worker of the copy cannot run"),
        };
        if let Err(error) = std::thread::Builder::new().name(format!("copy-{number}")).spawn(body) {
            tracing::error!(%error, number, "a worker of the copy cannot be started");
        }
    }
    stop.drop_guard()
}

/// Works until the ingest loop has gone.
async fn run(setting: Setting, requests: mpsc::Sender<Request>) {
    let mut slot = None;
    let mut next = ask(&requests).await;
    while let Some(work) = next {
        let Ok(work) = work.await else { break };
        let outcome = perform(&mut slot, &setting, work).await;
        // First, so that the next task is here by the time the loop has put this one's rows into the log.
        next = ask(&requests).await;
        let Some(outcome) = outcome else { continue };
        if let Request::Refused { why: Refusal::Failed(error), .. } = &outcome
            && matches!(error, CaptureError::Unreachable { .. } | CaptureError::Protocol(_))
        {
            slot = None;
        }
        if requests.send(outcome).await.is_err() {
            break;
        }
    }
    if let Some(connection) = slot {
        connection.close().await;
    }
}

/// Asks for something to do; `None` if the ingest loop has gone.
async fn ask(requests: &mpsc::Sender<Request>) -> Option<oneshot::Receiver<Work>> {
    let (give, work) = oneshot::channel();
    requests.send(Request::Idle(give)).await.is_ok().then_some(work)
}

async fn perform(slot: &mut Option<Connection>, setting: &Setting, work: Work) -> Option<Request> {
    let connected = match slot {
        Some(connection) => Ok(connection),
        None => Connection::open(&setting.address, Purpose::Query).await.map(|connection| slot.insert(connection)),
    };
    let refused = |ticket, why| Some(Request::Refused { ticket, why });
    match (work, connected) {
        (Work::Survey { ticket, .. } | Work::Read { ticket, .. }, Err(error)) => {
            refused(ticket, Refusal::Failed(error.into()))
        }
        (Work::Survey { table, ticket, wait_for_writers }, Ok(connection)) => {
            if wait_for_writers && let Err(error) = survey::wait_for_writers(connection, &table).await {
                return refused(ticket, Refusal::Failed(error));
            }
            let Setting { publication, tables, via_root, binary, .. } = setting;
            match survey::survey(connection, &table, publication, tables, *via_root, *binary).await {
                Ok(survey) => Some(Request::Surveyed { ticket, survey }),
                Err(why) => refused(ticket, why),
            }
        }
        (Work::Read { target, ticket, part, time_max, room }, Ok(connection)) => {
            match chunk::read(connection, &target, &setting.publication, ticket, &part, time_max, room).await {
                Ok(chunk) => Some(Request::Place(chunk)),
                Err(why) => refused(ticket, why),
            }
        }
        (Work::Nudge, Ok(connection)) => {
            nudge(connection).await;
            None
        }
        (Work::Nudge, Err(_)) => None,
    }
}

/// On a server where nobody else writes, the WAL's last page may stay unflushed for many seconds (its writer flushes whole pages
/// and commits), and the stream cannot pass it; an empty logical message makes a commit that is flushed. It needs no privilege and
/// touches no table; where it is refused, on a standby, the wait is only longer.
pub async fn nudge(connection: &mut Connection) {
    // Not held up by a standby that has gone: nobody needs this message.
    let sql = "SET LOCAL synchronous_commit = local; SELECT pg_logical_emit_message(true, 'walbridge', '')";
    if let Err(error) = connection.query("nudging the server", sql).await {
        tracing::debug!(%error, "the server was not nudged");
    }
}
