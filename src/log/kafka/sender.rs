//! The thread that writes: takes groups, sends their records, commits.
//!
//! One group at a time; the permit says that it is free for the next. While little comes a group is committed at once. While much comes
//! (`load`) the transaction stays open for a while, because a commit costs the cluster more than a batch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::Options;
use super::control::{Control, ControlRecord, topic_record};
use super::group::Group;
use super::load::Load;
use super::start::{Clients, check_topic, name_topic};
use crate::kafka::format::SchemaIds;
use crate::kafka::headers::{OFFSET_HEADER, POSITION_HEADER, UNIT_HEADER};
use crate::kafka::place::Place;
use crate::kafka::producer::{Outgoing, Producer};
use crate::kafka::tables::{Topic, TopicSchemas};
use crate::kafka::{KafkaError, consumer, topic};
use crate::log::Durable;

/// Under load a transaction is committed so long after it began: a commit costs a round of the cluster's own writes, during which the
/// next transaction cannot begin.
const BUSY_TIME: Duration = Duration::from_millis(100);
/// A transaction ends when it has so many bytes, or so long after it began, even inside a unit: well before the cluster ends it.
const BYTES_MAX: usize = 64 << 20;
const TIME_MAX: Duration = Duration::from_secs(10);
/// Groups beyond this are not kept to be filled again.
const SPARE_BYTES: usize = 8 << 20;
/// How often some topics are looked at, and how many.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
const LOOK_AT_ONCE: usize = 4;

/// What the writer and its sender share.
#[derive(Debug)]
pub(super) struct Shared {
    /// One permit: there while the sender is free. Closed when it has failed.
    pub(super) idle: Semaphore,
    failed: AtomicBool,
    failure: Mutex<Option<KafkaError>>,
    spare: Mutex<Option<Group>>,
}

/// What is handed over.
pub(super) struct Job {
    pub(super) group: Group,
    /// Topics that come in it for the first time.
    pub(super) topics: Vec<Topic>,
    /// And schemas.
    pub(super) schemas: Vec<TopicSchemas>,
    /// What holds once it is committed.
    pub(super) state: ControlRecord,
    pub(super) durable: Durable,
    /// It ends inside a unit.
    pub(super) inside: bool,
    /// Somebody waits for it.
    pub(super) urgent: bool,
}

/// A topic as the sender knows it.
struct Known {
    place: Place,
    ends: Vec<i64>,
    /// Readers of the log read it.
    has_events: bool,
}

/// What is sent and not committed.
struct Uncommitted {
    state: ControlRecord,
    durable: Durable,
    control: Vec<ControlRecord>,
    since: Instant,
    bytes: usize,
    inside: bool,
}

/// See the module.
pub(super) struct Sender {
    pub(super) options: Arc<Options>,
    pub(super) clients: Clients,
    pub(super) shared: Arc<Shared>,
    pub(super) durable: watch::Sender<Durable>,
    /// Its number.
    pub(super) writer: u64,
    control: String,
    topics: Vec<Known>,
    /// What the registry calls the schemas.
    schemas: Vec<SchemaIds>,
    open: Option<Uncommitted>,
    load: Load,
    /// Where topics ended when they were looked at; written with the next commit.
    noted: Vec<ControlRecord>,
    looked_at: Instant,
    look_next: usize,
}

impl Shared {
    pub(super) fn new() -> Self {
        Shared {
            idle: Semaphore::new(1),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            spare: Mutex::new(None),
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The failure, for the first who asks; then that there was one.
    pub(super) fn failure(&self) -> KafkaError {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.unwrap_or_else(|| KafkaError::Unavailable {
            brokers: String::new(),
            detail: "an earlier write failed".to_owned(),
        })
    }

    fn fail(&self, error: KafkaError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.failed.store(true, Ordering::Release);
        self.idle.close();
    }

    /// An empty group.
    pub(super) fn group(&self) -> Group {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    fn recycle(&self, mut group: Group) {
        group.clear(SPARE_BYTES);
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(group);
    }
}

impl Sender {
    pub(super) fn new(
        options: Arc<Options>,
        clients: Clients,
        shared: Arc<Shared>,
        durable: watch::Sender<Durable>,
        writer: u64,
    ) -> Self {
        let control = topic::control(&options.source);
        Sender {
            options,
            clients,
            shared,
            durable,
            writer,
            control,
            topics: Vec::new(),
            schemas: Vec::new(),
            open: None,
            load: Load::new(Instant::now()),
            noted: Vec::new(),
            looked_at: Instant::now(),
            look_next: 0,
        }
    }

    /// Until there are no more jobs, or one fails.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let due = self.due();
            let job = match due {
                Some(at) => jobs.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let outcome = match job {
                Ok(job) => self.take(job),
                Err(RecvTimeoutError::Timeout) => self.commit(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = outcome {
                let error = self.judge(error);
                return self.shared.fail(error);
            }
        }
    }

    /// When what is open is committed if nothing more comes.
    fn due(&self) -> Option<Instant> {
        let open = self.open.as_ref()?;
        Some(open.since + if open.inside { TIME_MAX } else { BUSY_TIME })
    }

    fn take(&mut self, job: Job) -> Result<(), KafkaError> {
        let Job { mut group, topics, schemas, state, durable, inside, urgent } = job;
        for topic in topics {
            self.learn(topic)?;
        }
        for TopicSchemas { topic, schemas } in schemas {
            self.schemas.push(self.clients.schema_ids(&topic, &schemas)?);
        }
        for (record, meta) in group.metas.iter().enumerate() {
            if let Some(ids) = meta.schemas.and_then(|number| self.schemas.get(number as usize)) {
                group.records.stamp(record, *ids);
            }
        }
        let bytes = group.bytes();
        self.begin(&state)?;
        self.send(&group)?;
        let Some(open) = &mut self.open else { return Err(KafkaError::Misuse("no transaction is open".to_owned())) };
        let Group { versions, control, .. } = &group;
        open.control.extend(versions.iter().chain(control).cloned());
        (open.state, open.durable, open.inside) = (state, durable, inside);
        open.bytes = open.bytes.saturating_add(bytes);
        let (now, age) = (Instant::now(), open.since.elapsed());
        self.load.took(bytes, now);
        let full = open.bytes >= BYTES_MAX || age >= TIME_MAX;
        let whole = !inside && (!self.load.is_high() || age >= BUSY_TIME);
        self.shared.recycle(group);
        if urgent || full || whole {
            self.commit()?;
        }
        self.shared.idle.add_permits(1);
        Ok(())
    }

    fn begin(&mut self, state: &ControlRecord) -> Result<(), KafkaError> {
        if self.open.is_none() {
            self.clients.rows.begin()?;
            self.open = Some(Uncommitted {
                state: state.clone(),
                durable: Durable::default(),
                control: Vec::new(),
                since: Instant::now(),
                bytes: 0,
                inside: false,
            });
        }
        Ok(())
    }

    fn send(&self, group: &Group) -> Result<(), KafkaError> {
        for (record, meta) in group.records.iter().zip(&group.metas).filter(|(_, meta)| !meta.dropped) {
            let known = self.topics.get(meta.topic as usize);
            let known = known.ok_or_else(|| KafkaError::Misuse("a record of a topic nobody told of".to_owned()))?;
            let ours = [
                (OFFSET_HEADER, group.text_at(&meta.offset)),
                (POSITION_HEADER, group.text_at(&meta.position)),
                (UNIT_HEADER, group.text_at(&meta.unit)),
            ];
            let position = group.text_at(&meta.position);
            let outgoing = known.place.outgoing(&record, position, meta.first_partition, meta.timestamp_ms)?;
            // What is no event has none of them.
            let ours = if meta.offset.is_empty() { &[] } else { ours.as_slice() };
            self.clients.rows.send(&outgoing, ours.iter().copied().chain(record.headers()))?;
        }
        Ok(())
    }

    /// Ends the transaction: its rows are written, then what it means.
    fn commit(&mut self) -> Result<(), KafkaError> {
        let Some(Uncommitted { state, durable, mut control, .. }) = self.open.take() else { return Ok(()) };
        if self.looked_at.elapsed() >= LOOK_INTERVAL {
            self.looked_at = Instant::now();
            self.look()?;
        }
        control.append(&mut self.noted);
        control.push(state);
        let producer = match &self.clients.control {
            None => &self.clients.rows,
            Some(producer) => {
                self.clients.rows.flush()?;
                producer.begin()?;
                producer
            }
        };
        self.send_control(producer, &control)?;
        producer.commit()?;
        self.durable.send_replace(durable);
        Ok(())
    }

    fn send_control(&self, producer: &Producer, records: &[ControlRecord]) -> Result<(), KafkaError> {
        for ControlRecord { key, value, event } in records {
            let outgoing = Outgoing {
                topic: &self.control,
                partition: Some(0),
                key: Some(key),
                value: Some(value),
                timestamp_ms: crate::event::Timestamp::now().unix_micros().div_euclid(1000),
            };
            let headers = event.iter().flat_map(|event| {
                [
                    (OFFSET_HEADER, event.offset.as_slice()),
                    (POSITION_HEADER, event.position.as_slice()),
                    (UNIT_HEADER, event.unit.as_slice()),
                ]
            });
            producer.send(&outgoing, headers)?;
        }
        Ok(())
    }

    /// Makes or takes a topic before its first record.
    fn learn(&mut self, topic: Topic) -> Result<(), KafkaError> {
        let found = self.clients.ensure(&self.options, &topic)?;
        let has_events = topic.has_events();
        let place = Place::new(topic, &found)?;
        let limit = found.batch_bytes_max();
        if limit < self.clients.batch_bytes_max {
            // A batch that is larger than its topic takes is refused whole.
            self.commit()?;
            self.clients.narrow(&self.options, limit)?;
        }
        let ends = check_topic(&self.clients.admin, &place.name, &[], &self.control)?;
        if has_events {
            self.noted.push(topic_record(&place.name, &ends));
        }
        self.topics.push(Known { place, ends, has_events });
        Ok(())
    }

    /// Looks whether some of the topics still have what was written to them, and notes where they end.
    fn look(&mut self) -> Result<(), KafkaError> {
        let count = self.topics.len();
        for _ in 0..count.min(LOOK_AT_ONCE) {
            self.look_next = (self.look_next + 1) % count;
            let Some(known) = self.topics.get_mut(self.look_next) else { continue };
            let ends = check_topic(&self.clients.admin, &known.place.name, &known.ends, &self.control)?;
            if ends.len() > known.ends.len() {
                tracing::warn!(
                    topic = known.place.name,
                    before = known.ends.len(),
                    now = ends.len(),
                    "partitions were added: a key's \
                    records may lie in another partition from here on. Sinks of walbridge's keep each key's order; other consumers must mind"
                );
            }
            if ends != known.ends {
                if known.has_events {
                    self.noted.push(topic_record(&known.place.name, &ends));
                }
                known.ends = ends;
            }
        }
        Ok(())
    }

    /// What an error is, on a second look.
    fn judge(&self, error: KafkaError) -> KafkaError {
        let unavailable = |detail| KafkaError::Unavailable { brokers: self.options.settings.brokers.clone(), detail };
        match error {
            // A broker that has just come up may not know a topic yet, and does not always say which. What `look` found lost is lost.
            KafkaError::Lost { control, detail, .. } if control.is_empty() => {
                match self.topics.iter().find(|known| !self.is_there(&known.place.name)) {
                    Some(Known { place: Place { name, .. }, .. }) => {
                        KafkaError::Lost { topic: name.clone(), control: self.control.clone(), detail }
                    }
                    None => unavailable(detail),
                }
            }
            // The cluster also ends a transaction that takes too long, and then nobody else has begun to write.
            KafkaError::Fenced { .. } if self.is_ours() => {
                unavailable(format!("the cluster has given up a transaction of {}", self.control))
            }
            other => name_topic(other, &self.control),
        }
    }

    fn is_there(&self, topic: &str) -> bool {
        self.clients.admin.partitions(topic).is_ok_and(|found| found > 0)
    }

    /// Whether no other writer has opened the log.
    fn is_ours(&self) -> bool {
        let mut control = Control::default();
        let read = consumer::read_all(&self.options.settings, &self.control, |key, value| {
            // What cannot be read is no sign of another writer of this version.
            drop(value.map(|value| control.take(key, value)));
            Ok(())
        });
        read.is_ok() && control.state.writer == self.writer
    }
}
