//! The keys of Kafka, for the log and for the sink: one set, read into [`Settings`].

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::key::{Describe, Key, Section, Value, table_schema};
use super::reader::Item;
use super::registry::{self, RawRegistry};
use super::value::{Bytes, Choice, Count, Names};
use crate::kafka::Settings;
use crate::kafka::format::Format;
use crate::kafka::settings::{Delivery, Password, Sasl, Tls, TokenSource, refusal};
use crate::kafka::topic::{Template, Wanted};

impl Choice for Format {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("debezium", Format::Debezium),
        ("json", Format::Json),
        ("avro", Format::Avro),
        ("protobuf", Format::Protobuf),
    ];
}

/// How `numeric` and `money` are told in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decimals {
    Precise,
    String,
}

impl Choice for Decimals {
    const WORDS: &'static [(&'static str, Self)] = &[("precise", Decimals::Precise), ("string", Decimals::String)];
}

/// The format with its decimals; `None`, with a complaint, where it has no such choice.
fn with_decimals(section: &Section<'_>, format: Format, decimals: Decimals) -> Option<Format> {
    match (format, decimals) {
        (format, Decimals::Precise) => Some(format),
        (Format::Debezium, Decimals::String) => Some(Format::DebeziumPlain),
        (format, Decimals::String) => {
            let help = "leave `decimals` out, or write format = \"debezium\"".to_owned();
            let item = section.item("decimals")?;
            item.complain(format!("the format \"{}\" has no choice of decimals", format.name()), Some(help));
            None
        }
    }
}

impl Choice for Delivery {
    const WORDS: &'static [(&'static str, Self)] =
        &[("exactly_once", Delivery::ExactlyOnce), ("at_least_once", Delivery::AtLeastOnce)];
}

#[derive(Clone, Copy, Debug)]
struct Compression(&'static str);

impl Choice for Compression {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Compression("none")),
        ("lz4", Compression("lz4")),
        ("zstd", Compression("zstd")),
        ("snappy", Compression("snappy")),
        ("gzip", Compression("gzip")),
    ];
}

#[derive(Clone, Copy, Debug)]
struct Mechanism(&'static str);

impl Choice for Mechanism {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("PLAIN", Mechanism("PLAIN")),
        ("SCRAM-SHA-256", Mechanism("SCRAM-SHA-256")),
        ("SCRAM-SHA-512", Mechanism("SCRAM-SHA-512")),
        ("OAUTHBEARER", Mechanism("OAUTHBEARER")),
    ];

    fn hint(word: &str) -> Option<&'static str> {
        match word {
            "GSSAPI" => Some(
                "this build has PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER; or name yourself by a certificate in `tls`",
            ),
            _ => None,
        }
    }
}

/// `host:port`, one or several.
struct Brokers(String);

/// [`Template`], checked.
struct TopicTemplate(Template);

/// Names with values: settings that are somebody else's.
struct Pairs(Vec<(String, String)>);

/// [`Pairs`] for the client.
struct Properties(Vec<(String, String)>);

static BROKERS: Key<Brokers> = Key::required(
    "brokers",
    "\"kafka-1:9092,kafka-2:9092\"",
    "Where the cluster is: some of its brokers, as `host:port`.",
);
static TOPIC: Key<TopicTemplate> = Key::default(
    "topic",
    "\"{source}.{schema}.{table}\"",
    "\"cdc.{table}\"",
    "The name of a table's topic. What no topic's name may have becomes `_`.",
);
static FORMAT: Key<Format> = Key::default(
    "format",
    "\"debezium\"",
    "\"json\"",
    "What a record looks like. `debezium`: the envelope of Debezium's connector for PostgreSQL, in JSON without schemas. `json`: the row, and beside its columns what happened. `avro`, `protobuf`: Debezium's envelope in Avro or in Protobuf, its schemas in `schema_registry`.",
);
static SCHEMA_REGISTRY: Key<RawRegistry> = Key::optional(
    "schema_registry",
    "none; `avro` and `protobuf` need one",
    "{ url = \"https://registry.internal:8081\" }",
    "Where the schemas of a format that has such are: Confluent's registry, or another that speaks its API.",
);
static DELIVERY: Key<Delivery> = Key::default(
    "delivery",
    "\"exactly_once\"",
    "\"at_least_once\"",
    "`exactly_once`: a `read_committed` reader sees every change once, whatever crashes. `at_least_once`: records can be read a little sooner, and after a crash some come again.",
);
static COMPRESSION: Key<Compression> =
    Key::default("compression", "\"none\"", "\"lz4\"", "Of batches: `none`, `lz4`, `zstd`, `snappy` or `gzip`.");
static LINGER: Key<Duration> = Key::default(
    "linger",
    "\"5ms\"",
    "\"0ms\"",
    "How long a batch waits for more records. The end of a Kafka transaction ends the waiting.",
);
static BATCH_SIZE: Key<Bytes> = Key::default(
    "batch_size",
    "\"1MB\"",
    "\"256KiB\"",
    "How large a batch may be. Never larger than the smallest topic takes (`max.message.bytes`).",
);
static READ_BUFFER: Key<Bytes> = Key::default(
    "read_buffer",
    "\"32MiB\"",
    "\"8MiB\"",
    "What each sink that is fed from the topics holds at most of what it has read and not applied yet.",
);
static TOMBSTONES: Key<bool> = Key::default(
    "tombstones",
    "true",
    "false",
    "A delete is followed by a record without a value, so that a compacted topic forgets the key.",
);
static TRANSACTION_METADATA: Key<bool> = Key::default(
    "transaction_metadata",
    "false",
    "true",
    "The topic `{source}.transaction` tells how each transaction begins and ends and how many events of which tables it has; in the format `debezium` every record tells its place in it.",
);
static DECIMALS: Key<Decimals> = Key::default(
    "decimals",
    "\"precise\"",
    "\"string\"",
    "How the format `debezium` tells `numeric` and `money`, as the connector's `decimal.handling.mode`. `precise`: the digits' bytes, in base64. `string`: the digits, which Flink and others without schemas take for a decimal.",
);
static CLOUDEVENTS: Key<bool> = Key::default(
    "cloudevents",
    "false",
    "true",
    "Every record has the headers of CloudEvents 1.0 (`ce_id`, `ce_source`, `ce_type`…), in binary mode.",
);
static TOPICS: Key<RawTopics> = Key::default(
    "topics",
    "{}",
    "{ partitions = 12, replication = 3, cleanup_policy = \"compact\" }",
    "What topics are made with. One that is there is taken as it is, unless it differs in what is said here.",
);
static TLS: Key<RawTls> = Key::optional(
    "tls",
    "plain connections",
    "{ ca = \"/etc/ssl/kafka.pem\" }",
    "Encrypted connections. `{}` trusts the system's authorities.",
);
static SASL: Key<RawSasl> = Key::optional(
    "sasl",
    "no credentials",
    "{ mechanism = \"SCRAM-SHA-512\", username = \"walbridge\", password = \"${KAFKA_PASSWORD}\" }",
    "Who we are.",
);
static PROPERTIES: Key<Properties> = Key::default(
    "properties",
    "{}",
    "{ \"socket.keepalive.enable\" = \"true\" }",
    "Further properties of librdkafka, as its documentation has them. Those that would break a promise are refused.",
);

static PARTITIONS: Key<Count> = Key::optional("partitions", "the brokers' default", "12", "How many partitions.");
static REPLICATION: Key<Count> = Key::optional("replication", "the brokers' default", "3", "How many replicas.");
static CLEANUP_POLICY: Key<String> = Key::optional(
    "cleanup_policy",
    "the brokers' default",
    "\"compact\"",
    "`delete`, `compact` or `compact,delete`: whether the last record of a key stays for ever.",
);
static TOPIC_CONFIG: Key<Pairs> = Key::default(
    "config",
    "{}",
    "{ \"min.insync.replicas\" = \"2\" }",
    "Further settings of a topic that is made, as Kafka's documentation has them.",
);

static CA: Key<PathBuf> =
    Key::optional("ca", "the system's authorities", "\"/etc/ssl/kafka.pem\"", "The authorities to trust, in PEM.");
static CERTIFICATE: Key<PathBuf> =
    Key::optional("certificate", "none", "\"/etc/walbridge/kafka.crt\"", "A certificate of our own, in PEM.");
static KEY: Key<PathBuf> = Key::optional("key", "none", "\"/etc/walbridge/kafka.key\"", "Its private key, in PEM.");
static KEY_PASSWORD: Key<SecretString> =
    Key::optional("key_password", "the key has none", "\"${KAFKA_KEY_PASSWORD}\"", "The private key's password.");

static MECHANISM: Key<Mechanism> = Key::default(
    "mechanism",
    "\"SCRAM-SHA-512\"",
    "\"PLAIN\"",
    "`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`.",
);
static USERNAME: Key<String> = Key::optional("username", "needed, but with OAUTHBEARER", "\"walbridge\"", "The name.");
static PASSWORD: Key<SecretString> = Key::optional(
    "password",
    "needed, but with OAUTHBEARER or password_file",
    "\"${KAFKA_PASSWORD}\"",
    "The password.",
);
static PASSWORD_FILE: Key<PathBuf> = Key::optional(
    "password_file",
    "none",
    "\"/run/secrets/kafka\"",
    "A file that holds the password, read at each new connection of walbridge's to the cluster: it may be exchanged while walbridge runs.",
);
static TOKEN_FILE: Key<PathBuf> = Key::optional(
    "token_file",
    "none",
    "\"/var/run/secrets/kafka/token\"",
    "With `OAUTHBEARER`: the token, in a file that somebody keeps new. Read again before the token expires.",
);
static TOKEN_COMMAND: Key<Names> = Key::optional(
    "token_command",
    "none",
    "[\"/usr/local/bin/kafka-token\", \"--audience\", \"kafka\"]",
    "With `OAUTHBEARER`: a program and its arguments, which prints the token. Run again before the token expires.",
);

pub(super) static KEYS: &[&dyn Describe] = &[
    &BROKERS,
    &TOPIC,
    &FORMAT,
    &DECIMALS,
    &SCHEMA_REGISTRY,
    &DELIVERY,
    &COMPRESSION,
    &LINGER,
    &BATCH_SIZE,
    &READ_BUFFER,
    &TOMBSTONES,
    &TRANSACTION_METADATA,
    &CLOUDEVENTS,
    &TOPICS,
    &TLS,
    &SASL,
    &PROPERTIES,
];
pub(super) static TOPICS_KEYS: &[&dyn Describe] = &[&PARTITIONS, &REPLICATION, &CLEANUP_POLICY, &TOPIC_CONFIG];
pub(super) static TLS_KEYS: &[&dyn Describe] = &[&CA, &CERTIFICATE, &KEY, &KEY_PASSWORD];
pub(super) static SASL_KEYS: &[&dyn Describe] =
    &[&MECHANISM, &USERNAME, &PASSWORD, &PASSWORD_FILE, &TOKEN_FILE, &TOKEN_COMMAND];

/// Reads them.
pub(super) fn read(section: &Section<'_>) -> Option<Settings> {
    let brokers = section.get(&BROKERS);
    let topic = section.get(&TOPIC);
    let format = section.get(&FORMAT);
    let decimals = section.get(&DECIMALS);
    let registry = section.get(&SCHEMA_REGISTRY);
    let delivery = section.get(&DELIVERY);
    let compression = section.get(&COMPRESSION);
    let linger = section.get(&LINGER);
    let batch_size = section.get(&BATCH_SIZE);
    let read_buffer = section.get(&READ_BUFFER);
    let tombstones = section.get(&TOMBSTONES);
    let transaction_metadata = section.get(&TRANSACTION_METADATA);
    let cloudevents = section.get(&CLOUDEVENTS);
    let topics = section.get(&TOPICS);
    let (tls, sasl) = (section.get(&TLS), section.get(&SASL));
    let properties = section.get(&PROPERTIES);
    let wrong = |key: &str, read: bool| section.item(key).is_some() && !read;
    if format.is_some_and(|format| !registry::fits(section, format)) || wrong("schema_registry", registry.is_some()) {
        return None;
    }
    if wrong("tls", tls.is_some()) || wrong("sasl", sasl.is_some()) {
        return None;
    }
    if cfg!(not(feature = "kafka"))
        && let Some(item) = section.item("kind")
    {
        let help = "build it with: cargo build --features kafka".to_owned();
        item.complain("this build of walbridge is without Kafka".to_owned(), Some(help));
        return None;
    }
    Some(Settings {
        brokers: brokers?.0,
        topic: topic?.0,
        format: with_decimals(section, format?, decimals?)?,
        registry: registry.map(|registry| registry.0),
        delivery: delivery?,
        compression: compression?.0,
        linger: linger?,
        batch_bytes: batch_size?.0,
        read_bytes: read_buffer?.0,
        topics: topics?.0,
        tls: tls.map(|tls| tls.0),
        sasl: sasl.map(|sasl| sasl.0),
        tombstones: tombstones?,
        transaction_metadata: transaction_metadata?,
        cloudevents: cloudevents?,
        properties: properties?.0,
    })
}

impl Value for Brokers {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("one or more brokers, as host:port")?;
        let is_address = |address: &str| {
            let parts = address.trim().rsplit_once(':');
            parts.is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
            })
        };
        if !text.split(',').all(is_address) {
            let help = "write \"kafka-1:9092,kafka-2:9092\"".to_owned();
            item.complain(format!("`{}` is not a list of host:port", item.written()), Some(help));
            return None;
        }
        Some(Brokers(text.split(',').map(str::trim).collect::<Vec<_>>().join(",")))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Value for TopicTemplate {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a topic's name such as \"{source}.{schema}.{table}\"")?;
        let template = Template::parse(&text);
        let template = template.inspect_err(|why| {
            item.complain(format!("`{}` cannot be a topic's name", item.written()), Some(why.clone()));
        });
        template.ok().map(TopicTemplate)
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "pattern": "\\{table\\}" })
    }
}

impl Value for Pairs {
    fn read(item: &Item<'_>) -> Option<Self> {
        let section = Section::of(item, item.value.span())?;
        let read = section.items().map(|(name, _, item)| {
            let value = match item.value.get_ref() {
                DeValue::Boolean(value) => Some(value.to_string()),
                DeValue::Integer(value) => Some(value.as_str().to_owned()),
                _ => item.text("a text"),
            };
            value.map(|value| (name.to_owned(), value))
        });
        let read: Vec<_> = read.collect();
        read.into_iter().collect::<Option<_>>().map(Pairs)
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": { "type": ["string", "integer", "boolean"] } })
    }
}

impl Value for Properties {
    fn read(item: &Item<'_>) -> Option<Self> {
        let pairs = Pairs::read(item)?;
        let section = Section::of(item, item.value.span())?;
        let mut sound = true;
        for (name, _, item) in section.items() {
            if let Some(why) = refusal(name) {
                item.complain(format!("`{name}` cannot be given here"), Some(why.to_owned()));
                sound = false;
            }
        }
        sound.then_some(Properties(pairs.0))
    }

    fn schema() -> Json {
        Pairs::schema()
    }
}

struct RawTopics(Wanted);

impl Value for RawTopics {
    fn read(item: &Item<'_>) -> Option<Self> {
        let section = Section::of(item, item.value.span())?;
        section.refuse_others(TOPICS_KEYS, |name| {
            name.contains('.').then(|| format!("a topic's own settings stand in config: config = {{ \"{name}\" = … }}"))
        });
        let number = |count: Option<Count>| count.map(|count| i32::try_from(count.0).unwrap_or(i32::MAX));
        let partitions = number(section.get(&PARTITIONS));
        let replication = number(section.get(&REPLICATION));
        let cleanup_policy = section.get(&CLEANUP_POLICY);
        let config = section.get(&TOPIC_CONFIG)?.0;
        let known = |policy: &String| policy.split(',').all(|word| ["compact", "delete"].contains(&word.trim()));
        if let (Some(item), Some(false)) = (section.item("cleanup_policy"), cleanup_policy.as_ref().map(known)) {
            let help = "write \"delete\", \"compact\" or \"compact,delete\"".to_owned();
            item.complain(format!("`{}` is no cleanup policy", item.written()), Some(help));
            return None;
        }
        Some(RawTopics(Wanted { partitions, partitions_new: None, replication, cleanup_policy, config }))
    }

    fn schema() -> Json {
        table_schema(TOPICS_KEYS)
    }
}

struct RawTls(Tls);

impl Value for RawTls {
    fn read(item: &Item<'_>) -> Option<Self> {
        let section = Section::of(item, item.value.span())?;
        section.refuse_others(TLS_KEYS, |_| None);
        let (ca, certificate) = (section.get(&CA), section.get(&CERTIFICATE));
        let (key, key_password) = (section.get(&KEY), section.get(&KEY_PASSWORD));
        if certificate.is_some() != key.is_some() {
            section.complain(format!("`{}` needs certificate and key, or neither", item.path), "give both".to_owned());
            return None;
        }
        Some(RawTls(Tls { ca, certificate, key, key_password }))
    }

    fn schema() -> Json {
        table_schema(TLS_KEYS)
    }
}

struct RawSasl(Sasl);

impl Value for RawSasl {
    fn read(item: &Item<'_>) -> Option<Self> {
        let section = Section::of(item, item.value.span())?;
        section.refuse_others(SASL_KEYS, |_| None);
        let mechanism = section.get(&MECHANISM);
        let (username, text) = (section.get(&USERNAME), section.get(&PASSWORD));
        let password_file = section.get(&PASSWORD_FILE);
        let (file, command) = (section.get(&TOKEN_FILE), section.get(&TOKEN_COMMAND));
        let mechanism = mechanism?.0;
        let read = [username.is_some(), text.is_some(), password_file.is_some(), file.is_some(), command.is_some()];
        let names = [USERNAME.name(), PASSWORD.name(), PASSWORD_FILE.name(), TOKEN_FILE.name(), TOKEN_COMMAND.name()];
        if names.iter().zip(read).any(|(name, read)| section.item(name).is_some() && !read) {
            return None;
        }
        let mut passwords: Vec<Password> =
            text.map(Password::Text).into_iter().chain(password_file.map(Password::File)).collect();
        let password = if passwords.len() < 2 { passwords.pop() } else { None };
        let complain = |what: &str| {
            section.complain(
                format!("`{}` with {mechanism} needs {what}", item.path),
                "docs/kafka.md has examples".to_owned(),
            );
            None
        };
        let source = file.map(TokenSource::File).into_iter().chain(command.map(|words| TokenSource::Command(words.0)));
        let mut sources: Vec<TokenSource> = source.collect();
        match (mechanism, username, password) {
            ("OAUTHBEARER", None, None) if passwords.is_empty() && sources.len() == 1 => {
                sources.pop().map(|source| RawSasl(Sasl::Token(source)))
            }
            ("OAUTHBEARER", ..) => complain("either token_file or token_command, and no username or password"),
            (mechanism, Some(username), Some(password)) if sources.is_empty() => {
                Some(RawSasl(Sasl::Password { mechanism, username, password }))
            }
            _ => complain("username and one of password and password_file, and no token"),
        }
    }

    fn schema() -> Json {
        table_schema(SASL_KEYS)
    }
}
