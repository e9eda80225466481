//! Which letters there are, whose rows they hold up, and what became of them. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::event::{Position, TableName};
use crate::project::mutation::Key;

/// A letter without its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of the change.
    pub position: Position,
    /// The key of its document, which may be empty.
    pub key: Key,
    /// See [`Mutation::rows`](crate::project::mutation::Mutation::rows).
    pub rows: Vec<Key>,
    /// Its table, where it is known.
    pub table: Option<TableName>,
    /// Survives a rename of the table.
    pub oid: Option<u32>,
    /// It brings nothing back.
    pub is_delete: bool,
    /// It was not refused itself: it waits for a letter of the same row.
    pub waits: bool,
    /// What became of it.
    pub fate: Fate,
    /// Why it was refused, when that was asked of the target again.
    pub again: Option<String>,
    /// Where it stands in the file, and how many bytes it has; nowhere while it is not written.
    pub(super) place: Option<(u64, u64)>,
}

/// What became of a letter. One that is discarded is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Open,
    /// A later change made it obsolete; at this Position, if it was one of the same log.
    Superseded(Option<Position>),
    /// By the retry of this number, if the target says that it has that.
    Delivered(u64),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Index {
    entries: BTreeMap<u64, Entry>,
    by_place: HashMap<(Position, Key), u64>,
    /// Of the open ones, in the order of the log.
    by_row: HashMap<Key, BTreeSet<(Position, u64)>>,
    open: usize,
    last: u64,
    retries: u64,
}

impl Index {
    /// Takes a letter under its number. One that is there already is replaced.
    pub fn insert(&mut self, id: u64, entry: Entry) {
        self.remove(id);
        self.last = self.last.max(id);
        self.by_place.insert((entry.position, entry.key.clone()), id);
        let fate = entry.fate;
        self.entries.insert(id, Entry { fate: Fate::Superseded(None), ..entry });
        self.set_fate(id, fate);
    }

    /// Forgets a letter.
    pub fn remove(&mut self, id: u64) -> Option<Entry> {
        self.set_fate(id, Fate::Superseded(None));
        let entry = self.entries.remove(&id)?;
        self.by_place.remove(&(entry.position, entry.key.clone()));
        Some(entry)
    }

    /// Says what became of a letter.
    pub fn set_fate(&mut self, id: u64, fate: Fate) {
        if let Fate::Delivered(retry) = fate {
            self.retries = self.retries.max(retry);
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (was, is) = (entry.fate == Fate::Open, fate == Fate::Open);
        entry.fate = fate;
        if was == is {
            return;
        }
        self.open = if is { self.open.saturating_add(1) } else { self.open.saturating_sub(1) };
        for row in &entry.rows {
            let place = (entry.position, id);
            if is {
                self.by_row.entry(row.clone()).or_default().insert(place);
            } else if let Some(places) = self.by_row.get_mut(row) {
                places.remove(&place);
                if places.is_empty() {
                    self.by_row.remove(row);
                }
            }
        }
    }

    /// A letter.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// The letter of a change, whatever became of it.
    #[must_use]
    pub fn of_change(&self, position: Position, key: &Key) -> Option<(u64, &Entry)> {
        let id = *self.by_place.get(&(position, key.clone()))?;
        Some((id, self.entries.get(&id)?))
    }

    /// The first open letter that holds up a change of these rows at this Position.
    #[must_use]
    pub fn holding(&self, rows: &[Key], position: Position) -> Option<Position> {
        let firsts = rows.iter().filter_map(|row| Some(self.by_row.get(row)?.first()?.0));
        firsts.min().filter(|first| *first <= position)
    }

    /// The open letters of these rows before a Position.
    #[must_use]
    pub fn of_rows(&self, rows: &[Key], before: Position) -> BTreeSet<u64> {
        let places = rows.iter().filter_map(|row| self.by_row.get(row)).flatten();
        places.filter(|(position, _)| *position < before).map(|(_, id)| *id).collect()
    }

    /// The open letters of a table up to a Position.
    #[must_use]
    pub fn of_table(&self, table: &TableName, oid: Option<u32>, upto: Position) -> Vec<u64> {
        let of_it = |entry: &Entry| {
            let same = entry.table.as_ref() == Some(table) || (oid.is_some() && entry.oid == oid);
            same && entry.fate == Fate::Open && entry.position <= upto
        };
        self.iter().filter(|(_, entry)| of_it(entry)).map(|(id, _)| id).collect()
    }

    /// The open letters that have to be delivered together with this one, in the order of the log: those of its rows, of their rows, and so on.
    #[must_use]
    pub fn together(&self, id: u64) -> Vec<u64> {
        let (mut found, mut new) = (BTreeSet::new(), vec![id]);
        while let Some(id) = new.pop() {
            let Some(entry) = self.entries.get(&id).filter(|entry| entry.fate == Fate::Open) else { continue };
            if found.insert((entry.position, id)) {
                let places = entry.rows.iter().filter_map(|row| self.by_row.get(row)).flatten();
                new.extend(places.map(|(_, id)| *id));
            }
        }
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// How many letters are open.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.open
    }

    /// How many rows have open letters.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.by_row.len()
    }

    /// The number of the next letter.
    #[must_use]
    pub const fn next_id(&self) -> u64 {
        self.last.saturating_add(1)
    }

    /// Numbers up to this one are taken, also if their letters are gone.
    pub(super) fn took(&mut self, id: u64) {
        self.last = self.last.max(id);
    }

    /// The number of the last retry.
    #[must_use]
    pub const fn retries(&self) -> u64 {
        self.retries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Lsn;

    fn at(lsn: u64) -> Position {
        Position { epoch: 1, commit_lsn: Lsn::new(lsn), ordinal: 0 }
    }

    fn keys(names: &[&str]) -> Vec<Key> {
        names.iter().map(|name| Key(name.as_bytes().to_vec().into())).collect()
    }

    fn entry(lsn: u64, rows: &[&str]) -> Entry {
        let rows = keys(rows);
        Entry {
            position: at(lsn),
            key: rows.first().cloned().unwrap_or(Key(bytes::Bytes::new())),
            rows,
            table: Some(TableName { schema: "public".into(), table: "t".into() }),
            oid: Some(7),
            is_delete: false,
            waits: false,
            fate: Fate::Open,
            again: None,
            place: None,
        }
    }

    fn index(letters: &[(u64, &[&str])]) -> Index {
        let mut index = Index::default();
        for (lsn, rows) in letters {
            index.insert(index.next_id(), entry(*lsn, rows));
        }
        index
    }

    #[test]
    fn a_change_is_held_up_by_letters_before_it_and_by_no_later_one() {
        let index = index(&[(5, &["a"]), (7, &["a"])]);
        assert_eq!(index.holding(&keys(&["a"]), at(4)), None, "it comes again after a crash, and was never refused");
        assert_eq!(index.holding(&keys(&["a"]), at(5)), Some(at(5)));
        assert_eq!(index.holding(&keys(&["b", "a"]), at(9)), Some(at(5)), "of two rows, one is enough");
        assert_eq!(index.holding(&keys(&["b"]), at(9)), None);
        assert_eq!((index.open(), index.rows()), (2, 1));
    }

    #[test]
    fn what_became_of_a_letter_frees_its_row_and_may_be_taken_back() {
        let mut index = index(&[(5, &["a"])]);
        for fate in [Fate::Superseded(Some(at(6))), Fate::Delivered(3)] {
            index.set_fate(1, fate);
            assert_eq!((index.open(), index.rows(), index.holding(&keys(&["a"]), at(9))), (0, 0, None));
            index.set_fate(1, Fate::Open);
            assert_eq!(index.holding(&keys(&["a"]), at(9)), Some(at(5)));
        }
        assert_eq!(index.retries(), 3);
        index.remove(1);
        assert_eq!((index.open(), index.next_id(), index.of_change(at(5), &keys(&["a"])[0])), (0, 2, None));
    }

    /// A row that moves ties two keys together, and another that moves to one of them a third.
    #[test]
    fn rows_that_moved_are_delivered_together_in_the_order_of_the_log() {
        let index = index(&[(9, &["c", "b"]), (5, &["a"]), (7, &["b", "a"]), (6, &["x"]), (8, &[])]);
        assert_eq!(index.together(2), [2, 3, 1]);
        assert_eq!(index.together(1), [2, 3, 1]);
        assert_eq!(index.together(4), [4]);
        assert_eq!(index.together(5), [5], "a row without a key is alone");
    }

    #[test]
    fn a_table_is_known_by_its_name_or_by_its_oid() {
        let index = index(&[(5, &["a"]), (9, &["b"])]);
        let other = TableName { schema: "public".into(), table: "renamed".into() };
        let name = TableName { schema: "public".into(), table: "t".into() };
        assert_eq!(index.of_table(&other, Some(7), at(8)), [1]);
        assert_eq!(index.of_table(&name, None, at(9)), [1, 2]);
        assert_eq!(index.of_table(&other, None, at(9)), Vec::<u64>::new());
    }
}
