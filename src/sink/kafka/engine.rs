//! The clients, with blocking calls only. After any error all of them are given up; [`history::Engine::resume`] makes new ones, whose
//! first act ends what the old ones had open.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::Options;
use super::producers::{CHECKPOINT, Producers};
use crate::decode::tuple::put_body;
use crate::event::{Change, Event, Op, Position, Transaction};
use crate::kafka::admin::Admin;
use crate::kafka::format::{self, Format, Records, SchemaIds};
use crate::kafka::headers::{POSITION_HEADER, UNIT_HEADER};
use crate::kafka::place::Place;
use crate::kafka::registry::Registry;
use crate::kafka::settings::Settings;
use crate::kafka::tables::{Tables, TopicSchemas};
use crate::kafka::unit::Unit;
use crate::kafka::{KafkaError, consumer};
use crate::project::mutation::{Effect, Mutation};
use crate::sink::history;
use crate::sink::saved::Saved;
use crate::sink::{Checkpoint, Rejection, SinkError, Staged};
use crate::status::Code;

/// What [`super::KafkaSink`] runs on the blocking pool.
pub struct Engine {
    options: Options,
    open: Option<Open>,
    /// No topic that is known takes less at once. Kept over a resume.
    batch_bytes_max: u64,
}

struct Open {
    admin: Admin,
    /// Of the pool that these calls run on. Not a runtime of our own: that must not be dropped where the loop drops this.
    runtime: Handle,
    producers: Producers,
    /// The topic with the checkpoint.
    own: String,
    settings: Settings,
    /// Events up to here are in the topics.
    position: Option<Position>,
    tables: Tables,
    topics: Vec<Place>,
    /// Of a format that has schemas, and what it calls them.
    registry: Option<Registry>,
    schemas: Vec<SchemaIds>,
    unit: Unit,
    format: Format,
    transaction: Option<Arc<Transaction>>,
    /// That it begins is told, and so its end must be.
    told_begin: bool,
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
        Engine { options, open: None, batch_bytes_max: u64::MAX }
    }
}

impl history::Engine for Engine {
    fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        if let Some(open) = self.open.take() {
            self.batch_bytes_max = open.producers.batch_bytes_max();
        }
        self.connect().map_err(|error| self.explain(error))
    }

    fn stage(&mut self, mutations: Vec<Mutation>) -> Result<Staged, SinkError> {
        let mut staged = Staged::default();
        for (mutation, next) in mutations.into_iter().zip(1..) {
            let Effect::Append(event) = &mutation.effect else {
                let reason = "Kafka is given events, not documents".to_owned();
                staged.rejected.push(Rejection { mutation, reason });
                staged.rest = Some(next);
                break;
            };
            match self.opened()?.append(event, &mutation) {
                Ok(()) => {}
                Err(KafkaError::TooLarge { topic, bytes, limit, .. }) => {
                    let reason = format!(
                        "a record of {bytes} bytes, and topic {topic} takes {limit} at most (max.message.bytes)"
                    );
                    staged.rejected.push(Rejection { mutation, reason });
                    staged.rest = Some(next);
                    break;
                }
                Err(error) => return Err(self.explain(error)),
            }
        }
        Ok(staged)
    }

    fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        let committed = self.opened()?.commit(upto);
        committed.map_err(|error| self.explain(error))
    }

    fn probe(&mut self) -> Result<(), SinkError> {
        let own = self.own_topic();
        let open = self.opened()?;
        let partitions = open.admin.partitions(&own).map_err(|error| self.explain(error))?;
        if partitions == 0 {
            let (target, detail) = (self.target(), format!("topic {own}, which has the checkpoint, is gone"));
            return Err(SinkError::Regressed { target, detail });
        }
        Ok(())
    }
}

impl Engine {
    /// The topic with the checkpoint.
    fn own_topic(&self) -> String {
        format!("{}.{}.walbridge", self.options.source, self.options.name)
    }

    fn connect(&mut self) -> Result<Option<Checkpoint>, KafkaError> {
        let Options { settings, source, database, .. } = &self.options;
        let own = self.own_topic();
        let runtime = Handle::current();
        let admin = Admin::new(settings)?;
        let wanted = settings.topics.of_state();
        let found = runtime.block_on(admin.ensure(&own, &wanted))?;
        let batch_bytes_max = self.batch_bytes_max.min(found.batch_bytes_max());
        let producers = Producers::connect(settings, &own, batch_bytes_max)?;
        let checkpoint = self.read_checkpoint(&own)?;
        let records_settings = settings.of_records(source, database);
        self.open = Some(Open {
            admin,
            runtime,
            producers,
            own,
            position: checkpoint.and_then(|checkpoint| checkpoint.position),
            format: settings.format,
            unit: Unit::new(&records_settings),
            tables: Tables::new(source, settings, records_settings, BTreeMap::new()),
            settings: settings.clone(),
            topics: Vec::new(),
            registry: settings.registry.clone().map(Registry::new),
            schemas: Vec::new(),
            transaction: None,
            told_begin: false,
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
    fn append(&mut self, event: &Event, mutation: &Mutation) -> Result<(), KafkaError> {
        if self.position.is_some_and(|written| mutation.position <= written) {
            return Ok(());
        }
        if !self.transaction.as_ref().is_some_and(|open| Arc::ptr_eq(open, &event.transaction)) {
            self.tell_end()?;
            self.unit.begin(&event.transaction);
            self.transaction = Some(Arc::clone(&event.transaction));
        }
        self.records.clear();
        let Some(to) = self.encode(event)? else { return Ok(()) };
        self.ensure()?;
        self.check(event, to.topic)?;
        if let Some(ids) = to.schemas.and_then(|number| self.schemas.get(number as usize)) {
            (0..self.records.len()).for_each(|record| self.records.stamp(record, *ids));
        }
        // The transaction of one that comes late was told without it.
        if !self.told_begin && !mutation.is_late() && self.unit.format.tells() {
            self.tell(format::Unit::begun)?;
            self.told_begin = true;
        }
        self.send(event, to)
    }

    /// Whether all of an event's records fit: one that does not is refused with all of them, and does not count.
    fn check(&mut self, event: &Event, topic: u32) -> Result<(), KafkaError> {
        let place = place(&self.topics, topic)?;
        let mut position = Vec::new();
        self.unit.put_position(event.ordinal, &mut position);
        for record in self.records.iter() {
            if let Err(error) = place.outgoing(&record, &position, false, self.unit.timestamp_ms) {
                self.unit.format.uncount(event.change.relation().map(|relation| &relation.name), &self.records);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Behind the last event of the open transaction.
    fn tell_end(&mut self) -> Result<(), KafkaError> {
        if std::mem::take(&mut self.told_begin) { self.tell(format::Unit::ended) } else { Ok(()) }
    }

    /// Sends a record for the topic of transactions.
    fn tell(&mut self, write: impl FnOnce(&format::Unit, &mut Records)) -> Result<(), KafkaError> {
        let topic = self.tables.transactions();
        self.ensure()?;
        let place = place(&self.topics, topic)?;
        let mut records = Records::default();
        write(&self.unit.format, &mut records);
        for record in records.iter() {
            // Not an event that can be refused alone.
            let outgoing = place.outgoing(&record, b"", false, self.unit.timestamp_ms);
            let outgoing =
                outgoing.map_err(|error| KafkaError::Topic { topic: place.name.clone(), detail: error.to_string() })?;
            self.producers.rows()?.send(&outgoing, record.headers())?;
        }
        Ok(())
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
            let wanted = topic.wanted(&self.settings.topics);
            let found = self.runtime.block_on(self.admin.ensure(&topic.name, &wanted))?;
            self.producers.narrow(&self.settings, &self.own, found.batch_bytes_max())?;
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

    fn send(&mut self, event: &Event, to: Destination) -> Result<(), KafkaError> {
        let place = place(&self.topics, to.topic)?;
        let rows = self.producers.rows()?;
        let (mut position, mut unit) = (Vec::new(), Vec::new());
        self.unit.put_position(event.ordinal, &mut position);
        self.unit.put_unit(to.version, &mut unit);
        for record in self.records.iter() {
            let first_partition = event.change.op() == Op::Truncate;
            let outgoing = place.outgoing(&record, &position, first_partition, self.unit.timestamp_ms)?;
            let ours = [(POSITION_HEADER, position.as_slice()), (UNIT_HEADER, unit.as_slice())];
            rows.send(&outgoing, ours.into_iter().chain(record.headers()))?;
        }
        Ok(())
    }

    fn commit(&mut self, upto: Checkpoint) -> Result<(), KafkaError> {
        // A checkpoint stands between two transactions.
        self.tell_end()?;
        self.transaction = None;
        self.producers.commit(&self.own, upto)?;
        self.position = upto.position.or(self.position);
        Ok(())
    }
}

fn place(topics: &[Place], topic: u32) -> Result<&Place, KafkaError> {
    topics.get(topic as usize).ok_or_else(|| KafkaError::Misuse("a topic that nobody made".to_owned()))
}
