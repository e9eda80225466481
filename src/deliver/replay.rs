//! An operator's order to apply again what a target has had already.
//!
//! It is nothing but the target's own checkpoint, moved back through the same fence as every commit. So it holds over a crash, how far it has come is the
//! sink's lag, and there is no second way to apply an event. The checkpoint loses its Position, for nothing counts as too old any more.
//!
//! Over these events the target is ahead of the log, and what goes by its past does not hold. So the checkpoint tells which events they are
//! ([`Checkpoint::replay`]), and until they are behind:
//! - a row that got another key takes nothing from what stands under its old one. That may be another row's by now, and no later event would put it
//!   right. A row that kept its key may: what stands there is its own, or of one that comes later, whole.
//! - the sweep at the end of a copy that began before them is left out. The target has been through it, and nothing of before that copy is applied
//!   again; and where it began may no longer be in the log.
//!
//! A row that is read back from the source, in a replay or not, makes the target ahead likewise, up to what was committed when it was read
//! ([`Checkpoint::ahead`]): the first of these holds there, too.

use tokio::sync::oneshot;

use super::{Deliver, DeliverError};
use crate::event::{Offset, Place, Position, Span, Timestamp};
use crate::log::{Log, LogError};
use crate::project::mutation::{Effect, Mutation};
use crate::sink::{Checkpoint, Sink};

impl<L: Log, S: Sink> Deliver<L, S> {
    /// Carries it out. What was staged is forgotten, and a session must follow.
    pub(super) async fn rewind(
        &mut self,
        from: Place,
        answer: oneshot::Sender<Result<Span, String>>,
    ) -> Result<(), DeliverError> {
        let outcome = self.move_back(from).await?;
        match &outcome {
            Ok(events) => tracing::info!(sink = %self.name, from = %events.from, until = %events.until, "replaying"),
            Err(why) => tracing::warn!(sink = %self.name, %from, why, "not replayed"),
        }
        // Whoever asked may have gone.
        let _ = answer.send(outcome);
        Ok(())
    }

    /// The target is ahead up to what was committed when rows were read back; and no longer once the log has come there.
    pub(super) fn note_ahead(&mut self, checkpoint: &mut Checkpoint) {
        if let Some(commit_lsn) = self.readback.take_newest() {
            let epoch = self.log.durable().borrow().position.map_or(0, |last| last.epoch);
            checkpoint.ahead = checkpoint.ahead.max(Some(Position { epoch, commit_lsn, ordinal: 0 }));
        }
        checkpoint.ahead.take_if(|ahead| checkpoint.position >= Some(*ahead));
    }

    async fn move_back(&mut self, from: Place) -> Result<Result<Span, String>, DeliverError> {
        let from = match self.log.find(from).await {
            Ok(from) => from,
            Err(error) => return Ok(Err(unfound(&error))),
        };
        let Some(checkpoint) = self.sink.resume().await? else {
            return Ok(Err("the target is empty, so all that the log has is being applied anyway".to_owned()));
        };
        if checkpoint.log != self.log.id() {
            return Err(DeliverError::OtherLog { found: checkpoint.log, ours: self.log.id() });
        }
        let events = match events(from, &checkpoint) {
            Ok(events) => events,
            refused @ Err(_) => return Ok(refused),
        };
        // Retention goes by the board: it is told first, and then looked at.
        self.board.sink(&self.name, |status| (status.checkpoint, status.replay) = (Some(from), Some(events)));
        let start = self.log.start();
        if from < start {
            return Ok(Err(unfound(&LogError::Expired { wanted: from, start })));
        }
        let is_at_end = checkpoint.offset >= self.log.durable().borrow().offset;
        let time = checkpoint.time.max(is_at_end.then(Timestamp::now));
        let moved = Checkpoint { offset: from, position: None, time, replay: Some(events), ..checkpoint };
        self.sink.commit(moved).await?;
        Ok(Ok(events))
    }
}

/// What is to be applied again from this offset on.
fn events(from: Offset, checkpoint: &Checkpoint) -> Result<Span, String> {
    let applied = checkpoint.offset;
    match checkpoint.replay {
        // Whose sweeps are still to come is told by where that one began.
        Some(Span { from: begun, until }) if from >= begun => Err(format!(
            "the events from {begun} up to {until} are being applied again already; `walbridge status` shows how far that is"
        )),
        Some(Span { until, .. }) => Ok(Span { from, until }),
        None if from >= applied => Err(format!(
            "the sink has applied what is before event {applied}, and none of that is at {from} or behind it"
        )),
        None => Ok(Span { from, until: applied }),
    }
}

fn unfound(error: &LogError) -> String {
    match error {
        LogError::Expired { .. } => {
            format!(
                "{error}. Say --from start for all there is, or have the tables copied again (`walbridge resnapshot`)"
            )
        }
        other => other.to_string(),
    }
}

/// Takes the sweeps that a target which is ahead has been through.
pub(super) fn forget_sweeps(mutations: &mut Vec<Mutation>, replay: Span) {
    mutations.retain(|mutation| !matches!(mutation.effect, Effect::Sweep { since, .. } if since < replay.from));
}

/// Takes from mutations for a target that is ahead what goes by its past. Returns what is to be staged before them: deletes of what has no older
/// values of its own, so that the source is asked for them.
pub(super) fn forget_the_past(mutations: &mut [Mutation]) -> Vec<Mutation> {
    let mut deletes = Vec::new();
    for Mutation { key, position, effect } in mutations {
        if let Effect::Put { document, moved_from } = effect
            && moved_from.take().is_some()
            && document.row.lacks_values()
        {
            deletes.push(Mutation { key: key.clone(), position: *position, effect: Effect::Delete });
        }
    }
    deletes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::project::mutation::{Document, Key};
    use crate::project::testing::{relation, row};

    #[test]
    fn only_rows_that_moved_and_lack_values_and_sweeps_of_before_forget() {
        let relation = Arc::new(relation("t", &["id", "big"], &[0]));
        let key = |name: &'static str| Key(name.into());
        let mutation = |name, effect| Mutation { key: key(name), position: Position::default(), effect };
        let put = |name, big, from: Option<&'static str>| {
            let document = Document { relation: relation.clone(), row: row(&[name, big]) };
            mutation(name, Effect::Put { document, moved_from: from.map(key) })
        };
        let sweep = |since| mutation("", Effect::Sweep { relation: relation.clone(), since: Offset(since) });
        let all = || vec![put("1", "~", None), put("2", "~", Some("9")), put("3", "b", Some("8")), sweep(4), sweep(5)];
        let replay = Span { from: Offset(5), until: Offset(9) };
        for (replay, left) in [(Some(replay), vec![sweep(5)]), (None, vec![sweep(4), sweep(5)])] {
            let mut mutations = all();
            if let Some(replay) = replay {
                forget_sweeps(&mut mutations, replay);
            }
            assert_eq!(forget_the_past(&mut mutations), [mutation("2", Effect::Delete)]);
            let puts = vec![put("1", "~", None), put("2", "~", None), put("3", "b", None)];
            assert_eq!(mutations, [puts, left].concat());
        }
    }
}
