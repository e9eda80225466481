//! Files that nobody misses: removed when they are dropped, and when the next process starts.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::log::LogError;

/// A file's name, and the file if it has been made.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    made: bool,
}

impl Scratch {
    pub(super) fn new(path: PathBuf) -> Self {
        Scratch { path, made: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, for the owner alone.
    pub(super) fn create(&mut self) -> Result<File, LogError> {
        if let Some(directory) = self.path.parent() {
            make_directory(directory)?;
        }
        // `create_new` follows no symbolic link.
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&self.path);
        let file = file.map_err(LogError::io("create", &self.path))?;
        self.made = true;
        Ok(file)
    }

    /// It bears another name now, and stays.
    pub(super) fn renamed(&mut self) {
        self.made = false;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.made {
            // What stays is removed at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn make_directory(directory: &Path) -> Result<(), LogError> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = std::fs::symlink_metadata(directory).map_err(LogError::io("open", directory))?;
            if metadata.is_dir() {
                return Ok(());
            }
            let detail = "it is not a directory; move it away".to_owned();
            Err(LogError::Unsafe { path: directory.to_owned(), detail })
        }
        made => made.map_err(LogError::io("create", directory)),
    }
}
