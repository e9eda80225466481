//! The log as the deliver loops see it.

use std::sync::Arc;

use tokio::sync::watch;

use super::Options;
use super::follow::Follower;
use super::reader::Reader;
use super::{find, lanes, member};
use crate::event::{Offset, Place, TableFilter, Timestamp};
use crate::log::share::{Lanes, Part, Reached, Share, SharedLog};
use crate::log::{self, Durable, LogError, LogId};

/// The log on Kafka, to be read. It need not be reachable, nor be there, before it is opened; any process may have it open.
#[derive(Clone)]
pub struct Log(Arc<Follower>);

impl Log {
    /// The log of this source.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Log(Arc::new(Follower::new(options)))
    }

    /// Joins a consumer group, which decides who has which partitions of these tables' topics.
    ///
    /// # Errors
    /// No thread can be had for it.
    pub fn join(&self, group: String, tables: TableFilter) -> Result<Arc<Share>, LogError> {
        let started = member::start(&self.0, group, tables);
        started.map_err(|error| LogError::Misuse(format!("no thread for the consumer group: {error}")))
    }
}

impl SharedLog for Log {
    fn lanes(&self, parts: Vec<(Part, Reached)>) -> Result<Lanes, LogError> {
        lanes::start(Arc::clone(&self.0), parts)
    }
}

impl log::Log for Log {
    type Reader = Reader;

    async fn open(&self) -> Result<(), LogError> {
        Ok(self.0.ready().await?)
    }

    fn id(&self) -> LogId {
        self.0.known().id.unwrap_or(LogId(0))
    }

    /// What retention has removed is found out by whoever wants to read it.
    fn start(&self) -> Offset {
        Offset(0)
    }

    fn durable(&self) -> watch::Receiver<Durable> {
        self.0.durable()
    }

    async fn find(&self, place: Place) -> Result<Offset, LogError> {
        self.0.ready().await?;
        let follower = Arc::clone(&self.0);
        let found = tokio::task::spawn_blocking(move || find::find(&follower, place)).await;
        found.map_err(|error| LogError::Misuse(format!("looking for a place failed: {error}")))?
    }

    fn reader(&self, from: Offset) -> Result<Reader, LogError> {
        self.reader_since(from, Some(Timestamp::from_unix_micros(i64::MAX)))
    }

    fn reader_since(&self, from: Offset, time: Option<Timestamp>) -> Result<Reader, LogError> {
        let end = self.0.known().durable.offset;
        if from > end {
            return Err(LogError::Ahead { wanted: from, end });
        }
        Reader::start(Arc::clone(&self.0), from, time)
    }

    fn bytes_at(&self, offset: Offset) -> Result<u64, LogError> {
        Ok(bytes_at(self.0.known().durable, offset))
    }
}

/// An estimate: events are taken to be of one size, for no record says how many bytes there were before it.
pub(super) fn bytes_at(durable: Durable, offset: Offset) -> u64 {
    let share = u128::from(durable.bytes) * u128::from(offset.0) / u128::from(durable.offset.0.max(1));
    u64::try_from(share).unwrap_or(u64::MAX).min(durable.bytes)
}
