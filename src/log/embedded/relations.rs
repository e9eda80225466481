//! The relations of the segment being written, and their ids.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::Relation;

/// Ids count from 0 in each segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Relations {
    by_id: Vec<Arc<Relation>>,
    /// The last version of each table.
    by_oid: HashMap<u32, u32>,
    last: u32,
}

impl Relations {
    /// Goes on with those that a segment defines already.
    pub(super) fn new(by_id: Vec<Arc<Relation>>) -> Self {
        let by_oid = (0_u32..).zip(&by_id).map(|(id, relation)| (relation.oid, id)).collect();
        Relations { by_id, by_oid, last: 0 }
    }

    /// The relation's id, if the segment has defined it. Rows of one table come in runs, so mostly one comparison of
    /// pointers.
    #[inline]
    pub(super) fn id(&mut self, relation: &Arc<Relation>) -> Option<u32> {
        if self.get(self.last).is_some_and(|last| Arc::ptr_eq(last, relation)) {
            return Some(self.last);
        }
        let id = *self.by_oid.get(&relation.oid)?;
        let known = self.by_id.get_mut(usize::try_from(id).ok()?)?;
        if !Arc::ptr_eq(known, relation) {
            if known != relation {
                return None;
            }
            *known = Arc::clone(relation);
        }
        self.last = id;
        Some(id)
    }

    /// Gives a relation the next id.
    pub(super) fn define(&mut self, relation: &Arc<Relation>) -> u32 {
        let id = u32::try_from(self.by_id.len()).unwrap_or(u32::MAX);
        self.by_id.push(Arc::clone(relation));
        self.by_oid.insert(relation.oid, id);
        self.last = id;
        id
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Forgets all but the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.by_id.len() {
            self.by_id.truncate(len);
            *self = Relations::new(std::mem::take(&mut self.by_id));
        }
    }

    fn get(&self, id: u32) -> Option<&Arc<Relation>> {
        self.by_id.get(usize::try_from(id).ok()?)
    }
}
