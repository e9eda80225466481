//! What a sink is told to do.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::key::{KeyTemplate, MEMBER};
use crate::event::{Change, Event, Lsn, Offset, Position, Relation, Row, TableName};

/// The name of a document in its target. Bytes, because a key made of column values can hold any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Bytes);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0).replace(char::from(MEMBER), " ∋ "))
    }
}

/// A row to be kept as a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The table's version the row was written with.
    pub relation: Arc<Relation>,
    /// The row; where it lacks unchanged TOAST values the target's own document has them.
    pub row: Row,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The document under this key is now this one.
    Put {
        /// The document.
        document: Document,
        /// The key it had until now, if the row's key changed: values that the document lacks stand there. The delete of
        /// that key comes just before, as a mutation of its own.
        moved_from: Option<Key>,
    },
    /// There is no document under this key any more.
    Delete,
    /// There is no document of this table any more. The mutation's key is empty.
    Clear(TableName),
    /// The table has been copied again: its documents that were not put since this offset of the log are to go. The loop
    /// makes deletes of it; no sink is given one. The mutation's key is empty.
    Sweep {
        /// The table.
        relation: Arc<Relation>,
        /// Where its copy began.
        since: Offset,
    },
    /// The event itself, for targets that keep history. The mutation's key is the row's.
    Append(Event),
}

/// A change to a target. Applying one twice is the same as once; an older one never wins over a newer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Which document.
    pub key: Key,
    /// The version of the document after it.
    pub position: Position,
    /// What is to be done.
    pub effect: Effect,
}

/// Behind every event of a log.
const LATE: Position = Position { epoch: u32::MAX, commit_lsn: Lsn::new(u64::MAX), ordinal: u64::MAX };

impl Mutation {
    /// The same, delivered after its time: no target takes it for a repeat of what it has.
    #[must_use]
    pub fn late(self) -> Mutation {
        Mutation { position: LATE, ..self }
    }

    /// Whether it is delivered after its time.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.position == LATE
    }

    /// The rows it is about, by their keys: what waits for one of them waits for it, and the other way round. A row that got another key is
    /// two. None of a row without a key, nor of what concerns a whole table or none.
    #[must_use]
    pub fn rows(&self) -> Vec<Key> {
        let other = match &self.effect {
            Effect::Put { moved_from, .. } => moved_from.clone(),
            Effect::Append(Event { change: Change::Update { relation, old: Some(old), .. }, .. }) => {
                KeyTemplate::default_for(relation).render(relation, old.row(), None).ok()
            }
            Effect::Append(_) | Effect::Delete | Effect::Clear(_) | Effect::Sweep { .. } => None,
        };
        let own = Some(&self.key).filter(|key| !key.0.is_empty());
        let other = other.filter(|other| own.is_some() && *other != self.key);
        own.cloned().into_iter().chain(other).collect()
    }

    /// Its table, as far as it tells.
    #[must_use]
    pub fn table(&self) -> Option<&TableName> {
        match &self.effect {
            Effect::Put { document: Document { relation, .. }, .. } | Effect::Sweep { relation, .. } => {
                Some(&relation.name)
            }
            Effect::Append(event) => event.change.relation().map(|relation| &relation.name),
            Effect::Clear(table) => Some(table),
            Effect::Delete => None,
        }
    }
}

/// A mutation that its target can never take.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The mutation.
    pub mutation: Mutation,
    /// Why, in the target's words and ours.
    pub reason: String,
}
