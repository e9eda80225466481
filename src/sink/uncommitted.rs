//! What was staged and is not in the index yet, so that a document can be completed from it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::event::TableName;
use crate::project::mutation::Key;

/// Documents staged since the last commit. Beyond the limit all are forgotten, and from then on until the commit nothing
/// is known: rows that lack values are then completed from the source.
#[derive(Debug)]
pub(super) struct Uncommitted {
    entries: HashMap<Key, Entry>,
    /// Tables emptied since the last commit: what the index has of them is gone.
    cleared: HashSet<TableName>,
    /// Counts the calls of `stage`.
    run: u64,
    bytes: usize,
    bytes_max: usize,
    overflowed: bool,
}

#[derive(Debug)]
struct Entry {
    table: Option<TableName>,
    /// The document last staged. A delete leaves it, because the row may have moved and be completed from it.
    document: Option<Arc<str>>,
    deleted: bool,
    /// The run in which it was staged.
    run: u64,
    /// What there was before that run.
    before: Known,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// This is the document.
    Document(Arc<str>),
    /// What the index has, if anything.
    Committed,
    /// Nothing can be had.
    Nothing,
}

impl Uncommitted {
    pub(super) fn new(bytes_max: usize) -> Self {
        let (entries, cleared) = (HashMap::new(), HashSet::new());
        Uncommitted { entries, cleared, run: 0, bytes: 0, bytes_max, overflowed: false }
    }

    /// A run of mutations begins. In a run, only the last effect on a key is left ([`crate::project::coalesce`]).
    pub(super) fn begin_run(&mut self) {
        self.run = self.run.saturating_add(1);
    }

    /// Notes a staged document.
    pub(super) fn put(&mut self, key: Key, table: TableName, document: Arc<str>) {
        let before = match self.entries.get(&key) {
            Some(entry) if entry.run == self.run => entry.before.clone(),
            _ => self.find(&key, &table),
        };
        self.insert(key, Entry { table: Some(table), document: Some(document), deleted: false, run: self.run, before });
    }

    /// Notes a staged delete.
    pub(super) fn delete(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.deleted = true;
        } else {
            let before = Known::Committed;
            self.insert(key, Entry { table: None, document: None, deleted: true, run: self.run, before });
        }
    }

    /// Notes that a table was emptied.
    pub(super) fn clear(&mut self, table: &TableName) {
        self.entries.retain(|_, entry| entry.table.as_ref() != Some(table));
        self.cleared.insert(table.clone());
    }

    /// Where the document of this table's row is.
    pub(super) fn find(&self, key: &Key, table: &TableName) -> Known {
        match self.entries.get(key) {
            Some(entry) if entry.deleted => Known::Nothing,
            entry => self.last_document(entry, table),
        }
    }

    /// Where the document is of a row that had this key until now. Its delete has been staged already; or it is no longer
    /// in the run, because another row took the key afterwards, and may even stand there now. That one's values are not
    /// this row's.
    pub(super) fn find_moved(&self, key: &Key, table: &TableName) -> Known {
        match self.entries.get(key) {
            Some(entry) if !entry.deleted && entry.run == self.run && !self.overflowed => entry.before.clone(),
            entry => self.last_document(entry, table),
        }
    }

    /// Forgets everything: it was committed or rolled back.
    pub(super) fn reset(&mut self) {
        *self = Uncommitted::new(self.bytes_max);
    }

    fn last_document(&self, entry: Option<&Entry>, table: &TableName) -> Known {
        match entry.and_then(|entry| entry.document.as_ref()) {
            _ if self.overflowed => Known::Nothing,
            Some(document) => Known::Document(Arc::clone(document)),
            None if self.cleared.contains(table) => Known::Nothing,
            None => Known::Committed,
        }
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        if self.overflowed {
            return;
        }
        // A replaced document's bytes stay counted: too high is harmless, and it may still be the one before the run.
        let document_bytes = entry.document.as_ref().map_or(0, |document| document.len());
        self.bytes = self.bytes.saturating_add(key.0.len()).saturating_add(document_bytes).saturating_add(ENTRY_BYTES);
        self.entries.insert(key, entry);
        if self.bytes > self.bytes_max {
            self.overflowed = true;
            self.entries = HashMap::new();
        }
    }
}

/// What an entry costs beside its key and its document, about.
const ENTRY_BYTES: usize = 160;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn key(text: &'static str) -> Key {
        Key(Bytes::from_static(text.as_bytes()))
    }

    fn table(name: &str) -> TableName {
        TableName { schema: "public".to_owned(), table: name.to_owned() }
    }

    #[test]
    fn a_moved_rows_document_is_the_one_staged_before_the_delete() {
        let mut uncommitted = Uncommitted::new(1 << 20);
        uncommitted.put(key("1"), table("t"), "{}".into());
        uncommitted.delete(key("1"));
        assert_eq!(uncommitted.find_moved(&key("1"), &table("t")), Known::Document("{}".into()));
        assert_eq!(uncommitted.find(&key("1"), &table("t")), Known::Nothing);
        uncommitted.delete(key("2"));
        assert_eq!(uncommitted.find_moved(&key("2"), &table("t")), Known::Committed);
    }

    #[test]
    fn an_emptied_tables_documents_are_not_taken_from_the_index() {
        let mut uncommitted = Uncommitted::new(1 << 20);
        uncommitted.put(key("1"), table("t"), "{}".into());
        uncommitted.clear(&table("t"));
        assert_eq!(uncommitted.find(&key("1"), &table("t")), Known::Nothing);
        assert_eq!(uncommitted.find(&key("1"), &table("other")), Known::Committed);
    }

    /// `1` becomes `2`, a new row `1` is inserted, then the moved row changes: coalesced, the new row stands first in the run,
    /// and the moved row still says that its values are under `1`. They were, before the run.
    #[test]
    fn a_row_that_took_a_moved_rows_key_does_not_lend_it_values() {
        let mut uncommitted = Uncommitted::new(1 << 20);
        uncommitted.begin_run();
        uncommitted.put(key("1"), table("t"), "new".into());
        assert_eq!(uncommitted.find_moved(&key("1"), &table("t")), Known::Committed);
        uncommitted.begin_run();
        assert_eq!(uncommitted.find_moved(&key("1"), &table("t")), Known::Document("new".into()));
        uncommitted.put(key("1"), table("t"), "newer".into());
        uncommitted.put(key("1"), table("t"), "newest".into());
        assert_eq!(uncommitted.find_moved(&key("1"), &table("t")), Known::Document("new".into()));
        assert_eq!(uncommitted.find(&key("1"), &table("t")), Known::Document("newest".into()));
    }

    #[test]
    fn beyond_its_limit_nothing_is_known_until_the_commit() {
        let mut uncommitted = Uncommitted::new(1000);
        uncommitted.put(key("1"), table("t"), "x".repeat(2000).into());
        uncommitted.put(key("2"), table("t"), "{}".into());
        assert_eq!(uncommitted.find(&key("1"), &table("t")), Known::Nothing);
        assert_eq!(uncommitted.find(&key("3"), &table("t")), Known::Nothing, "it may have been forgotten");
        uncommitted.reset();
        assert_eq!(uncommitted.find(&key("1"), &table("t")), Known::Committed);
    }
}
