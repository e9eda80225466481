//! What the catalog said when it was last acted upon, kept in a file beside the log's segments.
//!
//! A file of its own and no record of the log: it is a note about the source, not a part of its history, and losing it costs
//! no more than the knowledge of what was redefined in between. It is replaced as a whole, and only after everything that
//! follows from it is durable in the log; a crash in between has the same changes found once more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::capture::schema::Inventory;
use crate::log::LogError;

/// The file's format.
const VERSION: u32 = 1;

/// The file's name, in the log's directory.
pub const FILE_NAME: &str = "catalog.json";

/// What is known, and where it is kept.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    known: Option<Inventory>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    inventory: Inventory,
}

impl Memory {
    /// Reads the file. One that cannot be read is as good as none, and said so.
    pub(super) fn open(path: PathBuf) -> Self {
        let read = match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice::<Saved>(&bytes).map_err(|error| error.to_string()).and_then(|saved| match saved
                    .version
                {
                    VERSION => Ok(Some(saved.inventory)),
                    version => Err(format!("it is of format {version}")),
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        let known = read.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "what the tables were like is not known any more: \
                what was redefined since the last run is not found out");
            None
        });
        Memory { path, known }
    }

    /// The tables as last acted upon; `None` if nothing is known.
    pub(super) fn known(&self) -> Option<&Inventory> {
        self.known.as_ref()
    }

    /// Keeps what is known now, durably.
    ///
    /// # Errors
    /// The file could not be written.
    pub(super) async fn keep(&mut self, now: Inventory) -> Result<(), LogError> {
        if self.known.as_ref() == Some(&now) {
            return Ok(());
        }
        let path = self.path.clone();
        let saved = Saved { version: VERSION, inventory: now };
        let written = tokio::task::spawn_blocking(move || replace(&path, &saved).map(|()| saved.inventory)).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.known = Some(written.map_err(LogError::io("write", &self.path))?);
        Ok(())
    }
}

/// Whoever reads sees the old file or the new one, whatever happens in between.
fn replace(path: &std::path::Path, saved: &Saved) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec(saved)?)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_kept_is_known_after_a_restart_and_a_damaged_file_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE_NAME);
        let mut memory = Memory::open(path.clone());
        assert_eq!(memory.known(), None);
        memory.keep(Inventory::default()).await.expect("written");
        assert_eq!(Memory::open(path.clone()).known(), Some(&Inventory::default()));
        fs::write(&path, "{").expect("written");
        assert_eq!(Memory::open(path).known(), None);
    }
}
