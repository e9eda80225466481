//! Which rows of a chunk are already overtaken by the stream. Pure.
//!
//! A chunk's rows enter the log once the stream has passed everything its snapshot saw. By then the stream may have carried
//! changes that the snapshot did *not* see; a chunk's row must not be put over those. From before the snapshot is taken
//! until the chunk is placed, the window therefore remembers which keys of the table the stream touched, by which
//! transaction, and what became of the row.
//!
//! "Saw" is decided by transaction visibility, not by an LSN: a commit is decoded as soon as it is flushed, but other
//! sessions see it only when the committing backend says so, after synchronous replication for instance. A transaction
//! decoded *before* the window opened and still not visible to the snapshot makes the chunk void ([`Window::accept`]): it is
//! read again.
//!
//! One transaction id per key is enough: a row's next writer waits for the lock of the one before, which is let go only
//! after that one became visible. If the last is seen, all are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::super::CaptureError;
use super::visibility::Visibility;
use crate::decode::tuple;
use crate::event::{Cell, Change, Op, Relation, Row, RowBuilder};

/// The window over one table at a time.
#[derive(Debug, Default)]
pub struct Window {
    /// Transactions in the log that some snapshot may not see yet.
    decoded: HashSet<u32>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    oid: u32,
    /// Decoded before the window opened; the snapshot must see them all.
    before: HashSet<u32>,
    touched: HashMap<Box<[u8]>, Touched>,
    truncated: Option<u32>,
    bytes: usize,
    overflown: bool,
}

/// What the stream did to a key.
#[derive(Debug)]
struct Touched {
    xid: u32,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// The row as far as the stream has told it.
    Row(Row),
    /// It goes by another key now.
    Moved(Box<[u8]>),
    Deleted,
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

/// The window's memory. Beyond it the chunk is read again, smaller luck next time: nothing is lost.
const BYTES_MAX: usize = 8 << 20;

impl Window {
    /// A transaction is being appended to the log.
    pub fn transaction(&mut self, xid: u32) {
        self.decoded.insert(xid);
    }

    /// Opens the window on a table. Call it before the chunk's snapshot is taken.
    pub fn open(&mut self, oid: u32) {
        let before = self.decoded.clone();
        self.open = Some(Open { oid, before, touched: HashMap::new(), truncated: None, bytes: 0, overflown: false });
    }

    /// Closes it.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// The stream appends a change.
    ///
    /// # Errors
    /// Its bytes are not those of a change of this relation.
    #[inline]
    pub fn change(&mut self, xid: u32, op: Op, relation: &Arc<Relation>, body: &[u8]) -> Result<(), CaptureError> {
        match &mut self.open {
            Some(open) if open.oid == relation.oid => open.change(xid, op, relation, body),
            _ => Ok(()),
        }
    }

    /// Whether a chunk read under this snapshot can be placed by what the window knows. Also forgets transactions that
    /// every snapshot from now on will see.
    pub fn accept(&mut self, visibility: &Visibility) -> bool {
        self.decoded.retain(|xid| !visibility.always_seen(*xid));
        self.open.as_ref().is_some_and(|open| !open.overflown && open.before.iter().all(|xid| visibility.sees(*xid)))
    }

    /// What to do with a row of the chunk.
    #[must_use]
    pub fn judge(&self, visibility: &Visibility, relation: &Relation, row: &Row) -> Verdict {
        let Some(open) = &self.open else { return Verdict::Keep };
        match open.touched.get(&*key_of(relation, row)) {
            Some(touched) if !visibility.sees(touched.xid) => open.verdict(touched, row),
            _ if open.truncated.is_some_and(|xid| !visibility.sees(xid)) => Verdict::Drop,
            _ => Verdict::Keep,
        }
    }
}

impl Open {
    fn change(&mut self, xid: u32, op: Op, relation: &Arc<Relation>, body: &[u8]) -> Result<(), CaptureError> {
        if self.overflown {
            return Ok(());
        }
        match tuple::change(op, relation, &Bytes::copy_from_slice(body))? {
            Change::Insert { relation, new } => {
                self.insert(key_of(&relation, &new), Touched { xid, outcome: Outcome::Row(new) });
            }
            Change::Update { relation, old, new } => {
                let named_by = old.as_ref().map_or(&new, |old| old.row());
                let (old_key, new_key) = (key_of(&relation, named_by), key_of(&relation, &new));
                let image = match self.touched.get(&old_key) {
                    Some(Touched { outcome: Outcome::Row(before), .. }) => complete(&new, before),
                    _ => new,
                };
                if old_key != new_key {
                    self.insert(old_key, Touched { xid, outcome: Outcome::Moved(new_key.clone()) });
                }
                self.insert(new_key, Touched { xid, outcome: Outcome::Row(image) });
            }
            Change::Delete { relation, old } => {
                self.insert(key_of(&relation, old.row()), Touched { xid, outcome: Outcome::Deleted });
            }
            Change::Truncate { .. } => {
                self.touched.clear();
                self.bytes = 0;
                self.truncated = Some(xid);
            }
            Change::Read { .. } | Change::Message { .. } | Change::CopyBegun { .. } | Change::CopyDone { .. } => {}
        }
        Ok(())
    }

    /// The chunk holds a row that the stream has changed since. Where the stream's own row lacks values, the chunk's has
    /// them, also if the row goes by another key by now: no later chunk might bring it.
    fn verdict(&self, touched: &Touched, row: &Row) -> Verdict {
        let mut touched = Some(touched);
        // A chain longer than the map is a circle: keys that were swapped.
        for _ in 0..=self.touched.len() {
            match touched.map(|touched| &touched.outcome) {
                Some(Outcome::Moved(key)) => touched = self.touched.get(key),
                Some(Outcome::Row(image)) if image.lacks_values() => return Verdict::Complete(complete(image, row)),
                Some(Outcome::Row(_) | Outcome::Deleted) | None => return Verdict::Drop,
            }
        }
        Verdict::Drop
    }

    fn insert(&mut self, key: Box<[u8]>, touched: Touched) {
        const ENTRY_BYTES: usize = 96;
        let held = match &touched.outcome {
            Outcome::Row(row) => row.as_bytes().len(),
            Outcome::Moved(key) => key.len(),
            Outcome::Deleted => 0,
        };
        self.bytes += ENTRY_BYTES + key.len() + held;
        self.touched.insert(key, touched);
        if self.bytes > BYTES_MAX {
            self.overflown = true;
            self.touched = HashMap::new();
        }
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

/// A row's key as bytes: each key cell's length and text.
fn key_of(relation: &Relation, row: &Row) -> Box<[u8]> {
    let mut key = Vec::new();
    for &index in &relation.key {
        let value = match row.cell(index) {
            Some(Cell::Text(value) | Cell::Binary(value)) => value,
            Some(Cell::Null | Cell::Unchanged) | None => &[],
        };
        key.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
        key.extend_from_slice(value);
    }
    key.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Column, ReplicaIdentity, Shape, TableName};

    fn relation() -> Arc<Relation> {
        let column = |name: &str| Column { name: name.into(), type_oid: 25, type_modifier: -1, shape: Shape::TEXT };
        Arc::new(Relation {
            oid: 1,
            name: TableName { schema: "public".into(), table: "t".into() },
            identity: ReplicaIdentity::Default,
            columns: vec![column("id"), column("small"), column("big")],
            key: vec![0],
        })
    }

    fn row(cells: [Cell<'_>; 3]) -> Row {
        let mut builder = RowBuilder::default();
        cells.into_iter().for_each(|cell| builder.push(cell));
        builder.finish()
    }

    fn text(id: &str, small: &str, big: &str) -> Row {
        row([Cell::Text(id.as_bytes()), Cell::Text(small.as_bytes()), Cell::Text(big.as_bytes())])
    }

    fn body(letter: u8, row: &Row) -> Vec<u8> {
        [&[letter][..], row.as_bytes()].concat()
    }

    /// Sees everything below 100.
    fn snapshot() -> Visibility {
        Visibility::parse("100:100:").expect("a snapshot")
    }

    fn window(changes: &[(u32, Op, Vec<u8>)]) -> Window {
        let mut window = Window::default();
        window.open(1);
        for (xid, op, body) in changes {
            window.transaction(*xid);
            window.change(*xid, *op, &relation(), body).expect("sound");
        }
        window
    }

    #[test]
    fn a_row_that_the_stream_changed_behind_the_snapshots_back_is_dropped() {
        let newer = text("1", "new", "B");
        let chunk_row = text("1", "old", "A");
        let unseen = window(&[(100, Op::Update, body(b'N', &newer))]);
        assert_eq!(unseen.judge(&snapshot(), &relation(), &chunk_row), Verdict::Drop);
        let seen = window(&[(99, Op::Update, body(b'N', &newer))]);
        assert_eq!(seen.judge(&snapshot(), &relation(), &newer), Verdict::Keep, "the chunk holds that change");
        assert_eq!(unseen.judge(&snapshot(), &relation(), &text("2", "x", "y")), Verdict::Keep);
    }

    #[test]
    fn a_row_deleted_or_truncated_since_is_not_brought_back() {
        let gone = text("1", "", "");
        let deleted = window(&[(100, Op::Delete, body(b'K', &gone))]);
        assert_eq!(deleted.judge(&snapshot(), &relation(), &text("1", "a", "b")), Verdict::Drop);
        let truncated = window(&[(100, Op::Truncate, Vec::new())]);
        assert_eq!(truncated.judge(&snapshot(), &relation(), &text("7", "a", "b")), Verdict::Drop);
    }

    #[test]
    fn unchanged_toast_of_a_newer_row_is_completed_from_the_chunk() {
        // The stream's row alone would leave sinks without the value: nothing before it had brought it.
        let newer = row([Cell::Text(b"1"), Cell::Text(b"new"), Cell::Unchanged]);
        let unseen = window(&[(100, Op::Update, body(b'N', &newer))]);
        let verdict = unseen.judge(&snapshot(), &relation(), &text("1", "old", "BIG"));
        assert_eq!(verdict, Verdict::Complete(text("1", "new", "BIG")));
    }

    #[test]
    fn a_toast_value_set_since_wins_over_the_chunks() {
        let set = text("1", "a", "NEW BIG");
        let kept = row([Cell::Text(b"1"), Cell::Text(b"b"), Cell::Unchanged]);
        let unseen = window(&[(100, Op::Update, body(b'N', &set)), (101, Op::Update, body(b'N', &kept))]);
        let verdict = unseen.judge(&snapshot(), &relation(), &text("1", "old", "OLD BIG"));
        assert_eq!(verdict, Verdict::Drop, "the stream has the whole row by itself");
    }

    #[test]
    fn a_row_that_moved_to_another_key_is_completed_there() {
        let key_only = row([Cell::Text(b"1"), Cell::Null, Cell::Null]);
        let moved = row([Cell::Text(b"2"), Cell::Text(b"s"), Cell::Unchanged]);
        let bytes = [body(b'K', &key_only), body(b'N', &moved)].concat();
        let unseen = window(&[(100, Op::Update, bytes)]);
        // The chunk saw the row under its old key; under the new one no later chunk may bring it.
        let verdict = unseen.judge(&snapshot(), &relation(), &text("1", "s", "BIG"));
        assert_eq!(verdict, Verdict::Complete(text("2", "s", "BIG")));
    }

    #[test]
    fn a_transaction_decoded_before_the_window_but_not_visible_yet_voids_the_chunk() {
        // Synchronous replication: the commit is in the WAL and decoded, but the committing session still waits.
        let mut window = Window::default();
        window.transaction(50);
        window.open(1);
        let waiting = Visibility::parse("50:100:50").expect("a snapshot");
        assert!(!window.accept(&waiting));
        window.open(1);
        assert!(window.accept(&snapshot()));
        assert!(window.decoded.is_empty(), "seen for good");
    }

    #[test]
    fn memory_is_bounded_and_overflow_voids_the_chunk() {
        let big = "x".repeat(BYTES_MAX / 2);
        let changes = [1, 2, 3].map(|id: u8| (100, Op::Insert, body(b'N', &text(&id.to_string(), "", &big))));
        let mut window = window(&changes);
        assert!(!window.accept(&snapshot()));
        assert!(window.open.as_ref().is_some_and(|open| open.touched.is_empty()));
    }
}
