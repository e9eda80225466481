//! What is built beside, from an order to where it can take the place.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::check::{Check, differs};
use super::mark::{Mark, Marks, Step};
use super::{Answer, Beside, Rebuild, RebuildOrder, Verify, show_failed};
use crate::deliver::Deliver;
use crate::event::{Offset, Span, Timestamp};
use crate::log::{Log, LogError};
use crate::retry::Backoff;
use crate::sink::{Checkpoint, Old, Replaceable};
use crate::status::{Board, RebuildStatus, State};

const UNDER_WAY: &str = "it is being rebuilt; `walbridge status` shows how far that is";
/// A search that began before another target took the place has ended by then, and the old one can go.
const OLD_IS_READ: Duration = Duration::from_secs(10);
/// How often what is to be removed is opened before; one that is damaged cannot be.
const OPENINGS_MAX: u32 = 5;
/// Between two looks at how far both are.
const PAUSE: Duration = Duration::from_millis(50);

/// The sink's loop, and what is built beside it.
pub(super) struct Building<'r, L, S> {
    pub(super) rebuild: &'r mut Rebuild<L, S>,
    pub(super) marks: &'r Marks,
    pub(super) mark: Option<Mark>,
    pub(super) log: L,
    pub(super) sink: String,
    pub(super) board: Board,
    /// Why it does not go on before it is told to.
    pub(super) failed: bool,
    /// The readers' loop is to stop; it has.
    pub(super) hold: CancellationToken,
    pub(super) held: CancellationToken,
    pub(super) stop: CancellationToken,
}

/// Why no more is built.
enum Verdict {
    Stopped,
    Failed(String),
    Canceled(Answer),
    Ready,
}

impl<L: Log, S: Replaceable> Building<'_, L, S> {
    /// Until what is beside can take the place, and the readers' loop has stopped for it; or until that is to begin again; or told to stop.
    pub(super) async fn run(&mut self) {
        while !self.stop.is_cancelled() {
            let Some(mark) = self.mark.clone().filter(|_| !self.failed) else {
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    order = self.rebuild.orders.recv() => match order {
                        Some(order) => self.carry_out(order).await,
                        None => return self.stop.cancelled().await,
                    },
                }
                continue;
            };
            if mark.step == Step::Replaced {
                self.remove_old().await;
                continue;
            }
            match self.build(mark).await {
                Ok(()) => return,
                Err(Verdict::Failed(why)) => {
                    self.failed = true;
                    show_failed(&self.board, &self.sink, &why);
                }
                Err(Verdict::Canceled(answer)) => self.cancel(answer).await,
                Err(Verdict::Stopped | Verdict::Ready) => return,
            }
            if self.hold.is_cancelled() {
                return;
            }
        }
    }

    /// Removes what stands beside, once nobody reads it any more; an order that comes meanwhile is carried out behind that.
    async fn remove_old(&mut self) {
        let (mut order, mut backoff) = (None, Backoff::default());
        let mut wait = OLD_IS_READ;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                Some(came) = self.rebuild.orders.recv(), if order.is_none() => order = Some(came),
                () = tokio::time::sleep(wait) => {}
            }
            match self.remove().await {
                Ok(()) => break,
                Err(why) => tracing::warn!(sink = %self.sink, why, "the old target is not removed yet; trying again"),
            }
            wait = backoff.next_delay();
        }
        self.mark = None;
        if let Some(order) = order {
            self.carry_out(order).await;
        }
    }

    async fn carry_out(&mut self, order: RebuildOrder) {
        match order {
            RebuildOrder::Cancel { answer } if self.mark.is_some() => self.cancel(answer).await,
            RebuildOrder::Cancel { answer } => drop(answer.send(Err("nothing is being rebuilt".to_owned()))),
            RebuildOrder::Begin { answer, .. } if self.mark.is_some() => {
                self.failed = false;
                let from = self.mark.as_ref().map_or(Offset(0), |mark| mark.from);
                drop(answer.send(Ok(Some(self.span(from)))));
            }
            RebuildOrder::Begin { old, copy, answer } => {
                let outcome = self.accept(old, copy);
                drop(answer.send(outcome.map(Some)));
            }
        }
    }

    fn accept(&mut self, old: Old, copy: bool) -> Result<Span, String> {
        let from = if copy { self.log.durable().borrow().offset } else { Offset(0) };
        let mark = Mark { old, from, copy, copies: BTreeMap::new(), step: Step::Building };
        // Retention goes by the board: it is told first, and then looked at.
        self.show(&mark, &RebuildStatus { from, checkpoint: from, ..RebuildStatus::default() });
        let start = self.log.start();
        let written = match from < start {
            true => Err(format!(
                "{}. Have the tables copied for it: walbridge rebuild {} --copy",
                LogError::Expired { wanted: from, start },
                self.sink
            )),
            false => self.marks.write(&mark).map_err(|error| format!("it cannot be written down: {error}")),
        };
        if let Err(why) = written {
            self.board.sink(&self.sink, |status| status.rebuild = None);
            return Err(why);
        }
        tracing::info!(sink = %self.sink, %from, "rebuilding");
        self.mark = Some(mark);
        Ok(self.span(from))
    }

    fn span(&self, from: Offset) -> Span {
        Span { from, until: self.log.durable().borrow().offset }
    }

    fn show(&self, mark: &Mark, rebuild: &RebuildStatus) {
        let shown = RebuildStatus { from: mark.from, ..rebuild.clone() };
        self.board.sink(&self.sink, |status| status.rebuild = Some(shown));
    }

    /// Removes what is beside, then the mark: whoever is cut short finds it and can be told again.
    async fn cancel(&mut self, answer: Answer) {
        let removed = self.remove().await;
        if removed.is_ok() {
            (self.mark, self.failed) = (None, false);
            self.board.sink(&self.sink, |status| status.rebuild = None);
            tracing::info!(sink = %self.sink, "the rebuild was canceled");
        }
        drop(answer.send(removed.map(|()| None)));
    }

    async fn remove(&mut self) -> Result<(), String> {
        let mut beside = (self.rebuild.begin)(Board::default()).await?.deliver;
        // What was asked of it and given up may still come to pass. Whoever finds it there, or makes it, has waited for that.
        let mut backoff = Backoff::default();
        while beside.sink.resume().await.is_err() && backoff.failures() < OPENINGS_MAX {
            tokio::time::sleep(backoff.next_delay()).await;
        }
        beside.sink.remove().await.map_err(|error| error.to_string())?;
        drop(beside);
        self.marks.remove().map_err(|error| error.to_string())
    }

    /// Builds until it is ready and written down.
    async fn build(&mut self, mut mark: Mark) -> Result<(), Verdict> {
        let failed = |why: &dyn std::fmt::Display| Verdict::Failed(why.to_string());
        let board = Board::default();
        let Beside { deliver: mut beside, verify } = self.begin(&mark, &board).await?;
        if mark.copy {
            self.begin_with_copies(&mut mark, &mut beside).await?;
        }
        let (until, stop) = (self.log.durable().borrow().offset, self.stop.child_token());
        {
            let mut work = pin!(beside.run(&stop));
            let verdict = tokio::select! {
                ended = &mut work => match ended {
                    Ok(()) => return Err(Verdict::Stopped),
                    Err(error) => return Err(failed(&error)),
                },
                verdict = self.watch(&mark, &board, until, &verify) => verdict,
            };
            stop.cancel();
            work.await.map_err(|error| failed(&error))?;
            if !matches!(verdict, Verdict::Ready) {
                return Err(verdict);
            }
        }
        let by = beside.sink.identity().await.map_err(|error| failed(&error))?;
        drop(beside);
        let ready = Mark { step: Step::Replacing(by), ..mark };
        self.marks.keep_letters().and_then(|()| self.marks.write(&ready)).map_err(|error| failed(&error))?;
        self.mark = Some(ready);
        Ok(())
    }

    /// Makes what is built beside; waits for what that needs.
    async fn begin(&mut self, mark: &Mark, board: &Board) -> Result<Beside<L, S>, Verdict> {
        let (stop, mut backoff) = (self.stop.clone(), Backoff::default());
        loop {
            let why = tokio::select! {
                () = stop.cancelled() => return Err(Verdict::Stopped),
                beside = (self.rebuild.begin)(board.clone()) => match beside {
                    Ok(beside) => return Ok(beside),
                    Err(why) => why,
                },
            };
            let (from, state) = (mark.from, State::Paused);
            self.show(mark, &RebuildStatus { from, checkpoint: from, state, message: Some(why), dead_letters: 0 });
            tokio::select! {
                () = stop.cancelled() => return Err(Verdict::Stopped),
                Some(order) = self.rebuild.orders.recv() => match order {
                    RebuildOrder::Cancel { answer } => return Err(Verdict::Canceled(answer)),
                    RebuildOrder::Begin { answer, .. } => drop(answer.send(Err(UNDER_WAY.to_owned()))),
                },
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// An empty target begins where the copies do.
    async fn begin_with_copies(&mut self, mark: &mut Mark, beside: &mut Deliver<L, S>) -> Result<(), Verdict> {
        let failed = |why: &dyn std::fmt::Display| Verdict::Failed(why.to_string());
        beside.log.open().await.map_err(|error| failed(&error))?;
        if beside.sink.resume().await.map_err(|error| failed(&error))?.is_none() {
            let beginning = Checkpoint { time: Some(Timestamp::now()), ..Checkpoint::new(beside.log.id(), mark.from) };
            beside.sink.commit(beginning).await.map_err(|error| failed(&error))?;
        }
        if mark.copies.is_empty() {
            let before = self.copies();
            let tables = (self.rebuild.copy)().await.map_err(Verdict::Failed)?;
            let next = |table: String| {
                let copy = before.get(&table).map_or(0, |(copy, _)| *copy).saturating_add(1);
                (table, copy)
            };
            mark.copies = tables.into_iter().map(next).collect();
            self.marks.write(mark).map_err(|error| failed(&error))?;
            self.mark = Some(mark.clone());
        }
        Ok(())
    }

    /// Which copy of each table is the last, and whether it is done.
    fn copies(&self) -> BTreeMap<String, (u32, bool)> {
        let status = self.board.read();
        let tables = status.sources.get(&self.rebuild.source).map(|source| source.tables.clone()).unwrap_or_default();
        tables.into_iter().map(|(name, table)| (name, (table.generation, table.done))).collect()
    }

    fn are_copied(&self, mark: &Mark) -> bool {
        let found = self.copies();
        let is_done =
            |(table, wanted): (&String, &u32)| found.get(table).is_some_and(|(copy, done)| copy >= wanted && *done);
        mark.copies.iter().all(is_done)
    }

    /// Tells how far it is; has it verified when it is as far as the readers' target, and the readers' loop stop then; waits until it has what
    /// that one had in the end.
    async fn watch(&mut self, mark: &Mark, beside: &Board, until: Offset, verify: &Verify) -> Verdict {
        let (mut until, mut copied) = (until, false);
        let mut check = Check::new(verify);
        loop {
            let order = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Verdict::Stopped,
                Some(order) = self.rebuild.orders.recv() => Some(order),
                () = check.goes_on() => None,
                () = tokio::time::sleep(PAUSE) => None,
            };
            match order {
                Some(RebuildOrder::Cancel { answer }) => return Verdict::Canceled(answer),
                Some(RebuildOrder::Begin { answer, .. }) => drop(answer.send(Err(UNDER_WAY.to_owned()))),
                None => {}
            }
            if !copied && self.are_copied(mark) {
                // All of them are in the log by now.
                (copied, until) = (true, self.log.durable().borrow().offset.max(until));
            }
            self.share_source(beside);
            let Some(sink) = beside.read().sinks.remove(&self.sink) else { continue };
            let checkpoint = sink.checkpoint.unwrap_or(mark.from);
            self.show(
                mark,
                &RebuildStatus {
                    from: mark.from,
                    checkpoint,
                    state: sink.state,
                    message: sink.message.or_else(|| check.message()),
                    dead_letters: sink.dead_letters,
                },
            );
            let readers = self.board.read().sinks.get(&self.sink).and_then(|sink| sink.checkpoint).unwrap_or_default();
            if !copied || checkpoint < until.max(readers) {
                continue;
            }
            let refused = u64::try_from(sink.dead_letters).unwrap_or(u64::MAX);
            match check.found() {
                None => check.begin(),
                Some(differences) if differences > refused => return Verdict::Failed(differs(differences)),
                Some(_) if self.held.is_cancelled() => return Verdict::Ready,
                Some(_) => self.hold.cancel(),
            }
        }
    }

    /// A verification asks the board how its source is.
    fn share_source(&self, beside: &Board) {
        if let Some(source) = self.board.read().sources.remove(&self.rebuild.source) {
            beside.source(&self.rebuild.source, |status| *status = source);
        }
    }
}
