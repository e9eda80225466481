//! A loop that shares its sink with others: each has some parts of the log, and a checkpoint for each of them in the target.
//!
//! A session lasts as long as the parts stay the same. It begins with claiming them in the target, which ends whatever somebody else may still
//! have under way there, and goes on from the checkpoints found. So it does not matter how parts change hands: orderly, by a crash, or behind
//! the back of a process that was frozen. What this loop knows better than the group, that somebody has claimed a part, makes it join anew.
//!
//! An event of all rows of a table is applied by whoever has the table's first part, once all of its parts have come there; the others wait
//! until the first part has passed it. Nobody needs to be asked for that: the checkpoints in the target tell it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::{Deliver, DeliverError, Ended, PROBE_INTERVAL, Place, Session};
use crate::capture::readback::Found;
use crate::event::{Change, Event, Offset, OldRow, Row};
use crate::log::LogError;
use crate::log::share::{Assignment, Gate, Lanes, Opens, Part, Reached, Run, Share, SharedLog};
use crate::project::mutation::{Effect, Key, Mutation};
use crate::retry::Backoff;
use crate::sink::{Checkpoint, Rejection, SharedSink, SinkError};
use crate::status::State;

/// How often it is looked whether a gate has opened.
const GATE_INTERVAL: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Shared {
    share: Arc<Share>,
}

impl Shared {
    pub(super) fn new(share: Arc<Share>) -> Self {
        Shared { share }
    }
}

/// Where the parts of this session are.
struct Parts {
    parts: Vec<Part>,
    /// As far as was read.
    reached: Vec<Reached>,
    /// What has moved since the last commit.
    moved: BTreeMap<usize, Reached>,
    gates: Vec<Gate>,
    looked: Instant,
}

impl Parts {
    fn take(&mut self, number: usize, reached: Reached) {
        if let Some(place) = self.reached.get_mut(number) {
            *place = reached;
            self.moved.insert(number, reached);
        }
    }

    /// The first event that is not applied yet in some part.
    fn first(&self) -> Offset {
        self.reached.iter().map(|reached| reached.offset).min().unwrap_or_default()
    }

    fn places(&self) -> impl Iterator<Item = (Part, i64)> {
        self.parts.iter().zip(&self.reached).filter_map(|(part, reached)| Some((part.clone(), reached.place?)))
    }
}

impl<L: SharedLog, S: SharedSink> Session<L, S> for Shared {
    async fn session(
        &mut self,
        deliver: &mut Deliver<L, S>,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<Ended, DeliverError> {
        let assignment = self.share.assignment();
        let held = self.hold(&assignment, deliver, backoff, stop).await;
        match held {
            // Had the group said so, this session would be over in a moment anyway.
            Err(DeliverError::Sink(SinkError::TakenOver { detail, .. })) => {
                tracing::info!(sink = %deliver.name, detail, "fenced");
                if self.share.assignment() == assignment {
                    self.share.rejoin();
                    tokio::select! {
                        () = stop.cancelled() => return Ok(Ended::Stopped),
                        () = self.share.changed(assignment.number) => {}
                    }
                }
                Ok(Ended::Over)
            }
            other => other,
        }
    }
}

impl Shared {
    /// Delivers these parts until they are others.
    async fn hold<L: SharedLog, S: SharedSink>(
        &self,
        assignment: &Assignment,
        deliver: &mut Deliver<L, S>,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<Ended, DeliverError> {
        let began = async {
            deliver.log.open().await?;
            if assignment.parts.is_empty() {
                return Ok(None);
            }
            deliver.begin_shared(&assignment.parts).await.map(Some)
        };
        let began = tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            () = self.share.changed(assignment.number) => return Ok(Ended::Over),
            began = began => began?,
        };
        // What was staged before went with its connection.
        self.share.settle_in(assignment.number);
        let Some((parts, lanes)) = began else {
            deliver.show_idle();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(Ended::Stopped),
                    () = self.share.changed(assignment.number) => return Ok(Ended::Over),
                    () = deliver.orders.arrive() => deliver.carry_out_shared()?,
                }
            }
        };
        self.deliver(assignment, deliver, parts, lanes, backoff, stop).await
    }

    async fn deliver<L: SharedLog, S: SharedSink>(
        &self,
        assignment: &Assignment,
        deliver: &mut Deliver<L, S>,
        mut parts: Parts,
        mut lanes: Lanes,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<Ended, DeliverError> {
        let mut place = deliver.place_of(&parts)?;
        deliver.show_progress(&place, None);
        let mut batch = Batch::new(deliver.limits);
        let limit = deliver.limits.of_a_read();
        loop {
            if batch.is_empty() {
                deliver.check_letters()?;
            }
            if batch.is_due(Instant::now()) || (!parts.gates.is_empty() && !batch.is_empty()) {
                deliver.advance(&mut place, &mut parts, &mut batch, backoff).await?;
                self.share.report(parts.places());
            }
            let mut wake_at = batch.commit_at().unwrap_or_else(|| Instant::now() + PROBE_INTERVAL);
            if !parts.gates.is_empty() {
                wake_at = wake_at.min(parts.looked + GATE_INTERVAL);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    deliver.advance(&mut place, &mut parts, &mut batch, backoff).await?;
                    return Ok(Ended::Stopped);
                }
                () = self.share.changed(assignment.number) => {
                    // In good order whoever comes next waits for this; otherwise it is fenced.
                    deliver.advance(&mut place, &mut parts, &mut batch, backoff).await?;
                    return Ok(Ended::Over);
                }
                () = deliver.orders.arrive() => deliver.carry_out_shared()?,
                run = lanes.next(limit) => {
                    let taken = deliver.take_run(run?, &mut place, &mut parts, &mut batch);
                    tokio::select! {
                        biased;
                        taken = taken => taken?,
                        // What was staged is staged again after the next start.
                        () = stop.cancelled() => return Ok(Ended::Stopped),
                    }
                }
                () = tokio::time::sleep_until(wake_at.into()) => {
                    if !parts.gates.is_empty() && batch.is_empty() {
                        deliver.try_gates(&mut place, &mut parts, &mut batch, &lanes, backoff).await?;
                    } else if batch.is_empty() {
                        deliver.sink.probe().await?;
                    }
                }
            }
        }
    }
}

impl<L: SharedLog, S: SharedSink> Deliver<L, S> {
    /// Claims the parts and begins to read them.
    async fn begin_shared(&mut self, parts: &[Part]) -> Result<(Parts, Lanes), DeliverError> {
        let ours = self.log.id();
        let claims = self.sink.claim(ours, parts).await?;
        if let Some(other) = claims.iter().find(|claim| claim.log != ours) {
            return Err(DeliverError::OtherLog { found: other.log, ours });
        }
        let end = self.log.durable().borrow().offset;
        let mut reached = Vec::with_capacity(parts.len());
        for (part, claim) in parts.iter().zip(&claims) {
            let mut found = claim.reached;
            if found.offset > end {
                return Err(LogError::Ahead { wanted: found.offset, end }.into());
            }
            if claim.is_new {
                // One that came later has rows that were another's before.
                let first = Part { number: 0, ..part.clone() };
                let first = self.sink.reached(&[first]).await?.into_iter().next().flatten();
                found.spread = first.map_or(0, |first| first.spread);
            }
            reached.push(found);
        }
        let lanes = self.log.lanes(parts.iter().cloned().zip(reached.iter().copied()).collect())?;
        let (parts, moved) = (parts.to_vec(), BTreeMap::new());
        Ok((Parts { parts, reached, moved, gates: Vec::new(), looked: Instant::now() }, lanes))
    }

    /// Stages what was read.
    async fn take_run(
        &mut self,
        run: Run,
        place: &mut Place,
        parts: &mut Parts,
        batch: &mut Batch,
    ) -> Result<(), DeliverError> {
        let Run { mut events, reached, gates } = run;
        for event in &mut events {
            self.complete_arrival(event).await?;
        }
        self.apply(&events, true, None, batch).await?;
        place.read(&events);
        reached.into_iter().for_each(|(number, reached)| parts.take(number, reached));
        parts.gates.extend(gates);
        Ok(())
    }

    /// A row that got another key and lacks values has them under a key that may be another's by now: they are read from the source.
    async fn complete_arrival(&mut self, event: &mut Event) -> Result<(), DeliverError> {
        let Change::Insert { relation, new } = &event.change else { return Ok(()) };
        if !new.lacks_values() || !self.projection.takes(&relation.name) {
            return Ok(());
        }
        let relation = Arc::clone(relation);
        match self.readback.read(&relation, new).await? {
            Found::Row(new) => event.change = Change::Insert { relation, new },
            Found::Gone => event.change = Change::Delete { relation, old: OldRow::Key(Row::clone(new)) },
            Found::Unreadable(reason) => {
                let effect = Effect::Append(event.clone());
                let mutation = Mutation { key: Key(bytes::Bytes::new()), position: event.position(), effect };
                let reason = format!("unchanged TOAST values are not to be had from the source: {reason}");
                self.set_aside(&[Rejection { mutation, reason }])?;
                event.change = Change::Delete { relation, old: OldRow::Key(Row::clone(new)) };
            }
        }
        Ok(())
    }

    /// Commits what is staged, with the parts' checkpoints.
    async fn advance(
        &mut self,
        place: &mut Place,
        parts: &mut Parts,
        batch: &mut Batch,
        backoff: &mut Backoff,
    ) -> Result<(), DeliverError> {
        if batch.is_empty() {
            return Ok(());
        }
        let moved = std::mem::take(&mut parts.moved);
        let part = |number: usize| parts.parts.get(number).cloned();
        let upto: Vec<(Part, Reached)> =
            moved.into_iter().filter_map(|(number, reached)| Some((part(number)?, reached))).collect();
        self.sink.advance(&upto).await?;
        backoff.reset();
        let now = self.place_of(parts)?;
        (place.checkpoint.offset, place.bytes) = (now.checkpoint.offset, now.bytes);
        self.show_progress(place, Some(batch.mutations()));
        batch.committed();
        Ok(())
    }

    fn place_of(&self, parts: &Parts) -> Result<Place, DeliverError> {
        let offset = parts.first();
        let checkpoint = Checkpoint::new(self.log.id(), offset);
        Ok(Place { checkpoint, bytes: self.log.bytes_at(offset)?, commit_time: None, doubtful_until: Offset(0) })
    }

    /// Goes on where what was waited for has come. Everything staged is committed.
    async fn try_gates(
        &mut self,
        place: &mut Place,
        parts: &mut Parts,
        batch: &mut Batch,
        lanes: &Lanes,
        backoff: &mut Backoff,
    ) -> Result<(), DeliverError> {
        parts.looked = Instant::now();
        for gate in std::mem::take(&mut parts.gates) {
            let (wanted, behind) = match &gate.opens {
                Opens::Apply(all, _) | Opens::Together(all) => (all.as_slice(), gate.offset),
                Opens::Behind(first) => (std::slice::from_ref(first), Offset(gate.offset.0.saturating_add(1))),
            };
            let found = self.sink.reached(wanted).await?;
            if !found.iter().all(|found| found.is_some_and(|found| found.offset >= behind)) {
                parts.gates.push(gate);
                continue;
            }
            if let Opens::Apply(_, event) = &gate.opens {
                self.apply(std::slice::from_ref(event), true, None, batch).await?;
                if let Some(reached) = parts.reached.get(gate.lane).copied() {
                    let offset = Offset(gate.offset.0.saturating_add(1));
                    parts.take(gate.lane, Reached { offset, ..reached });
                }
                self.advance(place, parts, batch, backoff).await?;
                tracing::info!(sink = %self.name, offset = %gate.offset, "all partitions met; applied for all of them");
            }
            lanes.pass(gate);
        }
        Ok(())
    }

    /// Others have all there is.
    fn show_idle(&self) {
        self.board.sink(&self.name, |status| {
            (status.state, status.code) = (State::Streaming, None);
            status.message = Some("its partitions are all delivered by other processes, or not known yet".to_owned());
            (status.attempts, status.lag_events, status.lag_bytes, status.behind_since) = (0, 0, 0, None);
            status.checkpoint = Some(self.log.durable().borrow().offset);
        });
    }
}
