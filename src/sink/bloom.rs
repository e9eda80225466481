//! A set of hashes that says of what was put in that it may be there, and of nearly everything else that it is not (Bloom, 1970, "Space/time trade-offs in
//! hash coding with allowable errors").

use std::hash::{DefaultHasher, Hash, Hasher};

/// See the module.
#[derive(Debug)]
pub(super) struct Bloom {
    words: Vec<u64>,
    looks: u64,
}

impl Bloom {
    /// Empty, of so many words of 64 bits. For each hash so many bits are looked at.
    pub(super) fn new(words: usize, looks: u64) -> Self {
        Bloom { words: vec![0; words], looks }
    }

    /// How many words there are.
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    pub(super) fn add(&mut self, hash: u64) {
        for look in 0..self.looks {
            let (word, bit) = self.place(hash, look);
            if let Some(word) = self.words.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// False means certainly not.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let mut places = (0..self.looks).map(|look| self.place(hash, look));
        places.all(|(word, bit)| self.words.get(word).is_some_and(|word| word & bit != 0))
    }

    /// Which bit of which word, made of the hash's halves (Kirsch and Mitzenmacher, 2006).
    fn place(&self, hash: u64, look: u64) -> (usize, u64) {
        let (first, step) = (hash & 0xFFFF_FFFF, hash >> 32);
        let at = first.wrapping_add(step.wrapping_mul(look));
        let word = usize::try_from(at >> 6).unwrap_or_default() % self.words.len().max(1);
        (word, 1 << (at & 63))
    }
}

/// A key's hash, the same for as long as the process runs.
pub(super) fn hash_of(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
