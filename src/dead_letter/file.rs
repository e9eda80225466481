//! The file: lines are appended, read where they stand, and now and then it is written anew without what is no longer needed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::index::{Fate, Index};
use super::line::{self, Became, Line, Note};

/// The file of a sink's letters.
pub(super) fn path_of(directory: &Path, sink: &str) -> PathBuf {
    directory.join(format!("{sink}.jsonl"))
}

/// What a file adds up to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) index: Index,
    /// The log that its letters are of; empty where none is named.
    pub(super) log: String,
    pub(super) bytes: u64,
}

/// Reads a file; there may be none. A last line without its end is one that a crash cut short; its row is delivered, and refused, again.
pub(super) fn read(path: &Path) -> io::Result<Found> {
    open_if_there(path)?.map_or_else(|| Ok(Found::default()), |file| read_all(&file))
}

/// Opens a file for reading; there may be none.
pub(super) fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same of an opened file.
pub(super) fn read_all(file: &File) -> io::Result<Found> {
    let (mut reader, mut found, mut line) = (BufReader::new(file), Found::default(), Vec::new());
    loop {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line)?;
        if bytes == 0 {
            return Ok(found);
        }
        let (start, length) = (found.bytes, u64::try_from(bytes).unwrap_or(u64::MAX));
        found.bytes = start.saturating_add(length);
        match line::read(&line) {
            Some(Line::Letter(id, mut entry)) => {
                entry.place = Some((start, length));
                found.index.insert(id.unwrap_or(found.index.next_id()), *entry);
            }
            Some(Line::Note(note)) => found.take(note),
            None => {}
        }
    }
}

impl Found {
    fn take(&mut self, note: Note) {
        if let Some(log) = note.log {
            if !self.log.is_empty() && self.log != log {
                supersede_all(&mut self.index);
            }
            self.log = log;
        }
        let Some(id) = note.letter else { return };
        self.index.took(id);
        if let Some(reason) = note.reason
            && let Some(entry) = self.index.get_mut(id)
        {
            entry.again = Some(reason);
        }
        match note.became {
            Some(Became::Open) => self.index.set_fate(id, Fate::Open),
            Some(Became::Superseded) => self.index.set_fate(id, Fate::Superseded(note.by)),
            Some(Became::Delivered) => self.index.set_fate(id, Fate::Delivered(note.retry.unwrap_or_default())),
            Some(Became::Discarded) => drop(self.index.remove(id)),
            None => {}
        }
    }
}

/// Of another log nothing can be told any more.
pub(super) fn supersede_all(index: &mut Index) {
    let open: Vec<u64> = index.iter().filter(|(_, entry)| entry.fate == Fate::Open).map(|(id, _)| id).collect();
    open.into_iter().for_each(|id| index.set_fate(id, Fate::Superseded(None)));
}

/// Opens it for appending; half a line, left by a disk that was full, is ended.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    sync_directory(path)?;
    Ok(file)
}

/// A line, where it stands.
pub(super) fn read_line(file: &File, (start, length): (u64, u64)) -> io::Result<Vec<u8>> {
    let mut line = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut line, start)?;
    Ok(line)
}

/// Replaces the file by one with these lines, durably.
pub(super) fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    write(&mut file)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_directory(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
