//! Events into batches: whole transactions, as far as a batch may be so large. Pure.

use std::collections::VecDeque;

use crate::event::{Event, Offset};
use crate::log::{Batch, Limit};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Gather {
    events: VecDeque<(Offset, Event)>,
    bytes: usize,
    /// So many of the events, from the first on, are whole transactions.
    whole: usize,
    /// A table's copy ends in the transaction behind them, so they are a batch.
    cut: bool,
}

impl Gather {
    /// Adds an event, the one with this number.
    pub(super) fn push(&mut self, offset: Offset, event: Event) {
        let goes_on = self.events.back().is_some_and(|(_, last)| last.transaction.is_same_unit(&event.transaction));
        if !goes_on {
            self.whole = self.events.len();
        }
        self.cut |= self.whole > 0 && event.ends_copy();
        self.bytes = self.bytes.saturating_add(weight(&event));
        self.events.push_back((offset, event));
    }

    /// The last event ended its transaction: there is nothing behind it yet.
    pub(super) fn end(&mut self) {
        if !self.cut {
            self.whole = self.events.len();
        }
    }

    /// Whether a batch of this size has come together.
    pub(super) fn is_full(&self, limit: Limit) -> bool {
        self.cut || self.events.len() >= limit.events || self.bytes >= limit.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whole transactions if there are any, else a part of one. `next`: the number behind all that was added.
    pub(super) fn take(&mut self, next: Offset) -> Option<Batch> {
        if self.events.is_empty() {
            return None;
        }
        let ends_transaction = self.whole > 0;
        let count = if ends_transaction { self.whole } else { self.events.len() };
        let events: Vec<Event> = self.events.drain(..count).map(|(_, event)| event).collect();
        (self.whole, self.cut) = (0, false);
        self.bytes = self.events.iter().map(|(_, event)| weight(event)).sum();
        let next = self.events.front().map_or(next, |(offset, _)| *offset);
        Some(Batch { events, next, bytes: 0, ends_transaction })
    }
}

/// What an event weighs.
fn weight(event: &Event) -> usize {
    event.change.bytes().saturating_add(size_of::<Event>())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Change, Lsn, Relation, ReplicaIdentity, TableName, Timestamp, Transaction};

    fn event(xid: u32, ordinal: u64) -> Event {
        let transaction = Transaction {
            epoch: 1,
            xid,
            commit_lsn: Lsn::new(u64::from(xid)),
            commit_time: Timestamp::from_unix_micros(0),
            first_ordinal: 0,
            origin: None,
        };
        let change = Change::Message { prefix: String::new(), content: bytes::Bytes::new() };
        Event { transaction: Arc::new(transaction), ordinal, change }
    }

    fn copy_done(xid: u32, ordinal: u64) -> Event {
        let name = TableName { schema: "public".to_owned(), table: "t".to_owned() };
        let (columns, key) = (Vec::new(), Vec::new());
        let relation = Relation { oid: 1, name, identity: ReplicaIdentity::Default, columns, key };
        let change = Change::CopyDone { relation: Arc::new(relation), since: Offset(0) };
        Event { change, ..event(xid, ordinal) }
    }

    /// The loop cut such batches itself, counting events back from the batch's end. Where compaction has left holes among them the offset came out too
    /// high, and a crash right behind the commit before the sweep would have left out what lay between.
    #[test]
    fn what_comes_before_the_end_of_a_copy_is_a_batch_whose_end_is_right_among_holes() {
        let limit = Limit { events: 100, bytes: usize::MAX };
        let mut gather = Gather::default();
        gather.push(Offset(10), event(1, 0));
        gather.push(Offset(13), event(1, 3));
        gather.push(Offset(20), event(2, 0));
        assert!(!gather.is_full(limit));
        gather.push(Offset(25), copy_done(2, 5));
        assert!(gather.is_full(limit));
        // Even where the log ends behind it.
        gather.end();
        let batch = gather.take(Offset(26)).expect("events");
        assert_eq!((batch.events.len(), batch.next, batch.ends_transaction), (2, Offset(20), true));
        gather.push(Offset(40), event(3, 0));
        gather.push(Offset(45), copy_done(4, 0));
        gather.push(Offset(46), copy_done(4, 1));
        let batch = gather.take(Offset(47)).expect("events");
        assert_eq!((batch.events.len(), batch.next, batch.ends_transaction), (3, Offset(45), true));
        gather.end();
        let batch = gather.take(Offset(47)).expect("events");
        assert_eq!((batch.events.len(), batch.next, batch.ends_transaction), (2, Offset(47), true));
    }

    #[test]
    fn a_batch_ends_with_a_transaction_if_it_can() {
        let limit = Limit { events: 3, bytes: usize::MAX };
        let mut gather = Gather::default();
        gather.push(Offset(10), event(1, 0));
        gather.push(Offset(11), event(2, 0));
        assert!(!gather.is_full(limit));
        gather.push(Offset(12), event(2, 1));
        assert!(gather.is_full(limit));
        let batch = gather.take(Offset(13)).expect("events");
        assert_eq!((batch.events.len(), batch.next, batch.ends_transaction), (1, Offset(11), true));
        let batch = gather.take(Offset(13)).expect("events");
        assert_eq!((batch.events.len(), batch.next, batch.ends_transaction), (2, Offset(13), false));
        gather.push(Offset(13), event(2, 2));
        gather.end();
        let batch = gather.take(Offset(14)).expect("events");
        assert_eq!((batch.events.len(), batch.next, batch.ends_transaction), (1, Offset(14), true));
        assert!(gather.take(Offset(14)).is_none() && gather.is_empty());
    }
}
