//! One partition being read by itself: what is to be done with its next record. Pure.

use crate::event::Offset;
use crate::kafka::partition;
use crate::log::share::{Part, Reached};

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) part: Part,
    pub(super) reached: Reached,
    /// How many partitions the topic has.
    pub(super) partitions: i32,
    /// It waits there to be told to go on.
    pub(super) stands: Option<Stand>,
    /// `reached` is another than was told.
    pub(super) moved: bool,
    /// Up to this place there was no further record.
    pub(super) empty_to: i64,
}

/// Where a lane waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// At a truncation or the end of a copy.
    Event(u64),
    /// At the first row that has its place here because partitions were added.
    Spread(u64),
}

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Its event is the next.
    Take,
    /// It came already, or counts as never written.
    Drop,
    /// It may not be read yet.
    Wait,
    /// Not before the others have come so far.
    Stand(Stand),
    /// A row without a key: where it lies says nothing about its order.
    Keyless,
    /// A row that has no place here.
    Misplaced,
}

/// What a lane goes by, besides the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What may be read.
    pub(super) durable: u64,
    /// The next event that all partitions stop at.
    pub(super) gate: Option<u64>,
    /// The record counts as never written.
    pub(super) void: bool,
}

impl Lane {
    pub(super) fn next(&self, number: u64, key: Option<&[u8]>, bounds: Bounds) -> Next {
        if number < self.reached.offset.0 || bounds.void {
            return Next::Drop;
        }
        if number >= bounds.durable {
            return Next::Wait;
        }
        if let Some(gate) = bounds.gate.filter(|&gate| number >= gate) {
            return Next::Stand(Stand::Event(gate));
        }
        let Some(key) = key.filter(|key| !key.is_empty()) else { return Next::Keyless };
        if partition::of_key(key, self.reached.spread) == self.part.number {
            Next::Take
        } else if self.reached.spread != self.partitions {
            Next::Stand(Stand::Spread(number))
        } else {
            Next::Misplaced
        }
    }

    /// A record of this number, at this place, has been seen to.
    pub(super) fn took(&mut self, number: u64, place: i64) {
        self.reached.offset = self.reached.offset.max(Offset(number));
        self.reached.place = Some(place.saturating_add(1));
        self.moved = true;
    }

    /// There is nothing below this number any more.
    pub(super) fn raise(&mut self, below: u64) {
        if below > self.reached.offset.0 {
            self.reached.offset = Offset(below);
            self.moved = true;
        }
    }

    /// It waits there; everything before has been told.
    pub(super) fn stand(&mut self, at: Stand) {
        let (Stand::Event(number) | Stand::Spread(number)) = at;
        self.raise(number);
        self.stands = Some(at);
    }

    /// What it waited for has come.
    pub(super) fn go_on(&mut self) {
        match self.stands.take() {
            Some(Stand::Event(number)) => self.raise(number.saturating_add(1)),
            Some(Stand::Spread(_)) => {
                self.reached.spread = self.partitions;
                self.moved = true;
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    fn lane(number: i32, spread: i32, partitions: i32) -> Lane {
        let reached = Reached { offset: Offset(10), place: Some(0), time: Timestamp::from_unix_micros(0), spread };
        Lane { part: Part { topic: "t".into(), number }, reached, partitions, stands: None, moved: false, empty_to: 0 }
    }

    const OPEN: Bounds = Bounds { durable: 100, gate: None, void: false };

    /// A key that has its place in this one of so many partitions, and, with more, in that one.
    fn key(partitions: i32, at: i32, more: i32, then: i32) -> Vec<u8> {
        let mut keys = (0..1000).map(|n: i32| n.to_string().into_bytes());
        let fits = |key: &Vec<u8>| partition::of_key(key, partitions) == at && partition::of_key(key, more) == then;
        keys.find(fits).expect("one of a thousand")
    }

    #[test]
    fn records_are_taken_up_to_what_is_committed_and_once() {
        let lane = lane(1, 2, 2);
        let key = key(2, 1, 2, 1);
        assert_eq!(lane.next(9, Some(&key), OPEN), Next::Drop);
        assert_eq!(lane.next(10, Some(&key), OPEN), Next::Take);
        assert_eq!(lane.next(100, Some(&key), OPEN), Next::Wait);
        assert_eq!(lane.next(50, Some(&key), Bounds { void: true, ..OPEN }), Next::Drop);
        assert_eq!(lane.next(50, None, OPEN), Next::Keyless);
    }

    #[test]
    fn nothing_passes_an_event_of_all_partitions_before_it_is_told_to() {
        let mut lane = lane(1, 2, 2);
        let key = key(2, 1, 2, 1);
        let bounds = Bounds { gate: Some(20), ..OPEN };
        assert_eq!(lane.next(19, Some(&key), bounds), Next::Take);
        assert_eq!(lane.next(21, Some(&key), bounds), Next::Stand(Stand::Event(20)));
        lane.stand(Stand::Event(20));
        assert_eq!(lane.reached.offset, Offset(20));
        lane.go_on();
        assert_eq!((lane.reached.offset, lane.stands), (Offset(21), None));
        // The event's own record, in the first partition.
        assert_eq!(lane.next(20, None, OPEN), Next::Drop);
        assert_eq!(lane.next(21, Some(&key), OPEN), Next::Take);
    }

    #[test]
    fn a_key_that_came_from_another_partition_waits_for_those_before_it() {
        let mut lane = lane(1, 2, 3);
        let (stayed, came) = (key(2, 1, 3, 1), key(2, 0, 3, 1));
        assert_eq!(lane.next(30, Some(&stayed), OPEN), Next::Take);
        assert_eq!(lane.next(31, Some(&came), OPEN), Next::Stand(Stand::Spread(31)));
        lane.stand(Stand::Spread(31));
        lane.go_on();
        assert_eq!((lane.reached.offset, lane.next(31, Some(&came), OPEN)), (Offset(31), Next::Take));
        let strange = key(3, 0, 2, 1);
        assert_eq!(lane.next(32, Some(&strange), OPEN), Next::Misplaced);
    }
}
