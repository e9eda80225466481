//! When a table has been copied again, its documents that the copy did not bring are removed: rows deleted while nobody
//! watched. Until then readers have the old ones, so a copy never shows an emptied target.
//!
//! Which documents those are is the log's own word: what was put since the copy began, and not deleted again, is fresh. It is
//! read a second time for that, so nothing has to be remembered while the copy runs, nor over a restart. Everything before the
//! unit that ends the copy is committed first, so that the target's keys are the truth about it; a crash at any step means
//! that the whole is done again.

use super::fresh::Fresh;
use super::{Deliver, DeliverError};
use crate::event::{Offset, Position, Relation};
use crate::log::{Limit, Log, LogError, LogReader};
use crate::project::ProjectError;
use crate::project::mutation::{Effect, Mutation};
use crate::sink::Sink;

/// For hashes of keys: two million at once. A table with more has the log read again for each so many.
const MEMORY_BYTES: usize = 64 << 20;
/// How much of the log is read at once.
const READ: Limit = Limit { events: 10_000, bytes: 4 << 20 };

impl<L: Log, S: Sink> Deliver<L, S> {
    /// Stages the deletes of a table's documents that are no rows any more. Everything before this unit is committed.
    pub(super) async fn sweep(
        &mut self,
        relation: &Relation,
        since: Offset,
        position: Position,
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
            removed += self.remove(relation, position, &fresh).await?;
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
                    // A row that has no document has been set aside already; one that was read back to tell whether it is the sink's has
                    // been put or deleted since, so its key is not stale.
                    if let Err(ProjectError::Incomplete(_)) = projection.project(&event, &mut mutations) {
                        let _ = projection.forget_rows(&event, &mut mutations);
                        mutations.drain(..).for_each(|mutation| fresh.set(&mutation.key, true));
                    }
                    mutations.drain(..).for_each(|mutation| fresh.note(&mutation));
                }
            }
        }
    }

    /// Stages deletes of the target's stale keys; how many.
    async fn remove(&mut self, relation: &Relation, position: Position, fresh: &Fresh) -> Result<usize, DeliverError> {
        let (mut from, mut removed) = (None, 0);
        self.dead_letters
            .supersede_if(&relation.name, Some(relation.oid), position, |letter| fresh.is_stale(&letter.key));
        loop {
            let page = self.sink.keys(&relation.name, from).await?;
            let stale = page.keys.into_iter().filter(|key| fresh.is_stale(key));
            let deletes: Vec<_> = stale.map(|key| Mutation { key, position, effect: Effect::Delete }).collect();
            if !deletes.is_empty() {
                // A delete is only refused under a key that has no document.
                self.sink.stage(&deletes).await?;
                removed += deletes.len();
            }
            from = page.next;
            if from.is_none() {
                return Ok(removed);
            }
        }
    }
}
