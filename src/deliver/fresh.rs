//! The keys that a table has by the log's own word, in bounded memory. Pure.
//!
//! Kept are 127-bit hashes of the keys, and once they are too many only those of a range: the rest is for further passes over
//! the same events. Two keys of one hash would leave a stale document in place; with random seeds that is not to be expected
//! in this universe's time.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;

use crate::project::mutation::{Effect, Key, Mutation};

/// See the module.
#[derive(Debug)]
pub(crate) struct Fresh {
    seeds: [RandomState; 2],
    /// Hashes from `low` to `high`, both included, are told apart in this pass.
    low: u128,
    high: u128,
    hashes: HashSet<u128>,
    count_max: usize,
}

/// What one hash takes in the set, spare room included.
const HASH_BYTES: usize = 2 * size_of::<u128>();

impl Fresh {
    /// Takes about so many bytes, whatever the number of keys.
    pub(crate) fn new(memory_bytes: usize) -> Self {
        let count_max = (memory_bytes / HASH_BYTES).max(1);
        let seeds = [RandomState::new(), RandomState::new()];
        Fresh { seeds, low: 0, high: u128::MAX, hashes: HashSet::new(), count_max }
    }

    /// Takes note of what a mutation of the table does to its keys. In the order of the log.
    pub(crate) fn note(&mut self, mutation: &Mutation) {
        match &mutation.effect {
            Effect::Put { .. } => self.set(&mutation.key, true),
            Effect::Delete => self.set(&mutation.key, false),
            Effect::Clear(_) => self.hashes.clear(),
            Effect::Sweep { .. } | Effect::Append(_) => {}
        }
    }

    /// Takes note of whether the table has a row of this key.
    pub(crate) fn set(&mut self, key: &Key, is_there: bool) {
        self.put(self.hash(&key.0), is_there);
        self.narrow();
    }

    /// The same by the key's hash, whatever room that takes: who does so narrows afterwards.
    pub(crate) fn put(&mut self, hash: u128, is_there: bool) {
        if !is_there {
            self.hashes.remove(&hash);
        } else if self.covers(hash) {
            self.hashes.insert(hash);
        }
    }

    /// Whether the table certainly has no row of this key. Of keys outside this pass's range nothing is certain.
    pub(crate) fn is_stale(&self, key: &Key) -> bool {
        self.lacks(self.hash(&key.0))
    }

    /// The same by the key's hash.
    pub(crate) fn lacks(&self, hash: u128) -> bool {
        self.covers(hash) && !self.hashes.contains(&hash)
    }

    /// The range of hashes that are told apart now.
    pub(crate) fn range(&self) -> RangeInclusive<u128> {
        self.low..=self.high
    }

    /// Begins with another range. Nothing of it has been noted.
    pub(crate) fn begin(&mut self, range: RangeInclusive<u128>) {
        (self.low, self.high) = range.into_inner();
        self.hashes.clear();
    }

    /// What is in the range is also told apart up to here. Nothing of that has been noted.
    pub(crate) fn extend(&mut self, high: u128) {
        self.high = self.high.max(high);
    }

    /// What is kept.
    pub(crate) fn hashes(&self) -> impl ExactSizeIterator<Item = u128> {
        self.hashes.iter().copied()
    }

    /// So many more fit.
    pub(crate) fn room(&self) -> usize {
        self.count_max.saturating_sub(self.hashes.len())
    }

    /// More are kept than fit.
    pub(crate) fn is_overfull(&self) -> bool {
        self.hashes.len() > self.count_max
    }

    /// Goes on to the next range, for which the events must be noted again; `false` once all have been.
    pub(crate) fn next_pass(&mut self) -> bool {
        let width = self.high.saturating_sub(self.low);
        let Some(low) = self.high.checked_add(1) else { return false };
        (self.low, self.high) = (low, low.saturating_add(width));
        self.hashes.clear();
        true
    }

    /// Halves the range until what is in it fits.
    pub(crate) fn narrow(&mut self) {
        while self.is_overfull() && self.low < self.high {
            self.high = self.low.saturating_add(self.high.saturating_sub(self.low) / 2);
            let high = self.high;
            self.hashes.retain(|&hash| hash <= high);
        }
    }

    fn covers(&self, hash: u128) -> bool {
        (self.low..=self.high).contains(&hash)
    }

    /// A key's hash. Its last bit is 0: what is said of the key can stand there.
    pub(crate) fn hash(&self, key: &[u8]) -> u128 {
        let [high, low] = self.seeds.each_ref().map(|seed| u128::from(seed.hash_one(key)));
        (high << 64 | low) & !1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Position, TableName};
    use crate::project::mutation::Document;
    use crate::project::testing::{relation, row};

    fn mutation(key: u32, effect: Effect) -> Mutation {
        Mutation { key: name(key), position: Position::default(), effect }
    }

    fn name(key: u32) -> Key {
        Key(bytes::Bytes::from(key.to_string()))
    }

    fn put(key: u32) -> Mutation {
        let document = Document { relation: relation("t", &["id"], &[0]).into(), row: row(&["1"]) };
        mutation(key, Effect::Put { document, moved_from: None })
    }

    #[test]
    fn what_was_put_and_not_taken_away_again_is_fresh() {
        let mut fresh = Fresh::new(1 << 20);
        let table = TableName { schema: "public".into(), table: "t".into() };
        for mutation in [put(1), mutation(0, Effect::Clear(table)), put(2), put(3), mutation(3, Effect::Delete)] {
            fresh.note(&mutation);
        }
        let stale: Vec<u32> = (1..=4).filter(|&key| fresh.is_stale(&name(key))).collect();
        assert_eq!(stale, [1, 3, 4]);
        assert!(!fresh.next_pass());
    }

    /// However little memory there is, each key is judged in exactly one pass.
    #[test]
    fn a_set_too_large_is_judged_range_by_range() {
        let mut fresh = Fresh::new(100 * HASH_BYTES);
        let (mut stale, mut passes) = (Vec::new(), 0);
        loop {
            passes += 1;
            (0..1000).for_each(|key| fresh.note(&put(key)));
            (0..1000).step_by(10).for_each(|key| fresh.note(&mutation(key, Effect::Delete)));
            assert!(fresh.hashes.len() <= 100);
            stale.extend((0..1100).filter(|&key| fresh.is_stale(&name(key))));
            if !fresh.next_pass() {
                break;
            }
        }
        stale.sort_unstable();
        let expected: Vec<u32> = (0..1000).step_by(10).chain(1000..1100).collect();
        assert_eq!(stale, expected);
        assert!(passes >= 9, "{passes} passes");
    }
}
