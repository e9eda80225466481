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
        Uncommitted { entries, cleared, bytes: 0, bytes_max, overflowed: false }
    }

    /// Notes a staged document.
    pub(super) fn put(&mut self, key: Key, table: TableName, document: Arc<str>) {
        self.insert(key, Entry { table: Some(table), document: Some(document), deleted: false });
    }

    /// Notes a staged delete.
    pub(super) fn delete(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.deleted = true;
        } else {
            self.insert(key, Entry { table: None, document: None, deleted: true });
        }
    }

    /// Notes that a table was emptied.
    pub(super) fn clear(&mut self, table: &TableName) {
        self.entries.retain(|_, entry| entry.table.as_ref() != Some(table));
        self.cleared.insert(table.clone());
    }

    /// Where the document of this table's row is. `moved`: it was deleted just now, because its key changed.
    pub(super) fn find(&self, key: &Key, table: &TableName, moved: bool) -> Known {
        if self.overflowed {
            return Known::Nothing;
        }
        match self.entries.get(key) {
            Some(entry) if entry.deleted && !moved => Known::Nothing,
            Some(Entry { document: Some(document), .. }) => Known::Document(Arc::clone(document)),
            _ if self.cleared.contains(table) => Known::Nothing,
            _ => Known::Committed,
        }
    }

    /// Forgets everything: it was committed or rolled back.
    pub(super) fn reset(&mut self) {
        *self = Uncommitted::new(self.bytes_max);
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        if self.overflowed {
            return;
        }
        // A replaced document's bytes stay counted: too high is harmless, and it is off by what one commit replaces twice.
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
        assert_eq!(uncommitted.find(&key("1"), &table("t"), true), Known::Document("{}".into()));
        assert_eq!(uncommitted.find(&key("1"), &table("t"), false), Known::Nothing);
        uncommitted.delete(key("2"));
        assert_eq!(uncommitted.find(&key("2"), &table("t"), true), Known::Committed);
    }

    #[test]
    fn an_emptied_tables_documents_are_not_taken_from_the_index() {
        let mut uncommitted = Uncommitted::new(1 << 20);
        uncommitted.put(key("1"), table("t"), "{}".into());
        uncommitted.clear(&table("t"));
        assert_eq!(uncommitted.find(&key("1"), &table("t"), false), Known::Nothing);
        assert_eq!(uncommitted.find(&key("1"), &table("other"), false), Known::Committed);
    }

    #[test]
    fn beyond_its_limit_nothing_is_known_until_the_commit() {
        let mut uncommitted = Uncommitted::new(1000);
        uncommitted.put(key("1"), table("t"), "x".repeat(2000).into());
        uncommitted.put(key("2"), table("t"), "{}".into());
        assert_eq!(uncommitted.find(&key("1"), &table("t"), false), Known::Nothing);
        assert_eq!(uncommitted.find(&key("3"), &table("t"), false), Known::Nothing, "it may have been forgotten");
        uncommitted.reset();
        assert_eq!(uncommitted.find(&key("1"), &table("t"), false), Known::Committed);
    }
}
