//! When a table has been copied again, its documents that the copy did not bring are removed: rows deleted while nobody
//! watched. Until then readers have the old ones, so a copy never shows an emptied target.
//!
//! Which documents those are is the log's own word: what was put since the copy began, and not deleted again, is fresh. It is
//! read a second time for that, so nothing has to be remembered while the copy runs, nor over a restart. Everything before the
//! unit that ends the copy is committed first, so that the target's keys are the truth about it; a crash at any step means
//! that the whole is done again.

use super::fresh::Fresh;
use super::{Deliver, DeliverError};
use crate::event::{Change, Event, Offset, Position, Relation};
use crate::log::{Batch, Limit, Log, LogError, LogReader};
use crate::project::mutation::{Effect, Mutation};
use crate::sink::{Rejection, Sink};

/// For hashes of keys: two million at once. A table with more has the log read again for each so many.
const MEMORY_BYTES: usize = 64 << 20;
/// How much of the log is read at once.
const READ: Limit = Limit { events: 10_000, bytes: 4 << 20 };

/// What was read, cut so that each piece has at most one unit in which a copy ends, at its front.
pub(super) fn pieces(
    mut read: Batch,
    bytes_at: impl Fn(Offset) -> Result<u64, LogError>,
) -> Result<Vec<Batch>, LogError> {
    let mut pieces = Vec::new();
    for cut in cuts(&read.events).into_iter().rev() {
        let events = read.events.split_off(cut);
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let next = Offset(read.next.0.saturating_sub(count));
        let before = Batch { events: read.events, next, bytes: bytes_at(next)?, ends_transaction: true };
        pieces.push(Batch { events, ..read });
        read = before;
    }
    pieces.push(read);
    pieces.reverse();
    Ok(pieces)
}

/// Where to cut.
fn cuts(events: &[Event]) -> Vec<usize> {
    let mut cuts: Vec<usize> = Vec::new();
    for (at, event) in events.iter().enumerate().filter(|(_, event)| ends_copy(event)) {
        let before = events.iter().take(at).rposition(|before| before.transaction != event.transaction);
        let cut = before.map(|before| before.saturating_add(1)).filter(|cut| cuts.last() != Some(cut));
        cuts.extend(cut);
    }
    cuts
}

/// Whether a table's copy ends with it.
pub(super) fn ends_copy(event: &Event) -> bool {
    matches!(event.change, Change::CopyDone { .. })
}

impl<L: Log, S: Sink> Deliver<L, S> {
    /// Stages the deletes of a table's documents that are no rows any more. Everything before this unit is committed.
    pub(super) async fn sweep(
        &mut self,
        relation: &Relation,
        since: Offset,
        position: Position,
        refused: &mut Vec<Rejection>,
    ) -> Result<(), DeliverError> {
        let mut fresh = Fresh::new(MEMORY_BYTES);
        let mut removed = 0;
        loop {
            let gathered = self.gather(relation, since, position, &mut fresh).await;
            gathered.map_err(|error| match error {
                LogError::Expired { start, .. } => {
                    DeliverError::CopyExpired { table: relation.name.to_string(), since, start }
                }
                other => other.into(),
            })?;
            removed += self.remove(relation, position, &fresh, refused).await?;
            if !fresh.next_pass() {
                break;
            }
        }
        tracing::info!(sink = %self.name, table = %relation.name, removed, "table copied again; stale documents removed");
        Ok(())
    }

    /// Notes the table's keys from where its copy began to where it ended.
    async fn gather(
        &mut self,
        relation: &Relation,
        since: Offset,
        until: Position,
        fresh: &mut Fresh,
    ) -> Result<(), LogError> {
        let mut reader = self.log.reader(since)?;
        let mut projection = self.projection.clone();
        let mut mutations = Vec::new();
        loop {
            for event in reader.next(READ).await?.events {
                if event.position() >= until {
                    return Ok(());
                }
                if event.change.relation().is_some_and(|of| of.oid == relation.oid) {
                    // A row that has no key has been set aside already.
                    let _ = projection.project(&event, &mut mutations);
                    mutations.drain(..).for_each(|mutation| fresh.note(&mutation));
                }
            }
        }
    }

    /// Stages deletes of the target's stale keys; how many.
    async fn remove(
        &mut self,
        relation: &Relation,
        position: Position,
        fresh: &Fresh,
        refused: &mut Vec<Rejection>,
    ) -> Result<usize, DeliverError> {
        let (mut from, mut removed) = (None, 0);
        loop {
            let page = self.sink.keys(&relation.name, from).await?;
            let stale = page.keys.into_iter().filter(|key| fresh.is_stale(key));
            let deletes: Vec<_> = stale.map(|key| Mutation { key, position, effect: Effect::Delete }).collect();
            if !deletes.is_empty() {
                refused.extend(self.sink.stage(&deletes).await?.rejected);
                removed += deletes.len();
            }
            from = page.next;
            if from.is_none() {
                return Ok(removed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::Lsn;
    use crate::project::testing::{event, relation, row};

    #[test]
    fn a_run_is_cut_before_each_unit_that_ends_a_copy() {
        let relation = Arc::new(relation("t", &["id"], &[0]));
        let read = || Change::Read { relation: relation.clone(), row: row(&["1"]) };
        let done = || Change::CopyDone { relation: relation.clone(), since: Offset(0) };
        let unit = |number: u64, changes: Vec<Change>| {
            changes.into_iter().map(move |change| {
                let mut event = event(change);
                Arc::make_mut(&mut event.transaction).commit_lsn = Lsn::new(number);
                event
            })
        };
        let events: Vec<Event> = unit(1, vec![read(), read()])
            .chain(unit(2, vec![read(), done(), done()]))
            .chain(unit(3, vec![read()]))
            .chain(unit(4, vec![done()]))
            .collect();
        let read = Batch { events, next: Offset(107), bytes: 0, ends_transaction: true };
        let cut: Vec<_> = pieces(read, |offset| Ok(offset.0))
            .unwrap()
            .iter()
            .map(|piece| (piece.events.len(), piece.next.0))
            .collect();
        assert_eq!(cut, [(2, 102), (4, 106), (1, 107)]);
    }
}
