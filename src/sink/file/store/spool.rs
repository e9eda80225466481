//! A file that is appended to: lines as they will stand, or, where the final form can only be written as a whole, events as the log's own records.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::Format;
use super::manifest::{Entry, Root};
use crate::event::{Event, Relation};
use crate::log::single;
use crate::project::line::write_event;
use crate::sink::SinkError;
use crate::sink::disk::{failed, no_follow, regressed};

/// See the module.
pub(super) struct Spool {
    /// Its length is what is in the file, committed or not.
    pub(super) entry: Entry,
    /// Not in the file yet.
    pub(super) buffer: Vec<u8>,
    /// Of a Parquet file: the version of the table that all its events have.
    table: Option<Arc<Relation>>,
    /// There is no such file yet.
    is_new: bool,
    /// Something was written that no fsync followed.
    is_dirty: bool,
}

impl Spool {
    /// One with nothing in it.
    pub(super) fn begin(entry: Entry, first: &Event) -> Self {
        let table = first.change.relation().cloned();
        Spool { entry, buffer: Vec::new(), table, is_new: true, is_dirty: false }
    }

    /// One that is there, up to what was committed of it. What is behind that is cut off.
    pub(super) fn resume(root: &Root, entry: Entry) -> Result<Self, SinkError> {
        let path = root.spool(entry.number);
        let file = OpenOptions::new().read(true).write(true).custom_flags(no_follow()).open(&path);
        let file = file.map_err(|error| failed(&path, "open", &error))?;
        let length = file.metadata().map_err(|error| failed(&path, "read", &error))?.len();
        if length > entry.length {
            file.set_len(entry.length).map_err(|error| failed(&path, "truncate", &error))?;
            file.sync_all().map_err(|error| failed(&path, "fsync", &error))?;
        }
        let mut spool = Spool { entry, buffer: Vec::new(), table: None, is_new: false, is_dirty: false };
        if spool.entry.format == Format::Parquet {
            let mut records = Records::of(file, spool.entry.length);
            let first = records.next_event().map_err(|error| failed(&path, "read", &error))?;
            spool.table = first.and_then(|first| first.change.relation().cloned());
        }
        Ok(spool)
    }

    /// Whether the event can stand in this file.
    pub(super) fn takes(&self, event: &Event) -> bool {
        if self.entry.format == Format::Jsonl {
            return true;
        }
        match (&self.table, event.change.relation()) {
            (Some(ours), Some(its)) => Arc::ptr_eq(ours, its) || ours == its,
            (None, None) => true,
            _ => false,
        }
    }

    /// Bytes in the file, or on their way there.
    pub(super) fn length(&self) -> u64 {
        self.entry.length.saturating_add(self.buffer.len() as u64)
    }

    /// Appends an event to the buffer. `false`: it is larger than any that PostgreSQL sends.
    pub(super) fn push(&mut self, source: &str, event: &Event) -> bool {
        if self.entry.format == Format::Jsonl {
            write_event(source, event, &mut self.buffer);
            self.buffer.push(b'\n');
            return true;
        }
        let (start, is_first) = (self.buffer.len(), self.length() == 0);
        self.buffer.extend_from_slice(&[0; 4]);
        let is_put = if is_first {
            single::put_event(event).map(|bytes| self.buffer.extend_from_slice(&bytes)).is_some()
        } else {
            single::put_event_behind(event, &mut self.buffer)
        };
        let length = self.buffer.len().saturating_sub(start).saturating_sub(4);
        match (u32::try_from(length), self.buffer.get_mut(start..start.saturating_add(4))) {
            (Ok(length), Some(head)) if is_put => head.copy_from_slice(&length.to_be_bytes()),
            _ => {
                self.buffer.truncate(start);
                return false;
            }
        }
        true
    }

    /// Writes the buffer, and with `sync` makes durable what was written.
    pub(super) fn write_out(&mut self, root: &Root, sync: bool) -> Result<(), SinkError> {
        if self.buffer.is_empty() && !(sync && self.is_dirty) {
            return Ok(());
        }
        let path = root.spool(self.entry.number);
        let mut options = OpenOptions::new();
        options.append(true).mode(0o600).custom_flags(no_follow());
        let file = if self.is_new { options.create_new(true).open(&path) } else { options.open(&path) };
        let mut file = match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(regressed(&root.0, format!("{} was removed", path.display())));
            }
            opened => opened.map_err(|error| failed(&path, "open", &error))?,
        };
        self.is_new = false;
        self.check(root, &file)?;
        file.write_all(&self.buffer).map_err(|error| failed(&path, "write", &error))?;
        self.is_dirty |= !self.buffer.is_empty();
        self.entry.length = self.length();
        self.buffer = Vec::new();
        if sync {
            file.sync_all().map_err(|error| failed(&path, "fsync", &error))?;
            self.is_dirty = false;
        }
        Ok(())
    }

    /// Whether the file is as long as we left it.
    pub(super) fn probe(&self, root: &Root) -> Result<(), SinkError> {
        if self.is_new {
            return Ok(());
        }
        let path = root.spool(self.entry.number);
        match File::open(&path) {
            Ok(file) => self.check(root, &file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(regressed(&root.0, format!("{} was removed", path.display())))
            }
            Err(error) => Err(failed(&path, "open", &error)),
        }
    }

    fn check(&self, root: &Root, file: &File) -> Result<(), SinkError> {
        let path = root.spool(self.entry.number);
        let found = file.metadata().map_err(|error| failed(&path, "read", &error))?.len();
        if found == self.entry.length {
            return Ok(());
        }
        let (path, written) = (path.display(), self.entry.length);
        Err(regressed(&root.0, format!("{path} has {found} bytes where {written} were written")))
    }
}

/// How much of a spool is there; `None`: it is gone.
pub(super) fn length_of(path: &Path) -> Result<Option<u64>, SinkError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, "read", &error)),
    }
}

/// The events of a spool of records, in order.
pub(super) struct Records {
    input: io::BufReader<io::Take<File>>,
    table: Option<Arc<Relation>>,
}

impl Records {
    /// Those in the file up to this length.
    pub(super) fn of(file: File, length: u64) -> Self {
        Records { input: io::BufReader::with_capacity(1 << 18, file.take(length)), table: None }
    }

    /// The next; `None` at the end. What is not a record is an error of kind `InvalidData`.
    pub(super) fn next_event(&mut self) -> io::Result<Option<Event>> {
        let mut length = [0; 4];
        match self.input.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        (&mut self.input).take(length as u64).read_to_end(&mut bytes)?;
        let event = Some(bytes)
            .filter(|bytes| bytes.len() == length)
            .and_then(|bytes| single::read_event_behind(&Bytes::from(bytes), self.table.as_ref()));
        let event = event.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "something else wrote to it"))?;
        self.table = self.table.take().or_else(|| event.change.relation().cloned());
        Ok(Some(event))
    }
}
