//! Which keys the index may hold, so that a row that is new to it need not first be deleted from it.
//!
//! A delete looks for its key in every segment at the next commit, which costs as much as indexing a small row does. A filter
//! ([`Bloom`]) says of a key that was never put that it was not, but for one in a hundred or so; that one is
//! deleted in vain. It is made of the index itself when that is opened, and grows by layers, each twice the one before, up to a limit: beyond
//! that every key may be there.

use tantivy::schema::Field;
use tantivy::{Searcher, TantivyError};

use crate::sink::bloom::{Bloom, hash_of};

/// Ten bits and seven looks for each key: one false answer in about 120.
const BITS_PER_KEY: usize = 10;
const LOOKS: u64 = 7;
/// What the first layer has room for.
const FIRST_KEYS: usize = 1 << 16;

/// See the module.
pub(super) struct Seen {
    /// The last one is not full.
    layers: Vec<Layer>,
    bytes_left: usize,
    /// There were more keys than there is room for.
    is_lost: bool,
}

struct Layer {
    filter: Bloom,
    /// So many keys still.
    room: usize,
}

impl Seen {
    /// Of no keys, with so much memory.
    pub(super) fn new(bytes_max: usize) -> Self {
        Seen { layers: Vec::new(), bytes_left: bytes_max, is_lost: false }
    }

    /// Of the terms that an index has in a field.
    ///
    /// # Errors
    /// The index cannot be read.
    pub(super) fn of(searcher: &Searcher, field: Field, bytes_max: usize) -> Result<Self, TantivyError> {
        let mut seen = Seen::new(bytes_max);
        let documents: usize = searcher.segment_readers().iter().map(|segment| segment.max_doc() as usize).sum();
        seen.grow(documents.saturating_mul(2));
        for segment in searcher.segment_readers() {
            let terms = segment.inverted_index(field)?;
            let mut stream = terms.terms().stream()?;
            while !seen.is_lost && stream.advance() {
                seen.note(stream.key());
            }
        }
        Ok(seen)
    }

    /// Notes a key; whether it may have been there before.
    pub(super) fn note(&mut self, key: &[u8]) -> bool {
        if self.is_lost {
            return true;
        }
        let hash = hash_of(key);
        if self.layers.iter().any(|layer| layer.filter.may_have(hash)) {
            return true;
        }
        if self.layers.last().is_none_or(|last| last.room == 0) {
            let twice = |last: &Layer| last.filter.words().saturating_mul(128) / BITS_PER_KEY;
            self.grow(self.layers.last().map_or(FIRST_KEYS, twice));
        }
        // There is none once they are lost.
        if let Some(last) = self.layers.last_mut() {
            last.filter.add(hash);
            last.room = last.room.saturating_sub(1);
        }
        false
    }

    /// Adds a layer for so many keys.
    fn grow(&mut self, keys: usize) {
        let words = keys.max(FIRST_KEYS).saturating_mul(BITS_PER_KEY).div_ceil(64);
        let bytes = words.saturating_mul(8);
        if bytes > self.bytes_left {
            *self = Seen { layers: Vec::new(), bytes_left: 0, is_lost: true };
            return;
        }
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.layers.push(Layer { filter: Bloom::new(words, LOOKS), room: words.saturating_mul(64) / BITS_PER_KEY });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Vec<u8> {
        format!("public.t:{number}").into_bytes()
    }

    #[test]
    fn what_was_noted_is_known_through_all_layers_and_little_else_is() {
        let mut seen = Seen::new(1 << 20);
        let first = (0..300_000).filter(|&number| seen.note(&key(number))).count();
        assert!(seen.layers.len() > 1, "it was to grow");
        assert!(first < 300_000 / 20, "{first} keys were taken for known");
        assert!((0..300_000).all(|number| seen.note(&key(number))));
    }

    #[test]
    fn without_memory_every_key_may_be_there() {
        let mut seen = Seen::new(100_000);
        (0..200_000).for_each(|number| _ = seen.note(&key(number)));
        assert!(seen.is_lost && seen.layers.is_empty());
        assert!(seen.note(&key(1)) && seen.note(&key(1_000_000)));
    }
}
