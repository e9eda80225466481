//! Putting the records of all partitions into the log's one order. Pure.
//!
//! The log's events are numbered without gaps, so the next one is known by its number, wherever it lies. Every partition shows its
//! first record; a record below the next number is one that came already. A number that no partition has, because compaction or
//! retention removed its record, is a *hole*: it is believed only when every partition either shows a later record or is known to
//! have nothing so early.

use std::collections::BTreeMap;

/// See the module. `T` is a record.
#[derive(Debug)]
pub(super) struct Merge<T> {
    next: u64,
    heads: BTreeMap<(u64, usize), T>,
    sides: Vec<Side>,
}

#[derive(Debug)]
struct Side {
    shown: bool,
    /// No event below this is to come from it any more.
    empty_below: u64,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// A record with the next number, and whose it was.
    Record(usize, T),
    /// The numbers from the next one on up to this one, which is not one of them, are in no partition.
    Hole(u64),
    /// Some partition that shows nothing may have it.
    Missing,
}

impl<T> Merge<T> {
    pub(super) fn new(next: u64) -> Self {
        Merge { next, heads: BTreeMap::new(), sides: Vec::new() }
    }

    /// The number of the event that comes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// One more partition, which has nothing below this.
    pub(super) fn add(&mut self, empty_below: u64) {
        self.sides.push(Side { shown: false, empty_below });
    }

    /// The partitions that show nothing.
    pub(super) fn unshown(&self) -> impl Iterator<Item = usize> {
        self.sides.iter().enumerate().filter(|(_, side)| !side.shown).map(|(number, _)| number)
    }

    /// Those of them that may have an event below `upto`.
    pub(super) fn suspects(&self, upto: u64) -> impl Iterator<Item = usize> {
        self.unshown().filter(move |&number| self.sides.get(number).is_some_and(|side| side.empty_below < upto))
    }

    /// A partition shows its next record. False: it came already, and the one behind it is wanted.
    pub(super) fn show(&mut self, number: usize, offset: u64, record: T) -> bool {
        if offset < self.next {
            return false;
        }
        if let Some(side) = self.sides.get_mut(number) {
            side.shown = true;
            self.heads.insert((offset, number), record);
        }
        true
    }

    /// A partition that shows nothing was found to have nothing below this.
    pub(super) fn empty(&mut self, number: usize, below: u64) {
        if let Some(side) = self.sides.get_mut(number) {
            side.empty_below = side.empty_below.max(below);
        }
    }

    /// What comes next; nothing from `bound` on is looked for.
    pub(super) fn step(&mut self, bound: u64) -> Step<T> {
        if let Some(first) = self.heads.first_entry() {
            let (offset, number) = *first.key();
            if offset == self.next {
                if let Some(side) = self.sides.get_mut(number) {
                    side.shown = false;
                }
                return Step::Record(number, first.remove());
            }
        }
        let shown = self.heads.first_key_value().map_or(bound, |((offset, _), _)| *offset);
        let known = self.unshown().filter_map(|number| self.sides.get(number)).map(|side| side.empty_below).min();
        let end = bound.min(shown).min(known.unwrap_or(u64::MAX));
        if end > self.next { Step::Hole(end) } else { Step::Missing }
    }

    /// The next event was taken, or all up to this one are to be passed over.
    pub(super) fn pass(&mut self, next: u64) {
        self.next = self.next.max(next);
        while let Some(first) = self.heads.first_entry()
            && first.key().0 < self.next
        {
            let number = first.key().1;
            first.remove();
            if let Some(side) = self.sides.get_mut(number) {
                side.shown = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_by_their_numbers_wherever_they_lie() {
        let mut merge = Merge::new(5);
        merge.add(0);
        merge.add(0);
        assert_eq!(merge.step(9), Step::Missing);
        assert!(!merge.show(0, 4, "came already"));
        assert!(merge.show(0, 6, "six"));
        assert_eq!(merge.step(9), Step::Missing, "five may be in the other");
        assert!(merge.show(1, 5, "five"));
        assert_eq!(merge.step(9), Step::Record(1, "five"));
        merge.pass(6);
        assert_eq!(merge.step(9), Step::Record(0, "six"));
        merge.pass(7);
        assert_eq!(merge.unshown().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn two_records_of_one_event_come_one_after_the_other_and_a_late_one_is_dropped() {
        // A row that got another key: its delete lies with the old key, its new row with the new one.
        let mut merge = Merge::new(5);
        merge.add(0);
        merge.add(0);
        assert!(merge.show(1, 5, "delete"));
        assert_eq!(merge.step(9), Step::Record(1, "delete"));
        assert_eq!(merge.step(9), Step::Missing, "the event has not been passed");
        assert!(merge.show(0, 5, "create") && merge.show(1, 5, "tombstone"));
        assert_eq!(merge.step(9), Step::Record(0, "create"));
        merge.pass(6);
        assert_eq!(merge.unshown().collect::<Vec<_>>(), [0, 1], "the tombstone is gone");
    }

    #[test]
    fn a_hole_is_believed_only_when_no_partition_can_have_it() {
        let mut merge = Merge::new(5);
        merge.add(0);
        merge.add(0);
        assert!(merge.show(0, 8, "eight"));
        assert_eq!(merge.step(20), Step::Missing);
        assert_eq!(merge.suspects(8).collect::<Vec<_>>(), [1]);
        merge.empty(1, 7);
        assert_eq!(merge.step(20), Step::Hole(7), "no further than is known");
        merge.empty(1, 30);
        assert_eq!(merge.step(20), Step::Hole(8));
        assert_eq!(merge.step(6), Step::Hole(6), "no further than was asked for");
        merge.pass(8);
        assert_eq!(merge.step(20), Step::Record(0, "eight"));
    }
}
