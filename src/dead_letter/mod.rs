//! Rows that a sink refused, and later changes of them that wait: one file of JSON Lines per sink, which people can read.
//!
//! The file is a journal. A letter is a line with the change, the reason and, so that it can be delivered without the log and the source,
//! the change as it was; what becomes of it is a line behind it. All lines are durable before the sink's checkpoint can move past
//! their changes. A crash in between delivers those again; a change that has a letter is not kept twice.
//!
//! *Whether a retry has been delivered is the target's word*, not ours: the line is written first, with the retry's number, and that
//! number is in the checkpoint ([`Checkpoint::retries`](crate::sink::Checkpoint::retries)), which the target has with the rows. Whoever
//! resumes compares the two ([`DeadLetters::settle`]). So a crash at any moment neither loses a letter nor delivers it twice.

mod file;
mod index;
mod line;
mod order;
mod view;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

pub use self::index::{Entry, Fate, Index};
pub use self::order::{Action, Outcome, Request, Told, why_not};
pub use self::view::{Letter, list};

use self::file::Found;
use self::line::Note;
use crate::event::{Position, TableName};
use crate::log::LogId;
use crate::project::mutation::{Key, Mutation, Rejection};

/// So many letters whose matter is settled are kept for people to look at; older ones go when the file is written anew.
const SETTLED_MAX: usize = 1000;
/// The file is written anew when so much of it is not needed, and more than is.
const SPARE_BYTES: u64 = 1 << 20;

/// One sink's letters.
#[derive(Debug)]
pub struct DeadLetters {
    sink: String,
    source: String,
    path: PathBuf,
    /// Opened with the first line: a sink that refuses nothing leaves no file.
    file: Option<File>,
    index: Index,
    /// The log that the letters are of, as the file says; empty where it says nothing.
    log: String,
    /// The log that is delivered.
    current: String,
    /// Not written yet; letters with their numbers.
    lines: Vec<(Option<u64>, Vec<u8>)>,
    bytes: u64,
}

impl DeadLetters {
    /// Those of this sink, in `directory`, which is made if need be.
    ///
    /// # Errors
    /// The file that is there cannot be read.
    pub fn open(directory: &Path, sink: &str, source: &str) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = file::path_of(directory, sink);
        let Found { index, log, bytes } = file::read(&path)?;
        let (sink, source) = (sink.to_owned(), source.to_owned());
        Ok(DeadLetters { sink, source, path, file: None, index, current: log.clone(), log, lines: Vec::new(), bytes })
    }

    /// What there is.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Whether no row waits for anything.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.index.open() == 0
    }

    /// Says which log is delivered. Letters of another one are obsolete: what they are older than cannot be told any more.
    pub fn of_log(&mut self, log: LogId) {
        self.current = log.to_string();
        if !self.log.is_empty() && self.log != self.current {
            file::supersede_all(&mut self.index);
        }
    }

    /// Compares what was retried with what the target says that it has: `retries` is the number of the last one. A letter that the target
    /// lacks and that the log may not bring again, because the target has `passed` its place, is open again.
    pub fn settle(&mut self, retries: u64, passed: impl Fn(Position) -> bool) {
        let lacks =
            |entry: &Entry| passed(entry.position) && matches!(entry.fate, Fate::Delivered(retry) if retry > retries);
        let lost: Vec<u64> = self.index.iter().filter(|(_, entry)| lacks(entry)).map(|(id, _)| id).collect();
        lost.into_iter().for_each(|id| self.set_fate(id, Fate::Open));
    }

    /// Keeps a refused change; `waits`: it was not refused itself, but a letter of its row is open. Returns its number, unless it has a letter.
    /// Written by [`DeadLetters::flush`].
    ///
    /// # Errors
    /// The change cannot be written as JSON, which is a bug.
    pub fn keep(&mut self, rejection: &Rejection, waits: bool) -> io::Result<Option<u64>> {
        let mutation = &rejection.mutation;
        if let Some((id, entry)) = self.index.of_change(mutation.position, &mutation.key) {
            // The target lost what a retry had delivered, and the log has brought it again.
            if matches!(entry.fate, Fate::Delivered(_)) {
                self.set_fate(id, Fate::Open);
            }
            return Ok(None);
        }
        let id = self.index.next_id();
        let line = line::letter(id, &self.sink, &self.source, rejection, waits)?;
        self.index.insert(id, line::entry(rejection, waits));
        self.lines.push((Some(id), line));
        Ok(Some(id))
    }

    /// Says what became of a letter.
    pub fn set_fate(&mut self, id: u64, fate: Fate) {
        self.index.set_fate(id, fate);
        self.note(&Note::of_fate(id, fate));
    }

    /// It was asked again, and refused again.
    pub fn refused_again(&mut self, id: u64, reason: &str) {
        if let Some(entry) = self.index.get_mut(id) {
            entry.again = Some(reason.to_owned());
        }
        self.note(&Note { letter: Some(id), reason: Some(reason.to_owned()), ..Note::default() });
    }

    /// Throws a letter away.
    pub fn discard(&mut self, id: u64) {
        self.index.remove(id);
        self.note(&Note { letter: Some(id), became: Some(line::Became::Discarded), ..Note::default() });
    }

    /// What the letters before this Position say of these rows is obsolete. The letter at it stays: its change may come again, and be taken in
    /// part, or for now.
    pub fn supersede_rows(&mut self, rows: &[Key], by: Position) {
        for id in self.index.of_rows(rows, by) {
            self.set_fate(id, Fate::Superseded(Some(by)));
        }
    }

    /// What such letters of a table, up to this Position, say is obsolete.
    pub fn supersede_if(
        &mut self,
        table: &TableName,
        oid: Option<u32>,
        by: Position,
        mut which: impl FnMut(&Entry) -> bool,
    ) {
        for id in self.index.of_table(table, oid, by) {
            if self.index.get(id).is_some_and(&mut which) {
                self.set_fate(id, Fate::Superseded(Some(by)));
            }
        }
    }

    fn note(&mut self, note: &Note) {
        // Numbers and strings always have a JSON form.
        self.lines.extend(note.line().ok().map(|line| (None, line)));
    }

    /// Makes all that was said durable.
    ///
    /// # Errors
    /// The disk. What was not written is tried again the next time.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        if self.log != self.current {
            let note = Note { log: Some(self.current.clone()), ..Note::default() };
            bytes.extend(note.line()?);
        }
        let mut places = Vec::with_capacity(self.lines.len());
        for (id, line) in &self.lines {
            places.extend(id.map(|id| (id, bytes.len(), line.len())));
            bytes.extend_from_slice(line);
        }
        // Put back only if all went well: half a line, left by a disk that is full, is ended when the file is opened again.
        let mut file = match self.file.take() {
            Some(file) => file,
            None => file::open(&self.path)?,
        };
        let start = file.metadata()?.len();
        file.write_all(&bytes)?;
        file.sync_data()?;
        self.file = Some(file);
        self.log.clone_from(&self.current);
        self.lines.clear();
        let long = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        self.bytes = start.saturating_add(long(bytes.len()));
        for (id, at, length) in places {
            if let Some(entry) = self.index.get_mut(id) {
                entry.place = Some((start.saturating_add(long(at)), long(length)));
            }
        }
        self.tidy_up()
    }

    /// The change that a letter is about; `None` if an earlier version wrote it, which did not keep it whole.
    ///
    /// # Errors
    /// The disk.
    pub fn read(&mut self, id: u64) -> io::Result<Option<Mutation>> {
        self.flush()?;
        let Some(place) = self.index.get(id).and_then(|entry| entry.place) else { return Ok(None) };
        let file = match self.file.take() {
            Some(file) => file,
            None => file::open(&self.path)?,
        };
        let line = file::read_line(&file, place)?;
        self.file = Some(file);
        Ok(line::mutation(&line))
    }

    /// Writes the file anew if most of it is not needed.
    fn tidy_up(&mut self) -> io::Result<()> {
        let settled: Vec<u64> =
            self.index.iter().filter(|(_, entry)| entry.fate != Fate::Open).map(|(id, _)| id).collect();
        let size = |(_, entry): (u64, &Entry)| entry.place.map_or(0, |(_, length)| length);
        let needed: u64 = self.index.iter().map(size).fold(0, u64::saturating_add);
        let too_many = settled.len() > SETTLED_MAX.saturating_mul(2);
        if !too_many && self.bytes.saturating_sub(needed) < needed.max(SPARE_BYTES) {
            return Ok(());
        }
        let oldest = settled.len().saturating_sub(SETTLED_MAX);
        settled.into_iter().take(oldest).for_each(|id| drop(self.index.remove(id)));
        self.write_anew()
    }

    fn write_anew(&mut self) -> io::Result<()> {
        let old = File::open(&self.path)?;
        let (index, log) = (&self.index, &self.log);
        file::replace(&self.path, |file| {
            let mut out = io::BufWriter::new(file);
            let log = Some(log.clone()).filter(|log| !log.is_empty());
            // A number is never given twice, also if its letter is gone.
            let last = Some(index.next_id().saturating_sub(1));
            out.write_all(&Note { log, letter: last, ..Note::default() }.line()?)?;
            for (id, entry) in index.iter() {
                let Some(place) = entry.place else { continue };
                out.write_all(&file::read_line(&old, place)?)?;
                if entry.fate != Fate::Open || entry.again.is_some() {
                    let note = Note { reason: entry.again.clone(), ..Note::of_fate(id, entry.fate) };
                    out.write_all(&note.line()?)?;
                }
            }
            out.flush()
        })?;
        self.file = None;
        let Found { index, bytes, .. } = file::read(&self.path)?;
        (self.index, self.bytes) = (index, bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
