//! Opening: fences the writer before, learns what it left, and says so.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::Options;
use super::commit::PRODUCERS;
use super::control::{Control, ControlRecord, format_record, log_record};
use crate::kafka::admin::{self, Admin};
use crate::kafka::format::{SchemaIds, Schemas};
use crate::kafka::producer::Producer;
use crate::kafka::registry::Registry;
use crate::kafka::settings::Delivery;
use crate::kafka::tables::Topic;
use crate::kafka::topic;
use crate::kafka::{KafkaError, consumer};
use crate::log::LogId;

/// What a batch may have for a topic with Kafka's default `max.message.bytes`.
const BATCH_BYTES: u64 = 1_044_492;

/// What an opened log is written with.
pub(super) struct Clients {
    pub(super) admin: Arc<Admin>,
    /// For rows, where those are delivered at least once; the log's own state changes in transactions all the same.
    pub(super) rows: Option<Producer>,
    /// No topic takes less at once.
    pub(super) batch_bytes_max: u64,
    pub(super) runtime: Runtime,
    /// Of a format that has schemas.
    pub(super) registry: Option<Registry>,
}

/// What the control topic said, with this writer's number in it.
pub(super) struct Start {
    pub(super) control: Control,
    /// For the first transaction of a new log.
    pub(super) records: Vec<ControlRecord>,
}

/// Does it; with the producers for transactions. Blocks.
pub(super) fn start(options: &Options) -> Result<(Clients, Vec<Producer>, Start), KafkaError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| KafkaError::Misuse(format!("no runtime: {error}")))?;
    let admin = Arc::new(Admin::new(&options.settings)?);
    let name = topic::control(&options.source);
    // The producers first: if brokers refuse us, they are the ones that hear why.
    let registry = options.settings.registry.clone().map(Registry::new);
    let mut clients = Clients { admin, rows: None, batch_bytes_max: BATCH_BYTES, runtime, registry };
    let mut producers = clients.narrow(options, BATCH_BYTES)?;
    let found = clients.runtime.block_on(clients.admin.ensure(&name, &options.settings.topics.of_state()))?;
    if !found.is_compacted() {
        let detail = format!(
            "its cleanup.policy is \"{}\", and the log's state must not expire: set it to compact",
            found.cleanup_policy
        );
        return Err(KafkaError::Topic { topic: name, detail });
    }
    if found.batch_bytes_max() < clients.batch_bytes_max {
        producers = clients.narrow(options, found.batch_bytes_max())?;
    }
    let mut control = Control::default();
    consumer::read_all(&options.settings, &name, |key, value| {
        let detail = |detail| KafkaError::Control { topic: name.clone(), detail };
        value.map_or(Ok(()), |value| control.take(key, value)).map_err(detail)
    })?;
    check_topics(&clients.admin, &control, &name)?;
    let mut records = Vec::new();
    if control.id.is_none() {
        let id = LogId(rand::random());
        control.id = Some(id);
        records.push(log_record(id));
    }
    let format = options.settings.format.name();
    match &control.format {
        Some(before) if before != format => {
            let detail = format!(
                "the log's records are in the format \"{before}\", and the configuration says \"{format}\". A log has one format: say the \
                 first, or give the source another name, so that it begins a new log"
            );
            return Err(KafkaError::Topic { topic: name, detail });
        }
        Some(_) => {}
        None => records.push(format_record(format)),
    }
    control.state.writer = control.state.writer.saturating_add(1);
    Ok((clients, producers, Start { control, records }))
}

impl Clients {
    /// Producers that nobody else can have at the same time, whose batches are no larger, and neither are those of the rows' own. Between two
    /// transactions.
    ///
    /// Whoever had them before may commit with the later ones until those are taken, too; but a transaction is committed behind all those before
    /// it, so what is found then is whole.
    pub(super) fn narrow(&mut self, options: &Options, batch_bytes_max: u64) -> Result<Vec<Producer>, KafkaError> {
        self.batch_bytes_max = batch_bytes_max;
        if options.settings.delivery == Delivery::AtLeastOnce {
            self.rows = Some(Producer::new(&options.settings, None, batch_bytes_max)?);
        }
        let control = topic::control(&options.source);
        let take = |number| {
            let id = if number == 0 { control.clone() } else { format!("{control}-{number}") };
            let producer = Producer::new(&options.settings, Some(&id), batch_bytes_max)?;
            producer.init().map_err(|error| name_topic(error, &control))?;
            Ok(producer)
        };
        (0..PRODUCERS).map(take).collect()
    }

    /// What the registry calls a topic's schemas.
    pub(super) fn schema_ids(&mut self, topic: &str, schemas: &Schemas) -> Result<SchemaIds, KafkaError> {
        let registry = self.registry.as_mut();
        let registry =
            registry.ok_or_else(|| KafkaError::Misuse("a format with schemas and no registry".to_owned()))?;
        self.runtime.block_on(registry.ids(topic, schemas))
    }

    /// Makes a topic, or takes the one that is there.
    pub(super) fn ensure(&self, options: &Options, topic: &Topic) -> Result<admin::Topic, KafkaError> {
        self.runtime.block_on(self.admin.ensure(&topic.name, &topic.wanted(&options.settings.topics)))
    }
}

/// What was written must still be there.
fn check_topics(admin: &Admin, control: &Control, name: &str) -> Result<(), KafkaError> {
    for (topic, ends) in &control.topics {
        check_topic(admin, topic, ends, name)?;
    }
    Ok(())
}

/// Whether a topic has the partitions it had, each with as much in it; gives where they end now.
pub(super) fn check_topic(admin: &Admin, topic: &str, ends: &[i64], control: &str) -> Result<Vec<i64>, KafkaError> {
    let lost = |detail: String| KafkaError::Lost { topic: topic.to_owned(), control: control.to_owned(), detail };
    let partitions = admin.partitions(topic)?;
    if usize::try_from(partitions).unwrap_or(0) < ends.len() {
        return Err(lost(match partitions {
            0 => "it is not there any more".to_owned(),
            left => format!("it has {left} partitions and had {}", ends.len()),
        }));
    }
    let mut now = Vec::new();
    for partition in 0..partitions {
        let end = admin.end(topic, partition)?;
        let before = usize::try_from(partition).ok().and_then(|partition| ends.get(partition)).copied();
        if let Some(before) = before.filter(|&before| end < before) {
            return Err(lost(format!("partition {partition} ends at {end} and ended at {before}: it was made anew")));
        }
        now.push(end);
    }
    Ok(now)
}

/// A fencing is told by the topic at which the two met.
pub(super) fn name_topic(error: KafkaError, control: &str) -> KafkaError {
    match error {
        KafkaError::Fenced { .. } => KafkaError::Fenced { topic: control.to_owned() },
        KafkaError::Lost { topic, detail, .. } => KafkaError::Lost { topic, control: control.to_owned(), detail },
        other => other,
    }
}
