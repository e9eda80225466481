//! Reading a kept transaction back, message by message, in little memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::kept::{HEADER_BYTES, Whole, checksum};
use super::scratch::Scratch;
use crate::log::LogError;

/// How much is read at once.
const READ_BYTES: u64 = 256 << 10;

/// A transaction being read.
#[derive(Debug)]
pub(in crate::ingest) struct Replay {
    path: PathBuf,
    file: Option<File>,
    /// Stretches still to be read, the next one last.
    live: Vec<(u64, u64)>,
    /// What has been read, and how much of it has been given out.
    chunk: Vec<u8>,
    given: usize,
    /// Removes the file when the reading ends.
    _scratch: Option<Scratch>,
}

impl Replay {
    /// Of a transaction that is only ours to lose.
    pub(super) fn of(whole: Whole) -> Self {
        let Whole { scratch, file, memory, mut live, .. } = whole;
        let path = scratch.path().to_owned();
        if file.is_some() {
            live.reverse();
            return Replay { path, file, live, chunk: Vec::new(), given: 0, _scratch: Some(scratch) };
        }
        let mut chunk = memory;
        if live != [(0, chunk.len() as u64)] {
            let stretch = |&(start, end): &(u64, u64)| {
                let place = |byte| usize::try_from(byte).unwrap_or(usize::MAX);
                chunk.get(place(start)..place(end)).unwrap_or_default().to_vec()
            };
            chunk = live.iter().flat_map(stretch).collect();
        }
        Replay { path, file: None, live: Vec::new(), chunk, given: 0, _scratch: None }
    }

    /// Of a file that stays.
    pub(super) fn of_file(path: PathBuf, file: File, mut live: Vec<(u64, u64)>) -> Self {
        live.reverse();
        Replay { path, file: Some(file), live, chunk: Vec::new(), given: 0, _scratch: None }
    }

    /// The next message; `None` behind the last.
    pub(in crate::ingest) fn next(&mut self) -> Result<Option<&[u8]>, LogError> {
        if !self.fill(HEADER_BYTES)? {
            return if self.unread().is_empty() { Ok(None) } else { Err(self.damaged("a message cut short")) };
        }
        let header = self.unread().first_chunk::<HEADER_BYTES>().copied().unwrap_or_default();
        let [a, b, c, d, e, f, g, h] = header;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let whole = HEADER_BYTES.saturating_add(length);
        if !self.fill(whole)? {
            return Err(self.damaged("a message cut short"));
        }
        let message = self.given + HEADER_BYTES..self.given + whole;
        if checksum(self.chunk.get(message.clone()).unwrap_or_default()) != u32::from_le_bytes([e, f, g, h]) {
            return Err(self.damaged("a message with a wrong checksum"));
        }
        self.given += whole;
        Ok(self.chunk.get(message))
    }

    fn unread(&self) -> &[u8] {
        self.chunk.get(self.given..).unwrap_or_default()
    }

    /// Makes sure that so many bytes have been read and not given out; `false` if there is nothing left at all.
    fn fill(&mut self, wanted: usize) -> Result<bool, LogError> {
        while self.unread().len() < wanted {
            let Some((start, end)) = self.live.pop() else { return Ok(false) };
            let missing = wanted.saturating_sub(self.unread().len()) as u64;
            let upto = end.min(start.saturating_add(READ_BYTES.max(missing)));
            if upto < end {
                self.live.push((upto, end));
            }
            self.chunk.drain(..std::mem::take(&mut self.given));
            let at = self.chunk.len();
            let len = usize::try_from(upto.saturating_sub(start)).unwrap_or(usize::MAX);
            self.chunk.resize(at.saturating_add(len), 0);
            if let (Some(file), Some(space)) = (&self.file, self.chunk.get_mut(at..)) {
                file.read_exact_at(space, start).map_err(LogError::io("read", &self.path))?;
            }
        }
        Ok(true)
    }

    fn damaged(&self, detail: &str) -> LogError {
        LogError::Corrupt { path: self.path.clone(), at: self.given as u64, detail: detail.to_owned() }
    }
}
