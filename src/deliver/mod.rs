//! Log to one sink: read, project, stage, commit, again. One loop per sink; they share nothing but the log.
//!
//! Nothing is remembered across a failure. Whatever goes wrong, the loop asks the target how far it has come
//! ([`Sink::resume`]) and reads the log from there, so a lost reply, a crash between two steps and a target that was
//! emptied or restored are one case, not many. Invariant: `checkpoint ≤ durable in log`.

mod batch;
mod error;
mod fresh;
mod gauge;
mod oversize;
mod replay;
mod shared;
mod sweep;
mod whole;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::batch::Batch;
pub use self::batch::Limits;
pub use self::error::DeliverError;
pub use self::replay::Replay;
use crate::capture::readback::{Found, Readback};
use crate::dead_letter::DeadLetters;
use crate::event::{Event, Timestamp};
use crate::log::Log;
use crate::log::share::{Share, SharedLog};
use crate::project::coalesce::coalesce;
use crate::project::mutation::{Effect, Mutation};
use crate::project::{ProjectError, Projection};
use crate::retry::Backoff;
use crate::sink::{Checkpoint, Rejection, SharedSink, Sink};
use crate::status::{Board, Code, Disposition, State};

/// What to do with a row that the target can never take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReject {
    /// Keep it aside with its reason and go on.
    DeadLetter,
    /// Halt this sink.
    Stop,
}

/// A sink's loop.
pub struct Deliver<L, S> {
    /// The sink's name.
    pub name: String,
    /// What it reads.
    pub log: L,
    /// What it writes.
    pub sink: S,
    /// What it makes of events.
    pub projection: Projection,
    /// When it commits.
    pub limits: Limits,
    /// What it does with refused rows.
    pub on_reject: OnReject,
    /// Where they go.
    pub dead_letters: DeadLetters,
    /// Where rows without their unchanged TOAST values are completed, if the target cannot.
    pub readback: Readback,
    /// Where it says how it is doing.
    pub board: Board,
}

/// How often an idle target is looked at.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// One kind of session: from asking the target where it is until something goes wrong, or until it is to begin again.
trait Session<L, S>: Send {
    fn session(
        &mut self,
        deliver: &mut Deliver<L, S>,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<Ended, DeliverError>> + Send;
}

/// How a session ended in which nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It was told to stop.
    Stopped,
    /// Another must follow.
    Over,
}

impl<L: Log, S: Sink> Deliver<L, S> {
    /// Runs until told to stop, or until an operator is needed; that error is on the board by then.
    ///
    /// # Errors
    /// What calls for an operator.
    pub async fn run(self, stop: &CancellationToken) -> Result<(), DeliverError> {
        let (_nobody, orders) = mpsc::channel(1);
        self.run_ordered(orders, stop).await
    }

    /// The same, and carries out orders.
    ///
    /// # Errors
    /// What calls for an operator.
    pub async fn run_ordered(
        self,
        orders: mpsc::Receiver<Replay>,
        stop: &CancellationToken,
    ) -> Result<(), DeliverError> {
        self.keep(whole::Whole::new(orders), stop).await
    }

    /// The same for a sink that several processes share.
    ///
    /// # Errors
    /// What calls for an operator.
    pub async fn run_shared(self, share: Arc<Share>, stop: &CancellationToken) -> Result<(), DeliverError>
    where
        L: SharedLog,
        S: SharedSink,
    {
        let outcome = self.keep(shared::Shared::new(Arc::clone(&share)), stop).await;
        share.leave().await;
        outcome
    }

    /// Holds one session after another.
    async fn keep(mut self, mut kind: impl Session<L, S>, stop: &CancellationToken) -> Result<(), DeliverError> {
        let _gauge = gauge::start(self.name.clone(), self.log.clone(), self.board.clone());
        let mut backoff = Backoff::default();
        loop {
            let error = match kind.session(&mut self, &mut backoff, stop).await {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::Over) => continue,
                Err(error) => error,
            };
            let (code, retry) = (error.code(), error.disposition() == Disposition::Retry);
            let delay = backoff.next_delay();
            self.board.sink(&self.name, |status| {
                status.state = if retry { State::Paused } else { State::Halted };
                status.code = Some(code);
                status.message = Some(error.to_string());
                status.attempts = backoff.failures();
            });
            if !retry {
                tracing::error!(sink = %self.name, %code, %error, "halted");
                return Err(error);
            }
            // One line when it begins, then ever fewer.
            if backoff.failures().is_power_of_two() {
                tracing::warn!(sink = %self.name, %code, %error, attempt = backoff.failures(), "paused; trying again");
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// Projects and stages a run of events; `ends`: the last one ends its transaction; `before`: the
    /// checkpoint in front of them.
    async fn apply(
        &mut self,
        events: &[Event],
        ends: bool,
        before: Option<&Checkpoint>,
        batch: &mut Batch,
    ) -> Result<(), DeliverError> {
        let (mut mutations, mut refused) = (Vec::new(), Vec::new());
        let mut row_bytes = 0;
        for event in events {
            row_bytes += event.change.bytes();
            let before = mutations.len();
            match self.projection.project(event, &mut mutations) {
                Ok(()) => oversize::refuse(event, self.limits.row_bytes_max, &mut mutations, before, &mut refused),
                Err(error @ ProjectError::Template { .. }) => return Err(DeliverError::Template(error)),
                Err(error) => refused.push(error.into_rejection(event)),
            }
        }
        let mut mutations = coalesce(mutations);
        if let Some(before) = before.filter(|before| before.replay.is_some() || before.ahead.is_some()) {
            let deletes = replay::forget_the_past(&mut mutations, before.replay);
            self.stage(&deletes, &mut refused).await?;
        }
        for run in mutations.chunk_by(|one, other| !is_sweep(one) && !is_sweep(other)) {
            match run {
                [Mutation { effect: Effect::Sweep { relation, since }, position, .. }] => {
                    self.sweep(relation, *since, *position, &mut refused).await?;
                }
                run => self.stage(run, &mut refused).await?,
            }
        }
        self.set_aside(&refused).await?;
        batch.staged(mutations.len(), row_bytes, ends, Instant::now());
        Ok(())
    }

    /// Stages; completes what comes back for lack of values, and stages that.
    async fn stage(&mut self, mutations: &[Mutation], refused: &mut Vec<Rejection>) -> Result<(), DeliverError> {
        if mutations.is_empty() {
            return Ok(());
        }
        let staged = self.sink.stage(mutations).await?;
        refused.extend(staged.rejected);
        let mut completed = Vec::new();
        for mutation in staged.incomplete.iter().filter_map(|&index| mutations.get(index)) {
            match self.complete(mutation).await? {
                Ok(mutation) => completed.push(mutation),
                Err(rejection) => refused.push(rejection),
            }
        }
        if !completed.is_empty() {
            let staged = self.sink.stage(&completed).await?;
            refused.extend(staged.rejected);
            debug_assert!(staged.incomplete.is_empty(), "completed rows lack nothing");
        }
        Ok(())
    }

    /// The same mutation with the whole row, read from the source.
    async fn complete(&mut self, mutation: &Mutation) -> Result<Result<Mutation, Rejection>, DeliverError> {
        let mut mutation = mutation.clone();
        if let Effect::Put { document, moved_from } = &mut mutation.effect {
            match self.readback.read(&document.relation, &document.row).await? {
                Found::Row(row) if row.as_bytes().len() > self.limits.row_bytes_max => {
                    let bytes = row.as_bytes().len();
                    return Ok(Err(oversize::rejection(mutation, bytes, self.limits.row_bytes_max)));
                }
                Found::Row(row) => {
                    document.row = row;
                    *moved_from = None;
                }
                Found::Gone => mutation.effect = Effect::Delete,
                Found::Unreadable(reason) => {
                    let reason = format!(
                        "unchanged TOAST values are neither in the target nor to be had from the source: {reason}"
                    );
                    return Ok(Err(Rejection { mutation, reason }));
                }
            }
        }
        Ok(Ok(mutation))
    }

    /// Keeps refused rows, durably, before the checkpoint can move past them.
    async fn set_aside(&mut self, refused: &[Rejection]) -> Result<(), DeliverError> {
        let Some(first) = refused.first() else { return Ok(()) };
        if self.on_reject == OnReject::Stop {
            return Err(DeliverError::Refused { key: first.mutation.key.to_string(), reason: first.reason.clone() });
        }
        for rejection in refused {
            tracing::warn!(sink = %self.name, key = %rejection.mutation.key, position = %rejection.mutation.position,
                reason = %rejection.reason, "row set aside in the dead letters");
        }
        self.dead_letters.append(refused)?;
        let count = u64::try_from(refused.len()).unwrap_or(u64::MAX);
        self.board.sink(&self.name, |status| status.rejected += count);
        Ok(())
    }

    /// `applied`: so many have just been committed; `None` where the checkpoint was only read. A target that can be read but not
    /// written stays held up for who looks, or it would seem well for a moment at each attempt.
    fn show_progress(&self, place: &Place, applied: Option<usize>) {
        let end = *self.log.durable().borrow();
        self.board.sink(&self.name, |status| {
            status.checkpoint = Some(place.checkpoint.offset);
            status.position = place.checkpoint.position;
            status.replay = place.checkpoint.replay;
            status.checkpoint_bytes = place.bytes;
            status.set_lag(&end.log_end(), place.commit_time);
            if applied.is_none() && status.attempts > 0 && status.lag_events > 0 {
                return;
            }
            status.applied += applied.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
            status.attempts = 0;
            (status.code, status.message) = (None, None);
            if status.rejected > 0 {
                status.code = Some(Code::SinkRejected);
                status.message = Some(format!("{} rows were refused; they are in the dead letters", status.rejected));
            }
            status.state = if status.replay.is_some() {
                State::Replaying
            } else if status.rejected > 0 {
                State::Degraded
            } else if status.lag_bytes > CATCHING_UP_BYTES {
                State::CatchingUp
            } else {
                State::Streaming
            };
        });
    }
}

/// A sink further behind than this is catching up.
const CATCHING_UP_BYTES: u64 = 4 << 20;

/// How far the loop has read.
struct Place {
    checkpoint: Checkpoint,
    bytes: u64,
    commit_time: Option<Timestamp>,
}

impl Place {
    /// These were read.
    fn read(&mut self, events: &[Event]) {
        if let Some(last) = events.last() {
            self.checkpoint.position = Some(last.position());
            self.commit_time = Some(last.transaction.commit_time);
        }
    }
}

fn is_sweep(mutation: &Mutation) -> bool {
    matches!(mutation.effect, Effect::Sweep { .. })
}
