//! Redis and Valkey: rows as keys or in collections, and the checkpoint in the same transaction.
//!
//! On one node everything staged becomes visible with one `EXEC`, the checkpoint as its last command. So a reader never sees part of a
//! transaction, a crash at any moment leaves data and checkpoint of the same age, and so does a Redis that comes back from an
//! old file or as a replica that was behind: the checkpoint it tells is the truth about its data. Over the slots of a cluster no transaction reaches;
//! `spread` says what holds there.
//!
//! - `beside`: the names of what is built beside.
//! - `checkpoint`: the key that tells how far we are, and what it means if somebody else moved it.
//! - `fence`: how whoever comes later keeps whoever came before from writing.
//! - `parts`: the checkpoints of a sink that several processes share.
//! - `connect`: connections without secrets in their messages.
//! - `form`: what rows become, and for how long.
//! - `held`: writes held back until they are sent.
//! - `home`: where all keys are: `one` node, or `spread` over many slots.
//! - `kept`: what stands where we are to write, and is another's.
//! - `member`: rows as members of sets, lists and sorted sets; `walk` lists them.
//! - `merge`: rows as values; missing values taken over from the stored document.
//! - `one`: one transaction after another, and why `EXEC` ends only those that start from where we are.
//! - `place`: one server, sentinels, or the nodes of a cluster.
//! - `rehearse`: whether we may do what we must.
//! - `replace`: what was built beside takes the place.
//! - `reply`: what Redis answers.
//! - `session`: the order of it all.
//! - `slot`: the slots of a cluster.
//! - `spread`: a version in each slot, and copies of the checkpoint in some.
//! - `stream`: changes as entries of streams.
//! - `tls`: certificates.
//! - `write`: the commands of a transaction, and why `EXEC` cannot leave a checkpoint without its data.
//!
//! docs/redis.md says which commands and keys the user needs.
//!
//! A `maxmemory-policy` of the `allkeys` sort may evict the checkpoint too, and everything is then written again; the
//! `volatile` ones and `noeviction` leave it alone, for it has no TTL.

mod beside;
mod checkpoint;
mod connect;
mod error;
pub mod facts;
mod fence;
mod form;
mod held;
mod home;
mod kept;
mod member;
mod merge;
mod one;
mod parts;
mod place;
mod rehearse;
mod replace;
mod reply;
mod session;
mod slot;
mod spread;
mod stream;
mod tls;
mod walk;
mod write;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use self::checkpoint::OwnKeys;
use self::connect::Address;
pub use self::form::{Form, ValueKind};
use self::session::Session;
use super::{Checkpoint, Claim, Image, Imager, KeyPage, Old, Replaceable, SharedSink, Sink, SinkError, Staged};
use crate::event::TableName;
use crate::log::LogId;
use crate::log::share::{Part, Reached};
use crate::project::mutation::{Document, Key, Mutation};

/// Whether a key is one of a table's documents.
pub type KeyTest = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The keys of a table's documents.
pub type KeysOf = Arc<dyn Fn(&TableName) -> DocumentKeys + Send + Sync>;

/// The tables whose rows the sink has been given, as far as that is known.
pub type Tables = Arc<dyn Fn() -> Vec<TableName> + Send + Sync>;

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
#[derive(Clone)]
pub struct Options {
    /// The sink's name: its checkpoint is kept under `walbridge:NAME:checkpoint`.
    pub name: String,
    /// The server.
    pub server: Server,
    /// What rows become in it.
    pub form: Form,
    /// In a cluster: what stands in braces in all its keys, so that one node has all of them; `None`: they are spread over all nodes.
    pub hash_tag: Option<String>,
    /// The keys of a table's documents.
    pub keys_of: KeysOf,
    /// The tables.
    pub tables: Tables,
    /// It is built beside the one of that name, under names of its own (`beside`).
    pub is_beside: bool,
    /// How long an answer may take before the connection is given up: [`RESPONSE_TIMEOUT`] unless there is a reason.
    pub response_timeout: Duration,
}

impl Options {
    /// Of what is built beside.
    #[must_use]
    pub fn beside(&self) -> Options {
        Options { is_beside: true, ..self.clone() }
    }
}

/// Where a server is, and how we tell each other who we are.
#[derive(Clone, Debug)]
pub struct Server {
    /// `redis://`, `rediss://` or `redis+unix://`, with user, password and database number where there are such; or `redis-sentinel://` with several
    /// hosts and `#MASTER`, or `redis-cluster://` with several hosts, each also with `rediss`.
    pub url: SecretString,
    /// With `rediss://`: the authorities to trust, in PEM; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// With `rediss://`: our certificate and its key, in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The sentinels' password, where they want one.
    pub sentinel_password: Option<SecretString>,
}

impl Server {
    /// At this address, without files.
    #[must_use]
    pub fn at(url: impl Into<SecretString>) -> Self {
        Server { url: url.into(), ca: None, identity: None, sentinel_password: None }
    }
}

/// Long enough for a server that forks or writes a large file, short enough to notice one that is gone.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// What does not change from connection to connection.
struct Target {
    address: Address,
    own: OwnKeys,
    form: Form,
    keys_of: KeysOf,
    /// Its keys lie in many slots of a cluster.
    is_spread: bool,
}

impl Target {
    /// What is built beside. Nobody is told of that.
    fn beside(&self) -> Target {
        let own = self.own.beside();
        let keys_of = own.before.keys_of(Arc::clone(&self.keys_of));
        let form = Form { publish: None, ..self.form.clone() };
        Target { address: self.address.clone(), own, form, keys_of, is_spread: self.is_spread }
    }
}

/// A Redis server as a sink.
pub struct RedisSink {
    target: Arc<Target>,
    /// What readers have, if this is beside.
    readers: Option<Arc<Target>>,
    tables: Tables,
    /// `None` before the first [`Sink::resume`] and after any error: nobody knows then what is still on its way.
    session: Option<Session>,
}

impl RedisSink {
    /// Prepares a sink; nothing is connected yet.
    ///
    /// # Errors
    /// The url is not one of a Redis server.
    pub fn new(options: Options) -> Result<Self, SinkError> {
        let own = OwnKeys::new(&options.name, options.hash_tag.as_deref());
        let address = Address::parse(options.server, options.response_timeout, &own.checkpoint)?;
        let target = Target {
            is_spread: address.is_cluster() && options.hash_tag.is_none(),
            address,
            own,
            form: options.form,
            keys_of: options.keys_of,
        };
        let (target, readers) = match options.is_beside {
            true => (target.beside(), Some(Arc::new(target))),
            false => (target, None),
        };
        Ok(RedisSink { target: Arc::new(target), readers, tables: options.tables, session: None })
    }

    /// Whether the user may do all that is needed, and the server takes writes, without writing anything. `samples` are keys such as
    /// documents have.
    ///
    /// # Errors
    /// What is not allowed, and anything that [`Sink::resume`] fails with.
    pub async fn rehearse(&mut self, samples: &[Vec<u8>]) -> Result<(), SinkError> {
        self.resume().await?;
        let mut session = self.session()?;
        session.rehearse(samples).await?;
        self.session = Some(session);
        Ok(())
    }

    /// What the server says of itself; where keys are spread over a cluster, each master, with its host and port.
    ///
    /// # Errors
    /// One cannot be reached, or does not answer.
    pub async fn facts(&self) -> Result<Vec<(Option<String>, facts::Facts)>, SinkError> {
        facts::look(&self.target.address, self.target.is_spread).await
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
        let before = &self.target.own.before;
        let staged = before.told(session.stage(&before.mutations(mutations)).await?);
        self.session = Some(session);
        Ok(staged)
    }

    async fn keys(&mut self, table: &TableName, from: Option<u64>) -> Result<KeyPage, SinkError> {
        let mut session = self.session()?;
        let KeyPage { keys, next } = session.keys(table, from).await?;
        self.session = Some(session);
        let before = &self.target.own.before;
        Ok(KeyPage { keys: keys.iter().map(|name| before.known(name)).collect(), next })
    }

    async fn read(&mut self, keys: &[Key]) -> Result<Vec<Option<Image>>, SinkError> {
        let mut session = self.session()?;
        let before = &self.target.own.before;
        let keys: Vec<Key> = keys.iter().map(|name| before.put(name)).collect();
        let images = session.read(&keys).await?;
        self.session = Some(session);
        Ok(images)
    }

    fn imager(&self) -> Imager {
        let form = self.target.form.clone();
        Arc::new(move |document: &Document| {
            merge::encode(&form, document, None).map(|content| content.image(form.value))
        })
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

impl Replaceable for RedisSink {
    /// What is to be replaced is found out with it, and holds for this identity alone.
    async fn identity(&mut self) -> Result<String, SinkError> {
        match &self.readers {
            Some(readers) => replace::plan(readers, &(self.tables)()).await,
            None => Err(error::strange(self.target.address.shown(), "identity")),
        }
    }

    async fn replace(&mut self, by: &str, old: Old) -> Result<(), SinkError> {
        // Somebody else's checkpoint is not overwritten.
        if let Some(mut session) = self.session.take() {
            session.probe().await?;
        }
        replace::replace(&self.target, by, old).await
    }

    async fn remove(&mut self) -> Result<(), SinkError> {
        self.session = None;
        replace::remove(self.readers.as_ref().unwrap_or(&self.target)).await
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
