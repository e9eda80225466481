//! Events of the embedded log into Kafka's topics, in the same formats as with Kafka as the log: so that one can begin embedded and
//! add Kafka later.
//!
//! The checkpoint is a record of a topic of the sink's own (`{source}.{sink}.walbridge`, compacted), written in the same Kafka
//! transaction as the events before it; so a `read_committed` consumer sees each event once. With `delivery = "at_least_once"` the
//! events are written first, then the checkpoint. That topic's name is the transactional id too: who comes later fences who came before.

mod engine;

use std::path::PathBuf;

use self::engine::Engine;
use super::blocking::Blocking;
use super::{Checkpoint, KeyPage, Sink, SinkError, Staged};
use crate::event::TableName;
use crate::kafka::Settings;
use crate::project::mutation::Mutation;

/// Which cluster, and whose events.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sink's name in the configuration.
    pub name: String,
    /// The source's name: the beginning of its topics' names.
    pub source: String,
    /// The database, as the records have it.
    pub database: String,
    /// The cluster, and what its topics are like.
    pub settings: Settings,
}

/// See the module.
pub struct KafkaSink {
    engine: Blocking<Engine>,
}

impl KafkaSink {
    /// Connects to nothing before the first [`Sink::resume`].
    #[must_use]
    pub fn new(options: Options) -> KafkaSink {
        KafkaSink { engine: Blocking::new(PathBuf::from(&options.settings.brokers), Engine::new(options)) }
    }
}

impl Sink for KafkaSink {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        self.engine.run(Engine::resume).await
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        // Copies no row data.
        let mutations = mutations.to_vec();
        self.engine.run(move |engine| engine.stage(mutations)).await
    }

    /// A history ends right by what it has been told.
    async fn keys(&mut self, _table: &TableName, _from: Option<u64>) -> Result<KeyPage, SinkError> {
        Ok(KeyPage::default())
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        self.engine.run(move |engine| engine.commit(upto)).await
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        self.engine.run(Engine::probe).await
    }
}
