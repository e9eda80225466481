//! Rows that came without what they need: completed by the target, or else by the source.

use std::sync::Arc;

use super::{Deliver, DeliverError, oversize};
use crate::capture::readback::Found;
use crate::event::{Change, Event, OldRow, Relation, Row};
use crate::log::Log;
use crate::project::mutation::{Effect, Mutation};
use crate::project::{Kind, ProjectError};
use crate::sink::{Rejection, Sink};

/// A row that may have been refused; an error is none of the row's.
type Outcome<T> = Result<Result<T, Rejection>, DeliverError>;

impl<L: Log, S: Sink> Deliver<L, S> {
    /// Adds the event's mutations. Where an expression needs a value that was not sent, the row is read back from the source first.
    pub(super) async fn project(&mut self, event: &Event, out: &mut Vec<Mutation>) -> Outcome<()> {
        let error = match self.projection.project(event, out) {
            Ok(()) => return Ok(Ok(())),
            Err(error) if error.is_of_table() => return Err(DeliverError::Unfit(error)),
            Err(error) => error,
        };
        let (ProjectError::Incomplete(_), Kind::State, Change::Update { relation, old, new }) =
            (&error, self.projection.kind(), &event.change)
        else {
            return Ok(Err(error.into_rejection(event)));
        };
        let (relation, old) = (Arc::clone(relation), old.clone());
        let whole = match self.readback.read(&relation, &with_key(&relation, new, old.as_ref())).await? {
            Found::Row(new) => Event { change: Change::Update { relation, old, new }, ..event.clone() },
            Found::Gone => return self.forget(event, out).map(Ok),
            Found::Unreadable(reason) => {
                self.forget(event, out)?;
                let reason = format!("{error}; and it is not to be had from the source: {reason}");
                return Ok(Err(Rejection { reason, ..error.into_rejection(event) }));
            }
        };
        match self.projection.project(&whole, out) {
            Ok(()) => Ok(Ok(())),
            Err(error) if error.is_of_table() => Err(DeliverError::Unfit(error)),
            Err(error) => Ok(Err(error.into_rejection(event))),
        }
    }

    fn forget(&mut self, event: &Event, out: &mut Vec<Mutation>) -> Result<(), DeliverError> {
        self.projection.forget_rows(event, out).map_err(DeliverError::Unfit)
    }

    /// Stages what came of these events; completes what comes back for lack of values, and stages that. Returns where what was not looked at
    /// begins.
    pub(super) async fn stage(
        &mut self,
        mutations: &[Mutation],
        events: &[Event],
        refused: &mut Vec<Rejection>,
    ) -> Result<Option<usize>, DeliverError> {
        if mutations.is_empty() {
            return Ok(None);
        }
        let staged = self.sink.stage(mutations).await?;
        let rest = staged.rest;
        refused.extend(staged.rejected);
        let mut completed = Vec::new();
        for mutation in staged.incomplete.iter().filter_map(|&index| mutations.get(index)) {
            match self.complete(mutation, events).await? {
                Ok(mutation) => completed.push(mutation),
                Err(rejection) => refused.push(rejection),
            }
        }
        if !completed.is_empty() {
            let staged = self.sink.stage(&completed).await?;
            refused.extend(staged.rejected);
            debug_assert!(staged.incomplete.is_empty(), "completed rows lack nothing");
        }
        Ok(rest)
    }

    /// The same mutation with the whole row, read from the source.
    async fn complete(&mut self, mutation: &Mutation, events: &[Event]) -> Outcome<Mutation> {
        let mut mutation = mutation.clone();
        let Effect::Put { document, moved_from } = &mut mutation.effect else { return Ok(Ok(mutation)) };
        // The document may be of a derived table, which the source does not have.
        let event = events.iter().find(|event| event.position() == mutation.position).map(|event| &event.change);
        let (relation, row) = match event {
            Some(Change::Update { relation, new, old }) => (relation.clone(), with_key(relation, new, old.as_ref())),
            Some(Change::Insert { relation, new: row } | Change::Read { relation, row }) => {
                (relation.clone(), row.clone())
            }
            _ if self.projection.shapes(&document.relation) => {
                let reason = "it lacks values, and outside of its time they cannot be read back in the sink's own form. `walbridge replay` \
                              delivers the change once more"
                    .to_owned();
                return Ok(Err(Rejection { mutation, reason }));
            }
            _ => (document.relation.clone(), document.row.clone()),
        };
        match self.readback.read(&relation, &row).await? {
            Found::Row(row) => match self.projection.document(&relation, &row) {
                Ok(Some((_, whole))) if whole.row.as_bytes().len() > self.limits.row_bytes_max => {
                    let bytes = whole.row.as_bytes().len();
                    return Ok(Err(oversize::rejection(mutation, bytes, self.limits.row_bytes_max)));
                }
                Ok(Some((_, whole))) => {
                    *document = whole;
                    *moved_from = None;
                }
                // By now it is not the sink's.
                Ok(None) => mutation.effect = Effect::Delete,
                Err(error) if error.is_of_table() => return Err(DeliverError::Unfit(error)),
                Err(error) => return Ok(Err(Rejection { mutation, reason: error.to_string() })),
            },
            Found::Gone => mutation.effect = Effect::Delete,
            Found::Unreadable(reason) => {
                let reason =
                    format!("unchanged TOAST values are neither in the target nor to be had from the source: {reason}");
                return Ok(Err(Rejection { mutation, reason }));
            }
        }
        Ok(Ok(mutation))
    }
}

/// The row with its key, of which a part may be stored out of line: the old row has it then.
fn with_key(relation: &Relation, new: &Row, old: Option<&OldRow>) -> Row {
    let Some(old) = old.filter(|_| new.lacks_values()) else { return new.clone() };
    let mut builder = crate::event::RowBuilder::default();
    for ((index, cell), old) in new.cells().enumerate().zip(old.row().cells()) {
        let lacks = cell == crate::event::Cell::Unchanged && relation.key.contains(&index);
        builder.push(if lacks { old } else { cell });
    }
    builder.finish()
}
