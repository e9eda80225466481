//! A checkpoint in a file of its own, for targets that cannot keep one themselves.
//!
//! The file is replaced in one step and held by a lock beside it. It says how far the target has come by our word alone: what is delivered and not yet noted there
//! when the process ends is delivered again.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::disk::{self, failed, not_open};
use super::saved::Saved;
use super::{Checkpoint, SinkError, belief};

/// See the module.
pub(super) struct Place {
    path: PathBuf,
    open: Option<Open>,
}

struct Open {
    /// Held as long as it is open.
    _lock: File,
    belief: Option<Checkpoint>,
}

impl Place {
    /// Opens nothing yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Place { path, open: None }
    }

    /// Locks the place, unless it is ours already, and reads what stands there.
    pub(super) fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        disk::check_directory(&self.path)?;
        let found = self.read()?;
        match &mut self.open {
            Some(open) => open.belief = found,
            None => {
                let lock = disk::lock(&disk::with_suffix(&self.path, ".lock"), &self.path)?;
                // Whoever had it may have written until then.
                let belief = self.read()?;
                self.open = Some(Open { _lock: lock, belief });
            }
        }
        Ok(self.open.as_ref().and_then(|open| open.belief))
    }

    /// Whether it is as we left it.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        let open = self.open.as_ref().ok_or_else(|| not_open(&self.path))?;
        belief::verify(&self.path.display().to_string(), self.read()?, open.belief)
    }

    /// Replaces what stands there, durably.
    pub(super) fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        self.check()?;
        let text = serde_json::to_vec(&Saved::from(upto)).map_err(|error| self.failed("write", &error.into()))?;
        disk::replace(&self.path, &text).map_err(|error| self.failed("write", &error))?;
        if let Some(open) = &mut self.open {
            open.belief = Some(upto);
        }
        Ok(())
    }

    fn read(&self) -> Result<Option<Checkpoint>, SinkError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", &error)),
        };
        let saved = serde_json::from_slice::<Saved>(&text).ok().and_then(|saved| saved.checkpoint());
        saved.map(Some).ok_or_else(|| {
            let remedy = "Move it away, and everything is delivered from the log's beginning; or give another path";
            disk::unusable(&self.path, "it is no checkpoint of walbridge's", remedy)
        })
    }

    fn failed(&self, action: &str, error: &io::Error) -> SinkError {
        failed(&self.path, action, error)
    }
}
