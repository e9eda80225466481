//! Where transactions wait that are not committed yet: streamed while they are in progress, or prepared.
//!
//! Memory is bounded over all of them together; the rest lies in files of ours, which are removed when their transaction
//! ends, when the connection does, and at the start. Only prepared transactions outlive both ([`prepared`]). A full
//! or failing disk stops the source as it does for the log: PostgreSQL keeps the transactions and sends them again.

mod kept;
mod prepared;
mod replay;
mod scratch;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use self::kept::Kept;
use self::prepared::{Prepared, sync_directory};
pub(super) use self::prepared::{Settling, carry_over};
pub(super) use self::replay::Replay;
use self::scratch::Scratch;
use crate::event::Lsn;
use crate::log::LogError;

/// One transaction's share of memory: more is written out at once.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// All transactions' share of memory: beyond it the largest is written out.
const HELD_BYTES_MAX: usize = 16 << 20;
/// What ends the name of a file that means nothing to the next process.
const SUFFIX: &str = ".spill";

/// Tells files of one process apart.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// The transactions that wait, by top-level transaction id.
#[derive(Debug)]
pub(super) struct Spill {
    directory: PathBuf,
    epoch: u32,
    open: HashMap<u32, Kept>,
    held: usize,
    prepared: HashMap<u32, Prepared>,
    /// Committed in the log as soon as it is durable up to here.
    resolved: VecDeque<(Lsn, PathBuf)>,
}

impl Spill {
    /// In this directory, which need not exist. What an earlier process has left there is removed, but for prepared transactions
    /// that the log, durable up to `end_lsn`, does not have.
    pub(super) fn open(directory: &Path, epoch: u32, end_lsn: Lsn) -> Result<Self, LogError> {
        let directory = directory.to_owned();
        let mut prepared = HashMap::new();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found.map_err(LogError::io("list", &directory))?),
        };
        for entry in entries.into_iter().flatten() {
            let entry = entry.map_err(LogError::io("list", &directory))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match Prepared::parse(&name) {
                Some(found) if found.epoch == epoch && found.commit_lsn.is_none_or(|lsn| lsn >= end_lsn) => {
                    prepared.insert(found.xid, found);
                }
                Some(_) => remove(&entry.path())?,
                None if name.ends_with(SUFFIX) => remove(&entry.path())?,
                None => {}
            }
        }
        Ok(Spill { directory, epoch, open: HashMap::new(), held: 0, prepared, resolved: VecDeque::new() })
    }

    /// A transaction's first message is coming. `false`: it has come already.
    pub(super) fn begin(&mut self, xid: u32) -> bool {
        let Entry::Vacant(place) = self.open.entry(xid) else { return false };
        // Another connection's file of the same transaction may be on its way out.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        place.insert(Kept::new(Scratch::new(self.directory.join(format!("{xid}-{serial}{SUFFIX}")))));
        true
    }

    /// Whether a transaction has begun.
    pub(super) fn has(&self, xid: u32) -> bool {
        self.open.contains_key(&xid)
    }

    /// Keeps a message of a transaction that has begun. `part` is the (sub)transaction it is of.
    pub(super) fn push(&mut self, xid: u32, part: u32, letter: u8, rest: &[u8]) -> Result<(), LogError> {
        let Some(kept) = self.open.get_mut(&xid) else {
            return Err(LogError::Misuse(format!(
                "a message of transaction {xid}, which has not begun, was to be kept"
            )));
        };
        let before = kept.held();
        kept.push(part, letter, rest)?;
        if kept.held() > KEPT_BYTES_MAX {
            kept.write_out()?;
        }
        self.held = self.held.saturating_add(kept.held()).saturating_sub(before);
        while self.held > HELD_BYTES_MAX {
            let Some(largest) = self.open.values_mut().max_by_key(|kept| kept.held()) else { break };
            let held = largest.held();
            largest.write_out()?;
            self.held = self.held.saturating_sub(held);
        }
        Ok(())
    }

    /// A subtransaction was rolled back.
    pub(super) fn drop_part(&mut self, xid: u32, part: u32) -> Result<(), LogError> {
        self.open.get_mut(&xid).map_or(Ok(()), |kept| kept.drop_part(part))
    }

    /// A transaction was rolled back, or is not needed.
    pub(super) fn drop_whole(&mut self, xid: u32) {
        self.take(xid);
    }

    fn take(&mut self, xid: u32) -> Option<Kept> {
        let kept = self.open.remove(&xid)?;
        self.held = self.held.saturating_sub(kept.held());
        Some(kept)
    }

    /// A transaction is committed: its messages. `None` if nothing is known of it.
    pub(super) fn commit(&mut self, xid: u32) -> Result<Option<Replay>, LogError> {
        self.take(xid).map(|kept| kept.finish().map(Replay::of)).transpose()
    }

    /// A transaction is prepared. It is ours to keep once [`Settling::run`] has come to its end and [`Spill::settled`] has been
    /// told; `None` if that is so already, from an earlier connection.
    pub(super) fn prepare(&mut self, xid: u32, prepare_lsn: Lsn) -> Result<Option<Settling>, LogError> {
        let Some(kept) = self.take(xid) else {
            return Err(LogError::Misuse(format!("transaction {xid}, which has not begun, was to be prepared")));
        };
        if self.prepared.get(&xid).is_some_and(|known| known.prepare_lsn == prepare_lsn) {
            return Ok(None);
        }
        let prepared = Prepared { epoch: self.epoch, prepare_lsn, xid, commit_lsn: None };
        Settling::new(prepared, kept.finish()?).map(Some)
    }

    /// A prepared transaction is durable.
    pub(super) fn settled(&mut self, settled: Settling) {
        self.prepared.insert(settled.prepared.xid, settled.prepared.clone());
    }

    /// A prepared transaction is committed: its messages. `None` if nothing is known of it. [`Spill::resolve`] it when the log has
    /// it.
    pub(super) fn commit_prepared(&mut self, xid: u32, commit_lsn: Lsn) -> Result<Option<Replay>, LogError> {
        let Some(prepared) = self.prepared.get_mut(&xid) else { return Ok(None) };
        prepared.commit(&self.directory, commit_lsn)?;
        prepared.replay(&self.directory).map(Some)
    }

    /// A prepared transaction has been appended to the log. Its file goes once that is durable.
    pub(super) fn resolve(&mut self, xid: u32, end_lsn: Lsn) {
        if let Some(prepared) = self.prepared.remove(&xid) {
            self.resolved.push_back((end_lsn, prepared.path(&self.directory)));
        }
    }

    /// The log is durable up to here.
    pub(super) fn durable(&mut self, end_lsn: Lsn) -> Result<(), LogError> {
        while let Some((_, path)) = self.resolved.pop_front_if(|(end, _)| *end <= end_lsn) {
            remove(&path)?;
        }
        Ok(())
    }

    /// A prepared transaction was rolled back, or is known to be in the log. Gone for good before the server hears of it.
    pub(super) fn forget_prepared(&mut self, xid: u32) -> Result<(), LogError> {
        let Some(prepared) = self.prepared.remove(&xid) else { return Ok(()) };
        remove(&prepared.path(&self.directory))?;
        sync_directory(&self.directory)
    }
}

fn remove(path: &Path) -> Result<(), LogError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LogError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
