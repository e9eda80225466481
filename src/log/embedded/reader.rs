//! A reader in the writer's process: waits for what becomes durable.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::scan::Scan;
use super::shared::Shared;
use crate::event::Offset;
use crate::log::{Batch, Durable, Limit, LogError};

/// A scan come back from its thread, with what it read.
type Read = (Scan, Result<Option<Batch>, LogError>);

/// Reads committed events in order. Each reader has its own place and its own files; it never holds up the writer.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    durable: watch::Receiver<Durable>,
    /// Not there while a thread of the blocking pool reads.
    scan: Option<Scan>,
    reading: Option<JoinHandle<Read>>,
    offset: Offset,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, scan: Scan) -> Self {
        let durable = shared.durable.subscribe();
        let offset = scan.offset();
        Reader { shared, durable, scan: Some(scan), reading: None, offset }
    }

    /// The offset of the next event it will return.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The next events; waits at the end until there are some. Cancel-safe: a call that is dropped loses nothing, though what
    /// it had begun to read may come back under its limit rather than the next call's.
    ///
    /// # Errors
    /// [`LogError::Expired`] if retention has removed what comes next; [`LogError::Corrupt`] and [`LogError::Io`];
    /// [`LogError::Poisoned`] at the end of a log that has failed.
    pub async fn next(&mut self, limit: Limit) -> Result<Batch, LogError> {
        loop {
            let start = self.shared.catalog.start();
            if self.offset < start {
                return Err(LogError::Expired { wanted: self.offset, start });
            }
            let durable = *self.durable.borrow_and_update();
            if let Some(batch) = self.read(durable, limit).await? {
                self.offset = batch.next;
                return Ok(batch);
            }
            if self.shared.is_poisoned() {
                return Err(LogError::Poisoned { path: self.shared.directory.clone() });
            }
            if self.durable.changed().await.is_err() {
                return Err(LogError::Poisoned { path: self.shared.directory.clone() });
            }
        }
    }

    /// Reads here what is in the page cache, as what was just written is, and has a thread that may block read the rest.
    async fn read(&mut self, durable: Durable, limit: Limit) -> Result<Option<Batch>, LogError> {
        if let Some(mut scan) = self.scan.take() {
            scan.wait_for_disk(false);
            match scan.batch(&self.shared.catalog, durable, limit) {
                Err(LogError::Io { source, .. }) if source.kind() == ErrorKind::WouldBlock => {}
                read => {
                    self.scan = Some(scan);
                    return read;
                }
            }
            scan.wait_for_disk(true);
            let shared = Arc::clone(&self.shared);
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let batch = scan.batch(&shared.catalog, durable, limit);
                (scan, batch)
            }));
        }
        let Some(reading) = self.reading.as_mut() else {
            return Err(LogError::Misuse("a reader was used after its thread failed".to_owned()));
        };
        let finished = reading.await;
        self.reading = None;
        let (scan, batch) = finished.map_err(|error| LogError::Misuse(format!("a reader's thread failed: {error}")))?;
        self.scan = Some(scan);
        batch
    }
}
