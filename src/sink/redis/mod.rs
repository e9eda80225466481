//! Redis and Valkey: a key for each row, and the checkpoint in the same transaction.
//!
//! Everything staged becomes visible with one `EXEC`, the checkpoint as its last command. So a reader never sees part of a
//! transaction, a crash at any moment leaves data and checkpoint of the same age, and so does a Redis that comes back from an
//! old file or as a replica that was behind: the checkpoint it tells is the truth about its data.
//!
//! - `checkpoint`: the key that tells how far we are, and what it means if somebody else moved it.
//! - `fence`: how whoever comes later keeps whoever came before from writing.
//! - `parts`: the checkpoints of a sink that several processes share.
//! - `connect`: connections without secrets in their messages.
//! - `merge`: rows as values; missing values taken over from the stored document.
//! - `reply`: what Redis answers.
//! - `write`: the commands of a transaction, and why `EXEC` cannot leave a checkpoint without its data.
//! - `session`: the order of it all.
//!
//! The user needs the commands `GET SET UNLINK SCAN WATCH MULTI EXEC DISCARD EVAL`, for hashes also `HSET HGETALL PEXPIRE`, on
//! the documents' keys and on `walbridge:NAME:*`.
//!
//! A `maxmemory-policy` of the `allkeys` sort may evict the checkpoint too, and everything is then written again; the
//! `volatile` ones and `noeviction` leave it alone, for it has no TTL.

mod checkpoint;
mod connect;
mod error;
pub mod facts;
mod fence;
mod merge;
mod parts;
mod reply;
mod session;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use self::checkpoint::OwnKeys;
use self::connect::Address;
use self::session::Session;
use super::{Checkpoint, Claim, KeyPage, SharedSink, Sink, SinkError, Staged};
use crate::event::TableName;
use crate::log::LogId;
use crate::log::share::{Part, Reached};
use crate::project::mutation::Mutation;

/// How a row stands in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A string: the row as a JSON object.
    Json,
    /// A hash: a field for each column that is not NULL, holding the value's text.
    Hash,
    /// Not at all: a changed row's key is removed, for caches that fill themselves.
    Invalidate,
}

/// Whether a key is one of a table's documents.
pub type KeyTest = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The keys of a table's documents.
pub type KeysOf = Arc<dyn Fn(&TableName) -> DocumentKeys + Send + Sync>;

/// Which keys a `TRUNCATE` removes, and among which those are that a table copied again has left behind.
#[derive(Clone)]
pub struct DocumentKeys {
    /// For `SCAN … MATCH`: matches all of them, and perhaps others.
    pub glob: Vec<u8>,
    /// Tells those others apart.
    pub matches: KeyTest,
    /// Every key that this sink writes is among them: it has one table.
    pub all: bool,
}

/// What a Redis sink is made from.
pub struct Options {
    /// The sink's name: its checkpoint is kept under `walbridge:NAME:checkpoint`.
    pub name: String,
    /// `redis://`, `rediss://` or `redis+unix://`, with user, password and database number where there are such.
    pub url: SecretString,
    /// How rows stand in it.
    pub value: ValueKind,
    /// Documents go away so long after they were last written. Less than a millisecond counts as one.
    pub ttl: Option<Duration>,
    /// The keys of a table's documents.
    pub keys_of: KeysOf,
    /// How long an answer may take before the connection is given up: [`RESPONSE_TIMEOUT`] unless there is a reason.
    pub response_timeout: Duration,
}

/// Long enough for a server that forks or writes a large file, short enough to notice one that is gone.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// What does not change from connection to connection.
struct Target {
    address: Address,
    own: OwnKeys,
    kind: ValueKind,
    ttl_ms: Option<u64>,
    keys_of: KeysOf,
}

/// A Redis server as a sink.
pub struct RedisSink {
    target: Arc<Target>,
    /// `None` before the first [`Sink::resume`] and after any error: nobody knows then what is still on its way.
    session: Option<Session>,
}

impl RedisSink {
    /// Prepares a sink; nothing is connected yet.
    ///
    /// # Errors
    /// The url is not one of a Redis server.
    pub fn new(options: Options) -> Result<Self, SinkError> {
        // Redis counts until expiry in signed 64-bit milliseconds since 1970; this is 35,000 years.
        const TTL_MS_MAX: u64 = 1 << 50;
        let ttl_ms = options.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(TTL_MS_MAX).clamp(1, TTL_MS_MAX));
        let target = Target {
            address: Address::parse(&options.url, options.response_timeout)?,
            own: OwnKeys::new(&options.name),
            kind: options.value,
            ttl_ms,
            keys_of: options.keys_of,
        };
        Ok(RedisSink { target: Arc::new(target), session: None })
    }

    /// Takes the session for an operation. It is put back only if that succeeds, so an error or a cancellation ends it.
    fn session(&mut self) -> Result<Session, SinkError> {
        self.session.take().ok_or_else(|| SinkError::Unavailable {
            target: self.target.address.shown().to_owned(),
            detail: "not connected".to_owned(),
        })
    }
}

impl fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSink").field("target", &self.target.address.shown()).finish_non_exhaustive()
    }
}

impl Sink for RedisSink {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        self.session = None;
        let session = Session::open(Arc::clone(&self.target)).await?;
        Ok(self.session.insert(session).belief())
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        let mut session = self.session()?;
        let staged = session.stage(mutations).await?;
        self.session = Some(session);
        Ok(staged)
    }

    async fn keys(&mut self, table: &TableName, from: Option<u64>) -> Result<KeyPage, SinkError> {
        let mut session = self.session()?;
        let page = session.keys(table, from).await?;
        self.session = Some(session);
        Ok(page)
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        let mut session = self.session()?;
        session.commit(upto).await?;
        self.session = Some(session);
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        let mut session = self.session()?;
        session.probe().await?;
        self.session = Some(session);
        Ok(())
    }
}

impl SharedSink for RedisSink {
    async fn claim(&mut self, log: LogId, parts: &[Part]) -> Result<Vec<Claim>, SinkError> {
        self.session = None;
        let (session, claims) = Session::claim(Arc::clone(&self.target), log, parts).await?;
        self.session = Some(session);
        Ok(claims)
    }

    async fn advance(&mut self, upto: &[(Part, Reached)]) -> Result<(), SinkError> {
        let mut session = self.session()?;
        session.advance(upto).await?;
        self.session = Some(session);
        Ok(())
    }

    async fn reached(&mut self, parts: &[Part]) -> Result<Vec<Option<Reached>>, SinkError> {
        let mut session = self.session()?;
        let reached = session.reached(parts).await?;
        self.session = Some(session);
        Ok(reached)
    }
}
