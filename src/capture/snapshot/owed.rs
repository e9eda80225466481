//! The rows of a table under copy that the log does not have whole. Pure.
//!
//! An UPDATE does not send TOAST values that it leaves alone. Where the table is read by places, it may also move its row from
//! a stretch that is still to be read into one that has been read: then no chunk will bring those values. So the keys of such
//! updates are remembered as *owed* until the log has the row whole, from a chunk or from the stream; what is left when
//! every place has been read is read by key. From then on nothing is added: an UPDATE of a row that the log has whole lacks
//! nothing.

use std::collections::HashSet;

use super::window::Key;

/// The keys.
#[derive(Debug, Default)]
pub struct Owed {
    keys: HashSet<Key>,
    bytes: usize,
    closed: bool,
    overflown: bool,
}

/// Beyond it the copy begins anew, which needs no memory of its past.
const BYTES_MAX: usize = 32 << 20;
/// What a key costs beside its bytes.
const ENTRY_BYTES: usize = 48;

impl Owed {
    /// An update without all values: what was owed under the old key is owed under the new one.
    pub(super) fn moved(&mut self, old: &Key, new: &Key) {
        let was_owed = self.paid(old);
        if (was_owed || !self.closed) && self.keys.insert(new.clone()) {
            self.bytes += ENTRY_BYTES + new.len();
            if self.bytes > BYTES_MAX {
                self.clear();
                self.overflown = true;
            }
        }
    }

    /// The log has the row whole, or it is gone. Whether it was owed.
    pub(super) fn paid(&mut self, key: &[u8]) -> bool {
        let was_owed = !self.keys.is_empty() && self.keys.remove(key);
        if was_owed {
            self.bytes = self.bytes.saturating_sub(ENTRY_BYTES + key.len());
        }
        was_owed
    }

    /// All rows are gone.
    pub(super) fn clear(&mut self) {
        self.keys = HashSet::new();
        self.bytes = 0;
    }

    /// Every place of the table has been read.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// This row need not be waited for.
    pub fn forgive(&mut self, key: &[u8]) {
        self.paid(key);
    }

    /// The places are read anew.
    pub fn reopen(&mut self) {
        *self = Owed::default();
    }

    /// Nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// More was owed than can be remembered.
    #[must_use]
    pub fn is_overflown(&self) -> bool {
        self.overflown
    }

    /// Some of the keys. They stay owed until a chunk with them is placed.
    #[must_use]
    pub fn some(&self, count: usize) -> Vec<Box<[u8]>> {
        self.keys.iter().take(count).cloned().collect()
    }
}
