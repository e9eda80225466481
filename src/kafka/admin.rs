//! What topics a cluster has, and making those it lacks.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode as ErrorCode;
use rdkafka::metadata::Metadata;

use super::error::KafkaError;
use super::producer::{Quiet, classify};
use super::rights::{self, Operation, Rights};
use super::settings::Settings;
use super::token::Pass;
use super::topic::Wanted;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Kafka's own default of `delete.retention.ms`.
const TOMBSTONES_KEPT_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Kafka's own default of `max.message.bytes`.
const RECORD_BYTES_DEFAULT: usize = 1_048_588;

/// A connection for such questions.
pub struct Admin {
    client: AdminClient<Quiet>,
    pass: Pass,
    brokers: String,
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its partitions.
    pub partitions: i32,
    /// `cleanup.policy`.
    pub cleanup_policy: String,
    /// `max.message.bytes`.
    pub record_bytes_max: usize,
    /// `delete.retention.ms`: for so long compaction keeps the tombstone of a key.
    pub tombstones_kept: Duration,
    /// `retention.ms`; `None`: for ever.
    pub kept: Option<Duration>,
    /// `min.insync.replicas`: with fewer nothing is written.
    pub in_sync_min: usize,
}

impl Topic {
    /// Whether old records of a key go.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.cleanup_policy.split(',').any(|policy| policy.trim() == "compact")
    }

    /// How it differs from what is wanted, and what to do; `None` if it does not.
    #[must_use]
    pub fn differs(&self, wanted: &Wanted) -> Option<String> {
        let Topic { partitions, cleanup_policy, .. } = self;
        if let Some(other) = wanted.partitions.filter(|other| other != partitions) {
            return Some(format!(
                "it has {partitions} partitions, and the configuration says {other}. A key's place follows from their number: say \
                 partitions = {partitions}, or let it be made anew"
            ));
        }
        let policy = wanted.cleanup_policy.as_ref().filter(|policy| !same_policy(policy, cleanup_policy))?;
        Some(format!(
            "its cleanup.policy is \"{cleanup_policy}\", and the configuration says \"{policy}\". Change one of the two"
        ))
    }

    /// What a batch for it may have: one that is larger is refused whole. A batch counts with its head, and a little is left for that.
    #[must_use]
    pub fn batch_bytes_max(&self) -> u64 {
        (self.record_bytes_max.saturating_sub(4096) as u64).max(1024)
    }
}

impl Admin {
    /// A connection, not made yet.
    ///
    /// # Errors
    /// The client refuses its settings.
    pub fn new(settings: &Settings) -> Result<Self, KafkaError> {
        let client = settings.client()?.create_with_context(Quiet::new(settings));
        let client = client.map_err(|error| KafkaError::Settings { detail: error.to_string() })?;
        Ok(Admin { client, pass: Pass::new(settings), brokers: settings.brokers.clone() })
    }

    /// Makes the topic, or takes the one that is there if it is as wanted.
    ///
    /// # Errors
    /// It cannot be made, or is another than wanted.
    pub async fn ensure(&self, name: &str, wanted: &Wanted) -> Result<Topic, KafkaError> {
        let found = match self.find(name).await? {
            Some(found) => found,
            None => {
                self.make(name, wanted).await?;
                self.await_made(name, wanted).await?
            }
        };
        match found.differs(wanted) {
            Some(detail) => Err(KafkaError::Topic { topic: name.to_owned(), detail }),
            None => Ok(found),
        }
    }

    /// Whether the topic could be made so. Makes nothing.
    ///
    /// # Errors
    /// It could not.
    pub async fn could_make(&self, name: &str, wanted: &Wanted) -> Result<(), KafkaError> {
        self.create(name, wanted, true).await
    }

    /// How many brokers there are, and how many replicas a topic's partitions have at the least; 0 if there is no such topic.
    ///
    /// # Errors
    /// No answer.
    pub fn replicas(&self, name: &str) -> Result<(usize, usize), KafkaError> {
        let metadata = self.metadata(name)?;
        let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
        let fewest = partitions.iter().map(|partition| partition.replicas().len()).min();
        Ok((metadata.brokers().len(), fewest.unwrap_or(0)))
    }

    /// What this principal may do with the topics that are there. Blocks.
    ///
    /// # Errors
    /// No answer.
    pub fn rights(&self, topics: &[String]) -> Result<Rights, KafkaError> {
        self.told(rights::of_topics(self.client()?.inner(), topics, patience_ms()))
    }

    /// What this principal may do with a consumer group; `None` if the brokers do not say. Blocks.
    ///
    /// # Errors
    /// No answer.
    pub fn group_rights(&self, group: &str) -> Result<Option<Vec<Operation>>, KafkaError> {
        self.told(rights::of_group(self.client()?.inner(), group, patience_ms()))
    }

    fn told<T>(&self, answer: Result<T, String>) -> Result<T, KafkaError> {
        answer.map_err(|detail| KafkaError::Unavailable { brokers: self.brokers.clone(), detail })
    }

    fn metadata(&self, name: &str) -> Result<Metadata, KafkaError> {
        let metadata = self.client()?.inner().fetch_metadata(Some(name), PATIENCE);
        metadata.map_err(|error| self.explain(name, error.rdkafka_error_code(), &error.to_string()))
    }

    /// The topic as it is; `None` if there is none.
    ///
    /// # Errors
    /// No answer.
    pub async fn find(&self, name: &str) -> Result<Option<Topic>, KafkaError> {
        let partitions = self.partitions(name)?;
        if partitions == 0 {
            return Ok(None);
        }
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let described = self.client()?.describe_configs([&ResourceSpecifier::Topic(name)], &options).await;
        let described =
            described.map_err(|error| self.explain(name, error.rdkafka_error_code(), &error.to_string()))?;
        let resource = match described.into_iter().next() {
            Some(Ok(resource)) => resource,
            Some(Err(ErrorCode::UnknownTopicOrPartition)) | None => return Ok(None),
            Some(Err(code)) => return Err(self.explain(name, Some(code), &code.to_string())),
        };
        let value = |key: &str| resource.get(key).and_then(|entry| entry.value.clone());
        let kept_ms = value("delete.retention.ms").and_then(|ms| ms.parse().ok());
        let record_bytes_max = value("max.message.bytes").and_then(|bytes| bytes.parse().ok());
        Ok(Some(Topic {
            partitions,
            cleanup_policy: value("cleanup.policy").unwrap_or_else(|| "delete".to_owned()),
            record_bytes_max: record_bytes_max.unwrap_or(RECORD_BYTES_DEFAULT),
            tombstones_kept: kept_ms.map_or(TOMBSTONES_KEPT_DEFAULT, Duration::from_millis),
            // Below zero: for ever.
            kept: value("retention.ms").and_then(|ms| ms.parse().ok()).map(Duration::from_millis),
            in_sync_min: value("min.insync.replicas").and_then(|count| count.parse().ok()).unwrap_or(1),
        }))
    }

    /// How many partitions a topic has; 0 if there is no such topic.
    ///
    /// # Errors
    /// No answer.
    pub fn partitions(&self, name: &str) -> Result<i32, KafkaError> {
        Ok(partitions_in(&self.metadata(name)?))
    }

    /// Where a partition ends. Blocks.
    ///
    /// # Errors
    /// No answer, or no such partition.
    pub fn end(&self, name: &str, partition: i32) -> Result<i64, KafkaError> {
        let started = Instant::now();
        loop {
            match self.client()?.inner().fetch_watermarks(name, partition, PATIENCE) {
                Ok((_, end)) => return Ok(end),
                // Of a topic just made, or while its leader changes.
                Err(error) if is_without_leader(error.rdkafka_error_code()) && started.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(self.explain(name, error.rdkafka_error_code(), &error.to_string())),
            }
        }
    }

    async fn make(&self, name: &str, wanted: &Wanted) -> Result<(), KafkaError> {
        self.create(name, wanted, false).await?;
        tracing::info!(topic = name, "topic made");
        Ok(())
    }

    async fn create(&self, name: &str, wanted: &Wanted, only_look: bool) -> Result<(), KafkaError> {
        // -1: as the brokers have it (Kafka Improvement Proposal 464).
        let replication = TopicReplication::Fixed(wanted.replication.unwrap_or(-1));
        let topic = NewTopic::new(name, wanted.partitions.or(wanted.partitions_new).unwrap_or(-1), replication);
        let policy = wanted.cleanup_policy.iter().map(|policy| ("cleanup.policy", policy.as_str()));
        let config = wanted.config.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let topic = policy.chain(config).fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let options = options.validate_only(only_look);
        let made = self.client()?.create_topics([&topic], &options).await;
        let made = made.map_err(|error| self.explain(name, error.rdkafka_error_code(), &error.to_string()))?;
        match made.into_iter().next() {
            Some(Err((_, ErrorCode::TopicAlreadyExists))) | Some(Ok(_)) | None => Ok(()),
            Some(Err((
                _,
                code @ (ErrorCode::InvalidReplicationFactor | ErrorCode::InvalidPartitions | ErrorCode::InvalidConfig),
            ))) => {
                let detail = format!("it cannot be made: {code}. Mend `topics`");
                Err(KafkaError::Topic { topic: name.to_owned(), detail })
            }
            Some(Err((_, code))) => Err(self.explain(name, Some(code), &format!("the topic cannot be made: {code}"))),
        }
    }

    /// All brokers but the controller learn of it a moment later, and one may know the topic before it knows what was set with it: a
    /// log was halted because of the control topic that it had just made, for being one whose records expire.
    async fn await_made(&self, name: &str, wanted: &Wanted) -> Result<Topic, KafkaError> {
        let set = wanted.config.iter().find(|(key, _)| key == "cleanup.policy").map(|(_, policy)| policy);
        let policy = wanted.cleanup_policy.as_ref().or(set);
        for _ in 0..200 {
            let found = self.find(name).await?;
            let as_set = |found: &Topic| policy.is_none_or(|policy| same_policy(policy, &found.cleanup_policy));
            if let Some(found) = found.filter(as_set) {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let detail = format!("topic {name} was made and is not to be seen");
        Err(KafkaError::Unavailable { brokers: self.brokers.clone(), detail })
    }

    fn client(&self) -> Result<&AdminClient<Quiet>, KafkaError> {
        self.pass.show(self.client.inner())?;
        Ok(&self.client)
    }

    fn explain(&self, topic: &str, code: Option<ErrorCode>, detail: &str) -> KafkaError {
        classify(code.unwrap_or(ErrorCode::Unknown), detail, topic, &self.brokers)
    }
}

fn patience_ms() -> i32 {
    i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX)
}

/// How many partitions the one topic has that was asked for; 0 if there is no such topic.
pub(super) fn partitions_in(metadata: &Metadata) -> i32 {
    let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn is_without_leader(code: Option<ErrorCode>) -> bool {
    matches!(
        code,
        Some(ErrorCode::NotLeaderForPartition | ErrorCode::LeaderNotAvailable | ErrorCode::FencedLeaderEpoch)
    )
}

/// The order of the words says nothing.
fn same_policy(one: &str, other: &str) -> bool {
    let words = |text: &str| {
        let mut words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
        words.sort();
        words
    };
    words(one) == words(other)
}
