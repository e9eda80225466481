//! Events of the embedded log into Kafka's topics, in the same formats as with Kafka as the log: so that one can begin embedded and
//! add Kafka later.
//!
//! The checkpoint is a record of a topic of the sink's own (`{source}.{sink}.walbridge`, compacted), written in the same Kafka
//! transaction as the events before it; so a `read_committed` consumer sees each event once. With `delivery = "at_least_once"` the
//! events are written first, then the checkpoint. That topic's name is the transactional id too: who comes later fences who came before.

mod engine;
mod producers;

use self::engine::Engine;
use super::history::History;
use crate::kafka::Settings;

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
pub type KafkaSink = History<Engine>;

impl KafkaSink {
    /// Connects to nothing before the first [`Sink::resume`](super::Sink::resume).
    #[must_use]
    pub fn new(options: Options) -> KafkaSink {
        History::around(format!("Kafka at {}", options.settings.brokers), Engine::new(options))
    }
}
