//! The embedded log in the roles that the loops know.

use tokio::sync::watch;

use super::{Log, Reader, Writer};
use crate::event::{Offset, Place};
use crate::log::{self, Batch, Durable, Entry, Limit, LogError, LogId, Recovered};

impl log::LogWriter for Writer {
    /// It is open as long as it is there; a failure of the disk is for good.
    async fn open(&mut self) -> Result<Option<Recovered>, LogError> {
        Ok(None)
    }

    fn is_open(&self) -> bool {
        true
    }

    /// A unit's parts are cut off with it.
    fn awaits_rest(&self) -> bool {
        false
    }

    #[inline]
    fn append(&mut self, entry: Entry<'_>) -> Result<(), LogError> {
        Writer::append(self, entry)
    }

    fn in_transaction(&self) -> bool {
        Writer::in_transaction(self)
    }

    fn next_offset(&self) -> Offset {
        Writer::next_offset(self)
    }

    #[inline]
    fn pending_bytes(&self) -> usize {
        Writer::pending_bytes(self)
    }

    fn can_flush(&self) -> bool {
        Writer::can_flush(self)
    }

    async fn flush(&mut self) -> Result<(), LogError> {
        Writer::flush(self).await
    }

    async fn sync(&mut self) -> Result<Durable, LogError> {
        Writer::sync(self).await
    }

    fn durable(&self) -> watch::Receiver<Durable> {
        Writer::durable(self)
    }

    fn beside(&self) -> std::path::PathBuf {
        Writer::beside(self)
    }
}

impl log::LogReader for Reader {
    async fn next(&mut self, limit: Limit) -> Result<Batch, LogError> {
        Reader::next(self, limit).await
    }
}

impl log::Log for Log {
    type Reader = Reader;

    async fn open(&self) -> Result<(), LogError> {
        Ok(())
    }

    fn id(&self) -> LogId {
        Log::id(self)
    }

    fn start(&self) -> Offset {
        Log::start(self)
    }

    fn durable(&self) -> watch::Receiver<Durable> {
        Log::durable(self)
    }

    async fn find(&self, place: Place) -> Result<Offset, LogError> {
        let log = self.clone();
        let found = tokio::task::spawn_blocking(move || Log::find(&log, place)).await;
        found.map_err(|error| LogError::Misuse(format!("looking for a place failed: {error}")))?
    }

    fn reader(&self, from: Offset) -> Result<Reader, LogError> {
        Log::reader(self, from)
    }

    fn bytes_at(&self, offset: Offset) -> Result<u64, LogError> {
        Log::bytes_at(self, offset)
    }
}
