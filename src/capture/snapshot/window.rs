//! Which rows of a chunk are already overtaken by the stream. Pure.
//!
//! A chunk's rows enter the log once the stream has passed everything its snapshot saw. By then the stream may have carried
//! changes that the snapshot did *not* see; a chunk's row must not be put over those. From before the first snapshot of a table
//! is taken until its last chunk is placed, the window therefore remembers which keys of the table the stream touched, by which
//! transaction, and what became of the row. Several chunks of a table may be under way; they share what is remembered, each
//! with its own opening.
//!
//! "Saw" is decided by transaction visibility, not by an LSN: a commit is decoded as soon as it is flushed, but other
//! sessions see it only when the committing backend says so, after synchronous replication for instance. A transaction
//! decoded *before* the chunk's opening and still not visible to its snapshot makes the chunk void ([`Windows::close`]): it is
//! read again. What was decoded before the table was watched has been waited for (`survey`).
//!
//! One transaction id per key is enough: a row's next writer waits for the lock of the one before, which is let go only
//! after that one became visible. If the last is seen, all are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use self::paths::{Outcome, Paths};
use super::super::CaptureError;
use super::owed::Owed;
use super::visibility::Visibility;
use crate::decode::{binary, tuple};
use crate::event::{Cell, Change, OldRow, Op, Relation, Row, RowBuilder};

mod paths;

/// The tables that are being copied, as the stream changes them.
#[derive(Debug, Default)]
pub struct Windows {
    tables: HashMap<u32, Table>,
}

/// A row's key as bytes: see [`key_of`].
pub type Key = Box<[u8]>;

#[derive(Debug, Default)]
struct Table {
    /// Chunks of it may be read. If not, only what it owes is kept.
    watched: bool,
    /// Transactions in the log that changed this table, and that some snapshot may not see yet.
    decoded: HashSet<u32>,
    /// The chunks under way, by ticket.
    open: BTreeMap<u64, Opening>,
    touched: Paths,
    /// The last truncation and when it came.
    truncated: Option<(u32, u64)>,
    /// Counts the changes.
    now: u64,
    owed: Owed,
}

#[derive(Debug)]
struct Opening {
    /// What of the changes is remembered for it: those from here on.
    at: u64,
    /// Decoded before it was opened; the snapshot must see them all.
    before: HashSet<u32>,
    overflown: bool,
}

/// What to do with a chunk's row.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    Keep,
    /// The stream has the newer truth already.
    Drop,
    /// The stream has a newer row that lacks unchanged TOAST values; here it is, completed from the chunk.
    Complete(Row),
}

/// A table's memory. Beyond it the chunks under way are read again: nothing is lost.
const BYTES_MAX: usize = 8 << 20;

impl Windows {
    /// Before the first stream of a process: the copies that another process began. Their past is told by
    /// [`Windows::recollect`].
    pub fn recollecting(oids: impl Iterator<Item = u32>) -> Self {
        Windows { tables: oids.map(|oid| (oid, Table::default())).collect() }
    }

    /// A change that the log has had since such a copy began.
    pub fn recollect(&mut self, change: &Change) {
        let owed =
            change.relation().and_then(|relation| self.tables.get_mut(&relation.oid)).map(|table| &mut table.owed);
        let Some(owed) = owed else { return };
        match change {
            Change::Insert { relation, new: row } | Change::Read { relation, row } => {
                if !row.lacks_values() {
                    owed.paid(&key_of(relation, row));
                }
            }
            Change::Update { relation, old, new } => {
                let old_key = key_of(relation, old.as_ref().map_or(new, OldRow::row));
                owe(owed, &old_key, &key_of(relation, new), &completed_by(old.as_ref(), new.clone()));
            }
            Change::Delete { relation, old } => _ = owed.paid(&key_of(relation, old.row())),
            Change::Truncate { .. } => owed.clear(),
            Change::CopyBegun { .. } => owed.reopen(),
            Change::Message { .. } | Change::CopyDone { .. } => {}
        }
    }

    /// Watches a table from here on, with nothing known of it but what it owes.
    pub fn watch(&mut self, oid: u32) {
        let owed = self.tables.remove(&oid).map(|table| table.owed).unwrap_or_default();
        self.tables.insert(oid, Table { watched: true, owed, ..Table::default() });
    }

    /// A table's copy begins anew: what was owed is read again, and the chunks under way are abandoned.
    pub fn begin_again(&mut self, oid: u32) {
        if let Some(table) = self.tables.get_mut(&oid) {
            table.owed.reopen();
            table.open.clear();
            table.prune();
        }
    }

    /// Forgets a table.
    pub fn forget(&mut self, oid: u32) {
        self.tables.remove(&oid);
    }

    /// Whether a table is watched.
    #[must_use]
    pub fn watches(&self, oid: u32) -> bool {
        self.tables.get(&oid).is_some_and(|table| table.watched)
    }

    /// Forgets the chunks under way: whoever read them is gone. What is known of the tables stays.
    pub fn abandon_chunks(&mut self) {
        for table in self.tables.values_mut() {
            table.open.clear();
            table.prune();
        }
    }

    /// Opens the window for a chunk. Call it before the chunk's snapshot is taken.
    pub fn open(&mut self, oid: u32, ticket: u64) {
        if let Some(table) = self.tables.get_mut(&oid) {
            let opening = Opening { at: table.now, before: table.decoded.clone(), overflown: false };
            table.open.insert(ticket, opening);
        }
    }

    /// Whether the chunk, read under this snapshot, can be placed by what the window knows. Also forgets transactions that
    /// every snapshot from now on will see.
    pub fn accept(&mut self, oid: u32, ticket: u64, visibility: &Visibility) -> bool {
        let Some(table) = self.tables.get_mut(&oid) else { return false };
        table.decoded.retain(|xid| !visibility.always_seen(*xid));
        let opening = table.open.get(&ticket);
        opening.is_some_and(|open| !open.overflown && open.before.iter().all(|xid| visibility.sees(*xid)))
    }

    /// Whether the stream has left the rows of all chunks under way alone, so that none needs to be judged.
    #[must_use]
    pub fn is_untouched(&self, oid: u32) -> bool {
        self.tables
            .get(&oid)
            .is_some_and(|table| table.touched.is_empty() && table.truncated.is_none() && table.owed.is_empty())
    }

    /// What to do with a row of the chunk. Whatever it is, the log then has the whole row.
    pub fn judge(&mut self, visibility: &Visibility, relation: &Relation, row: &Row) -> Verdict {
        let Some(table) = self.tables.get_mut(&relation.oid) else { return Verdict::Keep };
        let key = key_of(relation, row);
        let verdict = match table.touched.fate(&key, |xid| visibility.sees(xid)) {
            Some(fate) => verdict(fate, row),
            _ if table.truncated.is_some_and(|(xid, _)| !visibility.sees(xid)) => Verdict::Drop,
            _ => Verdict::Keep,
        };
        let whole = match &verdict {
            Verdict::Keep => Some(key),
            Verdict::Complete(completed) if !completed.lacks_values() => Some(key_of(relation, completed)),
            Verdict::Complete(_) | Verdict::Drop => None,
        };
        whole.iter().for_each(|key| _ = table.owed.paid(key));
        verdict
    }

    /// The chunk is placed, void or abandoned.
    pub fn close(&mut self, oid: u32, ticket: u64) {
        if let Some(table) = self.tables.get_mut(&oid) {
            table.open.remove(&ticket);
            table.prune();
        }
    }

    /// The keys whose rows are not whole in the log.
    pub fn owed(&mut self, oid: u32) -> Option<&mut Owed> {
        self.tables.get_mut(&oid).map(|table| &mut table.owed)
    }

    /// The stream appends a change.
    ///
    /// # Errors
    /// Its bytes are not those of a change of this relation.
    #[inline]
    pub fn change(&mut self, xid: u32, op: Op, relation: &Arc<Relation>, body: &[u8]) -> Result<(), CaptureError> {
        if let Some(table) = self.tables.get_mut(&relation.oid) {
            table.change(xid, tuple::change(op, relation, &Bytes::copy_from_slice(body))?);
        }
        Ok(())
    }
}

impl Table {
    fn change(&mut self, xid: u32, change: Change) {
        self.now += 1;
        self.decoded.insert(xid);
        match change {
            Change::Insert { relation, new } => {
                let key = key_of(&relation, &new);
                self.owed.paid(&key);
                self.insert(key, xid, Outcome::Whole);
            }
            Change::Update { relation, old, new } => self.update(xid, &relation, old.as_ref(), new),
            Change::Delete { relation, old } => {
                let key = key_of(&relation, old.row());
                self.owed.paid(&key);
                self.insert(key, xid, Outcome::Deleted);
            }
            Change::Truncate { .. } => {
                self.touched = Paths::default();
                self.owed.clear();
                self.truncated = Some((xid, self.now));
            }
            Change::Read { .. } | Change::Message { .. } | Change::CopyBegun { .. } | Change::CopyDone { .. } => {}
        }
    }

    fn update(&mut self, xid: u32, relation: &Relation, old: Option<&OldRow>, new: Row) {
        let old_key = key_of(relation, old.map_or(&new, OldRow::row));
        let new_key = key_of(relation, &new);
        let new = completed_by(old, new);
        let outcome = match self.touched.last(&old_key) {
            _ if !new.lacks_values() => Outcome::Whole,
            Some(Outcome::Whole) => Outcome::Whole,
            Some(Outcome::Partial(before)) => Outcome::Partial(complete(&new, before)),
            Some(Outcome::Moved(..) | Outcome::Deleted) | None => Outcome::Partial(new),
        };
        match &outcome {
            Outcome::Partial(row) => owe(&mut self.owed, &old_key, &new_key, row),
            _ => {
                self.owed.paid(&old_key);
                self.owed.paid(&new_key);
            }
        }
        if old_key != new_key {
            self.insert(old_key, xid, Outcome::Moved(new_key.clone(), self.now));
        }
        self.insert(new_key, xid, outcome);
    }

    /// Remembers, if there is a chunk to remember it for.
    fn insert(&mut self, key: Key, xid: u32, outcome: Outcome) {
        if self.open.values().all(|open| open.overflown) {
            return;
        }
        self.touched.add(key, xid, self.now, outcome);
        if self.touched.bytes() > BYTES_MAX {
            self.prune();
        }
        if self.touched.bytes() > BYTES_MAX {
            self.open.values_mut().for_each(|open| open.overflown = true);
            self.touched = Paths::default();
        }
    }

    /// Forgets what no chunk under way needs.
    fn prune(&mut self) {
        let needed_from = self.open.values().map(|open| open.at).min().unwrap_or(u64::MAX);
        self.touched.forget(needed_from);
        self.truncated = self.truncated.filter(|(_, at)| *at > needed_from);
    }
}

/// An update of this row is in the log.
fn owe(owed: &mut Owed, old_key: &Key, new_key: &Key, row: &Row) {
    if row.lacks_values() {
        owed.moved(old_key, new_key);
    } else {
        owed.paid(old_key);
        owed.paid(new_key);
    }
}

/// The new row with the values of a whole old one.
fn completed_by(old: Option<&OldRow>, new: Row) -> Row {
    match old {
        Some(OldRow::Full(old)) => complete(&new, old),
        Some(OldRow::Key(_)) | None => new,
    }
}

/// The chunk holds a row that the stream has changed since. Where the stream's own row lacks values, the chunk's has
/// them, also if the row goes by another key by now: no later chunk might bring it.
fn verdict(fate: &Outcome, row: &Row) -> Verdict {
    match fate {
        Outcome::Partial(image) if image.lacks_values() => Verdict::Complete(complete(image, row)),
        Outcome::Whole | Outcome::Partial(_) | Outcome::Moved(..) | Outcome::Deleted => Verdict::Drop,
    }
}

/// `newer`, with its unchanged cells taken from `older`. Both must have the same columns; if a column came or went in
/// between, `newer` stays as it is and the sink completes it.
fn complete(newer: &Row, older: &Row) -> Row {
    if !newer.lacks_values() || newer.cells().count() != older.cells().count() {
        return newer.clone();
    }
    let mut builder = RowBuilder::default();
    for (new, old) in newer.cells().zip(older.cells()) {
        builder.push(if new == Cell::Unchanged { old } else { new });
    }
    builder.finish()
}

/// A row's key as bytes: each key cell's length and text, in whichever form the row has it.
#[must_use]
pub fn key_of(relation: &Relation, row: &Row) -> Key {
    let mut key = Vec::new();
    for &index in &relation.key {
        let at = key.len();
        key.extend_from_slice(&[0; 4]);
        match (row.cell(index), relation.columns.get(index)) {
            (Some(Cell::Text(value)), _) => key.extend_from_slice(value),
            (Some(Cell::Binary(value)), Some(column)) => {
                if binary::render(column, value, &mut key).is_none() {
                    // Not equal to anything that the stream says, which would have failed on it.
                    key.extend_from_slice(value);
                }
            }
            (Some(Cell::Null | Cell::Unchanged | Cell::Binary(_)) | None, _) => {}
        }
        let length = u32::try_from(key.len().saturating_sub(at + 4)).unwrap_or(u32::MAX);
        if let Some(place) = key.get_mut(at..at + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
    key.into()
}

/// The texts that a key was made of.
pub(super) fn key_texts(key: &[u8]) -> Vec<&[u8]> {
    let mut texts = Vec::new();
    let mut rest = key;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((text, after)) = after.split_at_checked(length) else { break };
        texts.push(text);
        rest = after;
    }
    texts
}

#[cfg(test)]
mod tests;
