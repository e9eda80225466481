//! The thread that sends: takes groups, sends their records, and hands whole transactions to the one that commits.
//!
//! One group at a time; the permit says that it is free for the next. While little comes a group is a transaction. While much comes
//! (`load`) the transaction stays open for a while, because a commit costs the cluster more than a batch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::Options;
use super::commit::{Committer, Gone, Sent, send_control};
use super::control::{ControlRecord, topic_record};
use super::group::Group;
use super::judge::Judge;
use super::load::Load;
use super::start::{Clients, check_topic};
use crate::kafka::format::SchemaIds;
use crate::kafka::headers::{OFFSET_HEADER, POSITION_HEADER, UNIT_HEADER};
use crate::kafka::place::Place;
use crate::kafka::producer::Producer;
use crate::kafka::tables::{Topic, TopicSchemas};
use crate::kafka::{KafkaError, partition, topic};
use crate::log::Durable;

/// Under load a transaction is committed so long after it began.
const BUSY_TIME: Duration = Duration::from_millis(100);
/// Where the log's state follows the rows, it is so long behind at the most.
const FOLLOW_TIME: Duration = Duration::from_millis(10);
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
    /// What it is sent on; `None`: rows are in no transaction.
    producer: Option<Producer>,
    state: ControlRecord,
    durable: Durable,
    control: Vec<ControlRecord>,
    since: Instant,
    bytes: usize,
    inside: bool,
}

/// See the module.
pub(super) struct Sender {
    options: Arc<Options>,
    clients: Clients,
    committer: Committer,
    shared: Arc<Shared>,
    judge: Arc<Judge>,
    control: String,
    topics: Vec<Known>,
    /// What the registry calls the schemas.
    schemas: Vec<SchemaIds>,
    open: Option<Uncommitted>,
    load: Load,
    /// When a batch has waited long enough for more records.
    lingers_until: Option<Instant>,
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

    pub(super) fn fail(&self, error: KafkaError) {
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

/// Why the thread ends.
enum End {
    Failed(KafkaError),
    /// The committer has failed, and has said why.
    Gone,
}

impl From<KafkaError> for End {
    fn from(error: KafkaError) -> Self {
        End::Failed(error)
    }
}

impl From<Gone> for End {
    fn from(Gone: Gone) -> Self {
        End::Gone
    }
}

impl Sender {
    /// With its committer, which tells what is durable. `writer`: its number.
    pub(super) fn new(
        options: Arc<Options>,
        clients: Clients,
        producers: Vec<Producer>,
        shared: Arc<Shared>,
        durable: watch::Sender<Durable>,
        writer: u64,
    ) -> Result<Self, KafkaError> {
        let control = topic::control(&options.source);
        let judge = Arc::new(Judge::new(Arc::clone(&options), Arc::clone(&clients.admin), writer));
        let committer = Committer::start(producers, control.clone(), durable, Arc::clone(&shared), Arc::clone(&judge))?;
        Ok(Sender {
            options,
            clients,
            committer,
            shared,
            judge,
            control,
            topics: Vec::new(),
            schemas: Vec::new(),
            open: None,
            load: Load::new(Instant::now()),
            lingers_until: None,
            noted: Vec::new(),
            looked_at: Instant::now(),
            look_next: 0,
        })
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
                Err(RecvTimeoutError::Timeout) => self.wake(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match outcome {
                Ok(()) => {}
                Err(End::Gone) => return,
                Err(End::Failed(error)) => return self.shared.fail(self.judge.judge(error)),
            }
        }
    }

    /// When something is to be done if nothing more comes.
    fn due(&self) -> Option<Instant> {
        let ends_at = self.ends_at()?;
        Some(self.lingers_until.map_or(ends_at, |until| until.min(ends_at)))
    }

    /// Does it.
    fn wake(&mut self) -> Result<(), End> {
        if self.ends_at().is_none_or(|at| at <= Instant::now()) { self.end() } else { Ok(self.write_rows()?) }
    }

    /// When what is open is ended if nothing more comes.
    fn ends_at(&self) -> Option<Instant> {
        let open = self.open.as_ref()?;
        let after = match &open.producer {
            _ if open.inside => TIME_MAX,
            None if !self.load.is_high() => FOLLOW_TIME,
            _ => BUSY_TIME,
        };
        Some(open.since + after)
    }

    fn take(&mut self, job: Job) -> Result<(), End> {
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
        let Some(open) = &mut self.open else { return Err(no_transaction().into()) };
        let Group { versions, control, .. } = &group;
        open.control.extend(versions.iter().chain(control).cloned());
        (open.state, open.durable, open.inside) = (state, durable, inside);
        open.bytes = open.bytes.saturating_add(bytes);
        let (now, age, follows) = (Instant::now(), open.since.elapsed(), open.producer.is_none());
        self.load.took(bytes, now);
        self.shared.recycle(group);
        self.lingers_until = Some(now + self.options.settings.linger);
        if urgent || open.bytes >= BYTES_MAX || age >= TIME_MAX {
            self.end()?;
        } else if !inside && (!self.load.is_high() || age >= BUSY_TIME) {
            // Rows that are in no transaction wait for none; the state follows them.
            if follows && (age < FOLLOW_TIME || !self.committer.is_settled()) {
                self.write_rows()?;
            } else {
                self.end()?;
            }
        } else if !self.load.is_high() {
            self.write_rows()?;
        }
        if urgent {
            self.committer.settle()?;
        }
        self.shared.idle.add_permits(1);
        Ok(())
    }

    fn begin(&mut self, state: &ControlRecord) -> Result<(), End> {
        if self.open.is_none() {
            let producer = match &self.clients.rows {
                Some(_) => None,
                None => {
                    let producer = self.committer.take()?;
                    producer.begin()?;
                    Some(producer)
                }
            };
            self.open = Some(Uncommitted {
                producer,
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

    /// What rows are sent on.
    fn rows(&self) -> Result<&Producer, KafkaError> {
        let producer = self.open.as_ref().and_then(|open| open.producer.as_ref());
        producer.or(self.clients.rows.as_ref()).ok_or_else(no_transaction)
    }

    fn send(&self, group: &Group) -> Result<(), KafkaError> {
        let rows = self.rows()?;
        for (record, meta) in group.records.iter().zip(&group.metas).filter(|(_, meta)| !meta.dropped) {
            let known = self.topics.get(meta.topic as usize);
            let known = known.ok_or_else(|| KafkaError::Misuse("a record of a topic nobody told of".to_owned()))?;
            let ours = [
                (OFFSET_HEADER, group.text_at(&meta.offset)),
                (POSITION_HEADER, group.text_at(&meta.position)),
                (UNIT_HEADER, group.text_at(&meta.unit)),
            ];
            let position = group.text_at(&meta.position);
            let mut outgoing = known.place.outgoing(&record, position, meta.first_partition, meta.timestamp_ms)?;
            // Each producer has its own sight of a topic: while partitions are added, a key would go back and forth.
            let partitions = i32::try_from(known.ends.len()).unwrap_or(i32::MAX);
            outgoing.partition = outgoing.partition.or_else(|| Some(partition::of_key(outgoing.key?, partitions)));
            // What is no event has none of them.
            let ours = if meta.offset.is_empty() { &[] } else { ours.as_slice() };
            rows.send(&outgoing, ours.iter().copied().chain(record.headers()))?;
        }
        Ok(())
    }

    fn write_rows(&mut self) -> Result<(), KafkaError> {
        self.lingers_until = None;
        self.rows()?.flush()
    }

    /// Ends the transaction: what it holds is written, with what it means. It is committed behind those before it.
    fn end(&mut self) -> Result<(), End> {
        if self.open.is_none() {
            return Ok(());
        }
        if self.looked_at.elapsed() >= LOOK_INTERVAL {
            self.looked_at = Instant::now();
            self.look()?;
        }
        if self.clients.rows.is_some() {
            self.write_rows()?;
        }
        self.lingers_until = None;
        let Some(Uncommitted { producer, state, durable, mut control, .. }) = self.open.take() else { return Ok(()) };
        control.append(&mut self.noted);
        control.push(state);
        let sent = match producer {
            // Written here, not by the committer: what comes meanwhile gathers, and is the next transaction as a whole.
            Some(producer) => {
                send_control(&producer, &self.control, &control)?;
                producer.flush()?;
                Sent { producer, control: Vec::new(), durable }
            }
            None => Sent { producer: self.committer.take()?, control, durable },
        };
        Ok(self.committer.commit(sent)?)
    }

    /// Makes or takes a topic before its first record.
    fn learn(&mut self, topic: Topic) -> Result<(), End> {
        let found = self.clients.ensure(&self.options, &topic)?;
        let has_events = topic.has_events();
        let place = Place::new(topic, &found)?;
        let limit = found.batch_bytes_max();
        if limit < self.clients.batch_bytes_max {
            // A batch that is larger than its topic takes is refused whole.
            self.end()?;
            self.committer.settle()?;
            let producers = self.clients.narrow(&self.options, limit)?;
            self.committer.replace(producers);
        }
        let ends = check_topic(&self.clients.admin, &place.name, &[], &self.control)?;
        self.judge.learn(&place.name);
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
}

fn no_transaction() -> KafkaError {
    KafkaError::Misuse("no transaction is open".to_owned())
}
