//! The thread that writes, fsyncs and publishes, while the writer fills the next buffer.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::catalog::{Segment, create_file, open_file};
use super::disk::Disk;
use super::format::{SEGMENT_SUFFIX, UNFINISHED_SUFFIX};
use super::preamble::Place;
use super::shared::Shared;
use crate::log::{Durable, LogError};

/// What the writer hands over, to be done in this order.
#[derive(Debug)]
pub(super) enum Job {
    /// Make a segment, of which `bytes` are the first.
    Roll { segment: Arc<Segment>, bytes: Vec<u8> },
    /// Write a group into the newest segment, make it durable, publish `closed`.
    Write { bytes: Vec<u8>, byte: u64, closed: Durable },
    /// Take back everything from here on.
    Cut(Place),
}

impl Job {
    /// Bytes it holds in memory.
    pub(super) fn len(&self) -> usize {
        match self {
            Job::Roll { bytes, .. } | Job::Write { bytes, .. } => bytes.len(),
            Job::Cut(_) => 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Flusher {
    shared: Arc<Shared>,
    disk: Box<dyn Disk>,
    file: File,
    path: PathBuf,
}

impl Flusher {
    /// Goes on in this file, the newest segment.
    pub(super) fn new(shared: Arc<Shared>, disk: Box<dyn Disk>, file: File, path: PathBuf) -> Self {
        Flusher { shared, disk, file, path }
    }

    /// Works until the writer is gone or something fails; after a failure nothing is touched again.
    pub(super) fn run(mut self, queue: &Receiver<Vec<Job>>) {
        while let Ok(jobs) = queue.recv() {
            if let Err(error) = jobs.into_iter().try_for_each(|job| self.work(job)) {
                tracing::error!(%error, "the log stops writing");
                self.shared.poison(error);
                return;
            }
            self.shared.idle.add_permits(1);
        }
    }

    fn work(&mut self, job: Job) -> Result<(), LogError> {
        match job {
            Job::Roll { segment, bytes } => self.roll(segment, &bytes),
            Job::Write { bytes, byte, closed } => {
                self.write(&bytes, byte, closed)?;
                self.shared.recycle(bytes);
                Ok(())
            }
            Job::Cut(place) => self.cut(place),
        }
    }

    fn write(&mut self, bytes: &[u8], byte: u64, closed: Durable) -> Result<(), LogError> {
        self.disk.write(&self.file, &self.path, bytes, byte).map_err(LogError::io("write", &self.path))?;
        self.disk.sync(&self.file, &self.path).map_err(LogError::io("fsync", &self.path))?;
        self.check_still_there()?;
        self.shared.durable.send_if_modified(|durable| std::mem::replace(durable, closed) != closed);
        Ok(())
    }

    fn roll(&mut self, segment: Arc<Segment>, bytes: &[u8]) -> Result<(), LogError> {
        // Else the new segment could be made in a directory that has taken the place of ours.
        self.check_still_there()?;
        let path = segment.path.clone();
        (self.file, self.path) = (make_segment(&*self.disk, &self.shared.directory, &path, bytes)?, path);
        self.shared.catalog.push(segment);
        Ok(())
    }

    /// Newest segment first, each removal durable before the next, so that a crash in between leaves an unfinished unit
    /// and no gap.
    fn cut(&mut self, place: Place) -> Result<(), LogError> {
        let directory = &self.shared.directory;
        while let Some(last) = self.shared.catalog.all().last().filter(|last| last.sequence > place.sequence) {
            self.shared.catalog.remove_last();
            self.disk.remove(&last.path).map_err(LogError::io("remove", &last.path))?;
            self.disk.sync_directory(directory).map_err(LogError::io("fsync", directory))?;
        }
        if let Some(segment) = self.shared.catalog.get(place.sequence).filter(|segment| segment.path != self.path) {
            self.file = open_file(&segment.path, true)?;
            self.path.clone_from(&segment.path);
        }
        self.disk.cut(&self.file, &self.path, place.byte).map_err(LogError::io("truncate", &self.path))
    }

    /// A file whose directory was removed or moved away takes writes and fsyncs without complaint, and is gone with this
    /// process. So before anything is called durable, its name must still lead to it.
    fn check_still_there(&self) -> Result<(), LogError> {
        let ours = self.file.metadata().map_err(LogError::io("stat", &self.path))?;
        let named = std::fs::symlink_metadata(&self.path).map_err(LogError::io("find", &self.path))?;
        if (ours.dev(), ours.ino()) != (named.dev(), named.ino()) {
            let replaced = io::Error::new(io::ErrorKind::NotFound, "the file was replaced while it was written to");
            return Err(LogError::io("find", &self.path)(replaced));
        }
        let directory = &self.shared.directory;
        let mode = std::fs::metadata(directory).map_err(LogError::io("stat", directory))?.mode();
        if mode & 0o200 == 0 {
            let refused = io::Error::new(io::ErrorKind::PermissionDenied, "the directory was made read-only");
            return Err(LogError::io("write", directory)(refused));
        }
        Ok(())
    }
}

/// Makes a segment that is whole and durable by the time it bears its name.
pub(super) fn make_segment(disk: &dyn Disk, directory: &Path, path: &Path, bytes: &[u8]) -> Result<File, LogError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let unfinished = directory.join(name.replace(SEGMENT_SUFFIX, UNFINISHED_SUFFIX));
    let file = create_file(&unfinished)?;
    disk.write(&file, &unfinished, bytes, 0).map_err(LogError::io("write", &unfinished))?;
    disk.sync(&file, &unfinished).map_err(LogError::io("fsync", &unfinished))?;
    disk.rename(&unfinished, path).map_err(LogError::io("rename", &unfinished))?;
    disk.sync_directory(directory).map_err(LogError::io("fsync", directory))?;
    Ok(file)
}
