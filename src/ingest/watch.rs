//! Watches the definitions of the captured tables, on a connection of its own, and has done what follows from a change:
//! rows copied again, documents removed, new tables published, the source halted, or an alarm raised.
//!
//! One way for all: what was acted upon last is in [`Memory`], and every look is compared with it, the first one of a run
//! like any other. So a table that was redefined while walbridge was down is no case of its own. The memory is brought up to
//! date only when all that follows is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::memory::Memory;
use super::plan::{Again, Circumstances, Plan, known_anew};
use super::{IngestError, OnSchemaChange, Source};
use crate::capture::schema::{self, Alarm, Change, Expected, Fingerprint, Inventory, Left, Look};
use crate::capture::snapshot::Request;
use crate::capture::{CaptureError, publication};
use crate::event::{Lsn, Relation, TableName, Timestamp};
use crate::postgres::address::Address;
use crate::postgres::connection::{Connection, Purpose};
use crate::retry::Backoff;
use crate::status::{Board, Code};

/// A look costs the server something: at most this part of the time is spent on it.
const SHARE: u32 = 20;
/// Hints come in bursts.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// A role that may not change the publication is not asked to more often.
const PUBLISH_AGAIN: Duration = Duration::from_secs(30);

/// What the ingest loop lets the watcher know.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// The server announced a table: its definition may have changed.
    pub(super) announced: Notify,
    /// Tables with partitions whose rows came under other names than agreed, and were left out.
    missed: Mutex<BTreeSet<u32>>,
    /// Tables whose copy is not done yet, durably.
    under_copy: Mutex<BTreeSet<u32>>,
}

impl Hints {
    /// Rows of this partitioned table, or of its partitions, were left out.
    pub(super) fn missed(&self, root: u32) {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).insert(root);
        self.announced.notify_one();
    }

    fn take_missed(&self) -> BTreeSet<u32> {
        std::mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A copy of this table has begun.
    pub(super) fn copying(&self, oid: u32) {
        self.under_copy.lock().unwrap_or_else(PoisonError::into_inner).insert(oid);
    }

    /// The copy of this table is done, durably.
    pub(super) fn copied(&self, oid: u32) {
        if self.under_copy.lock().unwrap_or_else(PoisonError::into_inner).remove(&oid) {
            self.announced.notify_one();
        }
    }

    fn under_copy(&self) -> BTreeSet<u32> {
        self.under_copy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the watcher asks of the ingest loop.
#[derive(Debug)]
pub(super) enum News {
    /// When the stream has passed `seen_upto`: these tables have no rows any more, and the copies of those that are gone end.
    /// Answered once that is durable.
    Passed { seen_upto: Lsn, at: Timestamp, emptied: Vec<Arc<Relation>>, gone: Vec<u32>, done: oneshot::Sender<()> },
    /// Going on would be a guess.
    Stop(IngestError),
}

/// What the watcher works with.
pub(super) struct Watcher {
    pub(super) source: Source,
    /// The server that was taken.
    pub(super) address: Address,
    pub(super) board: Board,
    pub(super) memory: Arc<tokio::sync::Mutex<Memory>>,
    pub(super) hints: Arc<Hints>,
    pub(super) news: mpsc::Sender<News>,
    pub(super) copies: mpsc::Sender<Request>,
}

/// The ingest loop has ended, or is about to.
struct LoopGone;

enum Ended {
    LoopGone,
    Trouble(CaptureError),
}

impl From<LoopGone> for Ended {
    fn from(_: LoopGone) -> Self {
        Ended::LoopGone
    }
}

impl From<CaptureError> for Ended {
    fn from(error: CaptureError) -> Self {
        Ended::Trouble(error)
    }
}

impl Watcher {
    /// Starts it; dropping the handle ends it.
    pub(super) fn start(self) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            let memory = self.memory.clone();
            let mut memory = memory.lock().await;
            let mut backoff = Backoff::default();
            while let Ended::Trouble(error) = self.watch(&mut memory, &mut backoff).await {
                tracing::debug!(source = %self.source.name, %error, "the tables cannot be watched");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }))
    }

    async fn watch(&self, memory: &mut Memory, backoff: &mut Backoff) -> Ended {
        match self.looks(memory, backoff).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn looks(&self, memory: &mut Memory, backoff: &mut Backoff) -> Result<std::convert::Infallible, Ended> {
        let mut connection = Connection::open(&self.address, Purpose::Query).await.map_err(CaptureError::from)?;
        let mut publish_at = Instant::now();
        let mut settling = Settling::default();
        loop {
            let started = Instant::now();
            let (wanted, via_root) = (&self.source.tables, agreed(memory).unwrap_or(true));
            let look = schema::look(&mut connection, &self.source.publication, wanted, via_root).await?;
            backoff.reset();
            let cost = started.elapsed();
            if publish_at <= Instant::now() {
                match self.publish(&mut connection, &look, memory).await? {
                    None => {}
                    Some(true) => continue,
                    Some(false) => publish_at = Instant::now() + PUBLISH_AGAIN,
                }
            }
            let missed = self.missed(&mut connection).await?;
            settling.look(&mut connection, &look.inventory, memory.known()).await?;
            self.act(look, &missed, &settling, memory).await?;
            let pause = self.source.watch_interval.max(cost.saturating_mul(SHARE));
            tokio::time::sleep(PAUSE_MIN).await;
            tokio::select! {
                () = self.hints.announced.notified() => {}
                () = tokio::time::sleep(pause.saturating_sub(PAUSE_MIN)) => {}
            }
        }
    }

    /// Has the publication send tables that are new. Whether it could be changed; `None` if it need not be.
    async fn publish(&self, connection: &mut Connection, look: &Look, memory: &Memory) -> Result<Option<bool>, Ended> {
        let known = memory.known();
        let is_new = |print: &&Fingerprint| known.is_some_and(|known| !known.tables.contains_key(&print.oid));
        let new = look.inventory.tables.values().filter(is_new);
        let names: Vec<TableName> = new
            .filter(|print| print.published.is_none() && print.is_capturable(self.source.whole_rows))
            .map(Fingerprint::name)
            .collect();
        if names.is_empty() || look.inventory.publication.is_none() {
            return Ok(None);
        }
        match publication::add(connection, &self.source.publication, &names).await {
            Ok(()) => Ok(Some(true)),
            Err(error @ CaptureError::Refused { .. }) => {
                tracing::warn!(source = %self.source.name, %error, "new tables are not captured");
                Ok(Some(false))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Every table that may lack rows because they came under other names than agreed.
    async fn missed(&self, connection: &mut Connection) -> Result<BTreeSet<u32>, Ended> {
        let mut tables = BTreeSet::new();
        for root in self.hints.take_missed() {
            match schema::partition_tree(connection, root).await {
                Ok(tree) => tables.extend(tree),
                Err(error) => {
                    self.hints.missed(root);
                    return Err(error.into());
                }
            }
        }
        Ok(tables)
    }

    /// Does what follows from a look, then remembers it.
    async fn act(
        &self,
        look: Look,
        missed: &BTreeSet<u32>,
        settling: &Settling,
        memory: &mut Memory,
    ) -> Result<(), Ended> {
        let expected = Expected {
            publication: publication::quoted_name(&self.source.publication),
            via_root: agreed(memory).unwrap_or(true),
            whole_rows: self.source.whole_rows,
            copies: self.source.snapshot,
        };
        self.show(&schema::inspect(&look.inventory, &expected));
        let known = memory.known().cloned().unwrap_or_default();
        let (settling, under_copy) = (&settling.tables(), &self.hints.under_copy());
        let plan = Plan::make(&self.source, look, Circumstances { then: &known, missed, settling, under_copy });
        if let Some(change) = plan.changes.iter().find(|change| change.alters_a_table())
            && self.source.on_schema_change == OnSchemaChange::Halt
        {
            return self.stop(must_not_follow(change).into()).await;
        }
        for change in &plan.changes {
            let told = change.told();
            tracing::info!(source = %self.source.name, "{told}");
            self.board.source(&self.source.name, |status| status.note(Some(change.print.name().to_string()), told));
        }
        let Plan { seen_upto, at, emptied, gone, copies, .. } = plan;
        if !emptied.is_empty() || !gone.is_empty() || !copies.is_empty() {
            let (done, is_done) = oneshot::channel();
            let emptied = emptied.into_iter().map(Arc::new).collect();
            self.tell(News::Passed { seen_upto, at, emptied, gone, done }).await?;
            is_done.await.map_err(|_| LoopGone)?;
        }
        let known_left = known.left.clone();
        let mut begun = known;
        for again in copies {
            let print = again.print.clone();
            if let Err(error) = self.copy(again).await? {
                // What is begun is not begun once more for that.
                self.keep(memory, begun).await?;
                return Err(error.into());
            }
            let is_new = |left: &&Left| left.table == print.oid && !known_left.contains(left);
            begun.left.extend(plan.known.left.iter().filter(is_new).cloned());
            begun.tables.insert(print.oid, print);
        }
        self.keep(memory, plan.known).await
    }

    /// Has a table copied from here on. The inner error is the source's.
    async fn copy(&self, again: Again) -> Result<Result<(), CaptureError>, LoopGone> {
        let Again { print, reason, sweeps } = again;
        let (begun, is_begun) = oneshot::channel();
        let request = Request::Copy { table: print.to_table(), reason, sweeps, begun };
        self.copies.send(request).await.map_err(|_| LoopGone)?;
        is_begun.await.map_err(|_| LoopGone)
    }

    async fn keep(&self, memory: &mut Memory, now: Inventory) -> Result<(), Ended> {
        match memory.keep(now).await {
            Ok(()) => Ok(()),
            Err(error) => self.stop(error.into()).await,
        }
    }

    fn show(&self, alarms: &[Alarm]) {
        let alarms: Vec<_> = alarms
            .iter()
            .map(|alarm| (alarm.code, alarm.table.as_ref().map(ToString::to_string), alarm.message.clone()))
            .collect();
        self.board.source(&self.source.name, |status| {
            for (code, _, message) in status.set_alarms(alarms) {
                tracing::warn!(source = %self.source.name, %code, "{message}");
            }
        });
    }

    async fn tell(&self, news: News) -> Result<(), LoopGone> {
        self.news.send(news).await.map_err(|_| LoopGone)
    }

    async fn stop(&self, error: IngestError) -> Result<(), Ended> {
        self.tell(News::Stop(error)).await?;
        Err(Ended::LoopGone)
    }
}

/// Whether partitions come as their root's rows: as it was when the source was first captured. `None` before that.
pub(super) fn agreed(memory: &Memory) -> Option<bool> {
    memory.known().and_then(|known| known.publication.as_ref()).map(|publication| publication.via_root)
}

/// History began anew, and the copies of all tables with it.
pub(super) async fn begun_anew(
    source: &Source,
    connection: &mut Connection,
    memory: &mut Memory,
) -> Result<(), IngestError> {
    let via_root = agreed(memory).unwrap_or(true);
    let look = schema::look(connection, &source.publication, &source.tables, via_root).await?;
    let before = memory.known().cloned().unwrap_or_default();
    let now = known_anew(source, &before, look.inventory);
    Ok(memory.keep(now).await?)
}

fn must_not_follow(change: &Change) -> CaptureError {
    CaptureError::halt(
        Code::SchemaUnsupported,
        format!("{}, and on_schema_change is \"halt\"", change.told()),
        "Change it back, or start once with on_schema_change = \"follow\": what must be copied is then copied again",
    )
}

/// Tables that the publication sends only now, and the transactions that were writing to them by then: what those wrote before
/// is not sent, and no copy sees it before they have ended. So the copy must wait for them, however long they take.
#[derive(Debug, Default)]
struct Settling(BTreeMap<u32, (u32, BTreeSet<String>)>);

impl Settling {
    fn tables(&self) -> BTreeSet<u32> {
        self.0.iter().filter(|(_, (_, writers))| !writers.is_empty()).map(|(oid, _)| *oid).collect()
    }

    /// Looks whether those are still there, and who writes to tables that came just now.
    async fn look(
        &mut self,
        connection: &mut Connection,
        now: &Inventory,
        known: Option<&Inventory>,
    ) -> Result<(), CaptureError> {
        let membership = |print: &Fingerprint| print.published.as_ref().map(|published| published.membership);
        let before = |oid: u32| known.and_then(|known| known.tables.get(&oid)).and_then(membership);
        let mut seen = BTreeMap::new();
        for (oid, print) in &now.tables {
            let Some(membership) = membership(print).filter(|membership| before(*oid) != Some(*membership)) else {
                continue;
            };
            let mut writers = schema::writers(connection, *oid).await?;
            match self.0.get(oid) {
                Some((same, earlier)) if *same == membership => writers.retain(|writer| earlier.contains(writer)),
                _ if writers.is_empty() => {}
                _ => {
                    let table = print.name();
                    tracing::info!(%table, writers = writers.len(), "its copy waits for transactions that were writing to it before it was published");
                }
            }
            seen.insert(*oid, (membership, writers));
        }
        self.0 = seen;
        Ok(())
    }
}
