//! `[sinks.NAME]`: where changes go.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value as Json, json};

use super::kafka;
use super::key::{Describe, Key, Section, Value, table_schema};
use super::opensearch::{self, OpenSearch};
use super::pattern::TablePatterns;
use super::reader::Item;
use super::value::{Bytes, Choice, Count, Limit, Names, Patterns, Positive};
use crate::kafka::Settings;
use crate::project::key::KeyTemplate;

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
    /// A row of more bytes is such a row.
    pub row_bytes_max: Option<u64>,
    /// How much is applied at once.
    pub batch: BatchLimits,
    /// What it is.
    pub target: Target,
}

/// What happens to a row that the target can never take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReject {
    /// It is set aside with its reason, and the sink goes on.
    DeadLetter,
    /// The sink halts.
    Stop,
}

/// A batch is applied as soon as one of these is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Events.
    pub rows: usize,
    /// Bytes of rows.
    pub bytes: u64,
    /// Age of its first event. Zero: nothing waits for more to come.
    pub linger: Duration,
}

/// What a sink is.
#[derive(Clone, Debug)]
pub enum Target {
    /// Redis or Valkey.
    Redis {
        /// Where it is.
        url: SecretString,
        /// The key's template; `None`: schema, table and the row's key.
        key: Option<String>,
        /// What is kept under a key.
        value: RedisValue,
        /// For how long; `None` for ever.
        ttl: Option<Duration>,
        /// Several processes deliver it, each some of the log's partitions.
        shared: bool,
    },
    /// The embedded full-text index.
    Tantivy {
        /// Its directory.
        path: PathBuf,
        /// The document key's template; `None`: schema, table and the row's key.
        key: Option<String>,
        /// The columns to search in; empty for all.
        fields: Vec<String>,
    },
    /// An index of OpenSearch or Elasticsearch.
    OpenSearch(Box<OpenSearch>),
    /// A file of JSON Lines.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Topics of a Kafka cluster.
    Kafka(Box<Settings>),
}

impl Target {
    /// The template of its documents' keys, where one is given.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Target::Redis { key, .. } | Target::Tantivy { key, .. } => key.as_deref(),
            Target::OpenSearch(index) => index.key.as_deref(),
            Target::File { .. } | Target::Kafka(_) => None,
        }
    }

    /// The word for it in the configuration.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Target::Redis { .. } => "redis",
            Target::Tantivy { .. } => "tantivy",
            Target::OpenSearch(_) => "opensearch",
            Target::File { .. } => "file",
            Target::Kafka(_) => "kafka",
        }
    }
}

/// What Redis keeps under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisValue {
    /// The row as one JSON string.
    Json,
    /// A hash with a field for each column.
    Hash,
    /// Nothing: a change deletes the key, and whoever reads fills it again.
    Invalidate,
}

/// How several processes share a sink.
#[derive(Clone, Copy, Debug)]
struct SharedBy;

impl Choice for SharedBy {
    const WORDS: &'static [(&'static str, Self)] = &[("partitions", SharedBy)];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Redis,
    Tantivy,
    OpenSearch,
    File,
    Kafka,
}

impl Choice for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("redis", Kind::Redis),
        ("tantivy", Kind::Tantivy),
        ("opensearch", Kind::OpenSearch),
        ("file", Kind::File),
        ("kafka", Kind::Kafka),
    ];

    fn hint(word: &str) -> Option<&'static str> {
        match word {
            "elasticsearch" => Some("an Elasticsearch server is an opensearch sink: kind = \"opensearch\""),
            "postgres" | "http" | "meilisearch" => Some("this build has redis, tantivy, opensearch, file and kafka"),
            "valkey" => Some("a Valkey server is a redis sink: kind = \"redis\""),
            "stdout" => Some("walbridge tail prints events; a file sink writes them"),
            _ => None,
        }
    }
}

impl Choice for OnReject {
    const WORDS: &'static [(&'static str, Self)] = &[("dead_letter", OnReject::DeadLetter), ("stop", OnReject::Stop)];
}

impl Choice for RedisValue {
    const WORDS: &'static [(&'static str, Self)] =
        &[("json", RedisValue::Json), ("hash", RedisValue::Hash), ("invalidate", RedisValue::Invalidate)];
}

static KIND: Key<Kind> =
    Key::required("kind", "\"redis\"", "What the target is: `redis`, `tantivy`, `opensearch`, `file` or `kafka`.");
pub(super) static FROM: Key<Patterns> = Key::required(
    "from",
    "\"public.users\"",
    "The tables whose changes go there: one pattern or a list, as in `tables` of the source.",
);
pub(super) static SOURCE: Key<String> =
    Key::optional("source", "the only source", "\"shop\"", "Which source feeds it. Needed if there are several.");
static ON_REJECT: Key<OnReject> = Key::optional(
    "on_reject",
    "`dead_letter`; of Kafka `stop`",
    "\"stop\"",
    "What happens to a row that the target can never take: `dead_letter` sets it aside with its reason, `stop` halts this sink.",
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
static ROWS: Key<Count> = Key::default("rows", "10000", "1000", "At most so many changes.");
static BYTES: Key<Bytes> = Key::default("bytes", "\"8MiB\"", "\"4MiB\"", "At most so many bytes of rows.");
static LINGER: Key<Duration> = Key::optional(
    "linger",
    "`0s`; for `tantivy` `1s`, for `opensearch` `200ms`, because each commit of an index costs",
    "\"50ms\"",
    "How long a batch waits for more changes.",
);
static URL: Key<SecretString> = Key::required(
    "url",
    "\"redis://cache.internal:6379\"",
    "Where the server is: `redis://`, with TLS `rediss://`, over a Unix socket `redis+unix://`.",
);
static REDIS_KEY: Key<Template> = Key::optional(
    "key",
    "`schema.table:` and the row's key",
    "\"user:{id}\"",
    "The key under which a row is kept; `{column}` is that column's value, `{table}` the table's name.",
);
static VALUE: Key<RedisValue> = Key::default(
    "value",
    "\"json\"",
    "\"hash\"",
    "`json`: the row as a JSON string. `hash`: a hash with a field for each column. `invalidate`: a change deletes the key.",
);
static TTL: Key<Positive> =
    Key::optional("ttl", "a key stays until its row goes", "\"1d\"", "A key expires so long after its last change.");
static SHARE: Key<SharedBy> = Key::optional(
    "share",
    "one process delivers all of it",
    "\"partitions\"",
    "Several processes deliver this sink, each some of the log's partitions. Needs the log in Kafka. Each row's changes stay in order; whole transactions do not.",
);
static INDEX_PATH: Key<PathBuf> =
    Key::required("path", "\"/var/lib/walbridge-search/users\"", "The index's directory. Made if it is not there.");
static INDEX_KEY: Key<Template> = Key::optional(
    "key",
    "`schema.table:` and the row's key",
    "\"{id}\"",
    "The key under which a row is indexed; `{column}` is that column's value, `{table}` the table's name.",
);
static FIELDS: Key<Names> = Key::optional(
    "fields",
    "all columns",
    "[\"name\", \"bio\"]",
    "The columns to search in. The others are kept with the document all the same.",
);
static FILE_PATH: Key<PathBuf> = Key::required(
    "path",
    "\"/var/lib/walbridge-events.jsonl\"",
    "The file; one JSON object a line is appended for each event.",
);

static COMMON: &[&dyn Describe] = &[&KIND, &FROM, &SOURCE, &ON_REJECT, &ROW_BYTES_MAX, &BATCH];
pub(super) static BATCH_KEYS: &[&dyn Describe] = &[&ROWS, &BYTES, &LINGER];
pub(super) static REDIS: &[&dyn Describe] = &[&URL, &REDIS_KEY, &VALUE, &TTL, &SHARE];
pub(super) static TANTIVY: &[&dyn Describe] = &[&INDEX_PATH, &INDEX_KEY, &FIELDS];
pub(super) static FILE: &[&dyn Describe] = &[&FILE_PATH];

impl Kind {
    fn own_keys(self) -> &'static [&'static dyn Describe] {
        match self {
            Kind::Redis => REDIS,
            Kind::Tantivy => TANTIVY,
            Kind::OpenSearch => opensearch::KEYS,
            Kind::File => FILE,
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
    pub(super) row_bytes_max: Option<u64>,
    pub(super) batch: BatchLimits,
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
    // Of a history, what comes behind a gap may not be understood; of rows as they are, the next change mends it.
    let on_reject =
        on_reject.or(kind.map(|kind| if kind == Kind::Kafka { OnReject::Stop } else { OnReject::DeadLetter }));
    let row_bytes_max = section.get(&ROW_BYTES_MAX);
    let batch = section.get(&BATCH);
    let target = match kind? {
        Kind::Redis => read_redis(section),
        Kind::Tantivy => read_tantivy(section),
        Kind::OpenSearch => opensearch::read(section).map(|index| Target::OpenSearch(Box::new(index))),
        Kind::File => section.get(&FILE_PATH).map(|path| Target::File { path }),
        Kind::Kafka => read_kafka(section),
    };
    let (batch, target) = (batch?, target?);
    let default_linger = match target {
        Target::Tantivy { .. } => Duration::from_secs(1),
        Target::OpenSearch(_) => Duration::from_millis(200),
        Target::Redis { .. } | Target::File { .. } | Target::Kafka(_) => Duration::ZERO,
    };
    let batch = BatchLimits { rows: batch.rows, bytes: batch.bytes, linger: batch.linger.unwrap_or(default_linger) };
    let row_bytes_max = row_bytes_max?.0.map(|bytes| bytes.0);
    Some(RawSink { name: name.to_owned(), source, from: from?, on_reject: on_reject?, row_bytes_max, batch, target })
}

/// Says whose key it is, if it is one.
fn belongs_elsewhere(name: &str) -> Option<String> {
    let kinds: Vec<&str> = Kind::WORDS
        .iter()
        .filter(|(_, kind)| kind.own_keys().iter().any(|key| key.name() == name))
        .map(|(word, _)| *word)
        .collect();
    if name == SHARE.name() {
        return Some(
            "only a redis sink can be shared: the others are local directories, which each process has for itself, or have one writer"
                .to_owned(),
        );
    }
    (!kinds.is_empty()).then(|| format!("`{name}` is a key of kind {}", kinds.join(" and ")))
}

fn read_redis(section: &Section<'_>) -> Option<Target> {
    let url = section.get(&URL);
    let key = section.get(&REDIS_KEY);
    let value = section.get(&VALUE);
    let ttl = section.get(&TTL);
    let shared = section.get(&SHARE).is_some();
    if section.item("share").is_some() && !shared {
        return None;
    }
    if let (Some(url), Some(item)) = (&url, section.item("url")) {
        check_redis_url(&item, url)?;
    }
    if let (Some(RedisValue::Invalidate), Some(item)) = (value, section.item("ttl")) {
        let help = "leave ttl away, or keep values: value = \"json\"".to_owned();
        item.complain("a sink that only invalidates keeps nothing that could expire".to_owned(), Some(help));
        return None;
    }
    Some(Target::Redis { url: url?, key: key.map(|key| key.0), value: value?, ttl: ttl.map(|ttl| ttl.0), shared })
}

fn check_redis_url(item: &Item<'_>, url: &SecretString) -> Option<()> {
    let url = url.expose_secret();
    let schemes = ["redis://", "rediss://", "redis+unix://", "unix://"];
    // The library's own error could repeat the password.
    if schemes.iter().any(|scheme| url.starts_with(scheme)) && redis::parse_redis_url(url).is_some() {
        return Some(());
    }
    let help = "write redis://host:6379, rediss://host:6379 for TLS, or redis+unix:///path/to/socket".to_owned();
    item.complain(format!("`{}` is not a Redis URL", item.path), Some(help));
    None
}

fn read_tantivy(section: &Section<'_>) -> Option<Target> {
    let path = section.get(&INDEX_PATH);
    let key = section.get(&INDEX_KEY);
    let fields = section.get(&FIELDS);
    if cfg!(not(feature = "search"))
        && let Some(item) = section.item("kind")
    {
        let help = "build it with: cargo build --features search".to_owned();
        item.complain("this build of walbridge is without the search sink".to_owned(), Some(help));
        return None;
    }
    Some(Target::Tantivy {
        path: path?,
        key: key.map(|key| key.0),
        fields: fields.map(|names| names.0).unwrap_or_default(),
    })
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

/// The text of a key template. Whether its columns are the table's is known once there is a table.
pub(super) struct Template(pub(super) String);

impl Value for Template {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a key such as \"user:{id}\"")?;
        KeyTemplate::parse(&text)
            .inspect_err(|error| {
                item.complain(format!("`{}` cannot be a key", item.written()), Some(error.to_string()));
            })
            .ok()?;
        Some(Template(text))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "pattern": "\\{" })
    }
}

/// [`BatchLimits`] before the kind's own linger is known.
struct RawBatch {
    rows: usize,
    bytes: u64,
    linger: Option<Duration>,
}

impl Value for RawBatch {
    fn read(item: &Item<'_>) -> Option<Self> {
        let section = Section::of(item, item.value.span())?;
        section.refuse_others(BATCH_KEYS, |_| None);
        let rows = section.get(&ROWS);
        let bytes = section.get(&BYTES);
        let linger = section.get(&LINGER);
        Some(RawBatch { rows: rows?.0, bytes: bytes?.0, linger })
    }

    fn schema() -> Json {
        table_schema(BATCH_KEYS)
    }
}
