//! Writes held back until the commit, or until they are many: the last of each key.

use std::collections::HashMap;

use super::place::Whereabouts;
use crate::event::TableName;
use crate::project::mutation::{Key, Mutation};

/// A document's write.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: Key,
    pub(super) place: Whereabouts,
    pub(super) version: u64,
    /// The document as it is sent; `None` removes it.
    pub(super) document: Option<Vec<u8>>,
    /// What it puts, should that be refused; a removal is not.
    pub(super) mutation: Option<Mutation>,
}

impl Write {
    /// What it weighs, about.
    pub(super) fn bytes(&self) -> usize {
        self.document.as_ref().map_or(0, Vec::len).saturating_add(self.key.0.len()).saturating_add(64)
    }
}

/// Writes of different keys, in no order that means anything, and then perhaps a table that is emptied.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    pub(super) writes: Vec<Write>,
    places: HashMap<Key, usize>,
    /// The table, and the version of its being emptied.
    pub(super) clears: Option<(TableName, u64)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Held {
    done: Vec<Stretch>,
    now: Stretch,
    bytes: usize,
}

impl Held {
    pub(super) fn push(&mut self, write: Write) {
        self.bytes = self.bytes.saturating_add(write.bytes());
        let Stretch { writes, places, .. } = &mut self.now;
        let earlier = places.get(&write.key).and_then(|&place| writes.get_mut(place));
        match earlier {
            Some(earlier) => {
                self.bytes = self.bytes.saturating_sub(earlier.bytes());
                *earlier = write;
            }
            None => {
                places.insert(write.key.clone(), writes.len());
                writes.push(write);
            }
        }
    }

    /// A table is emptied, behind all that was pushed.
    pub(super) fn clear(&mut self, table: TableName, version: u64) {
        self.now.clears = Some((table, version));
        self.done.push(std::mem::take(&mut self.now));
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty() && self.now.writes.is_empty()
    }

    /// Everything, in order.
    pub(super) fn take(&mut self) -> Vec<Stretch> {
        let mut held = std::mem::take(self);
        held.done.push(held.now);
        held.done
    }
}
