//! What follows from a look at the catalog: which tables are copied, which names have no documents any more. Pure.
//!
//! Readers are not shown a gap where that can be helped. A table that goes by another name has its documents under the old one
//! until its copy under the new one is done; one that took another's place has its copy remove, at its end, what that left.

use std::collections::{BTreeMap, BTreeSet};

use super::{OnTableDrop, Source};
use crate::capture::schema::{self, Change, Fingerprint, Inventory, Left, Look, What};
use crate::event::{Lsn, Relation, TableName, Timestamp};

/// What is known beside the look.
#[derive(Clone, Copy)]
pub(super) struct Circumstances<'a> {
    /// As last acted upon.
    pub(super) then: &'a Inventory,
    /// Tables that may lack rows, because those came under other names than agreed.
    pub(super) missed: &'a BTreeSet<u32>,
    /// Tables whose copy cannot begin yet.
    pub(super) settling: &'a BTreeSet<u32>,
    /// Tables whose copy is not done yet.
    pub(super) under_copy: &'a BTreeSet<u32>,
}

/// See the module.
pub(super) struct Plan {
    pub(super) seen_upto: Lsn,
    pub(super) at: Timestamp,
    pub(super) changes: Vec<Change>,
    /// Names under which there are no rows any more.
    pub(super) emptied: Vec<Relation>,
    /// Tables that are no more.
    pub(super) gone: Vec<u32>,
    /// Tables to copy.
    pub(super) copies: Vec<Again>,
    /// What is known when all that is done.
    pub(super) known: Inventory,
}

/// A table to copy.
pub(super) struct Again {
    pub(super) print: Fingerprint,
    /// Why, for people.
    pub(super) reason: String,
    /// Another table's documents may stand under its name.
    pub(super) sweeps: bool,
}

impl Plan {
    pub(super) fn make(source: &Source, look: Look, known: Circumstances<'_>) -> Self {
        let Look { inventory: mut now, seen_upto, at, unwanted } = look;
        let Circumstances { then, missed, settling, .. } = known;
        let via_root = then.publication.as_ref().map(|publication| publication.via_root);
        if let (Some(publication), Some(via_root)) = (&mut now.publication, via_root) {
            publication.via_root = via_root;
        }
        let waiting = wait_for_what_is_not_ready(source, then, &mut now, settling);
        let mut changes = schema::compare(then, &now);
        changes.retain(|change| !waiting.contains(&change.print.oid));
        for (oid, print) in now.tables.iter().filter(|(oid, _)| missed.contains(oid) && then.tables.contains_key(oid)) {
            if !changes.iter().any(|change| change.print.oid == *oid) {
                let why = "changes of its partitions came under other names".to_owned();
                changes.push(Change { print: print.clone(), what: What::RowsDiffer { why } });
            }
        }
        let gone = then.tables.keys().filter(|oid| !now.tables.contains_key(oid)).copied().collect();
        now.left.clone_from(&then.left);
        let mut plan =
            Plan { seen_upto, at, changes: Vec::new(), emptied: Vec::new(), gone, copies: Vec::new(), known: now };
        for change in &changes {
            // Left out by the configuration: what is there may stay.
            let is_left_out = unwanted.get(&change.print.oid) == Some(&change.print.name());
            plan.follow(source, change, is_left_out);
        }
        plan.changes = changes;
        plan.clear_names(source, known.under_copy);
        plan
    }

    fn follow(&mut self, source: &Source, change: &Change, is_left_out: bool) {
        let print = &change.print;
        let name = print.name();
        match &change.what {
            What::Vanished if is_left_out || source.on_table_drop == OnTableDrop::Keep => {}
            What::Vanished => self.emptied.push(print.relation()),
            What::Renamed { from } if source.snapshot => {
                self.known.left.push(Left { print: Fingerprint::clone(from), table: print.oid });
            }
            What::Renamed { from } => self.emptied.push(from.relation()),
            What::Replaced { old } if !source.snapshot => self.emptied.push(old.relation()),
            What::Replaced { .. } | What::Appeared | What::RowsDiffer { .. } | What::Followed { .. } => {}
        }
        let copies = !matches!(change.what, What::Vanished | What::Followed { .. });
        if source.snapshot && copies {
            let taken = self.known.left.iter().any(|left| left.print.name() == name);
            let sweeps = taken || matches!(change.what, What::Renamed { .. } | What::Replaced { .. });
            self.copies.push(Again { print: print.clone(), reason: change.told(), sweeps });
        }
    }

    /// Names that tables have left: one that another table has now is its copy's business.
    fn clear_names(&mut self, source: &Source, under_copy: &BTreeSet<u32>) {
        let Plan { known, copies, emptied, .. } = self;
        let names: BTreeSet<TableName> = known.tables.values().map(Fingerprint::name).collect();
        let is_copied = |oid: u32| under_copy.contains(&oid) || copies.iter().any(|again| again.print.oid == oid);
        known.left.retain(|left| {
            if names.contains(&left.print.name()) {
                return false;
            }
            let is_there = known.tables.contains_key(&left.table);
            if is_there && is_copied(left.table) {
                return true;
            }
            if is_there || source.on_table_drop == OnTableDrop::Clear {
                emptied.push(left.print.relation());
            }
            false
        });
    }
}

/// What is known when a source is captured for the first time.
pub(super) fn first_known(source: &Source, mut now: Inventory) -> Inventory {
    wait_for_what_is_not_ready(source, &Inventory::default(), &mut now, &BTreeSet::new());
    now
}

/// The same when history begins anew, and with it the copies of all tables: what they were like before is of no use any more,
/// except of those whose name nobody has now.
pub(super) fn known_anew(source: &Source, before: &Inventory, now: Inventory) -> Inventory {
    let mut now = first_known(source, now);
    if let (Some(publication), Some(before)) = (&mut now.publication, &before.publication) {
        publication.via_root = before.via_root;
    }
    let names: BTreeSet<TableName> = now.tables.values().map(Fingerprint::name).collect();
    now.left.clone_from(&before.left);
    for (oid, print) in &before.tables {
        match now.tables.get(oid) {
            _ if names.contains(&print.name()) => {}
            Some(_) => now.left.push(Left { print: print.clone(), table: *oid }),
            None => _ = now.tables.insert(*oid, print.clone()),
        }
    }
    now
}

/// A table that cannot be captured as it is, or is not sent, stays what it was known as, so that what happened to it is found
/// when it can be: then it is copied. An alarm stands meanwhile. Returns those that wait.
fn wait_for_what_is_not_ready(
    source: &Source,
    then: &Inventory,
    now: &mut Inventory,
    settling: &BTreeSet<u32>,
) -> BTreeSet<u32> {
    let mut tables = BTreeMap::new();
    let mut waiting_tables = BTreeSet::new();
    for (oid, print) in std::mem::take(&mut now.tables) {
        let sent = print.published.is_some() && !settling.contains(&oid);
        let ready = print.is_capturable(source.whole_rows) && sent;
        match then.tables.get(&oid) {
            _ if ready => _ = tables.insert(oid, print),
            None => {}
            Some(known) => {
                let mut waiting = known.clone();
                if print.published.is_none() {
                    waiting.published = None;
                }
                waiting.logged &= print.logged;
                // Its rows came under another key, or were left out: a key that comes back must not look the same.
                waiting.named &= print.key() == known.key();
                tables.insert(oid, waiting);
                waiting_tables.insert(oid);
            }
        }
    }
    now.tables = tables;
    waiting_tables
}
