//! What a log's records add up to, and the order they must keep. Pure: the writer, recovery and verification all go by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Lsn, Offset, Position, Timestamp, Transaction};
use crate::log::{Durable, Epoch, TableSnapshot};

/// The state after some record. `closed` is the state after the last unit that is whole.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// The current stretch of the source's history.
    pub(super) epoch: Option<Epoch>,
    /// After the last whole unit.
    pub(super) closed: Durable,
    /// The highest commit time so far: unlike the last one it never falls, so it can be searched.
    pub(super) commit_time_max: Option<Timestamp>,
    /// Snapshot progress by table OID.
    pub(super) snapshots: BTreeMap<u32, TableSnapshot>,
    /// Where the unfinished further copies of tables begin, by table OID: a sink that has not passed their end will read
    /// the log from there again.
    pub(super) copies: BTreeMap<u32, Offset>,
    /// The open unit.
    pub(super) unit: Option<Unit>,
}

/// A unit that has begun and not ended.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// Its `Begin`, without the origin, which is a record of its own.
    pub(super) transaction: Arc<Transaction>,
    /// The ordinal of its next event.
    pub(super) next_ordinal: u64,
    /// Snapshot progress that counts once it is committed.
    pub(super) staged: Vec<TableSnapshot>,
    /// Copies begun and ended, likewise.
    pub(super) copies: Vec<CopyMark>,
}

/// A table's copy begins at an offset, or ends (`None`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CopyMark {
    /// The table.
    pub(super) oid: u32,
    /// Where its copy begins.
    pub(super) begun: Option<Offset>,
}

impl Unit {
    fn events(&self) -> u64 {
        self.next_ordinal.saturating_sub(self.transaction.first_ordinal)
    }

    fn position(&self, ordinal: u64) -> Position {
        Position { epoch: self.transaction.epoch, commit_lsn: self.transaction.commit_lsn, ordinal }
    }
}

/// Why a record cannot stand where it stands.
pub(super) type Disorder = String;

impl History {
    /// The offset of the next event, those of the open unit counted.
    pub(super) fn next_offset(&self) -> Offset {
        let open = self.unit.as_ref().map_or(0, Unit::events);
        Offset(self.closed.offset.0.saturating_add(open))
    }

    /// The Position of the last event, those of the open unit counted.
    pub(super) fn last_position(&self) -> Option<Position> {
        let open = self.unit.as_ref().filter(|unit| unit.events() > 0);
        open.map(|unit| unit.position(unit.next_ordinal.saturating_sub(1))).or(self.closed.position)
    }

    /// A new epoch: only between units, and with a higher number than any before.
    pub(super) fn epoch(&mut self, epoch: &Epoch) -> Result<(), Disorder> {
        self.outside("an epoch")?;
        let last = self.epoch.as_ref().map_or(0, |epoch| epoch.number);
        if epoch.number <= last {
            return Err(format!("epoch {} after epoch {last}", epoch.number));
        }
        // LSNs of another epoch mean nothing here, so this may go down.
        self.closed.end_lsn = epoch.start_lsn;
        self.epoch = Some(epoch.clone());
        Ok(())
    }

    /// A unit begins.
    pub(super) fn begin(&mut self, transaction: &Transaction) -> Result<(), Disorder> {
        self.outside("a begin")?;
        let epoch = self.epoch.as_ref().map_or(0, |epoch| epoch.number);
        if transaction.epoch != epoch {
            return Err(format!("a transaction of epoch {} in epoch {epoch}", transaction.epoch));
        }
        let unit = Unit {
            transaction: Arc::new(Transaction { origin: None, ..transaction.clone() }),
            next_ordinal: transaction.first_ordinal,
            staged: Vec::new(),
            copies: Vec::new(),
        };
        let first = unit.position(transaction.first_ordinal);
        if let Some(last) = self.closed.position.filter(|&last| last >= first) {
            return Err(format!("Position {first} after {last}"));
        }
        self.unit = Some(unit);
        Ok(())
    }

    /// A frame says in which unit it begins.
    pub(super) fn resume(&self, transaction: &Transaction, ordinal: u64) -> Result<(), Disorder> {
        match &self.unit {
            Some(unit) if unit.transaction.is_same_unit(transaction) && unit.next_ordinal == ordinal => Ok(()),
            _ => Err("a frame resumes another unit than the one that is open".to_owned()),
        }
    }

    /// Says where the open unit came from.
    pub(super) fn origin(&self) -> Result<(), Disorder> {
        if self.unit.is_some() { Ok(()) } else { Err("an origin outside any unit".to_owned()) }
    }

    /// An event. Returns its ordinal.
    #[inline]
    pub(super) fn event(&mut self) -> Result<u64, Disorder> {
        let unit = self.unit.as_mut().ok_or_else(|| "an event outside any unit".to_owned())?;
        let ordinal = unit.next_ordinal;
        unit.next_ordinal = ordinal.checked_add(1).ok_or_else(|| "an ordinal overflows".to_owned())?;
        Ok(ordinal)
    }

    /// A table's copy begins. An event.
    pub(super) fn copy_begun(&mut self, oid: u32) -> Result<(), Disorder> {
        let offset = self.next_offset();
        self.event()?;
        self.unit.iter_mut().for_each(|unit| unit.copies.push(CopyMark { oid, begun: Some(offset) }));
        Ok(())
    }

    /// A table's copy is done, which began at `since`. An event.
    pub(super) fn copy_done(&mut self, oid: u32, since: Offset) -> Result<(), Disorder> {
        self.event()?;
        let mut marks = self.unit.iter().flat_map(|unit| &unit.copies).filter(|mark| mark.oid == oid);
        let begun = marks.next_back().map_or_else(|| self.copies.get(&oid).copied(), |mark| mark.begun);
        if begun != Some(since) {
            return Err(format!("the end of a copy of table {oid} since {since}, which began at {begun:?}"));
        }
        self.unit.iter_mut().for_each(|unit| unit.copies.push(CopyMark { oid, begun: None }));
        Ok(())
    }

    /// Where the log must still be read from for the sake of unfinished copies.
    pub(super) fn copies_begin(&self) -> Option<Offset> {
        let open = self.unit.iter().flat_map(|unit| &unit.copies).filter_map(|mark| mark.begun);
        self.copies.values().copied().chain(open).min()
    }

    /// Snapshot progress inside a unit.
    pub(super) fn snapshot(&mut self, snapshot: &TableSnapshot) -> Result<(), Disorder> {
        let unit = self.unit.as_mut().ok_or_else(|| "snapshot progress outside any unit".to_owned())?;
        unit.staged.push(snapshot.clone());
        Ok(())
    }

    /// The open unit is whole. `bytes` is the log byte after its commit record.
    pub(super) fn commit(&mut self, end_lsn: Lsn, bytes: u64) -> Result<(), Disorder> {
        let Some(unit) = self.unit.take() else { return Err("a commit outside any unit".to_owned()) };
        let Transaction { xid, commit_lsn, commit_time, .. } = *unit.transaction;
        if xid != 0 && end_lsn < commit_lsn {
            return Err(format!("a commit at {commit_lsn} that ends before it, at {end_lsn}"));
        }
        if let Some(last) = unit.next_ordinal.checked_sub(1).filter(|_| unit.events() > 0) {
            self.closed.offset.0 = self.closed.offset.0.saturating_add(unit.events());
            self.closed.position = Some(unit.position(last));
            self.closed.bytes = bytes;
        }
        self.closed.end_lsn = self.closed.end_lsn.max(end_lsn);
        self.closed.commit_time = Some(commit_time);
        self.commit_time_max = self.commit_time_max.max(Some(commit_time));
        for CopyMark { oid, begun } in unit.copies {
            match begun {
                Some(offset) => self.copies.insert(oid, offset),
                None => self.copies.remove(&oid),
            };
        }
        // A copy that was given up has no end of its own, and nobody will read it again.
        unit.staged.iter().filter(|snapshot| snapshot.done).for_each(|given_up| _ = self.copies.remove(&given_up.oid));
        self.snapshots.extend(unit.staged.into_iter().map(|snapshot| (snapshot.oid, snapshot)));
        Ok(())
    }

    /// The open unit never was.
    pub(super) fn abort(&mut self) -> Result<(), Disorder> {
        self.unit.take().map(|_| ()).ok_or_else(|| "an abort outside any unit".to_owned())
    }

    /// The source has nothing before `lsn`.
    pub(super) fn progress(&mut self, lsn: Lsn) -> Result<(), Disorder> {
        self.outside("progress")?;
        self.closed.end_lsn = self.closed.end_lsn.max(lsn);
        Ok(())
    }

    fn outside(&self, what: &str) -> Result<(), Disorder> {
        if self.unit.is_some() { Err(format!("{what} inside a unit")) } else { Ok(()) }
    }
}
