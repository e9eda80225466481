//! Documents in an index of OpenSearch or Elasticsearch, by the bulk API.
//!
//! - **What is kept.** Each row as a document, and in it, under `_walbridge`, the table it is of. Fields are mapped from the columns' types
//!   (`mapping`) when a table's version is first seen; nothing is guessed by the server.
//! - **Names.** Readers and we know an alias. The index behind it is ours, says so, and is never made by a write. Where each row tells its own alias
//!   (`indexes`), or has a routing value, that is a part of its key (`place`): a row that goes elsewhere leaves its old place.
//! - **Checkpoint.** A document of an index of our own, `.walbridge`, written behind the data, on the condition that nobody has written it
//!   since we read it. It names the index it speaks of by its UUID: of an index that was deleted, restored or swapped it says nothing,
//!   and all is delivered again.
//! - **Order.** Before data is sent, the checkpoint is looked at: whoever is fenced sends nothing. What had been sent before that, and comes
//!   late, meets versions made of [`crate::event::Position`] (`version`), and what a delete leaves of one is kept for longer than a request
//!   can be under way (`index`).
//! - **Whole transactions** are not kept: a search sees a bulk request's documents as the shards refresh.

mod auth;
mod bulk;
mod checkpoint;
mod client;
mod document;
mod error;
mod held;
mod index;
mod indexes;
mod keys;
mod mapping;
mod nodes;
mod pipeline;
mod place;
mod product;
mod replace;
mod room;
mod session;
mod version;

use std::path::PathBuf;

use serde_json::{Map, Value};

use self::client::Client;
pub use self::place::Layout;
use self::session::Session;
use super::{Checkpoint, Image, KeyPage, Old, Rejection, Replaceable, Sink, SinkError, Staged};
use crate::event::TableName;
use crate::http::{Address, Credentials};
use crate::project::mutation::{Key, Mutation};

/// What an index is made of, and where it is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers of one cluster, or what stands in front of them; at least one.
    pub addresses: Vec<Address>,
    /// Who we are.
    pub credentials: Option<Credentials>,
    /// The authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The alias that readers know; where each row tells its own, the template of those.
    pub index: String,
    /// What the keys of its documents begin with.
    pub layout: Layout,
    /// Each document that is put goes through this ingest pipeline.
    pub pipeline: Option<String>,
    /// It is an index that is built beside theirs, under an alias of its own.
    pub is_beside: bool,
    /// Mappings of fields, by column, in place of those that the columns' types call for.
    pub mapping: Map<String, Value>,
    /// The index's settings when it is made, over ours.
    pub settings: Map<String, Value>,
    /// A bulk request is no longer, unless a single document is.
    pub bulk_bytes_max: usize,
}

impl Options {
    /// The alias that we write by where readers know this one.
    fn alias_of(&self, name: &str) -> String {
        if self.is_beside { format!("{name}-rebuild") } else { name.to_owned() }
    }

    /// The name of its checkpoint, as a URL has it.
    fn checkpoint(&self) -> String {
        place::encode(&self.alias_of(&self.index))
    }

    /// Of what is built beside.
    #[must_use]
    pub fn beside(&self) -> Options {
        Options { is_beside: true, ..self.clone() }
    }
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
        let Options { index, layout, pipeline, .. } = &self.options;
        if let Some(pipeline) = pipeline {
            pipeline::check(&mut self.client, pipeline).await?;
        }
        if layout.by_index {
            return index::find_all(&self.options, &mut self.client).await.map(drop);
        }
        index::Index::find(&self.options, index, &mut self.client).await.map(drop)
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

    async fn read(&mut self, keys: &[Key]) -> Result<Vec<Option<Image>>, SinkError> {
        let (session, client) = self.session()?;
        session.documents(client, keys).await
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

impl Replaceable for OpenSearchSink {
    async fn identity(&mut self) -> Result<String, SinkError> {
        Ok(self.session()?.0.identity())
    }

    async fn replace(&mut self, by: &str, old: Old) -> Result<(), SinkError> {
        if let Some(session) = self.session.take() {
            session.check(&mut self.client).await?;
        }
        replace::replace(&self.options, &mut self.client, by, old).await
    }

    async fn remove(&mut self) -> Result<(), SinkError> {
        self.session = None;
        replace::remove(&self.options, &mut self.client).await
    }
}
