//! What the writer, its flusher, the readers and retention share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

use super::catalog::Catalog;
use super::clock::SteadyClock;
use crate::log::{Durable, LogError, LogId};

/// One is filled while one is written.
const SPARE_BUFFERS: usize = 1;
const SPARE_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: PathBuf,
    pub(super) id: LogId,
    pub(super) catalog: Catalog,
    /// Published after each fsync, by the flusher alone.
    pub(super) durable: watch::Sender<Durable>,
    /// One permit: there while the flusher is idle. Closed when it has failed.
    pub(super) idle: Semaphore,
    /// Whether the writer, and with it the lock, is still there.
    pub(super) writing: AtomicBool,
    /// What retention takes for the time.
    pub(super) clock: Mutex<SteadyClock>,
    /// Written buffers, to be filled again: fresh memory costs more than the copy into it.
    spare: Mutex<Vec<Vec<u8>>>,
    poisoned: AtomicBool,
    /// The failure that poisoned the log, for the first who asks.
    failure: Mutex<Option<LogError>>,
}

impl Shared {
    pub(super) fn new(directory: PathBuf, id: LogId, catalog: Catalog, durable: Durable, clock: SteadyClock) -> Self {
        Shared {
            directory,
            id,
            catalog,
            durable: watch::Sender::new(durable),
            idle: Semaphore::new(1),
            writing: AtomicBool::new(true),
            clock: Mutex::new(clock),
            spare: Mutex::default(),
            poisoned: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// An empty buffer.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Takes a buffer back, unless a rare large record has blown it up.
    pub(super) fn recycle(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_BUFFERS && buffer.capacity() <= SPARE_BYTES {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Ends writing for ever, and wakes all who wait for more.
    pub(super) fn poison(&self, error: LogError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.poisoned.store(true, Ordering::Release);
        self.idle.close();
        self.durable.send_modify(|_| {});
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// An error if the log is poisoned: the failure itself once, then that there was one.
    pub(super) fn check(&self) -> Result<(), LogError> {
        if !self.is_poisoned() {
            return Ok(());
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(failure.unwrap_or_else(|| LogError::Poisoned { path: self.directory.clone() }))
    }
}
