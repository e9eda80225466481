//! A loop that has its sink, and the log, to itself: one checkpoint, and whole transactions.

use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::{Deliver, DeliverError, Ended, PROBE_INTERVAL, Place, Replay, Session};
use crate::event::{Event, Offset, Timestamp};
use crate::log::{self, Limit, Log, LogError, LogReader};
use crate::retry::Backoff;
use crate::sink::{Checkpoint, Sink};

/// See the module.
pub(super) struct Whole {
    orders: mpsc::Receiver<Replay>,
}

impl Whole {
    /// Carries out these orders.
    pub(super) fn new(orders: mpsc::Receiver<Replay>) -> Self {
        Whole { orders }
    }
}

impl<L: Log, S: Sink> Session<L, S> for Whole {
    async fn session(
        &mut self,
        deliver: &mut Deliver<L, S>,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<Ended, DeliverError> {
        deliver.session(&mut self.orders, backoff, stop).await
    }
}

impl<L: Log, S: Sink> Deliver<L, S> {
    /// From asking the target where it is until something goes wrong.
    async fn session(
        &mut self,
        orders: &mut mpsc::Receiver<Replay>,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<Ended, DeliverError> {
        let checkpoint = tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            checkpoint = self.sink.resume() => checkpoint?,
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            opened = self.log.open() => opened?,
        }
        let from = self.begin_at(checkpoint)?;
        let bytes = self.log.bytes_at(from)?;
        let mut place = Place { checkpoint: self.checkpoint(from, checkpoint), bytes, commit_time: None };
        self.show_progress(&place, None);
        let mut reader = match checkpoint {
            // Nothing is there that could have been deleted.
            None => self.log.reader(from)?,
            Some(checkpoint) => self.log.reader_since(from, checkpoint.time)?,
        };
        let mut batch = Batch::new(self.limits);
        let limit = Limit { events: self.limits.rows, bytes: self.limits.bytes };
        loop {
            if batch.is_due(Instant::now()) {
                self.commit(&mut place, &mut batch, backoff).await?;
            }
            let wake_at = batch.commit_at().unwrap_or_else(|| Instant::now() + PROBE_INTERVAL);
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    if batch.at_boundary() && !batch.is_empty() {
                        self.commit(&mut place, &mut batch, backoff).await?;
                    }
                    return Ok(Ended::Stopped);
                }
                Some(order) = orders.recv() => {
                    tokio::select! {
                        biased;
                        done = self.rewind(order) => done?,
                        () = stop.cancelled() => return Ok(Ended::Stopped),
                    }
                    return Ok(Ended::Over);
                }
                read = reader.next(limit) => {
                    let read = read?;
                    tokio::select! {
                        biased;
                        taken = self.take(read, &mut place, &mut batch, backoff) => taken?,
                        // What was staged is staged again after the next start.
                        () = stop.cancelled() => return Ok(Ended::Stopped),
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
        let time = Some(Timestamp::now());
        known.unwrap_or(Checkpoint { log: self.log.id(), offset, position: None, time, replay: None, ahead: None })
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
        let begins_anew = !read.ends_transaction || ends_copy(&read.events)?;
        if begins_anew && batch.at_boundary() && !batch.is_empty() {
            self.commit(place, batch, backoff).await?;
        }
        self.apply(&read.events, read.ends_transaction, Some(&place.checkpoint), batch).await?;
        place.read(&read.events);
        self.note_ahead(&mut place.checkpoint);
        (place.checkpoint.offset, place.bytes) = (read.next, read.bytes);
        Ok(())
    }

    async fn commit(
        &mut self,
        place: &mut Place,
        batch: &mut Batch,
        backoff: &mut Backoff,
    ) -> Result<(), DeliverError> {
        let is_at_end = place.checkpoint.offset >= self.log.durable().borrow().offset;
        let seen = if is_at_end { Some(Timestamp::now()) } else { place.commit_time };
        place.checkpoint.time = place.checkpoint.time.max(seen);
        if place.checkpoint.replay.take_if(|events| events.until <= place.checkpoint.offset).is_some() {
            tracing::info!(sink = %self.name, "replayed");
        }
        let refused = self.sink.flush().await?;
        self.set_aside(&refused).await?;
        self.sink.commit(place.checkpoint).await?;
        backoff.reset();
        self.show_progress(place, Some(batch.mutations()));
        batch.committed();
        Ok(())
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
