//! One transaction that is not committed yet: its messages in the order they came, and which subtransaction each is of.
//!
//! Small ones stay in memory. What is written out goes to one file, behind which the rest follows in memory. A
//! subtransaction that is rolled back takes exactly its own messages with it: usually they are the last there are, and the file
//! is cut; if others stand behind them, they are passed over when the transaction is read. Memory beside the buffer: some
//! 50 bytes for each subtransaction that is not rolled back, fewer than PostgreSQL itself keeps.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::scratch::Scratch;
use crate::log::LogError;

/// A record's length and checksum stand before it.
pub(super) const HEADER_BYTES: usize = 8;

/// A transaction's messages.
#[derive(Debug)]
pub(super) struct Kept {
    scratch: Scratch,
    file: Option<File>,
    /// Bytes in the file.
    written: u64,
    /// What follows them.
    buffer: Vec<u8>,
    runs: Vec<Run>,
    /// Each (sub)transaction's first run.
    first: HashMap<u32, usize>,
}

/// A stretch of records of one (sub)transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    xid: u32,
    start: u64,
    end: u64,
}

/// What is left of a transaction when it is committed or prepared.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) scratch: Scratch,
    pub(super) file: Option<File>,
    /// Everything, if there is no file.
    pub(super) memory: Vec<u8>,
    /// The stretches that count.
    pub(super) live: Vec<(u64, u64)>,
    /// Bytes in all.
    pub(super) end: u64,
}

impl Kept {
    /// Nothing yet. The file is made when it is needed.
    pub(super) fn new(scratch: Scratch) -> Self {
        Kept { scratch, file: None, written: 0, buffer: Vec::new(), runs: Vec::new(), first: HashMap::new() }
    }

    /// Adds a message of a (sub)transaction, given as its first byte and the rest.
    pub(super) fn push(&mut self, xid: u32, letter: u8, rest: &[u8]) -> Result<(), LogError> {
        let length = u32::try_from(rest.len().saturating_add(1))
            .map_err(|_| LogError::Misuse("a message longer than 4 GiB was to be kept".to_owned()))?;
        let (start, at) = (self.end(), self.buffer.len());
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.push(letter);
        self.buffer.extend_from_slice(rest);
        let crc = checksum(self.buffer.get(at + HEADER_BYTES..).unwrap_or_default());
        if let Some(place) = self.buffer.get_mut(at + 4..at + HEADER_BYTES) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        self.note(Run { xid, start, end: self.end() });
        Ok(())
    }

    fn note(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last) if last.xid == run.xid && last.end == run.start => last.end = run.end,
            _ => {
                self.first.entry(run.xid).or_insert(self.runs.len());
                self.runs.push(run);
            }
        }
    }

    /// Drops a rolled-back subtransaction's messages, and only those.
    pub(super) fn drop_part(&mut self, xid: u32) -> Result<(), LogError> {
        let Some(first) = self.first.remove(&xid) else { return Ok(()) };
        let behind: Vec<Run> = self.runs.drain(first.min(self.runs.len())..).collect();
        for run in &behind {
            if self.first.get(&run.xid).is_some_and(|&index| index >= first) {
                self.first.remove(&run.xid);
            }
        }
        behind.into_iter().filter(|run| run.xid != xid).for_each(|run| self.note(run));
        self.cut(self.runs.last().map_or(0, |run| run.end))
    }

    fn cut(&mut self, end: u64) -> Result<(), LogError> {
        if let Some(within) = end.checked_sub(self.written) {
            self.buffer.truncate(usize::try_from(within).unwrap_or(usize::MAX));
            return Ok(());
        }
        self.buffer.clear();
        self.written = end;
        let Some(file) = &self.file else { return Ok(()) };
        file.set_len(end).map_err(LogError::io("truncate", self.scratch.path()))
    }

    fn end(&self) -> u64 {
        self.written.saturating_add(self.buffer.len() as u64)
    }

    /// Bytes held in memory.
    pub(super) fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// Writes out what is held in memory.
    pub(super) fn write_out(&mut self) -> Result<(), LogError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.scratch.create()?),
        };
        file.write_all_at(&self.buffer, self.written).map_err(LogError::io("write", self.scratch.path()))?;
        self.written = self.end();
        self.buffer = Vec::new();
        Ok(())
    }

    /// All that is left: in memory, or in the file.
    pub(super) fn finish(mut self) -> Result<Whole, LogError> {
        if self.file.is_some() && !self.buffer.is_empty() {
            self.write_out()?;
        }
        let mut live: Vec<(u64, u64)> = Vec::new();
        for run in &self.runs {
            match live.last_mut() {
                Some(last) if last.1 == run.start => last.1 = run.end,
                _ => live.push((run.start, run.end)),
            }
        }
        let end = self.end();
        Ok(Whole { scratch: self.scratch, file: self.file, memory: self.buffer, live, end })
    }
}

/// A record's checksum, CRC-32C.
pub(super) fn checksum(record: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(record)
}
