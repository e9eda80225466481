//! Reading a topic that is read whole: from its start to where it ends when it is asked.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::error::KafkaError;
use super::producer::{PATIENCE, Quiet, explain};
use super::settings::Settings;

/// The group of clients that keep their own place. They commit nothing there, but brokers want a name, and Read on it.
pub const GROUP: &str = "walbridge";

/// The group in which several processes share a source's sink.
#[must_use]
pub fn group_of(source: &str, sink: &str) -> String {
    format!("{GROUP}.{source}.{sink}")
}

/// Gives every committed record of the topic's first partition, key and value, in order. Blocks.
///
/// # Errors
/// No answer; or what `take` says.
pub fn read_all(
    settings: &Settings,
    topic: &str,
    mut take: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), KafkaError>,
) -> Result<(), KafkaError> {
    let explain = |error: &ClientError| explain(error, topic, &settings.brokers);
    let consumer: BaseConsumer<Quiet> = settings
        .consumer()?
        .create_with_context(Quiet::new(settings))
        .map_err(|error| KafkaError::Settings { detail: error.to_string() })?;
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(topic, 0, Offset::Beginning).map_err(|error| explain(&error))?;
    consumer.assign(&assigned).map_err(|error| explain(&error))?;
    let mut heard = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                take(message.key().unwrap_or_default(), message.payload())?;
            }
            Some(Err(ClientError::PartitionEOF(_))) => return Ok(()),
            // Brokers come and go; only that nothing is heard for long is an error.
            Some(Err(error)) if heard.elapsed() > PATIENCE => return Err(explain(&error)),
            None if heard.elapsed() > PATIENCE => {
                let detail = format!("topic {topic} could not be read to its end");
                return Err(KafkaError::Unavailable { brokers: settings.brokers.clone(), detail });
            }
            Some(Err(_)) | None => {}
        }
    }
}
