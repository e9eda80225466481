//! A target that refuses what is under some keys, and a loop that delivers to it: the real one, on a real log.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use walbridge::dead_letter::{self, Action, Outcome, Request};
use walbridge::deliver::{OnReject, Order, Orders};
use walbridge::event::{Offset, Place, Span, TableName};
use walbridge::log::embedded::{Log, Writer};
use walbridge::project::mutation::{Effect, Mutation};
use walbridge::sink::{Checkpoint, KeyPage, Rejection, Sink, SinkError, Staged};
use walbridge::status::{Board, SinkStatus};

use super::any::AnySink;
use super::kind::Kind;
use super::running::{assert_documents, caught_up, deliver, log, record, until_unlocked};
use super::target::Target;
use super::world::{Documents, Statement, World};

/// Keys that the target takes nothing under.
type Refused = Arc<Mutex<BTreeSet<String>>>;

/// A sink whose target takes nothing but deletes under some keys.
pub(super) struct Picky {
    sink: AnySink,
    refused: Refused,
    kind: Kind,
    /// It says so only when it is sent what was staged; until then it has what it refuses.
    is_late: bool,
    given: Vec<Rejection>,
}

impl Picky {
    fn refuses(&self, mutation: &Mutation) -> bool {
        let writes = matches!(mutation.effect, Effect::Put { .. } | Effect::Append(_));
        writes && self.refused.lock().expect("no panic").contains(&self.kind.plain(&mutation.key.to_string()))
    }
}

fn refusal(mutation: &Mutation) -> Rejection {
    Rejection { mutation: mutation.clone(), reason: "it does not like it".to_owned() }
}

impl Sink for Picky {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        self.given.clear();
        self.sink.resume().await
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        if self.is_late {
            let given = mutations.iter().filter(|mutation| self.refuses(mutation)).map(refusal);
            self.given.extend(given.collect::<Vec<_>>());
            return self.sink.stage(mutations).await;
        }
        let first = mutations.iter().position(|mutation| self.refuses(mutation));
        let rest = first.map(|first| first + 1).filter(|_| self.kind.keeps_history());
        let looked_at = &mutations[..rest.unwrap_or(mutations.len())];
        let (refused, taken): (Vec<usize>, Vec<usize>) =
            (0..looked_at.len()).partition(|&index| self.refuses(&looked_at[index]));
        let run: Vec<Mutation> = taken.iter().map(|&index| looked_at[index].clone()).collect();
        let mut staged = self.sink.stage(&run).await?;
        staged.incomplete.iter_mut().for_each(|index| *index = taken[*index]);
        staged.rejected.extend(refused.into_iter().map(|index| refusal(&looked_at[index])));
        staged.rest = rest;
        Ok(staged)
    }

    async fn keys(&mut self, table: &TableName, from: Option<u64>) -> Result<KeyPage, SinkError> {
        self.sink.keys(table, from).await
    }

    async fn flush(&mut self) -> Result<Vec<Rejection>, SinkError> {
        let mut refused = self.sink.flush().await?;
        let given = std::mem::take(&mut self.given);
        let gone = |given: &Rejection| Mutation { effect: Effect::Delete, ..given.mutation.clone() };
        if !given.is_empty() {
            self.sink.stage(&given.iter().map(gone).collect::<Vec<_>>()).await?;
            self.sink.flush().await?;
        }
        refused.extend(given);
        Ok(refused)
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        self.sink.commit(upto).await
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        self.sink.probe().await
    }
}

/// More events than there are.
pub(super) const MANY: usize = 256;

/// A target, the log that feeds it, and what is refused.
pub(super) struct Stage {
    pub(super) target: Target,
    pub(super) home: tempfile::TempDir,
    log: Log,
    writer: Writer,
    pub(super) world: World,
    /// Events of the world in the log.
    written: usize,
    pub(super) refused: Refused,
    pub(super) policy: OnReject,
    pub(super) letters_max: usize,
    /// See [`Picky`].
    pub(super) is_late: bool,
}

impl Stage {
    pub(super) async fn set(mut target: Target, policy: OnReject, refused: &[&str]) -> Stage {
        target.has_retries = true;
        let home = tempfile::tempdir().expect("a directory");
        let (writer, log) = log(home.path(), &[]).await;
        let refused = Arc::new(Mutex::new(refused.iter().map(|key| (*key).to_owned()).collect()));
        let world = World::new();
        Stage { target, home, log, writer, world, written: 0, refused, policy, letters_max: 100, is_late: false }
    }

    /// Commits a transaction in the world and into the log.
    pub(super) async fn commit(&mut self, statements: &[Statement]) {
        self.world.commit(statements);
        record(&mut self.writer, &self.world.events[self.written..]).await;
        self.written = self.world.events.len();
    }

    pub(super) fn accept(&self) {
        self.refused.lock().expect("no panic").clear();
    }

    /// So many that each change reaches the target.
    pub(super) fn events(&self) -> usize {
        if self.target.keeps_history() { MANY } else { 1 }
    }

    pub(super) fn picky(&self) -> Picky {
        let (sink, refused) = (self.target.open(&self.world), self.refused.clone());
        Picky { sink, refused, kind: self.target.kind, is_late: self.is_late, given: Vec::new() }
    }

    /// Runs a loop that reads so many events at once. Of those a target that keeps rows as they are is only told what they come to.
    pub(super) fn run<S: Sink + 'static>(&self, sink: S, events: usize) -> Running {
        let (mut loop_, board) = deliver(&self.target, &self.log, self.home.path(), sink, events);
        let (orders, receiver) = mpsc::channel(2);
        (loop_.on_reject, loop_.orders) = (self.policy, Orders::from(receiver));
        loop_.limits.dead_letters_max = self.letters_max;
        let stop = CancellationToken::new();
        let ending = stop.clone();
        let work = tokio::spawn(async move {
            until_unlocked(&mut loop_.sink).await;
            loop_.run(&ending).await.expect("no halt");
        });
        Running { work, stop, board, orders }
    }

    pub(super) async fn caught_up(&self, running: &Running) {
        caught_up(&running.board, Offset(self.written as u64)).await;
    }

    pub(super) fn letters(&self) -> Vec<(u64, &'static str)> {
        let letters = dead_letter::list(&letters_of(self.home.path()), "contract").expect("letters");
        letters.iter().map(|letter| (letter.id, letter.state)).collect()
    }

    pub(super) fn open(&self) -> usize {
        self.letters().iter().filter(|(_, state)| matches!(*state, "refused" | "waits")).count()
    }

    /// What the world has, without what is under these keys, is what the target has.
    pub(super) async fn assert_all_but(&self, keys: &[&str]) {
        let mut wanted: Documents = self.world.documents_after(self.world.len()).clone();
        keys.iter().for_each(|key| _ = wanted.remove(*key));
        let mut sink = self.target.open(&self.world);
        until_unlocked(&mut sink).await;
        self.target.assert_holds(&sink, &wanted, &format!("without {keys:?}")).await;
    }

    pub(super) async fn assert_all(&self) {
        assert_documents(&self.target, self.target.open(&self.world), &self.world).await;
    }
}

pub(super) fn letters_of(home: &Path) -> std::path::PathBuf {
    home.join("dead")
}

pub(super) struct Running {
    work: JoinHandle<()>,
    stop: CancellationToken,
    pub(super) board: Board,
    pub(super) orders: mpsc::Sender<Order>,
}

impl Running {
    pub(super) async fn order(&self, action: Action, ids: &[u64]) -> Result<Outcome, String> {
        let (answer, answered) = oneshot::channel();
        let request = Request { action, ids: ids.to_vec(), key: None, all: ids.is_empty() };
        self.orders.send(Order::Letters { request, answer }).await.expect("a loop");
        answered.await.expect("an answer")
    }

    pub(super) async fn replay(&self) -> Result<Span, String> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Replay { from: Place::Start, answer }).await.expect("a loop");
        answered.await.expect("an answer")
    }

    pub(super) fn status(&self) -> SinkStatus {
        self.board.read().sinks["contract"].clone()
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.work.await.expect("no panic");
    }

    /// What SIGKILL leaves behind.
    pub(super) async fn kill(self) {
        self.work.abort();
        let _ = self.work.await;
    }
}
