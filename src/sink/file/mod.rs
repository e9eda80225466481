//! Events as they happened, on the local disk, for those who want the history as it is: all in one file of JSON Lines (`single`), or in files that are
//! finished one after the other and then never touched again (`store`).
//!
//! Nothing else may write there. What is written is locked (`flock`), and no file of ours is followed through a symbolic link.

mod sidecar;
mod single;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use self::single::Single;
use self::store::Store;
use super::history::{self, History};
use super::{Checkpoint, SinkError, Staged};
use crate::project::layout::Layout;
use crate::project::mutation::Mutation;

pub use self::store::{Compression, Format};

/// Where the events go, and how they stand there.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sink's name in the configuration.
    pub name: String,
    /// The source's name, as the events have it.
    pub source: String,
    /// The file; or with `files` the directory. Made with mode 0600 or 0700 if it is not there; what it is in is not made.
    pub path: PathBuf,
    /// Files in a directory; `None`: one file.
    pub files: Option<Files>,
}

/// How events are divided among files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The directories below the path. Events of one directory are in its files in their order.
    pub layout: Layout,
    /// What a file holds.
    pub format: Format,
    /// How it is compressed.
    pub compression: Compression,
    /// A file is finished behind the event with which it has so many bytes, before it is compressed.
    pub rotate_bytes: u64,
    /// And so long after its first event, however few came.
    pub rotate_after: Duration,
}

/// See the module.
pub type FileSink = History<Engine>;

impl FileSink {
    /// Opens nothing before the first [`Sink::resume`](super::Sink::resume).
    #[must_use]
    pub fn new(options: Options) -> FileSink {
        let target = options.path.display().to_string();
        let engine: Box<dyn history::Engine> = match options.files.clone() {
            None => Box::new(Single::new(options)),
            Some(files) => Box::new(Store::new(options, files)),
        };
        History::around(target, Engine(engine))
    }
}

/// What [`FileSink`] runs on the blocking pool.
pub struct Engine(Box<dyn history::Engine>);

impl history::Engine for Engine {
    fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        self.0.resume()
    }

    fn stage(&mut self, mutations: Vec<Mutation>) -> Result<Staged, SinkError> {
        self.0.stage(mutations)
    }

    fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        self.0.commit(upto)
    }

    fn probe(&mut self) -> Result<(), SinkError> {
        self.0.probe()
    }
}
