//! Documents in an index of OpenSearch or Elasticsearch, by the bulk API.
//!
//! - **What is kept.** Each row as a document, and in it, under `_walbridge`, the table it is of. Fields are mapped from the columns' types
//!   (`mapping`) when a table's version is first seen; nothing is guessed by the server.
//! - **Names.** Readers and we know an alias. The index behind it is ours, says so, and is never made by a write.
//! - **Checkpoint.** A document of an index of our own, `.walbridge`, written behind the data, on the condition that nobody has written it
//!   since we read it. It names the index it speaks of by its UUID: of an index that was deleted, restored or swapped it says nothing,
//!   and all is delivered again.
//! - **Order.** Before data is sent, the checkpoint is looked at: whoever is fenced sends nothing. What had been sent before that, and comes
//!   late, meets versions made of [`crate::event::Position`] (`version`), and what a delete leaves of one is kept for longer than a request
//!   can be under way (`index`).
//! - **Whole transactions** are not kept: a search sees a bulk request's documents as the shards refresh.

mod bulk;
mod checkpoint;
mod client;
mod document;
mod error;
mod held;
mod index;
mod keys;
mod mapping;
mod session;
mod version;

use std::path::PathBuf;

use serde_json::{Map, Value};

use self::client::Client;
use self::session::Session;
use super::{Checkpoint, KeyPage, Rejection, Sink, SinkError, Staged};
use crate::event::TableName;
use crate::http::{Address, Credentials};
use crate::project::mutation::Mutation;

/// What an index is made of, and where it is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server, or what stands in front of the servers.
    pub address: Address,
    /// Who we are.
    pub credentials: Option<Credentials>,
    /// The authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The alias.
    pub index: String,
    /// Mappings of fields, by column, in place of those that the columns' types call for.
    pub mapping: Map<String, Value>,
    /// The index's settings when it is made, over ours.
    pub settings: Map<String, Value>,
    /// A bulk request is no longer, unless a single document is.
    pub bulk_bytes_max: usize,
}

/// [`Options::bulk_bytes_max`] if nothing else is configured.
pub const BULK_BYTES_MAX: usize = 8 << 20;

/// See the module.
pub struct OpenSearchSink {
    options: Options,
    client: Client,
    session: Option<Session>,
}

impl OpenSearchSink {
    /// Connects to nothing before the first [`Sink::resume`].
    ///
    /// # Errors
    /// [`SinkError::Unusable`]: the certificates cannot be read.
    pub fn new(options: Options) -> Result<Self, SinkError> {
        let client = Client::new(&options)?;
        Ok(OpenSearchSink { options, client, session: None })
    }

    /// Whether the server can be reached, takes us for who we are, and has nothing of somebody else's under the name. Changes nothing.
    ///
    /// # Errors
    /// It is not so.
    pub async fn look(&mut self) -> Result<(), SinkError> {
        index::Index::find(&self.options, &mut self.client).await.map(drop)
    }

    /// The session, and what it works with.
    fn session(&mut self) -> Result<(&mut Session, &mut Client), SinkError> {
        let target = self.client.shown();
        let detail = "it has not been asked where it is".to_owned();
        let session = self.session.as_mut().ok_or(SinkError::Unavailable { target, detail })?;
        Ok((session, &mut self.client))
    }
}

impl Sink for OpenSearchSink {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        self.session = None;
        let session = Session::open(&self.options, &mut self.client).await?;
        Ok(self.session.insert(session).belief())
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        let (session, client) = self.session()?;
        session.stage(client, mutations).await
    }

    async fn keys(&mut self, table: &TableName, from: Option<u64>) -> Result<KeyPage, SinkError> {
        let (session, client) = self.session()?;
        session.keys(client, table, from).await
    }

    async fn flush(&mut self) -> Result<Vec<Rejection>, SinkError> {
        let (session, client) = self.session()?;
        session.flush(client).await
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        let (session, client) = self.session()?;
        session.commit(client, upto).await
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        let (session, client) = self.session()?;
        session.check(client).await
    }
}
