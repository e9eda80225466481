//! What a sink is told to do.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::event::{Event, Offset, Position, Relation, Row, TableName};

/// The name of a document in its target. Bytes, because a key made of column values can hold any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Bytes);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
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

/// A mutation that its target can never take.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The mutation.
    pub mutation: Mutation,
    /// Why, in the target's words and ours.
    pub reason: String,
}
