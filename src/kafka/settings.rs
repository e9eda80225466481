//! How a cluster is reached and written to: what the configuration says, as the client's properties.
//!
//! Invariant: no property of the user's can break a promise. What would is refused by name, with the reason.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// All of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port,host:port`…
    pub brokers: String,
    /// The template of topics' names.
    pub topic: super::topic::Template,
    /// What a record looks like.
    pub format: super::format::Format,
    /// Where the schemas are, of a format that has such.
    pub registry: Option<super::registry::Settings>,
    /// What holds after a crash.
    pub delivery: Delivery,
    /// The codec: `none`, `lz4`, `zstd`, `snappy`, `gzip`.
    pub compression: &'static str,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// How many bytes a batch may have.
    pub batch_bytes: u64,
    /// What a reader holds at most of what was read and not taken.
    pub read_bytes: u64,
    /// What topics are made with.
    pub topics: super::topic::Wanted,
    /// Encryption; `None`: plain connections.
    pub tls: Option<Tls>,
    /// Who we are; `None`: nobody.
    pub sasl: Option<Sasl>,
    /// A delete is followed by a record without a value.
    pub tombstones: bool,
    /// A topic tells how each transaction begins and ends, and each record its place in it.
    pub transaction_metadata: bool,
    /// Every record has the headers of `CloudEvents`.
    pub cloudevents: bool,
    /// Properties of librdkafka's that go to it as they are.
    pub properties: Vec<(String, String)>,
}

/// What holds after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Records and the place to go on from are one Kafka transaction.
    ExactlyOnce,
    /// Records first, then the place to go on from: after a crash some come again, with the offsets they had.
    AtLeastOnce,
}

/// Encryption.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// A certificate of our own.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The key's password.
    pub key_password: Option<SecretString>,
}

/// Who we are.
#[derive(Clone, Debug)]
pub enum Sasl {
    /// By a name and a password.
    Password {
        /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`.
        mechanism: &'static str,
        /// The name.
        username: String,
        /// The password.
        password: Password,
    },
    /// By a token (`OAUTHBEARER`), which tells the name.
    Token(TokenSource),
}

/// Where a password is.
#[derive(Clone, Debug)]
pub enum Password {
    /// It is this.
    Text(SecretString),
    /// In this file, which is read for each new client: it may be exchanged while walbridge runs.
    File(PathBuf),
}

/// Where a token is had from, again and again: each is good for a while only.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// A file that somebody else keeps new.
    File(PathBuf),
    /// A program and its arguments: it prints one.
    Command(Vec<String>),
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenSource::File(path) => write!(f, "{}", path.display()),
            // Its arguments may be nobody else's business.
            TokenSource::Command(words) => write!(f, "what {} prints", words.first().map_or("", String::as_str)),
        }
    }
}

/// Why a property cannot be given, if so.
#[must_use]
pub fn refusal(property: &str) -> Option<&'static str> {
    Some(match property {
        "bootstrap.servers" | "metadata.broker.list" => "write it as `brokers`",
        "compression.codec" | "compression.type" => "write it as `compression`",
        "linger.ms" | "queue.buffering.max.ms" => "write it as `linger`",
        "batch.size" => "write it as `batch_size`",
        "security.protocol" => "it follows from `tls` and `sasl`",
        "sasl.mechanism" | "sasl.mechanisms" | "sasl.username" | "sasl.password" | "sasl.oauthbearer.method" => {
            "write it in `sasl`"
        }
        "ssl.ca.location" | "ssl.certificate.location" | "ssl.key.location" | "ssl.key.password" => "write it in `tls`",
        "enable.ssl.certificate.verification" => "a connection that anybody may answer is not encrypted to any purpose",
        "acks" | "request.required.acks" => {
            "a record counts as written when all replicas in sync have it, or not at all"
        }
        "enable.idempotence" | "max.in.flight" | "max.in.flight.requests.per.connection" => {
            "without it a retry could write a record twice, or in another order"
        }
        "retries" | "message.send.max.retries" | "enable.gapless.guarantee" => {
            "a record is tried until it is written, or nothing behind it is"
        }
        "message.timeout.ms" | "delivery.timeout.ms" => "a record that is given up is a gap",
        "transactional.id" => "it is the control topic's name, so that two that write the same log meet",
        "partitioner" | "partitioner_cb" => {
            "it is the Java client's, so that a key has the same partition for everybody"
        }
        "isolation.level" => "what is not committed is not read",
        "group.id" | "enable.auto.commit" | "enable.auto.offset.store" | "auto.offset.reset" => {
            "where to go on from is kept with the data, not by the group"
        }
        "allow.auto.create.topics" => "a topic that is gone must be noticed, not made again",
        "socket.timeout.ms" => {
            "the end of a transaction that is not answered must not be sent again when another has begun"
        }
        "queued.max.messages.kbytes" => "write it as `read_buffer`",
        "delivery.report.only.error" | "enable.partition.eof" | "message.max.bytes" => "walbridge decides it",
        _ => return None,
    })
}

impl Settings {
    /// What the records of a source have in common.
    #[must_use]
    pub fn of_records(&self, source: &str, database: &str) -> super::format::Settings {
        super::format::Settings {
            format: self.format,
            name: source.to_owned(),
            database: database.to_owned(),
            tombstones: self.tombstones,
            cloudevents: self.cloudevents,
            transactions: self.transaction_metadata,
        }
    }
}

#[cfg(feature = "kafka")]
mod client {
    use rdkafka::ClientConfig;
    use secrecy::{ExposeSecret as _, SecretString};

    use super::{Password, Sasl, Settings};
    use crate::kafka::KafkaError;

    /// A producer's transaction ends within this, or the cluster ends it.
    const TRANSACTION_TIMEOUT_MS: &str = "60000";
    /// What the client takes at most; brokers take 100 MiB in one request (`socket.request.max.bytes`).
    const RECORD_BYTES_MAX: usize = 100_000_000;

    impl Settings {
        /// What every client has.
        ///
        /// # Errors
        /// The password's file cannot be read.
        pub fn client(&self) -> Result<ClientConfig, KafkaError> {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", &self.brokers).set("client.id", "walbridge");
            config.set("allow.auto.create.topics", "false");
            // A cluster that comes back is found soon; one that does not answer is given up before a transaction is.
            config.set("reconnect.backoff.max.ms", "1000").set("socket.timeout.ms", "10000");
            let protocol = match (&self.tls, &self.sasl) {
                (None, None) => "plaintext",
                (Some(_), None) => "ssl",
                (None, Some(_)) => "sasl_plaintext",
                (Some(_), Some(_)) => "sasl_ssl",
            };
            config.set("security.protocol", protocol);
            self.set_tls(&mut config);
            match &self.sasl {
                Some(Sasl::Password { mechanism, username, password }) => {
                    config.set("sasl.mechanism", *mechanism).set("sasl.username", username);
                    config.set("sasl.password", password.read()?.expose_secret());
                }
                Some(Sasl::Token(_)) => drop(config.set("sasl.mechanism", "OAUTHBEARER")),
                None => {}
            }
            for (name, value) in &self.properties {
                config.set(name, value);
            }
            Ok(config)
        }

        fn set_tls(&self, config: &mut ClientConfig) {
            let Some(tls) = &self.tls else { return };
            let files = [
                ("ssl.ca.location", &tls.ca),
                ("ssl.certificate.location", &tls.certificate),
                ("ssl.key.location", &tls.key),
            ];
            for (name, path) in files {
                if let Some(path) = path {
                    config.set(name, path.to_string_lossy());
                }
            }
            if let Some(password) = &tls.key_password {
                config.set("ssl.key.password", password.expose_secret());
            }
        }

        /// A producer's: transactional under this id, or only idempotent. No batch has more bytes than the smallest topic takes.
        ///
        /// # Errors
        /// As [`Settings::client`].
        pub fn producer(
            &self,
            transactional_id: Option<&str>,
            batch_bytes_max: u64,
        ) -> Result<ClientConfig, KafkaError> {
            let mut config = self.client()?;
            config.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2_random");
            config.set("compression.type", self.compression);
            // Whoever sends says when a batch has waited long enough.
            config.set("linger.ms", "1000").set("batch.num.messages", "1000000");
            config.set("batch.size", self.batch_bytes.min(batch_bytes_max).to_string());
            // What a topic takes is checked against the topic.
            config.set("message.max.bytes", RECORD_BYTES_MAX.to_string());
            // What waits for brokers is bounded by a stroke of the producer's, or by one record that is larger.
            config.set("queue.buffering.max.messages", "1000000").set("queue.buffering.max.kbytes", "131072");
            config.set("delivery.report.only.error", "true");
            // A topic that is gone is noticed within this.
            config.set("topic.metadata.propagation.max.ms", "5000");
            if let Some(id) = transactional_id {
                config.set("transactional.id", id).set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS);
            }
            Ok(config)
        }

        /// A consumer's that keeps its own place.
        ///
        /// # Errors
        /// As [`Settings::client`].
        pub fn consumer(&self) -> Result<ClientConfig, KafkaError> {
            let mut config = self.client()?;
            config.set("isolation.level", "read_committed").set("enable.auto.commit", "false");
            config.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
            config.set("group.id", crate::kafka::consumer::GROUP);
            Ok(config)
        }
    }

    impl Password {
        fn read(&self) -> Result<SecretString, KafkaError> {
            match self {
                Password::Text(text) => Ok(text.clone()),
                Password::File(path) => match std::fs::read_to_string(path) {
                    Ok(text) => Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())),
                    Err(error) => Err(KafkaError::Credentials {
                        detail: format!("the password's file {} cannot be read: {error}", path.display()),
                    }),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_promise_is_refused_and_the_rest_goes_through() {
        assert!(refusal("acks").is_some_and(|why| why.contains("all replicas")));
        assert!(refusal("enable.idempotence").is_some());
        assert_eq!(refusal("socket.keepalive.enable"), None);
    }
}
