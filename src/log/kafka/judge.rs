//! What a failure of the sender or the committer is, on a second look.

use std::sync::{Arc, Mutex, PoisonError};

use super::Options;
use super::control::Control;
use super::start::name_topic;
use crate::kafka::admin::Admin;
use crate::kafka::{KafkaError, consumer, topic};

/// Knows what to ask the cluster.
pub(super) struct Judge {
    options: Arc<Options>,
    admin: Arc<Admin>,
    control: String,
    /// The number of the writer whose failures these are.
    writer: u64,
    /// Topics that it has written to.
    topics: Mutex<Vec<String>>,
}

impl Judge {
    pub(super) fn new(options: Arc<Options>, admin: Arc<Admin>, writer: u64) -> Self {
        let control = topic::control(&options.source);
        Judge { options, admin, control, writer, topics: Mutex::default() }
    }

    /// One more topic is written to.
    pub(super) fn learn(&self, topic: &str) {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).push(topic.to_owned());
    }

    pub(super) fn judge(&self, error: KafkaError) -> KafkaError {
        let unavailable = |detail| KafkaError::Unavailable { brokers: self.options.settings.brokers.clone(), detail };
        match error {
            // A broker that has just come up may not know a topic yet, and does not always say which. What a look found lost is lost.
            KafkaError::Lost { control, detail, .. } if control.is_empty() => match self.missing() {
                Some(topic) => KafkaError::Lost { topic, control: self.control.clone(), detail },
                None => unavailable(detail),
            },
            // The cluster also ends a transaction that takes too long, and then nobody else has begun to write.
            KafkaError::Fenced { .. } if self.is_ours() => {
                unavailable(format!("the cluster has given up a transaction of {}", self.control))
            }
            other => name_topic(other, &self.control),
        }
    }

    /// A topic that is not there any more.
    fn missing(&self) -> Option<String> {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner).clone();
        topics.into_iter().find(|topic| !self.admin.partitions(topic).is_ok_and(|found| found > 0))
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
