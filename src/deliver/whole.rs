//! A loop that has its sink, and the log, to itself: one checkpoint, and whole transactions.

use std::ops::ControlFlow;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::ahead::Ahead;
use super::batch::Batch;
use super::{Deliver, DeliverError, Ended, PROBE_INTERVAL, Place, Session};
use crate::event::{Event, Offset, Timestamp};
use crate::log::{self, Log, LogError};
use crate::retry::Backoff;
use crate::sink::{Checkpoint, Sink};

/// See the module.
pub(super) struct Whole;

impl<L: Log, S: Sink> Session<L, S> for Whole {
    async fn session(
        &mut self,
        deliver: &mut Deliver<L, S>,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<Ended, DeliverError> {
        deliver.session(backoff, stop).await
    }
}

impl<L: Log, S: Sink> Deliver<L, S> {
    /// From asking the target where it is until something goes wrong.
    async fn session(&mut self, backoff: &mut Backoff, stop: &CancellationToken) -> Result<Ended, DeliverError> {
        let checkpoint = tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            checkpoint = self.sink.resume() => checkpoint?,
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            opened = self.log.open() => opened?,
        }
        let (from, mut place) = self.begin(checkpoint)?;
        let reader = match checkpoint {
            // Nothing is there that could have been deleted.
            None => self.log.reader(from)?,
            Some(checkpoint) => self.log.reader_since(from, checkpoint.time)?,
        };
        let mut batch = Batch::new(self.limits);
        let mut ahead = Ahead::new(reader, self.limits.of_a_read());
        loop {
            if let Some((from, answer)) = self.orders.take_replay() {
                tokio::select! {
                    biased;
                    done = self.rewind(from, answer) => done?,
                    () = stop.cancelled() => return Ok(Ended::Stopped),
                }
                return Ok(Ended::Over);
            }
            let interrupts = self.orders.are_waiting() || self.check_letters().is_err();
            let is_due = batch.is_due(Instant::now()) || (interrupts && batch.at_boundary() && !batch.is_empty());
            if is_due
                && let ControlFlow::Break(ended) = self.commit(&mut place, &mut batch, &mut ahead, backoff).await?
            {
                return Ok(ended);
            }
            if interrupts && batch.is_empty() {
                self.carry_out(&mut place).await?;
                self.check_letters()?;
            }
            let wake_at = batch.commit_at().unwrap_or_else(|| Instant::now() + PROBE_INTERVAL);
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    if batch.at_boundary() && !batch.is_empty() {
                        // What is read again instead is so after the next start.
                        let _ = self.commit(&mut place, &mut batch, &mut ahead, backoff).await?;
                    }
                    return Ok(Ended::Stopped);
                }
                () = self.orders.arrive(), if !self.orders.are_waiting() => {}
                read = ahead.next() => {
                    let read = read?;
                    let taken = tokio::select! {
                        biased;
                        taken = self.take(read, &mut place, &mut batch, &mut ahead, backoff) => taken?,
                        // What was staged is staged again after the next start.
                        () = stop.cancelled() => return Ok(Ended::Stopped),
                    };
                    if let ControlFlow::Break(ended) = taken {
                        return Ok(ended);
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

    /// From where in the log to go on, with the letters as the target knows them.
    fn begin(&mut self, checkpoint: Option<Checkpoint>) -> Result<(Offset, Place), DeliverError> {
        let from = self.begin_at(checkpoint)?;
        self.dead_letters.of_log(self.log.id());
        if let Some(Checkpoint { retries, position, replay, .. }) = checkpoint {
            // A replay begins at a place behind some letters, and before others; the target had passed them all.
            self.dead_letters.settle(retries, |at| replay.is_some() || position.is_some_and(|position| at <= position));
        }
        let bytes = self.log.bytes_at(from)?;
        let doubtful_until = self.log.durable().borrow().offset;
        let place = Place { checkpoint: self.checkpoint(from, checkpoint), bytes, commit_time: None, doubtful_until };
        self.show_progress(&place, None);
        Ok((from, place))
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
        let time = Some(Timestamp::now());
        known.unwrap_or(Checkpoint { time, ..Checkpoint::new(self.log.id(), offset) })
    }

    /// Takes what was read. A unit in which a table's copy ends begins after a commit; so does one that comes in parts, whose
    /// end is not known yet.
    async fn take(
        &mut self,
        read: log::Batch,
        place: &mut Place,
        batch: &mut Batch,
        ahead: &mut Ahead<L::Reader>,
        backoff: &mut Backoff,
    ) -> Result<ControlFlow<Ended>, DeliverError> {
        let begins_anew = !read.ends_transaction || ends_copy(&read.events)?;
        if begins_anew && batch.at_boundary() && !batch.is_empty() {
            let committed = self.commit(place, batch, ahead, backoff).await?;
            if committed.is_break() {
                return Ok(committed);
            }
        }
        self.apply(&read.events, read.ends_transaction, Some(&place.checkpoint), batch).await?;
        place.read(&read.events);
        self.note_ahead(&mut place.checkpoint);
        (place.checkpoint.offset, place.bytes) = (read.next, read.bytes);
        Ok(ControlFlow::Continue(()))
    }

    /// Commits what is staged, unless rows were set aside that were refused only now: what is behind them was staged as if they were in the
    /// target. So all since the last commit is read again, and finds their letters.
    async fn commit(
        &mut self,
        place: &mut Place,
        batch: &mut Batch,
        ahead: &mut Ahead<L::Reader>,
        backoff: &mut Backoff,
    ) -> Result<ControlFlow<Ended>, DeliverError> {
        let refused = self.sink.flush().await?;
        let is_news = self.set_aside(&refused)?;
        self.dead_letters.flush()?;
        if is_news {
            return Ok(ControlFlow::Break(Ended::Over));
        }
        let is_at_end = place.checkpoint.offset >= self.log.durable().borrow().offset;
        let seen = if is_at_end { Some(Timestamp::now()) } else { place.commit_time };
        place.checkpoint.time = place.checkpoint.time.max(seen);
        if place.checkpoint.replay.take_if(|events| events.until <= place.checkpoint.offset).is_some() {
            tracing::info!(sink = %self.name, "replayed");
        }
        ahead.during(Box::pin(self.sink.commit(place.checkpoint))).await?;
        backoff.reset();
        self.show_progress(place, Some(batch.mutations()));
        batch.committed();
        Ok(ControlFlow::Continue(()))
    }
}

/// Whether a table's copy ends in this run: in its first unit, as a reader must see to, or what stands before it could not be committed
/// first.
fn ends_copy(events: &[Event]) -> Result<bool, LogError> {
    let mut ends = events.iter().filter(|event| event.ends_copy()).peekable();
    let first = events.first().map(|first| &first.transaction);
    let found = ends.peek().is_some();
    if ends.all(|end| first.is_some_and(|first| first.is_same_unit(&end.transaction))) {
        return Ok(found);
    }
    Err(LogError::Misuse("the end of a copy was read behind other units".to_owned()))
}
