//! The clients, with blocking calls only. After any error all of them are given up; [`Engine::resume`] makes new ones, whose
//! first act ends what the old ones had open.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::Options;
use crate::event::{Change, Event, OldRow, Op, Position, Timestamp, Transaction};
use crate::kafka::admin::Admin;
use crate::kafka::format::{Format, Records, SchemaIds, push_unsigned};
use crate::kafka::headers::{OFFSET_HEADER, POSITION_HEADER, UNIT_HEADER};
use crate::kafka::place::Place;
use crate::kafka::producer::{Outgoing, Producer};
use crate::kafka::registry::Registry;
use crate::kafka::settings::Delivery;
use crate::kafka::tables::{Tables, TopicSchemas};
use crate::kafka::topic::Wanted;
use crate::kafka::unit::Unit;
use crate::kafka::{KafkaError, consumer};
use crate::project::mutation::{Effect, Mutation};
use crate::sink::saved::Saved;
use crate::sink::{Checkpoint, Rejection, SinkError, Staged};
use crate::status::Code;

/// The key of the checkpoint in the sink's own topic.
const CHECKPOINT: &[u8] = b"checkpoint";

/// What [`super::KafkaSink`] runs on the blocking pool.
pub(super) struct Engine {
    options: Options,
    open: Option<Open>,
}

struct Open {
    admin: Admin,
    /// Of the pool that these calls run on. Not a runtime of our own: that must not be dropped where the loop drops this.
    runtime: Handle,
    rows: Producer,
    /// Where rows are delivered at least once, the checkpoint has a producer of its own.
    checkpoints: Option<Producer>,
    /// A transaction is open.
    begun: bool,
    /// Events up to here are in the topics.
    position: Option<Position>,
    tables: Tables,
    /// What they are to be like.
    wanted: Wanted,
    topics: Vec<Place>,
    /// Of a format that has schemas, and what it calls them.
    registry: Option<Registry>,
    schemas: Vec<SchemaIds>,
    unit: Unit,
    format: Format,
    transaction: Option<Arc<Transaction>>,
    records: Records,
    body: Vec<u8>,
}

/// Where an event's records go, and what they are of.
#[derive(Clone, Copy)]
struct Destination {
    topic: u32,
    /// The number of the schemas, if there are any.
    schemas: Option<u32>,
    /// The number of its table's version; 0 for none.
    version: u32,
}

impl Engine {
    pub(super) fn new(options: Options) -> Self {
        Engine { options, open: None }
    }

    /// The topic with the checkpoint.
    fn own_topic(&self) -> String {
        format!("{}.{}.walbridge", self.options.source, self.options.name)
    }

    /// See [`crate::sink::Sink::resume`].
    pub(super) fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        self.open = None;
        self.connect().map_err(|error| self.explain(error))
    }

    fn connect(&mut self) -> Result<Option<Checkpoint>, KafkaError> {
        let Options { settings, source, database, .. } = &self.options;
        let own = self.own_topic();
        let runtime = Handle::current();
        let admin = Admin::new(settings)?;
        let wanted = Wanted {
            partitions: Some(1),
            replication: settings.topics.replication,
            cleanup_policy: Some("compact".to_owned()),
            config: Vec::new(),
        };
        let found = runtime.block_on(admin.ensure(&own, &wanted))?;
        let batch_bytes_max = found.record_bytes_max as u64;
        let transactional = Producer::new(settings, Some(&own), batch_bytes_max)?;
        transactional.init()?;
        let checkpoint = self.read_checkpoint(&own)?;
        let (rows, checkpoints) = match settings.delivery {
            Delivery::ExactlyOnce => (transactional, None),
            Delivery::AtLeastOnce => (Producer::new(settings, None, batch_bytes_max)?, Some(transactional)),
        };
        let records_settings = settings.of_records(source, database);
        self.open = Some(Open {
            admin,
            runtime,
            rows,
            checkpoints,
            begun: false,
            position: checkpoint.and_then(|checkpoint| checkpoint.position),
            format: settings.format,
            unit: Unit::new(&records_settings),
            tables: Tables::new(source, settings, records_settings, BTreeMap::new()),
            wanted: settings.topics.clone(),
            topics: Vec::new(),
            registry: settings.registry.clone().map(Registry::new),
            schemas: Vec::new(),
            transaction: None,
            records: Records::default(),
            body: Vec::new(),
        });
        Ok(checkpoint)
    }

    fn read_checkpoint(&self, own: &str) -> Result<Option<Checkpoint>, KafkaError> {
        let mut found = None;
        let strange = |detail: String| KafkaError::Control { topic: own.to_owned(), detail };
        consumer::read_all(&self.options.settings, own, |key, value| {
            if let (CHECKPOINT, Some(value)) = (key, value) {
                let saved: Saved = serde_json::from_slice(value).map_err(|error| strange(error.to_string()))?;
                found = Some(saved.checkpoint().ok_or_else(|| strange("its checkpoint names no log".to_owned()))?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// See [`crate::sink::Sink::stage`].
    pub(super) fn stage(&mut self, mutations: Vec<Mutation>) -> Result<Staged, SinkError> {
        let mut staged = Staged::default();
        for mutation in mutations {
            let Effect::Append(event) = &mutation.effect else {
                let reason = "Kafka is given events, not documents".to_owned();
                staged.rejected.push(Rejection { mutation, reason });
                continue;
            };
            match self.opened()?.append(event, mutation.position) {
                Ok(()) => {}
                Err(KafkaError::TooLarge { topic, bytes, limit, .. }) => {
                    let reason = format!(
                        "a record of {bytes} bytes, and topic {topic} takes {limit} at most (max.message.bytes)"
                    );
                    staged.rejected.push(Rejection { mutation, reason });
                }
                Err(error) => return Err(self.explain(error)),
            }
        }
        Ok(staged)
    }

    /// See [`crate::sink::Sink::commit`].
    pub(super) fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        let own = self.own_topic();
        let committed = self.opened()?.commit(&own, upto);
        committed.map_err(|error| self.explain(error))
    }

    /// See [`crate::sink::Sink::probe`].
    pub(super) fn probe(&mut self) -> Result<(), SinkError> {
        let own = self.own_topic();
        let open = self.opened()?;
        let partitions = open.admin.partitions(&own).map_err(|error| self.explain(error))?;
        if partitions == 0 {
            let (target, detail) = (self.target(), format!("topic {own}, which has the checkpoint, is gone"));
            return Err(SinkError::Regressed { target, detail });
        }
        Ok(())
    }

    fn opened(&mut self) -> Result<&mut Open, SinkError> {
        let target = self.target();
        let closed = || SinkError::Unavailable { target, detail: "not connected".to_owned() };
        self.open.as_mut().ok_or_else(closed)
    }

    fn target(&self) -> String {
        format!("Kafka at {}", self.options.settings.brokers)
    }

    fn explain(&self, error: KafkaError) -> SinkError {
        let (target, detail) = (self.target(), error.to_string());
        match error {
            KafkaError::Unavailable { .. } | KafkaError::Tls { .. } | KafkaError::Registry { .. } => {
                SinkError::Unavailable { target, detail }
            }
            KafkaError::Credentials { .. } | KafkaError::RegistryRefused { code: Code::SecurityAuth, .. } => {
                SinkError::Auth { target, detail }
            }
            KafkaError::Schema { .. } => SinkError::Schema { target, detail },
            KafkaError::Fenced { .. } => {
                SinkError::Fenced { target, detail: format!("its topic is {}", self.own_topic()) }
            }
            KafkaError::Lost { topic, detail, .. } => {
                SinkError::Regressed { target, detail: format!("topic {topic} is not what it was: {detail}") }
            }
            KafkaError::Denied { .. }
            | KafkaError::TooLarge { .. }
            | KafkaError::Topic { .. }
            | KafkaError::Control { .. }
            | KafkaError::RegistryRefused { .. }
            | KafkaError::Settings { .. }
            | KafkaError::Misuse(_) => {
                let remedy = "Mend it, then restart walbridge".to_owned();
                SinkError::Unusable { target, detail, remedy }
            }
        }
    }
}

impl Open {
    fn append(&mut self, event: &Event, position: Position) -> Result<(), KafkaError> {
        if self.position.is_some_and(|written| position <= written) {
            return Ok(());
        }
        if !self.transaction.as_ref().is_some_and(|open| Arc::ptr_eq(open, &event.transaction)) {
            self.unit.begin(&event.transaction);
            self.transaction = Some(Arc::clone(&event.transaction));
        }
        self.records.clear();
        let Some(to) = self.encode(event)? else { return Ok(()) };
        self.ensure()?;
        if let Some(ids) = to.schemas.and_then(|number| self.schemas.get(number as usize)) {
            (0..self.records.len()).for_each(|record| self.records.stamp(record, *ids));
        }
        if !self.begun {
            self.rows.begin()?;
            self.begun = true;
        }
        self.send(event, to)
    }

    /// Encodes an event into `records`, and says where those go; `None` if no topic takes it: who reads a history ends right without
    /// the marks of a copy.
    fn encode(&mut self, event: &Event) -> Result<Option<Destination>, KafkaError> {
        let strange = |detail: String| KafkaError::Misuse(format!("an event cannot be encoded: {detail}"));
        let (op, relation) = match &event.change {
            Change::CopyBegun { .. } | Change::CopyDone { .. } => return Ok(None),
            Change::Message { prefix, content } => {
                self.format.message(&mut self.unit.format, event.ordinal, prefix, content, &mut self.records);
                let (topic, schemas) = self.tables.messages();
                return Ok(Some(Destination { topic, schemas, version: 0 }));
            }
            Change::Insert { relation, .. }
            | Change::Update { relation, .. }
            | Change::Delete { relation, .. }
            | Change::Truncate { relation }
            | Change::Read { relation, .. } => (event.change.op(), relation),
        };
        put_body(&event.change, &mut self.body);
        let (version, _) = self.tables.version(relation)?;
        let to = Destination { topic: version.topic, schemas: version.schemas, version: version.fingerprint };
        let encoded = version.encoder.change(&mut self.unit.format, event.ordinal, op, &self.body, &mut self.records);
        encoded.map_err(|error| strange(error.to_string()))?;
        Ok(Some(to))
    }

    /// Makes or takes the topics that have come since, and has their schemas numbered.
    fn ensure(&mut self) -> Result<(), KafkaError> {
        for topic in self.tables.topics_from(self.topics.len()).to_vec() {
            let found = self.runtime.block_on(self.admin.ensure(&topic.name, &self.wanted))?;
            self.topics.push(Place::new(topic, &found)?);
        }
        for TopicSchemas { topic, schemas } in self.tables.schemas_from(self.schemas.len()) {
            let registry = self.registry.as_mut();
            let registry =
                registry.ok_or_else(|| KafkaError::Misuse("a format with schemas and no registry".to_owned()))?;
            self.schemas.push(self.runtime.block_on(registry.ids(topic, schemas))?);
        }
        Ok(())
    }

    fn send(&self, event: &Event, to: Destination) -> Result<(), KafkaError> {
        let place = self.topics.get(to.topic as usize);
        let place = place.ok_or_else(|| KafkaError::Misuse("a topic that nobody made".to_owned()))?;
        let (mut position, mut unit) = (Vec::new(), Vec::new());
        self.unit.put_position(event.ordinal, &mut position);
        self.unit.put_unit(to.version, &mut unit);
        for record in self.records.iter() {
            let first_partition = event.change.op() == Op::Truncate;
            let outgoing = place.outgoing(&record, &position, first_partition, self.unit.timestamp_ms)?;
            let ours = [(POSITION_HEADER, position.as_slice()), (UNIT_HEADER, unit.as_slice())];
            self.rows.send(&outgoing, ours.into_iter().chain(record.headers()))?;
        }
        Ok(())
    }

    fn commit(&mut self, own: &str, upto: Checkpoint) -> Result<(), KafkaError> {
        let producer = match &self.checkpoints {
            Some(checkpoints) => {
                self.rows.flush()?;
                checkpoints.begin()?;
                checkpoints
            }
            None if self.begun => &self.rows,
            None => {
                self.rows.begin()?;
                &self.rows
            }
        };
        let value = serde_json::to_vec(&Saved::from(upto)).map_err(|error| KafkaError::Misuse(error.to_string()))?;
        let mut offset = Vec::new();
        push_unsigned(upto.offset.0, &mut offset);
        let outgoing = Outgoing {
            topic: own,
            partition: Some(0),
            key: Some(CHECKPOINT),
            value: Some(&value),
            timestamp_ms: Timestamp::now().unix_micros().div_euclid(1000),
        };
        producer.send(&outgoing, [(OFFSET_HEADER, offset.as_slice())])?;
        producer.commit()?;
        self.begun = false;
        self.position = upto.position.or(self.position);
        Ok(())
    }
}

/// A change as the encoder wants it: what follows the table's OID in pgoutput's message.
fn put_body(change: &Change, out: &mut Vec<u8>) {
    out.clear();
    let old = |old: &OldRow, out: &mut Vec<u8>| {
        out.push(if matches!(old, OldRow::Key(_)) { b'K' } else { b'O' });
        out.extend_from_slice(old.row().as_bytes());
    };
    match change {
        Change::Insert { new: row, .. } | Change::Read { row, .. } => {
            out.push(b'N');
            out.extend_from_slice(row.as_bytes());
        }
        Change::Update { old: before, new, .. } => {
            if let Some(before) = before {
                old(before, out);
            }
            out.push(b'N');
            out.extend_from_slice(new.as_bytes());
        }
        Change::Delete { old: before, .. } => old(before, out),
        Change::Truncate { .. } | Change::Message { .. } | Change::CopyBegun { .. } | Change::CopyDone { .. } => {}
    }
}
