//! Orders of an operator: how they come to the loop, and what it does with dead letters, between two transactions. Of a replay see [`super::replay`].

use std::collections::BTreeSet;

use tokio::sync::{mpsc, oneshot};

use super::{Deliver, DeliverError, Look, Place, oversize, parked};
use crate::dead_letter::{Action, Fate, Outcome, Request, Told, why_not};
use crate::event::{Place as Beginning, Span};
use crate::log::Log;
use crate::project::coalesce::coalesce;
use crate::project::mutation::{Effect, Mutation, Rejection};
use crate::project::{Kind, ProjectError};
use crate::sink::Sink;

/// Who hears what was done, or why nothing. Whoever asked may have gone; it is done all the same.
type Answer<A> = oneshot::Sender<Result<A, String>>;

/// What a sink's loop can be told.
#[derive(Debug)]
pub enum Order {
    /// To apply again what the target has had already.
    Replay {
        /// Where to begin.
        from: Beginning,
        /// Hears what is going to be applied again.
        answer: Answer<Span>,
    },
    /// What to do with dead letters.
    Letters {
        /// What.
        request: Request,
        /// Hears what was done.
        answer: Answer<Outcome>,
    },
    /// To look into the target, for a verification.
    Look(Look),
}

impl Order {
    fn refuse(self, why: String) {
        let _ = match self {
            Order::Replay { answer, .. } => answer.send(Err(why)).is_ok(),
            Order::Letters { answer, .. } => answer.send(Err(why)).is_ok(),
            Order::Look(Look { answer, .. }) => answer.send(Err(why)).is_ok(),
        };
    }
}

/// Where a loop gets its orders from.
#[derive(Debug)]
pub struct Orders {
    receiver: Option<mpsc::Receiver<Order>>,
    waiting: Option<Order>,
}

impl Orders {
    /// From whoever has the other end.
    #[must_use]
    pub fn from(receiver: mpsc::Receiver<Order>) -> Self {
        Orders { receiver: Some(receiver), waiting: None }
    }

    /// From nobody.
    #[must_use]
    pub const fn none() -> Self {
        Orders { receiver: None, waiting: None }
    }

    /// Waits until there is one.
    pub(super) async fn arrive(&mut self) {
        if self.waiting.is_some() {
            return;
        }
        let order = match &mut self.receiver {
            Some(receiver) => receiver.recv().await,
            None => None,
        };
        match order {
            Some(order) => self.waiting = Some(order),
            None => std::future::pending().await,
        }
    }

    /// Whether one waits.
    pub(super) const fn are_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// The one that waits, if it is a replay.
    pub(super) fn take_replay(&mut self) -> Option<(Beginning, Answer<Span>)> {
        match self.waiting.take() {
            Some(Order::Replay { from, answer }) => Some((from, answer)),
            other => {
                self.waiting = other;
                None
            }
        }
    }

    /// Answers one that could not be carried out.
    pub(super) fn put_off(&mut self, why: &DeliverError) {
        if let Some(order) = self.waiting.take() {
            order.refuse(format!("the sink is held up, so nothing was done: {why}"));
        }
    }
}

impl<L: Log, S: Sink> Deliver<L, S> {
    /// Carries out the order that waits, if one does. Everything staged is committed.
    pub(super) async fn carry_out(&mut self, place: &mut Place) -> Result<(), DeliverError> {
        let (request, answer) = match self.orders.waiting.take() {
            Some(Order::Letters { request, answer }) => (request, answer),
            Some(Order::Look(look)) => return self.look(look, place).await,
            other => {
                self.orders.waiting = other;
                return Ok(());
            }
        };
        let done = match request.choose(self.dead_letters.index()) {
            Err(why) => Ok(Err(why)),
            // A letter's row comes again, in its time: delivered now, it would be older than what is applied behind it.
            Ok(_) if request.action == Action::Retry && place.checkpoint.replay.is_some() => Ok(Err(
                "the sink is replaying, and nothing is retried until that is done; `walbridge status` shows how far it is".to_owned(),
            )),
            Ok((ids, left)) => {
                let outcome = Outcome { left, ..Outcome::default() };
                match request.action {
                    Action::Discard => self.discard(ids, outcome).map(Ok),
                    Action::Retry => self.retry(ids, outcome, place).await.map(Ok),
                }
            }
        };
        match done {
            Ok(said) => drop(answer.send(said)),
            Err(error) => {
                drop(answer.send(Err(error.to_string())));
                return Err(error);
            }
        }
        self.show_progress(place, None);
        Ok(())
    }

    /// The same where several processes share the sink: later changes of a row may have been delivered by another, so nothing is retried.
    pub(super) fn carry_out_shared(&mut self) -> Result<(), DeliverError> {
        let (request, answer) = match self.orders.waiting.take() {
            None => return Ok(()),
            Some(order @ (Order::Replay { .. } | Order::Look(_))) => {
                order.refuse("several processes share this sink, and each has checkpoints of its own".to_owned());
                return Ok(());
            }
            Some(Order::Letters { request, answer }) => (request, answer),
        };
        let said = match request.choose(self.dead_letters.index()) {
            Err(why) => Err(why),
            Ok(_) if request.action == Action::Retry => Err(
                "several processes share this sink, and another may have delivered a later change of the row: nothing is retried. Change the \
                 row, or copy its table again (walbridge resnapshot)"
                    .to_owned(),
            ),
            Ok((ids, left)) => Ok(self.discard(ids, Outcome { left, ..Outcome::default() })?),
        };
        drop(answer.send(said));
        Ok(())
    }

    fn discard(&mut self, ids: Vec<u64>, mut outcome: Outcome) -> Result<Outcome, DeliverError> {
        ids.iter().for_each(|id| self.dead_letters.discard(*id));
        self.dead_letters.flush()?;
        tracing::info!(sink = %self.name, letters = ids.len(), "dead letters discarded");
        (outcome.discarded, outcome.open) = (ids, self.dead_letters.index().open());
        Ok(outcome)
    }

    async fn retry(&mut self, ids: Vec<u64>, mut outcome: Outcome, place: &mut Place) -> Result<Outcome, DeliverError> {
        let number = place.checkpoint.retries.max(self.dead_letters.index().retries()).saturating_add(1);
        let mut seen: BTreeSet<u64> = BTreeSet::new();
        for id in ids {
            let Some(letter) = self.dead_letters.index().get(id) else { continue };
            if let Some(reason) = why_not(letter.fate) {
                if !seen.contains(&id) {
                    outcome.left.push(Told { id, reason });
                }
                continue;
            }
            let together = self.dead_letters.index().together(id);
            if seen.contains(&id) {
                continue;
            }
            seen.extend(&together);
            match self.projection.kind() {
                Kind::History => self.retry_in_order(&together, &mut outcome).await?,
                Kind::State => self.retry_latest(&together, &mut outcome).await?,
            }
        }
        for id in &outcome.delivered {
            self.dead_letters.set_fate(*id, Fate::Delivered(number));
        }
        for told in &outcome.refused {
            self.dead_letters.refused_again(told.id, &told.reason);
        }
        // Before the target has them: what it says decides (`dead_letter`).
        self.dead_letters.flush()?;
        if !outcome.delivered.is_empty() {
            place.checkpoint.retries = number;
            self.note_ahead(&mut place.checkpoint);
            self.sink.commit(place.checkpoint).await?;
        }
        tracing::info!(sink = %self.name, delivered = outcome.delivered.len(), refused = outcome.refused.len(), "dead letters retried");
        outcome.open = self.dead_letters.index().open();
        Ok(outcome)
    }

    /// One after the other, up to one that is refused.
    async fn retry_in_order(&mut self, ids: &[u64], outcome: &mut Outcome) -> Result<(), DeliverError> {
        let mut first_refused = None;
        for &id in ids {
            if let Some(first) = first_refused {
                outcome.left.push(Told { id, reason: format!("it waits for letter {first}") });
                continue;
            }
            match self.retry_run(&[id]).await? {
                None => outcome.delivered.push(id),
                Some(reason) => {
                    first_refused = Some(id);
                    outcome.refused.push(Told { id, reason });
                }
            }
        }
        Ok(())
    }

    /// What they amount to in the end, or nothing of it.
    async fn retry_latest(&mut self, ids: &[u64], outcome: &mut Outcome) -> Result<(), DeliverError> {
        match self.retry_run(ids).await? {
            None => outcome.delivered.extend(ids),
            Some(reason) => outcome.refused.extend(ids.iter().map(|&id| Told { id, reason: reason.clone() })),
        }
        Ok(())
    }

    /// Adds what a letter holds. An event that was set aside because nothing could be made of it has a key only now, if at all.
    fn take_letter(&mut self, letter: Mutation, out: &mut Vec<Mutation>) -> Result<(), ProjectError> {
        match &letter.effect {
            Effect::Append(event) if letter.key.0.is_empty() => {
                let shaped = event.change.relation().is_some_and(|relation| self.projection.shapes(relation));
                if shaped || self.projection.kind() == Kind::State {
                    return self.projection.project(event, out);
                }
            }
            _ => {}
        }
        out.push(letter);
        Ok(())
    }

    /// Stages what letters hold; why not, if it is refused.
    async fn retry_run(&mut self, ids: &[u64]) -> Result<Option<String>, DeliverError> {
        let mut mutations = Vec::with_capacity(ids.len());
        for id in ids {
            match self.dead_letters.read(*id)? {
                Some(mutation) => {
                    if let Err(error) = self.take_letter(mutation, &mut mutations) {
                        return Ok(Some(error.to_string()));
                    }
                }
                None => {
                    return Ok(Some(
                        "the letter does not hold the change as it was: an earlier version wrote it".to_owned(),
                    ));
                }
            }
        }
        let run: Vec<Mutation> = coalesce(mutations).into_iter().map(Mutation::late).collect();
        if let Some(reason) = run.iter().find_map(|mutation| oversize::reason(mutation, self.limits.row_bytes_max)) {
            return Ok(Some(reason));
        }
        let mut refused = Vec::new();
        self.stage(&run, &[], &mut refused).await?;
        refused.extend(self.sink.flush().await?);
        let Some(Rejection { reason, .. }) = refused.into_iter().next() else { return Ok(None) };
        // All of them wait on.
        let removals: Vec<Mutation> = run.iter().filter_map(parked::removal).collect();
        if !removals.is_empty() {
            self.sink.stage(&removals).await?;
        }
        Ok(Some(reason))
    }
}
