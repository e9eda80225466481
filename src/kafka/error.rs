//! What can go wrong with Kafka, by what it calls for.

use crate::status::{Code, Disposition};

/// An error of Kafka's, or of what is kept there. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No broker, no leader, too few replicas in sync, or no answer in time: nothing was confirmed that is not there.
    #[error("Kafka at {brokers} is not available: {detail}. It is tried again")]
    Unavailable {
        /// Where it was looked for.
        brokers: String,
        /// What was answered, or was not.
        detail: String,
    },
    /// A password or token was refused.
    #[error("Kafka refused the credentials: {detail}. Mend `sasl`; it is tried again")]
    Credentials {
        /// What was answered.
        detail: String,
    },
    /// TLS could not be agreed on.
    #[error("no TLS with Kafka: {detail}. Mend `tls`; it is tried again")]
    Tls {
        /// What was answered.
        detail: String,
    },
    /// An ACL is missing.
    #[error("Kafka does not allow it: {detail}. Allow this principal {wanted}")]
    Denied {
        /// What was answered.
        detail: String,
        /// The rights that are needed.
        wanted: &'static str,
    },
    /// Another walbridge writes the same log.
    #[error(
        "another walbridge has taken over the log in {topic}: it uses the same transactional id. Stop one of the two; this \
         one writes nothing more. To run both, give their sources different names"
    )]
    Fenced {
        /// The control topic, by which the two met.
        topic: String,
    },
    /// A record that no broker would take.
    #[error(
        "a record of {table} with key {key} has {bytes} bytes, and topic {topic} takes {limit} at most (position {position}). Raise the topic's \
         max.message.bytes (and the brokers' replica.fetch.max.bytes), then restart; nothing behind it is written before"
    )]
    TooLarge {
        /// The table.
        table: String,
        /// Its topic.
        topic: String,
        /// The record's key, as it was to be written; the beginning of a long one.
        key: String,
        /// Where the change stands.
        position: String,
        /// The record's size.
        bytes: usize,
        /// What the topic takes.
        limit: usize,
    },
    /// What had been written is no longer there.
    #[error(
        "topic {topic} has lost what was written to it: {detail}. Whoever reads it has a gap. Let the tables be copied again: move \
         {control} away (delete it) and restart walbridge with the slot dropped"
    )]
    Lost {
        /// The topic.
        topic: String,
        /// The control topic.
        control: String,
        /// What was seen.
        detail: String,
    },
    /// A topic is not what the configuration says, or cannot be made so.
    #[error("topic {topic} cannot be used: {detail}")]
    Topic {
        /// The topic.
        topic: String,
        /// Why not, and what to do.
        detail: String,
    },
    /// What the control topic holds was not written by this version of walbridge, or not by walbridge.
    #[error("topic {topic} cannot be read: {detail}")]
    Control {
        /// The control topic.
        topic: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The schema registry cannot be reached, or has an error of its own.
    #[error("the schema registry at {url} is not available: {detail}. It is tried again")]
    Registry {
        /// Where it is.
        url: String,
        /// What was answered, or was not.
        detail: String,
    },
    /// The schema registry does not let us in.
    #[error("the schema registry at {url} refuses us: {detail}")]
    RegistryRefused {
        /// Where it is.
        url: String,
        /// Why, and what to do.
        detail: String,
        /// The public code: credentials, or a URL that is none of a registry's.
        code: Code,
    },
    /// The schema registry does not take a table's schema.
    #[error("the schema {subject} is refused: {detail}")]
    Schema {
        /// The registry's name for it: the topic's, with `-key` or `-value`.
        subject: String,
        /// Why, and what to do.
        detail: String,
    },
    /// A property that the client does not know, or a value that it does not take.
    #[error("the Kafka client refuses its settings: {detail}. Mend the configuration")]
    Settings {
        /// Its words.
        detail: String,
    },
    /// A bug.
    #[error("internal: {0}")]
    Misuse(String),
}

impl KafkaError {
    /// The public code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            KafkaError::Unavailable { .. } => Code::KafkaUnavailable,
            KafkaError::Credentials { .. } => Code::SecurityAuth,
            KafkaError::Tls { .. } => Code::SecurityTls,
            KafkaError::Denied { .. } => Code::KafkaDenied,
            KafkaError::Fenced { .. } => Code::KafkaFenced,
            KafkaError::TooLarge { .. } => Code::KafkaRecordTooLarge,
            KafkaError::Lost { .. } => Code::KafkaOffsetLost,
            KafkaError::Topic { .. } => Code::KafkaTopic,
            KafkaError::Control { .. } => Code::LogCorrupt,
            KafkaError::Registry { .. } => Code::KafkaRegistry,
            KafkaError::RegistryRefused { code, .. } => *code,
            KafkaError::Schema { .. } => Code::KafkaSchema,
            KafkaError::Settings { .. } => Code::ConfigInvalid,
            KafkaError::Misuse(_) => Code::Internal,
        }
    }

    /// What it calls for.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            KafkaError::Unavailable { .. }
            | KafkaError::Credentials { .. }
            | KafkaError::Tls { .. }
            | KafkaError::Registry { .. } => Disposition::Retry,
            KafkaError::Denied { .. }
            | KafkaError::Fenced { .. }
            | KafkaError::TooLarge { .. }
            | KafkaError::Lost { .. }
            | KafkaError::Topic { .. }
            | KafkaError::Control { .. }
            | KafkaError::RegistryRefused { .. }
            | KafkaError::Schema { .. }
            | KafkaError::Settings { .. }
            | KafkaError::Misuse(_) => Disposition::Stop,
        }
    }
}
