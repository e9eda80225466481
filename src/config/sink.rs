//! `[sinks.NAME]`: where changes go.

use serde_json::{Value as Json, json};

use super::batch::{BatchLimits, RawBatch};
use super::exec::{self, Exec};
use super::file::{self, File};
use super::kafka;
use super::key::{Describe, Key, Section, table_schema};
use super::opensearch::{self, OpenSearch};
use super::pattern::TablePatterns;
use super::postgres::{self, Postgres};
use super::redis::{self, Redis, RedisValue};
use super::shape::{Shape, Shapes};
use super::tantivy::{self, Tantivy};
use super::value::{Bytes, Choice, Count, Limit, Patterns};
use super::webhook::{self, Webhook};
use crate::kafka::Settings;

/// A target, and what goes there.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// The source it is fed from; one of the configuration's.
    pub source: String,
    /// The tables it takes.
    pub tables: TablePatterns,
    /// What happens to a row that the target can never take.
    pub on_reject: OnReject,
    /// So many changes may be set aside.
    pub dead_letters_max: usize,
    /// A row of more bytes is such a row.
    pub row_bytes_max: Option<u64>,
    /// How much is applied at once.
    pub batch: BatchLimits,
    /// What is made of the rows; of each table the first that means it.
    pub shapes: Vec<Shape>,
    /// What it is.
    pub target: Target,
}

/// What happens to a row that the target can never take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReject {
    /// It is set aside with its reason, and so are later changes of it; the sink goes on with all others.
    Park,
    /// It is set aside with its reason, and the sink goes on.
    DeadLetter,
    /// The sink halts.
    Stop,
}

/// What a sink is.
#[derive(Clone, Debug)]
pub enum Target {
    /// Redis or Valkey.
    Redis(Box<Redis>),
    /// The embedded full-text index.
    Tantivy(Box<Tantivy>),
    /// An index of OpenSearch or Elasticsearch.
    OpenSearch(Box<OpenSearch>),
    /// Tables of another PostgreSQL database.
    Postgres(Box<Postgres>),
    /// Whoever takes events by HTTP.
    Webhook(Box<Webhook>),
    /// A program of the user's.
    Exec(Box<Exec>),
    /// A file of events, or files in a directory.
    File(Box<File>),
    /// Topics of a Kafka cluster.
    Kafka(Box<Settings>),
}

impl Target {
    /// The template of its documents' keys, where one is given.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Target::Redis(redis) => redis.key.as_deref(),
            Target::Tantivy(index) => index.key.as_deref(),
            Target::OpenSearch(index) => index.key.as_deref(),
            Target::Postgres(_) | Target::Webhook(_) | Target::Exec(_) | Target::File(_) | Target::Kafka(_) => None,
        }
    }

    /// The templates that tell where each document is, with their names, in the order in which they stand in its key.
    #[must_use]
    pub fn places(&self) -> Vec<(&'static str, &str)> {
        let Target::OpenSearch(index) = self else { return Vec::new() };
        let alias = Some(("index", index.index.as_str())).filter(|(_, text)| text.contains('{'));
        alias.into_iter().chain(index.routing.as_deref().map(|text| ("routing", text))).collect()
    }

    /// Whether it keeps what happened, and not the rows as they are.
    #[must_use]
    pub fn keeps_history(&self) -> bool {
        match self {
            Target::Webhook(_) | Target::Exec(_) | Target::File(_) | Target::Kafka(_) => true,
            Target::Redis(redis) => redis.form.value == RedisValue::Stream,
            Target::Tantivy(_) | Target::OpenSearch(_) | Target::Postgres(_) => false,
        }
    }

    /// Whether several processes deliver it, each some of the log's partitions.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Target::Redis(redis) if redis.shared)
    }

    /// The word for it in the configuration.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Target::Redis(_) => "redis",
            Target::Tantivy(_) => "tantivy",
            Target::OpenSearch(_) => "opensearch",
            Target::Postgres(_) => "postgres",
            Target::Webhook(_) => "webhook",
            Target::Exec(_) => "exec",
            Target::File(_) => "file",
            Target::Kafka(_) => "kafka",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Redis,
    Tantivy,
    OpenSearch,
    Postgres,
    Webhook,
    Exec,
    File,
    Kafka,
}

impl Choice for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("redis", Kind::Redis),
        ("tantivy", Kind::Tantivy),
        ("opensearch", Kind::OpenSearch),
        ("postgres", Kind::Postgres),
        ("webhook", Kind::Webhook),
        ("exec", Kind::Exec),
        ("file", Kind::File),
        ("kafka", Kind::Kafka),
    ];

    fn hint(word: &str) -> Option<&'static str> {
        match word {
            "elasticsearch" => Some("an Elasticsearch server is an opensearch sink: kind = \"opensearch\""),
            "http" | "https" => Some("events are posted by a webhook sink: kind = \"webhook\""),
            "valkey" => Some("a Valkey server is a redis sink: kind = \"redis\""),
            "stdout" => Some("walbridge tail prints events; a file sink writes them"),
            _ => None,
        }
    }
}

impl Choice for OnReject {
    const WORDS: &'static [(&'static str, Self)] =
        &[("park", OnReject::Park), ("dead_letter", OnReject::DeadLetter), ("stop", OnReject::Stop)];
}

static KIND: Key<Kind> = Key::required(
    "kind",
    "\"redis\"",
    "What the target is: `redis`, `tantivy`, `opensearch`, `postgres`, `webhook`, `exec`, `file` or `kafka`.",
);
pub(super) static FROM: Key<Patterns> = Key::required(
    "from",
    "\"public.users\"",
    "The tables whose changes go there: one pattern or a list, as in `tables` of the source.",
);
pub(super) static SOURCE: Key<String> =
    Key::optional("source", "the only source", "\"shop\"", "Which source feeds it. Needed if there are several.");
static ON_REJECT: Key<OnReject> = Key::optional(
    "on_reject",
    "`dead_letter`; of `webhook`, `exec`, `file`, and of streams in Redis, `park`; of `kafka` `stop`",
    "\"park\"",
    "What happens to a change that the target can never take: `dead_letter` sets it aside with its reason, `park` later changes of its row as well, `stop` halts this sink.",
);
static DEAD_LETTERS_MAX: Key<Count> = Key::default(
    "dead_letters_max",
    "10000",
    "100",
    "So many changes may be set aside; with that many the sink pauses until some are retried or discarded.",
);
static ROW_BYTES_MAX: Key<Limit<Bytes>> = Key::default(
    "row_bytes_max",
    "\"unlimited\"",
    "\"16MiB\"",
    "The largest row, all columns together, that this sink is given. A larger one is handled as `on_reject` says, and has no document.",
);
static BATCH: Key<RawBatch> = Key::default(
    "batch",
    "{}",
    "{ rows = 1000, bytes = \"4MiB\", linger = \"50ms\" }",
    "How much is applied at once. A transaction is not cut in two for it where the target can do without.",
);
pub(super) static SHAPE: Key<Shapes> = Key::optional(
    "shape",
    "every row as it is",
    "{ where = \"active\", columns = [\"*\", \"!password\"] }",
    "Which rows and columns go there, and in what form: a table, or a list of them for several tables.",
);

static COMMON: &[&dyn Describe] =
    &[&KIND, &FROM, &SOURCE, &ON_REJECT, &DEAD_LETTERS_MAX, &ROW_BYTES_MAX, &BATCH, &SHAPE];

impl Kind {
    fn own_keys(self) -> &'static [&'static dyn Describe] {
        match self {
            Kind::Redis => redis::KEYS,
            Kind::Tantivy => tantivy::KEYS,
            Kind::OpenSearch => opensearch::KEYS,
            Kind::Postgres => postgres::KEYS,
            Kind::Webhook => webhook::KEYS,
            Kind::Exec => exec::KEYS,
            Kind::File => file::KEYS,
            Kind::Kafka => kafka::KEYS,
        }
    }
}

/// The keys that every sink has, and those of each kind.
pub(super) fn keys() -> impl Iterator<Item = (Option<&'static str>, &'static [&'static dyn Describe])> {
    let of_kinds = Kind::WORDS.iter().map(|(word, kind)| (Some(*word), kind.own_keys()));
    std::iter::once((None, COMMON)).chain(of_kinds)
}

/// The JSON Schema of a sink: one alternative for each kind.
pub(super) fn schema() -> Json {
    let alternatives: Vec<Json> = Kind::WORDS
        .iter()
        .map(|(word, kind)| {
            let keys: Vec<&dyn Describe> = COMMON.iter().chain(kind.own_keys()).copied().collect();
            let mut schema = table_schema(&keys);
            if let Some(own) = schema.pointer_mut("/properties/kind") {
                *own = json!({ "const": word, "description": KIND.about() });
            }
            schema
        })
        .collect();
    json!({ "oneOf": alternatives })
}

/// A sink as far as its own table tells; what depends on the sources is checked after.
pub(super) struct RawSink {
    pub(super) name: String,
    pub(super) source: Option<String>,
    pub(super) from: Patterns,
    pub(super) on_reject: OnReject,
    pub(super) dead_letters_max: usize,
    pub(super) row_bytes_max: Option<u64>,
    pub(super) batch: BatchLimits,
    pub(super) shapes: Shapes,
    pub(super) target: Target,
}

/// Reads one.
pub(super) fn read(name: &str, section: &Section<'_>) -> Option<RawSink> {
    let kind = section.get(&KIND);
    let known: Vec<&dyn Describe> = match kind {
        Some(kind) => COMMON.iter().chain(kind.own_keys()).copied().collect(),
        // Whatever it is meant to be: no key of any kind is complained of then.
        None => Kind::WORDS.iter().fold(COMMON.to_vec(), |known, (_, kind)| [&known, kind.own_keys()].concat()),
    };
    section.refuse_others(&known, belongs_elsewhere);
    let from = section.get(&FROM);
    let source = section.get(&SOURCE);
    let on_reject = section.get(&ON_REJECT);
    if on_reject.is_none() && section.item(ON_REJECT.name()).is_some() {
        return None;
    }
    let dead_letters_max = section.get(&DEAD_LETTERS_MAX);
    let row_bytes_max = section.get(&ROW_BYTES_MAX);
    let batch = section.get(&BATCH);
    let shapes = section.get(&SHAPE);
    if shapes.is_none() && section.item(SHAPE.name()).is_some() {
        return None;
    }
    let shapes = shapes.unwrap_or(Shapes(Vec::new()));
    let target = match kind? {
        Kind::Redis => redis::read(section).map(|redis| Target::Redis(Box::new(redis))),
        Kind::Tantivy => tantivy::read(section).map(|index| Target::Tantivy(Box::new(index))),
        Kind::OpenSearch => opensearch::read(section).map(|index| Target::OpenSearch(Box::new(index))),
        Kind::Postgres => postgres::read(section).map(|database| Target::Postgres(Box::new(database))),
        Kind::Webhook => webhook::read(section).map(|hook| Target::Webhook(Box::new(hook))),
        Kind::Exec => exec::read(section).map(|program| Target::Exec(Box::new(program))),
        Kind::File => file::read(section).map(|file| Target::File(Box::new(file))),
        Kind::Kafka => read_kafka(section),
    };
    let (batch, target) = (batch?, target?);
    // Of a history, what comes behind a gap may not be understood; of rows as they are, the next change mends it.
    let on_reject = on_reject.unwrap_or(match target {
        Target::Kafka(_) => OnReject::Stop,
        _ if target.keeps_history() => OnReject::Park,
        _ => OnReject::DeadLetter,
    });
    let default = match target {
        Target::Tantivy(_) => BatchLimits::OF_TANTIVY,
        Target::OpenSearch(_) => BatchLimits::OF_OPENSEARCH,
        Target::Redis(_)
        | Target::Postgres(_)
        | Target::Webhook(_)
        | Target::Exec(_)
        | Target::File(_)
        | Target::Kafka(_) => BatchLimits::DEFAULT,
    };
    let batch = BatchLimits {
        rows: batch.rows.unwrap_or(default.rows),
        bytes: batch.bytes,
        linger: batch.linger.unwrap_or(default.linger),
    };
    let row_bytes_max = row_bytes_max?.0.map(|bytes| bytes.0);
    refuse_parking_apart(section, on_reject, &target)?;
    Some(RawSink {
        name: name.to_owned(),
        source,
        from: from?,
        on_reject,
        dead_letters_max: dead_letters_max?.0,
        row_bytes_max,
        batch,
        shapes,
        target,
    })
}

/// Which rows wait is known to the process that set their changes aside, and a partition may be another's tomorrow.
fn refuse_parking_apart(section: &Section<'_>, on_reject: OnReject, target: &Target) -> Option<()> {
    if let (OnReject::Park, true, Some(item)) = (on_reject, target.is_shared(), section.item(ON_REJECT.name())) {
        let help = "write \"dead_letter\" or \"stop\", or leave share away".to_owned();
        item.complain("rows cannot wait in a sink that several processes share".to_owned(), Some(help));
        return None;
    }
    Some(())
}

/// Says whose key it is, if it is one.
fn belongs_elsewhere(name: &str) -> Option<String> {
    let kinds: Vec<&str> = Kind::WORDS
        .iter()
        .filter(|(_, kind)| kind.own_keys().iter().any(|key| key.name() == name))
        .map(|(word, _)| *word)
        .collect();
    if name == redis::SHARE.name() {
        return Some(
            "only a redis sink can be shared: the others are local directories, which each process has for itself, or have one writer"
                .to_owned(),
        );
    }
    (!kinds.is_empty()).then(|| format!("`{name}` is a key of kind {}", kinds.join(" and ")))
}

fn read_kafka(section: &Section<'_>) -> Option<Target> {
    if cfg!(not(feature = "kafka"))
        && let Some(item) = section.item("kind")
    {
        let help = "build it with: cargo build --features kafka".to_owned();
        item.complain("this build of walbridge is without Kafka".to_owned(), Some(help));
        return None;
    }
    kafka::read(section).map(|settings| Target::Kafka(Box::new(settings)))
}
