//! Tables whose rows are left out although their names are wanted, because they come under another name than was agreed. Pure.

use std::collections::{HashMap, HashSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Relations {
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

    /// The rows of this relation are left out, because they ought to come as another table's. The server announces partitions
    /// in any case.
    pub(super) fn misname(&mut self, oid: u32, root: u32) {
        self.misnamed.insert(oid, root);
    }

    /// A row of this relation was left out.
    pub(super) fn left_out(&mut self, oid: u32) {
        self.missed = self.missed.or_else(|| self.misnamed.get(&oid).copied());
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
