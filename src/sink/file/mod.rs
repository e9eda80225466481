//! Events as JSON Lines in a local file, for those who want the history as it is.
//!
//! The file and its checkpoint cannot be written at once, so the checkpoint (`<path>.checkpoint`, see `sidecar`) holds
//! the file's length, and is written after the data's fsync. Whatever stands beyond that length is from a commit that did
//! not happen, and is cut off: no line appears twice, and none is half there.
//!
//! Nothing else may write the file. It is locked (`flock`), and never followed through a symbolic link; one that shrank or
//! vanished is written anew from the log, from its start.

mod engine;
mod sidecar;

use std::path::PathBuf;

use self::engine::Engine;
use super::history::History;

/// Which file, and what stands in it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sink's name in the configuration.
    pub name: String,
    /// The source's name, as the lines have it.
    pub source: String,
    /// The file. Made with mode 0600 if it is not there; its directory is not made.
    pub path: PathBuf,
}

/// See the module.
pub type FileSink = History<Engine>;

impl FileSink {
    /// Opens nothing before the first [`Sink::resume`](super::Sink::resume).
    #[must_use]
    pub fn new(options: Options) -> FileSink {
        History::around(options.path.display().to_string(), Engine::new(options))
    }
}
