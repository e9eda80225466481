//! Looks at the slot from outside: how much WAL the server keeps for it and why, how far ahead the server is, and whether it is
//! about to shut down. It lives as long as the loop does, so that a source that is halted is watched too.
//!
//! Each look has a connection of its own. One that stayed open would keep a server from a smart shutdown, which waits for its
//! clients and tells them nothing; a new one is refused with the reason.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::Source;
use super::budget::{Look, OverBudget, Verdict};
use crate::capture::slot::{self, parsed, text};
use crate::capture::{CaptureError, ServerError};
use crate::event::Lsn;
use crate::postgres::address::Address;
use crate::postgres::connection::{Connection, Purpose};
use crate::status::{Board, Code};

/// How long between two looks; less while more than half of the budget is used up.
const INTERVAL: Duration = Duration::from_secs(2);
const INTERVAL_WORRIED: Duration = Duration::from_secs(1);

/// What the loop has to act on.
#[derive(Debug)]
pub(super) enum Signal {
    /// The server wants to shut down.
    ShuttingDown,
    /// The slot is to be let go of, for the reason given.
    OverBudget(String),
}

/// The monitor; dropping it ends it.
pub(super) struct Monitor {
    pub(super) signals: mpsc::Receiver<Signal>,
    /// The server to look at.
    pub(super) address: watch::Sender<Address>,
    watcher: Option<Watcher>,
    task: Option<AbortOnDropHandle<()>>,
}

impl Monitor {
    /// One that does not look yet.
    pub(super) fn new(source: &Source, board: Board) -> Self {
        let (tell, signals) = mpsc::channel(1);
        let (address, addresses) = watch::channel(source.address.clone());
        let watcher = Watcher { source: source.clone(), shouted_at: None, board, addresses, tell };
        Monitor { signals, address, watcher: Some(watcher), task: None }
    }

    /// Begins to look, on this runtime.
    pub(super) fn start(&mut self, runtime: &Handle) {
        self.task = self.watcher.take().map(|watcher| AbortOnDropHandle::new(runtime.spawn(watcher.run())));
    }
}

/// What is shouted is shouted so often.
const SHOUT_INTERVAL: Duration = Duration::from_secs(60);

struct Watcher {
    source: Source,
    shouted_at: Option<Instant>,
    board: Board,
    addresses: watch::Receiver<Address>,
    tell: mpsc::Sender<Signal>,
}

impl Watcher {
    async fn run(mut self) {
        self.board.source(&self.source.name, |status| status.wal_budget_bytes = self.source.wal_budget);
        loop {
            let interval = match self.look().await {
                Ok(Some(look)) => self.act(&look),
                Ok(None) => INTERVAL,
                Err(CaptureError::Server { source, .. }) if is_shutdown(&source) => {
                    // One that is still to be read will do.
                    let _ = self.tell.try_send(Signal::ShuttingDown);
                    INTERVAL
                }
                Err(error) => {
                    tracing::debug!(source = %self.source.name, %error, "the slot cannot be watched");
                    INTERVAL
                }
            };
            tokio::time::sleep(interval).await;
        }
    }

    async fn look(&self) -> Result<Option<Look>, CaptureError> {
        let address = self.addresses.borrow().clone();
        let mut connection = Connection::open(&address, Purpose::Query).await?;
        let rows = connection.query("asking for the end of the WAL", &format!("SELECT {}", slot::END_OF_WAL)).await?;
        let server_lsn: Lsn = rows.first().and_then(|row| parsed(row, 0)).unwrap_or_default();
        let found = slot::inspect(&mut connection, &self.source.slot).await?;
        self.board.source(&self.source.name, |status| status.server_lsn = server_lsn);
        let look = match found {
            Some(slot) => {
                let mut look = Look { server_lsn, slot, oldest: None };
                if look.judge(self.source.wal_budget) != Verdict::Fine {
                    look.oldest = oldest(&mut connection).await?;
                }
                Some(look)
            }
            None => None,
        };
        connection.close().await;
        Ok(look)
    }

    /// Tells the board, and the loop where it must act.
    fn act(&mut self, look: &Look) -> Duration {
        let verdict = look.judge(self.source.wal_budget);
        self.board.source(&self.source.name, |status| {
            status.restart_lsn = look.slot.restart_lsn.unwrap_or_default();
            status.wal_status.clone_from(&look.slot.wal_status);
            status.wal_budget_bytes = look.limit(self.source.wal_budget);
            let warned = status.warning.take();
            status.warning = match &verdict {
                Verdict::Fine => None,
                Verdict::Half(why) | Verdict::Over(why) => Some((Code::SourceWalBudget, why.clone())),
            };
            if warned.is_none()
                && let Some((code, why)) = &status.warning
            {
                tracing::warn!(source = %self.source.name, %code, "{why}");
            }
        });
        match verdict {
            Verdict::Fine => return INTERVAL,
            Verdict::Over(why) if self.source.on_wal_budget == OverBudget::ProtectSource => {
                let _ = self.tell.try_send(Signal::OverBudget(why));
            }
            Verdict::Over(why)
                if self.source.on_wal_budget == OverBudget::ProtectData
                    && self.shouted_at.is_none_or(|at| at.elapsed() >= SHOUT_INTERVAL) =>
            {
                self.shouted_at = Some(Instant::now());
                tracing::error!(source = %self.source.name, code = %Code::SourceWalBudget, "the slot is kept (protect_data): {why}");
            }
            Verdict::Half(_) | Verdict::Over(_) => {}
        }
        INTERVAL_WORRIED
    }
}

/// `cannot_connect_now` while it shuts down; while it starts up there is nobody to be let go of.
fn is_shutdown(error: &ServerError) -> bool {
    error.sqlstate == "57P03"
}

/// The oldest transaction that has written and not ended, or waits prepared.
async fn oldest(connection: &mut Connection) -> Result<Option<String>, CaptureError> {
    let sql = "SELECT * FROM (\
         SELECT 'the transaction of process ' || pid || coalesce(' (since ' || xact_start || ')', ''), age(backend_xid) \
         FROM pg_stat_activity WHERE backend_xid IS NOT NULL \
         UNION ALL SELECT 'the prepared transaction ' || quote_literal(gid) || ' (since ' || prepared || ')', age(transaction) \
         FROM pg_prepared_xacts) AS running ORDER BY 2 DESC LIMIT 1";
    let rows = connection.query("looking for the oldest transaction", sql).await?;
    Ok(rows.first().and_then(|row| text(row, 0)))
}
