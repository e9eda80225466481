//! Rows as documents, and events as history.

use std::collections::HashMap;
use std::sync::Arc;

use super::key::{KeyError, KeyTemplate, Misnamed};
use super::known::KnownTables;
use super::mutation::{Document, Effect, Key, Mutation, Rejection};
use super::shape::{Plan, ShapeError, Shaping};
use super::sql::Fault;
use crate::event::{Cell, Change, Event, OldRow, Relation, Row, RowBuilder, TableFilter, TableName};

/// What a sink makes of the log's events.
#[derive(Clone)]
pub struct Projection {
    tables: TableFilter,
    kind: Kind,
    known: Arc<KnownTables>,
    shaping: Arc<Shaping>,
    /// The version of each table that was met last.
    met: HashMap<u32, Met>,
}

/// A version of a table, and what is made of it.
#[derive(Clone)]
struct Met {
    relation: Arc<Relation>,
    /// How its rows are shaped, if they are.
    plan: Option<Arc<Plan>>,
    /// Of its documents.
    template: KeyTemplate,
}

/// Which effects it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The latest state of each row.
    State,
    /// Every event.
    History,
}

/// An event that no mutation can be made of.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The row has no key.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The configured key, or place, does not fit the table, as it is now: it fits none of its rows.
    #[error("{0}")]
    Misnamed(#[from] Misnamed),
    /// The sink's `shape` does not fit the table, as it is now: it fits none of its rows.
    #[error("{0}")]
    Shape(#[from] ShapeError),
    /// The row has no value of one of the sink's expressions.
    #[error("table {table}: {reason}")]
    Refused {
        /// The table.
        table: String,
        /// PostgreSQL's words for why not.
        reason: String,
    },
    /// An expression needs a value that the change left alone, and that therefore was not sent.
    #[error(
        "table {0}: an expression of the sink's `shape` needs a large value that the change left alone, so that it was not sent. Have whole rows sent: ALTER TABLE {0} REPLICA IDENTITY FULL"
    )]
    Incomplete(String),
}

impl ProjectError {
    /// Whether it is the configuration that is wrong, not the row.
    #[must_use]
    pub const fn is_of_table(&self) -> bool {
        matches!(self, ProjectError::Misnamed(_) | ProjectError::Shape(_))
    }

    /// For the dead letters.
    #[must_use]
    pub fn into_rejection(self, event: &Event) -> Rejection {
        let mutation = Mutation {
            key: Key(bytes::Bytes::new()),
            position: event.position(),
            effect: Effect::Append(event.clone()),
        };
        Rejection { mutation, reason: self.to_string() }
    }
}

impl Projection {
    /// Of these tables, under keys of this template; without one, of [`KeyTemplate::default_for`].
    #[must_use]
    pub fn new(kind: Kind, tables: TableFilter, template: Option<KeyTemplate>) -> Self {
        Projection::of_known(kind, tables, Arc::new(KnownTables::new(template)))
    }

    /// The same, with what the sink asks of the tables.
    #[must_use]
    pub fn of_known(kind: Kind, tables: TableFilter, known: Arc<KnownTables>) -> Self {
        Projection { tables, kind, known, shaping: Arc::default(), met: HashMap::new() }
    }

    /// The same of rows that are shaped so.
    #[must_use]
    pub fn shaped(self, shaping: Arc<Shaping>) -> Self {
        Projection { shaping, met: HashMap::new(), ..self }
    }

    /// Whether a table's rows are another form here than in the source.
    #[must_use]
    pub fn shapes(&self, relation: &Relation) -> bool {
        self.shaping.means(&relation.name)
    }

    /// What the sink has of a whole row of a table that it takes; `None`: nothing, for the row is not the sink's.
    ///
    /// # Errors
    /// The row has no document.
    pub fn document(&mut self, relation: &Arc<Relation>, row: &Row) -> Result<Option<(Key, Document)>, ProjectError> {
        let document = match self.meet(relation)? {
            None => Document { relation: relation.clone(), row: row.clone() },
            Some(plan) => match plan.whole(row).map_err(|fault| refused(relation, fault))? {
                None => return Ok(None),
                Some(row) => Document { relation: plan.relation().clone(), row },
            },
        };
        let key = self.key(&document.relation, &document.row, None)?;
        Ok(Some((key, document)))
    }

    /// Which effects it has.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a table is one of those.
    #[must_use]
    pub fn takes(&self, table: &TableName) -> bool {
        (self.tables)(table)
    }

    /// Adds the event's mutations, in order. Of a row that has no document, deletes are added of what the target may have of it.
    ///
    /// # Errors
    /// The row has no document, or the table fits neither key nor shape.
    pub fn project(&mut self, event: &Event, out: &mut Vec<Mutation>) -> Result<(), ProjectError> {
        let Some(relation) = event.change.relation() else {
            // A logical message: of no table, so part of every history and of no state.
            if self.kind == Kind::History {
                out.push(append(Key(bytes::Bytes::new()), event));
            }
            return Ok(());
        };
        if !(self.tables)(&relation.name) {
            return Ok(());
        }
        let Some(plan) = self.meet(relation)? else { return self.project_shaped(event, out) };
        match plan.change(&event.change) {
            Ok(None) => Ok(()),
            Ok(Some(change)) => self.project_shaped(&Event { change, ..event.clone() }, out),
            Err(fault) => {
                if self.kind == Kind::State && fault != Fault::Absent {
                    self.forget(event, &plan, out)?;
                }
                Err(refused(relation, fault))
            }
        }
    }

    /// Adds deletes of what the target may have of an event's rows.
    ///
    /// # Errors
    /// The table fits neither key nor shape.
    pub fn forget_rows(&mut self, event: &Event, out: &mut Vec<Mutation>) -> Result<(), ProjectError> {
        let Some(relation) = event.change.relation() else { return Ok(()) };
        match self.meet(relation)? {
            Some(plan) => self.forget(event, &plan, out),
            None => Ok(()),
        }
    }

    fn forget(&mut self, event: &Event, plan: &Plan, out: &mut Vec<Mutation>) -> Result<(), ProjectError> {
        for change in plan.forget(&event.change) {
            match self.project_shaped(&Event { change, ..event.clone() }, out) {
                // What has no key has no document.
                Ok(()) | Err(ProjectError::Key(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn project_shaped(&mut self, event: &Event, out: &mut Vec<Mutation>) -> Result<(), ProjectError> {
        let Some(relation) = event.change.relation() else { return Ok(()) };
        match self.kind {
            Kind::State => self.state(event, relation, out),
            Kind::History => {
                let key = match &event.change {
                    Change::Insert { new: row, .. } | Change::Read { row, .. } => self.key(relation, row, None).ok(),
                    Change::Update { new, old, .. } => self.key(relation, new, old.as_ref().map(|old| old.row())).ok(),
                    Change::Delete { old, .. } => self.key(relation, old.row(), None).ok(),
                    Change::Truncate { .. }
                    | Change::Message { .. }
                    | Change::CopyBegun { .. }
                    | Change::CopyDone { .. } => None,
                };
                // History has a place for a row without a key, such as one with NULLs of a table without a primary key.
                let key = key.unwrap_or(Key(bytes::Bytes::new()));
                out.push(append(key, event));
                Ok(())
            }
        }
    }

    fn state(&mut self, event: &Event, relation: &Arc<Relation>, out: &mut Vec<Mutation>) -> Result<(), ProjectError> {
        let position = event.position();
        let put = |key, row: &Row, moved_from| {
            let document = Document { relation: relation.clone(), row: row.clone() };
            Mutation { key, position, effect: Effect::Put { document, moved_from } }
        };
        match &event.change {
            Change::Insert { new: row, .. } | Change::Read { row, .. } => {
                out.push(put(self.key(relation, row, None)?, row, None));
            }
            Change::Update { old, new, .. } => {
                let old_row = old.as_ref().map(|old| old.row());
                let key = self.key(relation, new, old_row)?;
                let old_key = old_row.map(|old| self.key(relation, old, None)).transpose()?;
                let moved_from = old_key.filter(|old_key| *old_key != key);
                if let Some(old_key) = &moved_from {
                    out.push(Mutation { key: old_key.clone(), position, effect: Effect::Delete });
                }
                match old {
                    Some(OldRow::Full(old)) if new.lacks_values() => {
                        out.push(put(key, &completed(new, old), moved_from))
                    }
                    Some(OldRow::Full(_) | OldRow::Key(_)) | None => out.push(put(key, new, moved_from)),
                }
            }
            Change::Delete { old, .. } => {
                out.push(Mutation { key: self.key(relation, old.row(), None)?, position, effect: Effect::Delete });
            }
            Change::Truncate { .. } => {
                let effect = Effect::Clear(relation.name.clone());
                out.push(Mutation { key: Key(bytes::Bytes::new()), position, effect });
            }
            Change::CopyDone { since, .. } => {
                let effect = Effect::Sweep { relation: relation.clone(), since: *since };
                out.push(Mutation { key: Key(bytes::Bytes::new()), position, effect });
            }
            // Readers go on with what they have until its copy is complete.
            Change::CopyBegun { .. } | Change::Message { .. } => {}
        }
        Ok(())
    }

    fn key(&mut self, relation: &Arc<Relation>, row: &Row, fallback: Option<&Row>) -> Result<Key, ProjectError> {
        Ok(self.template(relation)?.render(relation, row, fallback)?)
    }

    /// The template of the documents of a derived table, which has been met.
    fn template(&mut self, relation: &Arc<Relation>) -> Result<&KeyTemplate, ProjectError> {
        let found = self.met.get(&relation.oid).map(|met| &met.template);
        found.ok_or_else(|| KeyError(relation.name.to_string()).into())
    }

    /// How the rows of this version of the table are shaped, if they are.
    fn meet(&mut self, relation: &Arc<Relation>) -> Result<Option<Arc<Plan>>, ProjectError> {
        if let Some(met) = self.met.get(&relation.oid).filter(|met| Arc::ptr_eq(&met.relation, relation)) {
            return Ok(met.plan.clone());
        }
        let plan = self.shaping.plan(relation)?.map(Arc::new);
        let (derived, determined) = match &plan {
            Some(plan) => (plan.relation(), plan.determined()),
            None => (relation, Default::default()),
        };
        let template = self.known.learn(derived, determined)?;
        self.met.insert(relation.oid, Met { relation: relation.clone(), plan: plan.clone(), template });
        Ok(plan)
    }
}

fn refused(relation: &Relation, fault: Fault) -> ProjectError {
    let table = relation.name.to_string();
    match fault {
        Fault::Absent => ProjectError::Incomplete(table),
        Fault::Refused { message, .. } => ProjectError::Refused { table, reason: message },
    }
}

/// The new row with its unchanged TOAST values from the whole old one.
fn completed(new: &Row, old: &Row) -> Row {
    let mut builder = RowBuilder::default();
    for (cell, old) in new.cells().zip(old.cells()) {
        builder.push(if cell == Cell::Unchanged { old } else { cell });
    }
    builder.finish()
}

fn append(key: Key, event: &Event) -> Mutation {
    Mutation { key, position: event.position(), effect: Effect::Append(event.clone()) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{event, relation, row};
    use super::*;

    fn project(change: Change) -> Vec<Mutation> {
        let mut out = Vec::new();
        let tables: TableFilter = Arc::new(|name| name.table == "t");
        Projection::new(Kind::State, tables, None).project(&event(change), &mut out).expect("keys");
        out
    }

    #[test]
    fn a_changed_key_is_a_delete_and_a_put_that_knows_where_it_came_from() {
        let relation = Arc::new(relation("t", &["id", "n"], &[0]));
        let old = Some(OldRow::Key(row(&["1", ""])));
        let out = project(Change::Update { relation, old, new: row(&["2", "x"]) });
        assert_eq!(out.iter().map(|m| m.key.to_string()).collect::<Vec<_>>(), ["public.t:1", "public.t:2"]);
        assert_eq!(out[0].effect, Effect::Delete);
        assert!(
            matches!(&out[1].effect, Effect::Put { moved_from: Some(from), .. } if from.to_string() == "public.t:1")
        );
    }

    #[test]
    fn an_old_row_with_the_same_key_is_no_move() {
        // Under REPLICA IDENTITY FULL the old row is always there.
        let relation = Arc::new(relation("t", &["id", "n"], &[0]));
        let old = Some(OldRow::Full(row(&["1", "a"])));
        let out = project(Change::Update { relation, old, new: row(&["1", "b"]) });
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn under_full_identity_the_old_row_has_the_values_that_the_new_one_lacks() {
        let relation = Arc::new(relation("t", &["id", "n", "big"], &[0]));
        let old = Some(OldRow::Full(row(&["1", "a", "long"])));
        let out = project(Change::Update { relation, old, new: row(&["1", "b", "~"]) });
        assert!(matches!(&out[0].effect, Effect::Put { document, .. } if document.row == row(&["1", "b", "long"])));
    }

    #[test]
    fn history_takes_a_row_that_has_no_key() {
        // A table without a primary key under REPLICA IDENTITY FULL: all columns are its key, and any may be NULL.
        let relation = Arc::new(relation("t", &["a"], &[0]));
        let mut null = RowBuilder::default();
        null.push(Cell::Null);
        let change = Change::Insert { relation, new: null.finish() };
        let mut out = Vec::new();
        let mut history = Projection::new(Kind::History, Arc::new(|_| true), None);
        history.project(&event(change), &mut out).expect("history takes all");
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn a_message_is_part_of_every_history() {
        let mut history = Projection::new(Kind::History, Arc::new(|_| false), None);
        let mut mutations = Vec::new();
        let message = Change::Message { prefix: "p".into(), content: bytes::Bytes::new() };
        history.project(&event(message), &mut mutations).expect("a mutation");
        assert!(matches!(&mutations[..], [Mutation { effect: Effect::Append(_), .. }]));
    }

    #[test]
    fn tables_that_were_not_asked_for_and_messages_make_no_state() {
        let other = Arc::new(relation("other", &["id"], &[0]));
        assert!(project(Change::Insert { relation: other, new: row(&["1"]) }).is_empty());
        assert!(project(Change::Message { prefix: "p".into(), content: bytes::Bytes::new() }).is_empty());
    }
}
