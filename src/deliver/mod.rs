//! Log to one sink: read, project, stage, commit, again. One loop per sink; they share nothing but the log.
//!
//! Nothing is remembered across a failure. Whatever goes wrong, the loop asks the target how far it has come
//! ([`Sink::resume`]) and reads the log from there, so a lost reply, a crash between two steps and a target that was
//! emptied or restored are one case, not many. Invariant: `checkpoint ≤ durable in log`.

mod batch;
mod error;
mod fresh;
mod gauge;
mod sweep;

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use self::batch::Batch;
pub use self::batch::Limits;
pub use self::error::DeliverError;
use crate::capture::readback::{Found, Readback};
use crate::dead_letter::DeadLetters;
use crate::event::{Offset, Timestamp};
use crate::log::{self, Limit, Log, LogError, LogReader};
use crate::project::coalesce::coalesce;
use crate::project::mutation::{Effect, Mutation};
use crate::project::{ProjectError, Projection};
use crate::retry::Backoff;
use crate::sink::{Checkpoint, Rejection, Sink};
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

impl<L: Log, S: Sink> Deliver<L, S> {
    /// Runs until told to stop, or until an operator is needed; that error is on the board by then.
    ///
    /// # Errors
    /// What calls for an operator.
    pub async fn run(mut self, stop: &CancellationToken) -> Result<(), DeliverError> {
        let _gauge = gauge::start(self.name.clone(), self.log.clone(), self.board.clone());
        let mut backoff = Backoff::default();
        loop {
            let Err(error) = self.session(&mut backoff, stop).await else { return Ok(()) };
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

    /// From asking the target where it is until something goes wrong.
    async fn session(&mut self, backoff: &mut Backoff, stop: &CancellationToken) -> Result<(), DeliverError> {
        let checkpoint = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            checkpoint = self.sink.resume() => checkpoint?,
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            opened = self.log.open() => opened?,
        }
        let from = self.begin_at(checkpoint)?;
        let bytes = self.log.bytes_at(from)?;
        let mut place = Place { checkpoint: self.checkpoint(from, checkpoint), bytes, commit_time: None };
        self.show_progress(&place, None);
        let mut reader = self.log.reader(from)?;
        let mut batch = Batch::new(self.limits);
        let limit = Limit { events: self.limits.rows, bytes: self.limits.bytes };
        loop {
            if batch.is_due(Instant::now()) {
                self.commit(&place, &mut batch, backoff).await?;
            }
            let wake_at = batch.commit_at().unwrap_or_else(|| Instant::now() + PROBE_INTERVAL);
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    if batch.at_boundary() && !batch.is_empty() {
                        self.commit(&place, &mut batch, backoff).await?;
                    }
                    return Ok(());
                }
                read = reader.next(limit) => {
                    let read = read?;
                    tokio::select! {
                        biased;
                        taken = self.take(read, &mut place, &mut batch, backoff) => taken?,
                        // What was staged is staged again after the next start.
                        () = stop.cancelled() => return Ok(()),
                    }
                }
                () = tokio::time::sleep_until(wake_at.into()) => {
                    if batch.is_empty() {
                        self.sink.probe().await?;
                    }
                }
            }
        }
    }

    /// Where in the log to begin.
    fn begin_at(&self, checkpoint: Option<Checkpoint>) -> Result<Offset, DeliverError> {
        let (start, end) = (self.log.start(), self.log.durable().borrow().offset);
        match checkpoint {
            None if start == Offset(0) => Ok(start),
            None => Err(DeliverError::Stranded { wanted: Offset(0), start }),
            Some(checkpoint) if checkpoint.log != self.log.id() => {
                Err(DeliverError::OtherLog { found: checkpoint.log, ours: self.log.id() })
            }
            Some(checkpoint) if checkpoint.offset < start => {
                Err(DeliverError::Stranded { wanted: checkpoint.offset, start })
            }
            Some(checkpoint) if checkpoint.offset > end => {
                Err(LogError::Ahead { wanted: checkpoint.offset, end }.into())
            }
            Some(checkpoint) => Ok(checkpoint.offset),
        }
    }

    fn checkpoint(&self, offset: Offset, known: Option<Checkpoint>) -> Checkpoint {
        known.unwrap_or(Checkpoint { log: self.log.id(), offset, position: None })
    }

    /// Takes what was read. A unit in which a table's copy ends begins after a commit; so does one that comes in parts, whose
    /// end is not known yet.
    async fn take(
        &mut self,
        read: log::Batch,
        place: &mut Place,
        batch: &mut Batch,
        backoff: &mut Backoff,
    ) -> Result<(), DeliverError> {
        for piece in sweep::pieces(read, |offset| self.log.bytes_at(offset))? {
            let begins_anew = !piece.ends_transaction || piece.events.iter().any(sweep::ends_copy);
            if begins_anew && batch.at_boundary() && !batch.is_empty() {
                self.commit(place, batch, backoff).await?;
            }
            self.apply(&piece, place, batch).await?;
        }
        Ok(())
    }

    /// Projects and stages a run of events.
    async fn apply(&mut self, read: &log::Batch, place: &mut Place, batch: &mut Batch) -> Result<(), DeliverError> {
        let (mut mutations, mut refused) = (Vec::new(), Vec::new());
        let mut row_bytes = 0;
        for event in &read.events {
            row_bytes += event.change.bytes();
            match self.projection.project(event, &mut mutations) {
                Ok(()) => {}
                Err(error @ ProjectError::Template { .. }) => return Err(DeliverError::Template(error)),
                Err(error) => refused.push(error.into_rejection(event)),
            }
        }
        let mutations = coalesce(mutations);
        for run in mutations.chunk_by(|one, other| !is_sweep(one) && !is_sweep(other)) {
            match run {
                [Mutation { effect: Effect::Sweep { relation, since }, position, .. }] => {
                    self.sweep(relation, *since, *position, &mut refused).await?;
                }
                run => self.stage(run, &mut refused).await?,
            }
        }
        self.set_aside(&refused).await?;
        batch.staged(mutations.len(), row_bytes, read.ends_transaction, Instant::now());
        if let Some(last) = read.events.last() {
            place.checkpoint.position = Some(last.position());
            place.commit_time = Some(last.transaction.commit_time);
        }
        place.checkpoint.offset = read.next;
        place.bytes = read.bytes;
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

    async fn commit(&mut self, place: &Place, batch: &mut Batch, backoff: &mut Backoff) -> Result<(), DeliverError> {
        self.sink.commit(place.checkpoint).await?;
        backoff.reset();
        self.show_progress(place, Some(batch.mutations()));
        batch.committed();
        Ok(())
    }

    /// `applied`: so many have just been committed; `None` where the checkpoint was only read. A target that can be read but not
    /// written stays held up for who looks, or it would seem well for a moment at each attempt.
    fn show_progress(&self, place: &Place, applied: Option<usize>) {
        let end = *self.log.durable().borrow();
        self.board.sink(&self.name, |status| {
            status.checkpoint = Some(place.checkpoint.offset);
            status.position = place.checkpoint.position;
            status.checkpoint_bytes = place.bytes;
            status.set_lag(&end.log_end(), place.commit_time);
            if applied.is_none() && status.attempts > 0 && status.lag_events > 0 {
                return;
            }
            status.applied += applied.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
            status.attempts = 0;
            (status.code, status.message) = (None, None);
            status.state = if status.rejected > 0 {
                status.code = Some(Code::SinkRejected);
                status.message = Some(format!("{} rows were refused; they are in the dead letters", status.rejected));
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

fn is_sweep(mutation: &Mutation) -> bool {
    matches!(mutation.effect, Effect::Sweep { .. })
}
