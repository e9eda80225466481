//! One file of JSON Lines that only grows.
//!
//! The file and its checkpoint cannot be written at once, so the checkpoint (`<path>.checkpoint`, see `sidecar`) holds
//! the file's length, and is written after the data's fsync. Whatever stands beyond that length is from a commit that did
//! not happen, and is cut off: no line appears twice, and none is half there. A file that shrank or vanished is written anew from the log, from its start.
//!
//! Invariants: `sidecar length ≤ length of the file`, or the file was damaged and is begun anew; and the file is only ever
//! appended to where our last write ended.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use super::Options;
use super::sidecar::{self, Sidecar};
use crate::event::Position;
use crate::project::line::write_event;
use crate::project::mutation::{Effect, Mutation};
use crate::sink::disk::{check_directory, failed, lock_file, no_follow, not_open, regressed, sync_directory, unusable};
use crate::sink::history;
use crate::sink::saved::Saved;
use crate::sink::{Checkpoint, Rejection, SinkError, Staged};

/// Lines are gathered up to this many bytes before they are written; one longer line is written by itself.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// See the module.
pub(super) struct Single {
    options: Options,
    open: Option<Open>,
}

/// The file, opened and locked.
struct Open {
    file: File,
    /// Lines not written yet.
    buffer: Vec<u8>,
    /// Bytes in the file: where the next write begins.
    length: u64,
    /// Events up to here are in the file.
    position: Option<Position>,
}

impl Single {
    pub(super) fn new(options: Options) -> Self {
        Single { options, open: None }
    }
}

impl history::Engine for Single {
    fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        // The lock goes with it.
        self.open = None;
        self.check_place()?;
        let mut file = self.open_file()?;
        let sidecar = self.read_sidecar()?;
        let found = file.metadata().map_err(self.failed("read"))?.len();
        let (length, checkpoint) = self.judge(found, sidecar)?;
        if found > length {
            tracing::info!(sink = %self.options.name, bytes = found - length, "cut off what was not committed");
            file.set_len(length).map_err(self.failed("truncate"))?;
            file.sync_all().map_err(self.failed("fsync"))?;
        }
        self.check_last_line(&mut file, length)?;
        if checkpoint.is_none() {
            sidecar::write(&self.options.path, &Sidecar { length: 0, checkpoint: None })
                .map_err(self.failed("write"))?;
        }
        let position = checkpoint.and_then(|checkpoint| checkpoint.position);
        self.open = Some(Open { file, buffer: Vec::new(), length, position });
        Ok(checkpoint)
    }

    fn stage(&mut self, mutations: Vec<Mutation>) -> Result<Staged, SinkError> {
        let mut staged = Staged::default();
        let options = &self.options;
        let open = self.open.as_mut().ok_or_else(|| not_open(&options.path))?;
        for (mutation, next) in mutations.into_iter().zip(1..) {
            if open.position.is_some_and(|written| mutation.position <= written) {
                continue;
            }
            let Effect::Append(event) = &mutation.effect else {
                let reason = "a file keeps events, not documents".to_owned();
                staged.rejected.push(Rejection { mutation, reason });
                staged.rest = Some(next);
                break;
            };
            write_event(&options.source, event, &mut open.buffer);
            open.buffer.push(b'\n');
            if open.buffer.len() >= BUFFER_BYTES_MAX {
                open.write_out(options)?;
            }
        }
        Ok(staged)
    }

    fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        let options = &self.options;
        let open = self.open.as_mut().ok_or_else(|| not_open(&options.path))?;
        open.write_out(options)?;
        open.file.sync_data().map_err(|error| failed(&options.path, "fsync", &error))?;
        // Once more: what shrank meanwhile must not be called committed.
        open.check_in_place(options)?;
        let sidecar = Sidecar { length: open.length, checkpoint: Some(Saved::from(upto)) };
        sidecar::write(&options.path, &sidecar).map_err(|error| failed(&options.path, "checkpoint", &error))?;
        open.position = upto.position.or(open.position);
        Ok(())
    }

    fn probe(&mut self) -> Result<(), SinkError> {
        self.open.as_ref().ok_or_else(|| not_open(&self.options.path))?.check_in_place(&self.options)
    }
}

impl Single {
    /// Refuses a place where no file of ours can be.
    fn check_place(&self) -> Result<(), SinkError> {
        let path = &self.options.path;
        check_directory(path)?;
        let kind = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(self.failed("open"))?.file_type(),
        };
        if kind.is_symlink() {
            return Err(self.unusable("it is a symbolic link", "Configure the file that it points to"));
        }
        if !kind.is_file() {
            return Err(self.unusable("it is not a regular file", "Configure another path"));
        }
        Ok(())
    }

    fn open_file(&self) -> Result<File, SinkError> {
        let path = &self.options.path;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(no_follow())
            .open(path)
            .map_err(self.failed("open"))?;
        match lock_file(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SinkError::Fenced { target: self.target(), detail: "the file's lock is held".to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(&self.options.path, "lock", &error)),
        }
        sync_directory(path).map_err(self.failed("fsync the directory of"))?;
        Ok(file)
    }

    fn read_sidecar(&self) -> Result<Option<Sidecar>, SinkError> {
        sidecar::read(&self.options.path).map_err(|error| {
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
                return self.foreign(&format!("its checkpoint file cannot be read: {error}"));
            }
            failed(&self.options.path, "read the checkpoint of", &error)
        })
    }

    /// How much of the file holds, and what that amounts to.
    fn judge(&self, found: u64, sidecar: Option<Sidecar>) -> Result<(u64, Option<Checkpoint>), SinkError> {
        let Some(Sidecar { length, checkpoint }) = sidecar else {
            let empty = (0, None);
            return if found == 0 { Ok(empty) } else { Err(self.foreign("it holds data, and has no checkpoint file")) };
        };
        let Some(saved) = checkpoint else { return Ok((0, None)) };
        if found < length {
            tracing::warn!(sink = %self.options.name, path = %self.options.path.display(), expected_bytes = length,
                found_bytes = found, "the file is shorter than was committed; it is written anew from the log");
            return Ok((0, None));
        }
        let checkpoint = saved.checkpoint().ok_or_else(|| self.foreign("its checkpoint names no log"))?;
        Ok((length, Some(checkpoint)))
    }

    /// What is committed ends with a line's end. If not, something else wrote there.
    fn check_last_line(&self, file: &mut File, length: u64) -> Result<(), SinkError> {
        let Some(last) = length.checked_sub(1) else { return Ok(()) };
        let mut byte = [0];
        file.seek(SeekFrom::Start(last)).map_err(self.failed("read"))?;
        file.read_exact(&mut byte).map_err(self.failed("read"))?;
        if byte == *b"\n" { Ok(()) } else { Err(self.foreign("something else wrote to it")) }
    }

    fn foreign(&self, detail: &str) -> SinkError {
        let remedy = format!(
            "Move it and {} away: the file is then written anew from the log",
            sidecar::path_of(&self.options.path).display()
        );
        self.unusable(detail, &remedy)
    }

    fn unusable(&self, detail: &str, remedy: &str) -> SinkError {
        unusable(&self.options.path, detail, remedy)
    }

    fn target(&self) -> String {
        self.options.path.display().to_string()
    }

    /// For `map_err`.
    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> SinkError {
        move |error| failed(&self.options.path, action, &error)
    }
}

impl Open {
    /// Writes the buffered lines.
    fn write_out(&mut self, options: &Options) -> Result<(), SinkError> {
        // Before, too: appending to a file that was emptied could bring it back to the length that the sidecar tells.
        self.check_in_place(options)?;
        self.file.write_all(&self.buffer).map_err(|error| failed(&options.path, "write", &error))?;
        let written = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        self.length = self.length.saturating_add(written);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_MAX);
        Ok(())
    }

    /// Whether the path still leads to our file, as long as we left it.
    fn check_in_place(&self, options: &Options) -> Result<(), SinkError> {
        let ours = self.file.metadata().map_err(|error| failed(&options.path, "read", &error))?;
        let same = |there: Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        if !fs::symlink_metadata(&options.path).is_ok_and(same) {
            return Err(regressed(&options.path, "the file was removed or replaced"));
        }
        if ours.len() != self.length {
            let detail = format!("the file has {} bytes where {} were written", ours.len(), self.length);
            return Err(regressed(&options.path, detail));
        }
        Ok(())
    }
}
