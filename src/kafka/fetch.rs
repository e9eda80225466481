//! Reading partitions from chosen places, with memory bounded over all of them.
//!
//! Records come in their partition's order; which partition is next is up to whoever asks. What a partition has ready and nobody
//! takes is bounded (`read_buffer`): half of it is the client's, and while the other half is full and a partition that has nothing ready is waited
//! for, those that have are paused. Not sooner: of a partition that is paused the client throws away what it has, and fetches it again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as ErrorCode};
use rdkafka::message::{Headers as _, OwnedMessage};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::admin::partitions_in;
use super::error::KafkaError;
use super::producer::{PATIENCE, Quiet, explain};
use super::settings::Settings;
use super::token::Pass;

/// How often the client is looked after, whatever is ready.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A partition of which the client has as much as it may is not asked for more for so long, also if that is taken meanwhile, or it is to be
/// read from elsewhere: a second, by the client's default.
const FETCH_BACKOFF_MS: &str = "5";

/// What a record costs besides its bytes.
const OVERHEAD_BYTES: usize = 200;

/// A record that was read.
#[derive(Debug)]
pub struct Fetched(OwnedMessage);

impl Fetched {
    /// Its place in its partition.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.headers()?.iter().find(|header| header.key == name)?.value
    }

    fn bytes(&self) -> usize {
        let part = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        part(self.key()) + part(self.value()) + OVERHEAD_BYTES
    }
}

/// Reads partitions, which it numbers in the order in which they were added.
pub struct Fetcher {
    client: BaseConsumer<Quiet>,
    brokers: String,
    sides: Vec<Side>,
    /// The numbers of a topic's partitions.
    numbers: HashMap<String, BTreeMap<i32, usize>>,
    ready_bytes: usize,
    ready_bytes_max: usize,
    heard: Instant,
    polled: Instant,
}

struct Side {
    topic: String,
    partition: i32,
    ready: VecDeque<Fetched>,
    /// The place behind the last record.
    next: i64,
    paused: bool,
}

impl Fetcher {
    /// Reads nothing yet.
    ///
    /// # Errors
    /// The client refuses its settings.
    pub fn new(settings: &Settings) -> Result<Self, KafkaError> {
        let mut config = settings.consumer()?;
        config
            .set("enable.partition.eof", "false")
            .set("queued.max.messages.kbytes", (settings.read_bytes / 2048).clamp(64, 2_097_151).to_string())
            .set("fetch.message.max.bytes", "1048576")
            .set("fetch.queue.backoff.ms", FETCH_BACKOFF_MS);
        let client = config.create_with_context(Quiet::new(settings));
        let client = client.map_err(|error| KafkaError::Settings { detail: error.to_string() })?;
        let brokers = settings.brokers.clone();
        let (sides, numbers, now) = (Vec::new(), HashMap::new(), Instant::now());
        let ready_bytes_max = usize::try_from(settings.read_bytes / 2).unwrap_or(usize::MAX);
        Ok(Fetcher { client, brokers, sides, numbers, ready_bytes: 0, ready_bytes_max, heard: now, polled: now })
    }

    /// Reads this partition too, from this place on. Its number.
    ///
    /// # Errors
    /// The client refuses.
    pub fn add(&mut self, topic: &str, partition: i32, from: i64) -> Result<usize, KafkaError> {
        let list = self.list(topic, partition, Offset::Offset(from))?;
        self.client.incremental_assign(&list).map_err(|error| self.explain(&error, topic))?;
        let (topic, ready) = (topic.to_owned(), VecDeque::new());
        self.numbers.entry(topic.clone()).or_default().insert(partition, self.sides.len());
        self.sides.push(Side { topic, partition, ready, next: from, paused: false });
        Ok(self.sides.len().saturating_sub(1))
    }

    /// The partition's next record, if it is here.
    pub fn take(&mut self, number: usize) -> Option<Fetched> {
        let side = self.sides.get_mut(number)?;
        let record = side.ready.pop_front()?;
        self.ready_bytes = self.ready_bytes.saturating_sub(record.bytes());
        Some(record)
    }

    /// The same, left where it is.
    #[must_use]
    pub fn peek(&self, number: usize) -> Option<&Fetched> {
        self.sides.get(number)?.ready.front()
    }

    /// The place behind the partition's last record that came.
    #[must_use]
    pub fn next(&self, number: usize) -> Option<(&str, i32, i64)> {
        self.sides.get(number).map(|side| (side.topic.as_str(), side.partition, side.next))
    }

    /// Waits no longer than this for something to come, and takes in all that is here.
    ///
    /// # Errors
    /// A topic is gone, or no longer has what is wanted; or nothing was heard from the brokers for long.
    pub fn poll(&mut self, wait: Duration) -> Result<(), KafkaError> {
        self.resume_the_empty()?;
        if self.ready_bytes > self.ready_bytes_max {
            let nobody_waits = self.sides.iter().all(|side| !side.ready.is_empty());
            if nobody_waits && self.polled.elapsed() < POLL_INTERVAL {
                return Ok(());
            }
            self.pause_the_full()?;
        }
        self.polled = Instant::now();
        let mut wait = wait;
        while let Some(polled) = self.client.poll(wait) {
            wait = Duration::ZERO;
            match polled {
                Ok(message) => {
                    let partitions = self.numbers.get(message.topic());
                    let number = partitions.and_then(|partitions| partitions.get(&message.partition()).copied());
                    let record = Fetched(message.detach());
                    self.heard = Instant::now();
                    if let Some(side) = number.and_then(|number| self.sides.get_mut(number)) {
                        side.next = record.offset().saturating_add(1);
                        self.ready_bytes = self.ready_bytes.saturating_add(record.bytes());
                        side.ready.push_back(record);
                    }
                }
                Err(error) => self.fail_if_lasting(&error)?,
            }
            if self.ready_bytes > self.ready_bytes_max {
                break;
            }
        }
        Ok(())
    }

    fn list(&self, topic: &str, partition: i32, at: Offset) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, at).map_err(|error| self.explain(&error, topic))?;
        Ok(list)
    }

    fn pause_the_full(&mut self) -> Result<(), KafkaError> {
        self.turn(|side| !side.paused && !side.ready.is_empty(), true)
    }

    fn resume_the_empty(&mut self) -> Result<(), KafkaError> {
        self.turn(|side| side.paused && side.ready.is_empty(), false)
    }

    fn turn(&mut self, whom: impl Fn(&Side) -> bool, pause: bool) -> Result<(), KafkaError> {
        for number in 0..self.sides.len() {
            let Some(side) = self.sides.get_mut(number).filter(|side| whom(side)) else { continue };
            side.paused = pause;
            let (topic, partition) = (side.topic.clone(), side.partition);
            let list = self.list(&topic, partition, Offset::Invalid)?;
            let turned = if pause { self.client.pause(&list) } else { self.client.resume(&list) };
            turned.map_err(|error| self.explain(&error, &topic))?;
        }
        Ok(())
    }

    /// Brokers come and go; only what does not pass is an error.
    fn fail_if_lasting(&self, error: &ClientError) -> Result<(), KafkaError> {
        let error = self.explain(error, "");
        match error {
            KafkaError::Unavailable { .. } if self.heard.elapsed() < PATIENCE => Ok(()),
            lasting => Err(lasting),
        }
    }

    fn explain(&self, error: &ClientError, topic: &str) -> KafkaError {
        explain(error, topic, &self.brokers)
    }
}

/// Looks up single records, and where partitions end.
pub struct Probe {
    client: BaseConsumer<Quiet>,
    /// Sees what is not committed too.
    uncommitted: BaseConsumer<Quiet>,
    /// Of the two: they are polled now and then only.
    passes: [Pass; 2],
    brokers: String,
}

impl Probe {
    /// Looks up nothing yet.
    ///
    /// # Errors
    /// The client refuses its settings.
    pub fn new(settings: &Settings) -> Result<Self, KafkaError> {
        let mut config = settings.consumer()?;
        config.set("queued.min.messages", "1").set("fetch.message.max.bytes", "65536").set("fetch.wait.max.ms", "20");
        config.set("fetch.queue.backoff.ms", FETCH_BACKOFF_MS);
        let refused = |error: ClientError| KafkaError::Settings { detail: error.to_string() };
        let client = config.create_with_context(Quiet::new(settings)).map_err(refused)?;
        config.set("isolation.level", "read_uncommitted");
        let uncommitted = config.create_with_context(Quiet::new(settings)).map_err(refused)?;
        let passes = [Pass::new(settings), Pass::new(settings)];
        Ok(Probe { client, uncommitted, passes, brokers: settings.brokers.clone() })
    }

    fn client(&self) -> Result<&BaseConsumer<Quiet>, KafkaError> {
        let [pass, _] = &self.passes;
        pass.show(self.client.client())?;
        Ok(&self.client)
    }

    fn uncommitted(&self) -> Result<&BaseConsumer<Quiet>, KafkaError> {
        let [_, pass] = &self.passes;
        pass.show(self.uncommitted.client())?;
        Ok(&self.uncommitted)
    }

    /// The first committed record at this place or behind it; `None` if there is none now.
    ///
    /// # Errors
    /// No answer, or no such partition.
    pub fn first_at(&self, topic: &str, partition: i32, from: i64) -> Result<Option<Fetched>, KafkaError> {
        let found = self.look(topic, partition, from);
        // Or it would go on asking whether there is room for more.
        self.client.unassign().map_err(|error| self.explain(&error, topic))?;
        found
    }

    fn look(&self, topic: &str, partition: i32, from: i64) -> Result<Option<Fetched>, KafkaError> {
        let explain = |error: &ClientError| explain(error, topic, &self.brokers);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(from)).map_err(|error| explain(&error))?;
        self.client()?.assign(&list).map_err(|error| explain(&error))?;
        let asked = Instant::now();
        loop {
            match self.client.poll(Duration::from_millis(100)) {
                // Of the one before something may still have been under way.
                Some(Ok(message)) if message.topic() == topic && message.partition() == partition => {
                    return Ok(Some(Fetched(message.detach())));
                }
                Some(Err(ClientError::PartitionEOF(_))) => return Ok(None),
                Some(Err(error)) if !matches!(explain(&error), KafkaError::Unavailable { .. }) => {
                    return Err(explain(&error));
                }
                _ if asked.elapsed() > PATIENCE => {
                    let detail = format!("partition {partition} of {topic} could not be read");
                    return Err(KafkaError::Unavailable { brokers: self.brokers.clone(), detail });
                }
                _ => {}
            }
        }
    }

    /// Of each of a topic's partitions the place of the first record of this time (milliseconds since 1970) or a later one; partitions
    /// that have none are not among them.
    ///
    /// # Errors
    /// No answer.
    pub fn at_time(&self, topic: &str, partitions: i32, time_ms: i64) -> Result<Vec<(i32, i64)>, KafkaError> {
        let explain = |error: &ClientError| self.explain(error, topic);
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Offset(time_ms)).map_err(|error| explain(&error))?;
        }
        let found = self.client()?.offsets_for_times(list, PATIENCE).map_err(|error| explain(&error))?;
        let mut places = Vec::new();
        for element in found.elements() {
            element.error().map_err(|error| explain(&error))?;
            if let Offset::Offset(place) = element.offset() {
                places.push((element.partition(), place));
            }
        }
        Ok(places)
    }

    /// Where a partition begins and ends.
    ///
    /// # Errors
    /// No answer, or no such partition.
    pub fn marks(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
        let client = self.client()?;
        client.fetch_watermarks(topic, partition, PATIENCE).map_err(|error| self.explain(&error, topic))
    }

    /// A partition that was added a moment ago may be one that this client has not heard of, while another has: it is asked again, which
    /// begins with how many there are.
    fn explain(&self, error: &ClientError, topic: &str) -> KafkaError {
        match error.rdkafka_error_code() {
            Some(ErrorCode::UnknownPartition) => {
                KafkaError::Unavailable { brokers: self.brokers.clone(), detail: format!("topic {topic}: {error}") }
            }
            _ => explain(error, topic, &self.brokers),
        }
    }

    /// Whether all that is written there is decided: no transaction is under way, and none waits to be marked as ended.
    ///
    /// # Errors
    /// No answer, or no such partition.
    pub fn is_settled(&self, topic: &str, partition: i32) -> Result<bool, KafkaError> {
        let all = self.uncommitted()?.fetch_watermarks(topic, partition, PATIENCE);
        let all = all.map_err(|error| self.explain(&error, topic))?;
        Ok(self.marks(topic, partition)?.1 >= all.1)
    }

    /// Makes sure that a topic still has so many partitions.
    ///
    /// # Errors
    /// It has got more, so that whoever reads it must begin again; or no answer.
    pub fn still_has(&self, topic: &str, partitions: i32) -> Result<(), KafkaError> {
        let now = self.partitions(topic)?;
        if now == partitions {
            return Ok(());
        }
        let detail = format!("topic {topic} has {now} partitions, no longer {partitions}");
        Err(KafkaError::Unavailable { brokers: self.brokers.clone(), detail })
    }

    /// How many partitions a topic has; 0 if there is no such topic.
    ///
    /// # Errors
    /// No answer.
    pub fn partitions(&self, topic: &str) -> Result<i32, KafkaError> {
        let metadata = self.client()?.fetch_metadata(Some(topic), PATIENCE);
        let metadata = metadata.map_err(|error| explain(&error, topic, &self.brokers))?;
        Ok(partitions_in(&metadata))
    }
}
