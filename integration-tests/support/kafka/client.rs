//! What tests ask a cluster for: topics, and what is in them as a `read_committed` consumer sees it.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{Kafka, PATIENCE};
use crate::support::eventually_sync;

const ANSWER: Duration = Duration::from_secs(30);

/// A record as it lies in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    /// `None`: a tombstone.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The key as text; empty if there is none.
    pub(crate) fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    /// The value as JSON; `null` for a tombstone.
    pub(crate) fn json(&self) -> serde_json::Value {
        let parsed = self.value.as_deref().map(serde_json::from_slice);
        parsed.transpose().expect("a value in JSON").unwrap_or_default()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }
}

impl Kafka {
    /// A client's settings to reach the cluster.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers()).set("reconnect.backoff.max.ms", "200").set("log_level", "0");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client_config().create().expect("an admin client")
    }

    /// Makes a topic.
    pub(crate) async fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let replicas = i32::try_from(self.servers.len()).expect("few brokers");
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let made = self.admin().create_topics([&topic], &AdminOptions::new()).await.expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        eventually_sync(PATIENCE, || {
            let seen = self.partitions(name);
            (seen == usize::try_from(partitions).unwrap_or_default()).then_some(()).ok_or(seen)
        });
    }

    /// Gives a topic more partitions.
    pub(crate) async fn add_partitions(&self, topic: &str, count: usize) {
        let wanted = NewPartitions::new(topic, count);
        let made = self.admin().create_partitions([&wanted], &AdminOptions::new()).await.expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        eventually_sync(PATIENCE, || {
            let seen = self.partitions(topic);
            (seen == count).then_some(()).ok_or(seen)
        });
    }

    /// Removes a topic.
    pub(crate) async fn delete_topic(&self, name: &str) {
        let gone = self.admin().delete_topics(&[name], &AdminOptions::new()).await.expect("an answer");
        assert!(gone.iter().all(Result::is_ok), "{gone:?}");
        eventually_sync(PATIENCE, || {
            let left = self.topics();
            if left.iter().any(|topic| topic == name) { Err(left) } else { Ok(()) }
        });
    }

    /// Removes all records that a topic has now, as retention would.
    pub(crate) async fn delete_records(&self, topic: &str) {
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions(topic) {
            let partition = i32::try_from(partition).expect("few partitions");
            all.add_partition_offset(topic, partition, Offset::End).expect("a place");
        }
        self.admin().delete_records(&all, &AdminOptions::new()).await.expect("they can be removed");
    }

    /// The names of all topics but Kafka's own, sorted.
    pub(crate) fn topics(&self) -> Vec<String> {
        let metadata = self.consumer("read_committed").fetch_metadata(None, ANSWER).expect("metadata");
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with("__")).collect();
        names.sort();
        names
    }

    /// How many partitions a topic has; 0 if there is no such topic.
    pub(crate) fn partitions(&self, topic: &str) -> usize {
        let metadata = self.consumer("read_committed").fetch_metadata(Some(topic), ANSWER).expect("metadata");
        metadata.topics().first().map_or(0, |topic| topic.partitions().len())
    }

    /// Which broker leads a partition; `None` while there is no leader.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let metadata = self.consumer("read_committed").fetch_metadata(Some(topic), ANSWER).ok()?;
        let partitions = metadata.topics().first()?.partitions();
        let leader = partitions.iter().find(|found| found.id() == partition)?.leader();
        usize::try_from(leader).ok()?.checked_sub(1)
    }

    /// All that is in a topic, as far as committed when it is asked: partition by partition, in order.
    pub(crate) fn read(&self, topic: &str) -> Vec<Record> {
        self.read_as(topic, "read_committed")
    }

    /// The same once no transaction is open: a commit is answered a moment before its markers are in the topic.
    pub(crate) fn read_settled(&self, topic: &str) -> Vec<Record> {
        let [committed, written] = ["read_committed", "read_uncommitted"].map(|isolation| self.consumer(isolation));
        for partition in 0..i32::try_from(self.partitions(topic)).expect("few partitions") {
            eventually_sync(PATIENCE, || {
                let end =
                    |consumer: &BaseConsumer| consumer.fetch_watermarks(topic, partition, ANSWER).map(|marks| marks.1);
                let (committed, written) = (end(&committed), end(&written));
                if committed.is_ok() && committed == written {
                    Ok(())
                } else {
                    Err(format!("{topic} {partition}: {committed:?} of {written:?}"))
                }
            });
        }
        self.read(topic)
    }

    /// The same at the given isolation level: `read_uncommitted` sees aborted records too.
    pub(crate) fn read_as(&self, topic: &str, isolation: &str) -> Vec<Record> {
        let partitions = i32::try_from(self.partitions(topic)).expect("few partitions");
        let consumer = self.consumer(isolation);
        let mut assigned = TopicPartitionList::new();
        for partition in 0..partitions {
            assigned.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&assigned).expect("assigned");
        let (mut records, mut ended, started) = (Vec::new(), 0, Instant::now());
        while ended < partitions {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(_)) | None => assert!(started.elapsed() < PATIENCE, "{topic} is not read to its end"),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// Waits until the cluster answers and knows so many brokers.
    pub(super) fn await_brokers(&self, count: usize) {
        let consumer = self.consumer("read_committed");
        eventually_sync(PATIENCE, || {
            let metadata = consumer.fetch_metadata(None, ANSWER).map_err(|error| error.to_string())?;
            let known = metadata.brokers().len();
            if known == count { Ok(()) } else { Err(format!("{known} of {count} brokers")) }
        });
    }

    fn consumer(&self, isolation: &str) -> BaseConsumer {
        let mut config = self.client_config();
        config.set("group.id", "tests").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", isolation).set("fetch.wait.max.ms", "50");
        config.set("allow.auto.create.topics", "false");
        config.create().expect("a consumer")
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or_default(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect(),
    }
}
