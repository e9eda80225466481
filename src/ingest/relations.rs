//! The tables as the stream last announced them, and which of them are left out. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::event::Relation;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Relations {
    /// `None`: nobody wants it.
    announced: HashMap<u32, Option<Arc<Relation>>>,
    /// The tables that were captured when the session began. The catalog is asked about others.
    captured: HashSet<u32>,
    /// Partitions, or tables with partitions, whose rows ought to come under another name; and the root of each.
    misnamed: HashMap<u32, u32>,
    /// Rows of this root did come under another name, and were left out.
    missed: Option<u32>,
}

impl Relations {
    /// None announced yet.
    pub(super) fn new(captured: HashSet<u32>) -> Self {
        Relations { captured, ..Relations::default() }
    }

    /// A version as completed from the catalog.
    pub(super) fn learn(&mut self, relation: Relation) {
        self.announced.insert(relation.oid, Some(Arc::new(relation)));
    }

    /// The rows of this relation are left out until it is announced again.
    pub(super) fn ignore(&mut self, oid: u32) {
        self.announced.insert(oid, None);
    }

    /// The same, because its rows ought to come as another table's. The server announces partitions in any case.
    pub(super) fn ignore_misnamed(&mut self, oid: u32, root: u32) {
        self.ignore(oid);
        self.misnamed.insert(oid, root);
    }

    /// The relation that a row is of: `None` if it was never announced, `Some(None)` if nobody wants it.
    pub(super) fn of_row(&mut self, oid: u32) -> Option<Option<Arc<Relation>>> {
        let found = self.announced.get(&oid);
        if let Some(None) = found {
            self.missed = self.missed.or_else(|| self.misnamed.get(&oid).copied());
        }
        found.cloned()
    }

    /// Whether a table was captured when the session began.
    pub(super) fn has_captured(&self, oid: u32) -> bool {
        self.captured.contains(&oid)
    }

    /// The root whose rows were left out since this was last asked.
    pub(super) fn take_missed(&mut self) -> Option<u32> {
        self.missed.take()
    }
}
