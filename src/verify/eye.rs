//! Looking into a sink's target, through the loop that writes it: between two transactions, when the sink has come far enough.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::VerifyError;
use crate::capture::snapshot::worker;
use crate::deliver::{Look, Mend, Order, Sight, Subject};
use crate::event::{Lsn, Offset, Position};
use crate::log::Durable;
use crate::postgres::connection::Connection;
use crate::project::mutation::Key;
use crate::status::{Board, State};

/// See the module.
pub(super) struct Eye {
    /// The sink's name.
    pub(super) sink: String,
    /// The source's name.
    pub(super) source: String,
    /// To the sink's loop.
    pub(super) orders: mpsc::Sender<Order>,
    /// What the loop says of itself.
    pub(super) board: Board,
    /// How far the log is.
    pub(super) durable: watch::Receiver<Durable>,
}

/// Between two looks at the board.
const POLL: Duration = Duration::from_millis(10);
/// A server on which nobody writes is made to after so long.
const NUDGED_AFTER: Duration = Duration::from_millis(50);
/// The log writes down how far the source is once a second, where nothing comes.
const NUDGED_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A sink that does not come far enough is made to commit after so long.
const ASKED_AFTER: Duration = Duration::from_millis(20);
/// What makes no progress for so long is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(60);

impl Eye {
    /// Waits until everything committed before an LSN is in the log, and tells the offset behind it. The connection is one to the source.
    pub(super) async fn logged(&mut self, upto: Lsn, connection: &mut Connection) -> Result<Offset, VerifyError> {
        let (mut heard, mut end, mut nudge_after) = (Instant::now(), Lsn::ZERO, NUDGED_AFTER);
        loop {
            let now = *self.durable.borrow_and_update();
            if now.end_lsn >= upto {
                return Ok(now.offset);
            }
            if now.end_lsn > end {
                (heard, end) = (Instant::now(), now.end_lsn);
            }
            if heard.elapsed() > PATIENCE {
                let (at, source) = (now.end_lsn, &self.source);
                return Err(VerifyError::Stalled(format!(
                    "the log ends at {at} and does not come to {upto}, where the source is. See why with `walbridge status` (source {source})"
                )));
            }
            match tokio::time::timeout(nudge_after, self.durable.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(VerifyError::Stalled("the log was closed".to_owned())),
                Err(_) => {
                    worker::nudge(connection).await;
                    // Each nudge moves the source's end, which the next run of rows waits for.
                    nudge_after = NUDGED_AGAIN_AFTER;
                }
            }
        }
    }

    /// What is in the target as of some place at this offset or behind it, and at no other: nothing of what it holds is newer.
    pub(super) async fn look(
        &mut self,
        subject: &Subject,
        after: Offset,
        connection: &mut Connection,
    ) -> Result<Sight, VerifyError> {
        Ok(self.watch(subject, after, false, connection).await?.0)
    }

    /// The same of documents, and the loop holds still until it is told what to write, or that nothing is, or for some seconds.
    pub(super) async fn look_and_hold(
        &mut self,
        keys: Vec<Key>,
        after: Offset,
        connection: &mut Connection,
    ) -> Result<(Sight, oneshot::Sender<Mend>), VerifyError> {
        let (sight, hold) = self.watch(&Subject::Documents(keys), after, true, connection).await?;
        hold.map(|hold| (sight, hold)).ok_or(VerifyError::Ended)
    }

    async fn watch(
        &mut self,
        subject: &Subject,
        mut after: Offset,
        holds: bool,
        connection: &mut Connection,
    ) -> Result<(Sight, Option<oneshot::Sender<Mend>>), VerifyError> {
        let since = Instant::now();
        loop {
            self.reached(after).await?;
            let (release, hold) = oneshot::channel();
            let asked = self.ask(subject.clone(), holds.then_some(hold)).await?;
            let why = match asked {
                Err(why) => why,
                Ok(sight) if !sight.is_settled => {
                    "the target may hold what the sink's checkpoint does not tell of yet".to_owned()
                }
                Ok(sight) if sight.checkpoint.offset < after => {
                    format!("its checkpoint went back to {}", sight.checkpoint.offset)
                }
                Ok(sight) => match self.behind_all(sight.checkpoint.ahead, connection).await? {
                    Some(place) if place > sight.checkpoint.offset => {
                        after = place;
                        continue;
                    }
                    _ => return Ok((sight, holds.then_some(release))),
                },
            };
            if since.elapsed() > PATIENCE {
                return Err(VerifyError::Stalled(format!("sink {} does not answer: {why}", self.sink)));
            }
            tokio::time::sleep(10 * POLL).await;
        }
    }

    /// Where in the log the target is no longer ahead of it, if it is.
    async fn behind_all(
        &mut self,
        ahead: Option<Position>,
        connection: &mut Connection,
    ) -> Result<Option<Offset>, VerifyError> {
        let Some(ahead) = ahead else { return Ok(None) };
        let durable = *self.durable.borrow();
        if durable.position >= Some(ahead) {
            return Ok(Some(durable.offset));
        }
        Ok(Some(self.logged(ahead.commit_lsn, connection).await?))
    }

    /// One question; `Err`: the loop is held up, says why, and may answer another time.
    async fn ask(
        &self,
        subject: Subject,
        hold: Option<oneshot::Receiver<Mend>>,
    ) -> Result<Result<Sight, String>, VerifyError> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Look(Look { subject, hold, answer });
        self.orders.send(order).await.map_err(|_| VerifyError::Ended)?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Ok(Err("its connection to the target broke".to_owned())),
            Err(_) => Err(VerifyError::Stalled(format!(
                "sink {} is in the middle of a transaction and does not come to its end",
                self.sink
            ))),
        }
    }

    /// Waits until the sink has applied what is before an offset. A sink that lets changes gather before it commits, or commits late what concerns none of its
    /// tables, does so at once for whoever looks.
    async fn reached(&self, offset: Offset) -> Result<(), VerifyError> {
        let (mut heard, mut last) = (Instant::now(), None);
        let (mut asked, mut ask_after) = (Instant::now(), ASKED_AFTER);
        loop {
            let status = self.board.read().sinks.remove(&self.sink).unwrap_or_default();
            let is_held_up = matches!(status.state, State::Paused | State::Starting | State::Halted);
            if status.checkpoint >= Some(offset) && status.replay.is_none() && !is_held_up {
                return Ok(());
            }
            if status.checkpoint > last {
                (heard, last) = (Instant::now(), status.checkpoint);
            }
            if !is_held_up && asked.elapsed() > ask_after {
                // What it says does not matter.
                let _ = self.ask(Subject::Documents(Vec::new()), None).await?;
                (asked, ask_after) = (Instant::now(), ask_after.saturating_mul(2).min(Duration::from_secs(1)));
            }
            if heard.elapsed() > PATIENCE || status.state == State::Halted {
                let at = last.unwrap_or_default();
                let why = status.message.unwrap_or_else(|| format!("it is {}", status.state));
                return Err(VerifyError::Stalled(format!(
                    "sink {} has applied what is before event {at} of the log, and does not come to {offset}: {why}",
                    self.sink
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
