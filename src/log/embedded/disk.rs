//! The few things the writer asks of a disk, so that tests can make them fail.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A disk. Every method does the real thing unless a test says otherwise.
pub(super) trait Disk: fmt::Debug + Send {
    /// Writes all of `bytes` at `byte` of the file.
    fn write(&self, file: &File, _path: &Path, bytes: &[u8], byte: u64) -> io::Result<()> {
        file.write_all_at(bytes, byte)
    }

    /// Makes the file's bytes survive a power cut.
    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }

    /// Cuts the file, durably.
    fn cut(&self, file: &File, _path: &Path, len: u64) -> io::Result<()> {
        file.set_len(len)?;
        file.sync_all()
    }

    /// Renames a file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Makes the directory's entries survive a power cut.
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {}
