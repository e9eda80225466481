//! The keys of a `redis` sink.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::key::{Describe, Key, Section};
use super::reader::Item;
use super::value::{Choice, Count, Positive};
use crate::project::key::{KeyTemplate, MEMBER, TextTemplate};

/// Where the server is, and what is kept there.
#[derive(Clone, Debug)]
pub struct Redis {
    /// The server.
    pub server: RedisServer,
    /// The template of documents' names: of keys, or of a collection's key, [`MEMBER`] and the member; `None`: schema, table and the row's key.
    pub key: Option<String>,
    /// Where rows are kept as what they are: with columns and limits.
    pub form: RedisForm,
    /// In a cluster: what stands in braces in all its keys.
    pub hash_tag: Option<String>,
    /// Several processes deliver it, each some of the log's partitions.
    pub shared: bool,
}

impl Redis {
    /// Its keys lie in many slots of a cluster.
    #[must_use]
    pub fn is_spread(&self) -> bool {
        is_cluster(self.server.url.expose_secret()) && self.hash_tag.is_none()
    }
}

/// What rows become.
#[derive(Clone, Debug)]
pub struct RedisForm {
    /// What is kept under a key.
    pub value: RedisValue,
    /// What a text is made of.
    pub text: Option<TextTemplate>,
    /// The column that is the score.
    pub score: Option<String>,
    /// The most entries of a key; `None`: all.
    pub entries_max: Option<u64>,
    /// For how long a key stays after it was written; `None` for ever.
    pub ttl: Option<Duration>,
    /// And up to so much longer.
    pub ttl_jitter: Option<Duration>,
    /// The column that says until when.
    pub ttl_column: Option<String>,
    /// The channel on which keys are published that have changed.
    pub publish: Option<String>,
    /// The stream's name, with `{table}` for the table's.
    pub stream: Option<String>,
}

/// A server, and how it is told from others.
#[derive(Clone, Debug)]
pub struct RedisServer {
    /// Where it is.
    pub url: SecretString,
    /// The authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The sentinels' password.
    pub sentinel_password: Option<SecretString>,
}

/// What Redis keeps under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisValue {
    /// The row as one JSON string.
    Json,
    /// A text made of the row.
    Text,
    /// A hash with a field for each column.
    Hash,
    /// Fields of a hash that others write to as well.
    Fields,
    /// Nothing: a change deletes the key, and whoever reads fills it again.
    Invalidate,
    /// A set, in which a row is a member.
    Set,
    /// A list, in which a row is an element.
    List,
    /// A sorted set, in which a row is a member.
    SortedSet,
    /// A stream, in which each change is an entry.
    Stream,
}

impl RedisValue {
    const fn is_collection(self) -> bool {
        matches!(self, RedisValue::Set | RedisValue::List | RedisValue::SortedSet)
    }
}

/// How several processes share a sink.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedBy;

impl Choice for SharedBy {
    const WORDS: &'static [(&'static str, Self)] = &[("partitions", SharedBy)];
}

impl Choice for RedisValue {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("json", RedisValue::Json),
        ("text", RedisValue::Text),
        ("hash", RedisValue::Hash),
        ("fields", RedisValue::Fields),
        ("set", RedisValue::Set),
        ("list", RedisValue::List),
        ("sorted_set", RedisValue::SortedSet),
        ("stream", RedisValue::Stream),
        ("invalidate", RedisValue::Invalidate),
    ];
}

static URL: Key<SecretString> = Key::required(
    "url",
    "\"redis://cache.internal:6379\"",
    "Where the server is: `redis://`, with TLS `rediss://`, over a Unix socket `redis+unix://`; `redis-sentinel://host:26379,host:26379/0#MASTER` asks sentinels, `redis-cluster://host:7000,host:7000` finds the nodes of a cluster (with TLS `rediss-…`). User and password stand in it: `rediss://walbridge:${REDIS_PASSWORD}@cache.internal:6380`.",
);
static SENTINEL_PASSWORD: Key<SecretString> = Key::optional(
    "sentinel_password",
    "none",
    "\"${SENTINEL_PASSWORD}\"",
    "The sentinels' own password, where they want one. That in the url is the server's.",
);
static CA: Key<PathBuf> = Key::optional(
    "ca",
    "the system's authorities",
    "\"/etc/ssl/cache.pem\"",
    "The authorities to trust, in PEM, with `rediss://`.",
);
static CERTIFICATE: Key<PathBuf> = Key::optional(
    "client_certificate",
    "none",
    "\"/etc/walbridge/redis.pem\"",
    "Our certificate, in PEM, for a server that asks for one.",
);
static CERTIFICATE_KEY: Key<PathBuf> =
    Key::optional("client_key", "none", "\"/etc/walbridge/redis.key\"", "Its private key, in PEM.");
static KEY: Key<String> = Key::optional(
    "key",
    "`schema.table:` and the row's key; of a `stream` `schema.table`",
    "\"user:{id}\"",
    "The key under which a row is kept; `{column}` is that column's value, `{table}` the table's name. Of a `set`, `list` or `sorted_set`: the collection that a row is in, `timeline:{user_id}`.",
);
static MEMBER_OF: Key<String> = Key::optional(
    "member",
    "required of `set`, `list` and `sorted_set`",
    "\"{post_id}\"",
    "What stands there for a row: `{column}` as in `key`. The two together must hold all columns of the table's key.",
);
static TEXT: Key<String> = Key::optional(
    "text",
    "required of `text`",
    "\"{likes}\"",
    "What stands under the key: `{column}` is any column's value as PostgreSQL writes it, of NULL nothing; `{{` and `}}` are literal braces.",
);
static SCORE: Key<String> = Key::optional(
    "score",
    "required of `sorted_set`",
    "\"created_at\"",
    "The column that is the score: a number, or a point in time, which counts in seconds since 1970.",
);
static ENTRIES_MAX: Key<Count> = Key::optional(
    "entries_max",
    "all of them",
    "1000",
    "A `list` keeps so many elements, the newest; a `sorted_set` so many members, of the highest scores; a `stream` so many entries (`MAXLEN`).",
);
static TTL_JITTER: Key<Positive> = Key::optional(
    "ttl_jitter",
    "none",
    "\"2h\"",
    "Up to so much is added to `ttl`, to each key always the same, so that keys that were written together do not expire together.",
);
static TTL_COLUMN: Key<String> = Key::optional(
    "ttl_column",
    "no column says it",
    "\"expires_at\"",
    "A row's key expires at the time in this column (in UTC where it has no zone); where that is NULL, never. Of `json`, `text` and `hash`, in place of `ttl`.",
);
static PUBLISH: Key<String> = Key::optional(
    "publish",
    "nothing is published",
    "\"cache-changes\"",
    "The channel on which each key that is written or removed is published, in the transaction that does it.",
);
static VALUE: Key<RedisValue> = Key::default(
    "value",
    "\"json\"",
    "\"hash\"",
    "`json`: the row as a JSON string. `text`: a text made of the row. `hash`: a hash with a field for each column. `fields`: the same in a hash that others have fields in, too, which stay. `set`, `list`, `sorted_set`: the row is a `member` of the collection under the key. `stream`: each change is an entry. `invalidate`: a change deletes the key.",
);
static TTL: Key<Positive> =
    Key::optional("ttl", "a key stays until its row goes", "\"1d\"", "A key expires so long after its last change.");
pub(super) static SHARE: Key<SharedBy> = Key::optional(
    "share",
    "one process delivers all of it",
    "\"partitions\"",
    "Several processes deliver this sink, each some of the log's partitions. Needs the log in Kafka. Each row's changes stay in order; whole transactions do not.",
);

pub(super) static KEYS: &[&dyn Describe] = &[
    &URL,
    &SENTINEL_PASSWORD,
    &CA,
    &CERTIFICATE,
    &CERTIFICATE_KEY,
    &KEY,
    &VALUE,
    &MEMBER_OF,
    &TEXT,
    &SCORE,
    &ENTRIES_MAX,
    &TTL,
    &TTL_JITTER,
    &TTL_COLUMN,
    &PUBLISH,
    &SHARE,
];

/// Reads them.
pub(super) fn read(section: &Section<'_>) -> Option<Redis> {
    let server = read_server(section);
    let shared = section.get(&SHARE).is_some();
    let (value, name) = (section.get(&VALUE), section.get(&KEY));
    let key = value.and_then(|value| read_key(section, value, name.clone()));
    let stream = || name.unwrap_or_else(|| "{table}".to_owned());
    let form = RedisForm {
        value: value.unwrap_or(RedisValue::Json),
        text: read_text(section)?,
        score: section.get(&SCORE),
        entries_max: section.get(&ENTRIES_MAX).map(|count| u64::try_from(count.0).unwrap_or(u64::MAX)),
        ttl: section.get(&TTL).map(|ttl| ttl.0),
        ttl_jitter: section.get(&TTL_JITTER).map(|jitter| jitter.0),
        ttl_column: section.get(&TTL_COLUMN),
        publish: section.get(&PUBLISH),
        stream: (value == Some(RedisValue::Stream)).then(stream),
    };
    if section.item(SHARE.name()).is_some() && !shared {
        return None;
    }
    refuse_strangers(section, value?)?;
    let (server, key) = (server?, key?);
    let hash_tag = read_hash_tag(section, &server, key.as_deref(), form.stream.as_deref())?;
    Some(Redis { server, key, form, hash_tag, shared })
}

/// Keys that mean nothing with this value, or beside others.
fn refuse_strangers(section: &Section<'_>, value: RedisValue) -> Option<()> {
    use RedisValue::{Fields, Hash, Invalidate, Json, List, SortedSet, Stream, Text};
    let is_document = matches!(value, Json | Text | Hash);
    let word = RedisValue::WORDS.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| *word);
    for (name, fits) in [
        (MEMBER_OF.name(), value.is_collection()),
        (TEXT.name(), value == Text),
        (SCORE.name(), value == SortedSet),
        (ENTRIES_MAX.name(), matches!(value, List | SortedSet | Stream)),
        // What others have fields in is not ours to expire.
        (TTL.name(), !matches!(value, Invalidate | Fields)),
        (TTL_COLUMN.name(), is_document),
        (SHARE.name(), value != Stream),
    ] {
        if let (false, Some(item)) = (fits, section.item(name)) {
            let help = Some(format!("leave {name} away, or write another value"));
            item.complain(format!("`{name}` means nothing with value = \"{word}\""), help);
            return None;
        }
    }
    let needed =
        [(MEMBER_OF.name(), value.is_collection()), (SCORE.name(), value == SortedSet), (TEXT.name(), value == Text)];
    for (name, fits) in needed {
        if fits && section.item(name).is_none() {
            section.complain(format!("value = \"{word}\" needs `{name}`"), format!("add {name}"));
            return None;
        }
    }
    if let (true, Some(item)) = (section.item(TTL.name()).is_some(), section.item(TTL_COLUMN.name())) {
        item.complain("there are two times to expire".to_owned(), Some("write ttl or ttl_column".to_owned()));
        return None;
    }
    if let (false, Some(item)) = (section.item(TTL.name()).is_some(), section.item(TTL_JITTER.name())) {
        item.complain("there is no ttl that it could be added to".to_owned(), Some("add ttl".to_owned()));
        return None;
    }
    Some(())
}

/// `None`: it is wrong, and that has been said.
fn read_text(section: &Section<'_>) -> Option<Option<TextTemplate>> {
    let Some(text) = section.get(&TEXT) else { return Some(None) };
    match TextTemplate::parse(&text) {
        Ok(template) => Some(Some(template)),
        Err(error) => {
            let help = Some("{column} is a column's value, {{ and }} are literal braces".to_owned());
            section.item(TEXT.name())?.complain(format!("`{text}` cannot be a text's template: {error}"), help);
            None
        }
    }
}

/// What keeps all keys of a sink in one slot of a cluster, so that its transactions stay whole. Without it they are spread over all slots.
fn read_hash_tag(
    section: &Section<'_>,
    server: &RedisServer,
    key: Option<&str>,
    stream: Option<&str>,
) -> Option<Option<String>> {
    if !is_cluster(server.url.expose_secret()) {
        return Some(None);
    }
    let tag = match stream {
        Some(stream) => stream.split_once("{{").filter(|(before, _)| !before.contains('{')).and_then(|(_, rest)| {
            let (tag, _) = rest.split_once("}}")?;
            (!tag.is_empty()).then(|| tag.to_owned())
        }),
        None => key.and_then(|key| KeyTemplate::parse(key).ok()?.hash_tag()),
    };
    if let (None, Some(item)) = (&tag, section.item(SHARE.name())) {
        let help = "begin the key with a tag in braces, which are doubled: key = \"{{users}}:user:{id}\"".to_owned();
        item.complain("a sink that several processes share has all of its keys in one slot".to_owned(), Some(help));
        return None;
    }
    Some(tag)
}

fn is_cluster(url: &str) -> bool {
    url.starts_with("redis-cluster://") || url.starts_with("rediss-cluster://")
}

/// The template of documents' names.
fn read_key(section: &Section<'_>, value: RedisValue, key: Option<String>) -> Option<Option<String>> {
    let member = section.get(&MEMBER_OF);
    let separator = char::from(MEMBER);
    if value == RedisValue::Stream {
        let strange = key
            .as_deref()
            .is_some_and(|key| key.replace("{{", "").replace("}}", "").replace("{table}", "").contains(['{', '}']));
        if let (true, Some(item)) = (strange, section.item(KEY.name())) {
            let help = "only {table} can stand in it: a stream holds the changes of many rows".to_owned();
            item.complain(format!("`{}` cannot be a stream's key", item.written()), Some(help));
            return None;
        }
        return Some(None);
    }
    let (template, name) = match (key, member) {
        (Some(key), Some(member)) => (format!("{key}{separator}{member}"), KEY.name()),
        (None, Some(_)) => {
            section.complain("a collection needs its `key`".to_owned(), "add key".to_owned());
            return None;
        }
        (Some(key), None) => (key, KEY.name()),
        (None, None) => return Some(None),
    };
    let item = section.item(name)?;
    let separators = template.matches(separator).count();
    let refusal = match KeyTemplate::parse(&template) {
        Err(error) => Some(error.to_string()),
        Ok(_) if separators != usize::from(value.is_collection()) => Some("it holds the byte 1F".to_owned()),
        Ok(_) => None,
    };
    if let Some(refusal) = refusal {
        item.complain(format!("`{}` cannot be a key", item.written()), Some(refusal));
        return None;
    }
    Some(Some(template))
}

fn read_server(section: &Section<'_>) -> Option<RedisServer> {
    let (url, ca) = (section.get(&URL), section.get(&CA));
    let identity = match (section.get(&CERTIFICATE), section.get(&CERTIFICATE_KEY)) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => {
            let message = "a certificate of ours needs its key, and the other way round".to_owned();
            section.complain(message, "give both client_certificate and client_key, or neither".to_owned());
            return None;
        }
    };
    let url = url?;
    check_url(&section.item(URL.name())?, &url)?;
    let tls = url.expose_secret().starts_with("rediss");
    for name in [CA.name(), CERTIFICATE.name()] {
        if let (false, Some(item)) = (tls, section.item(name)) {
            let help = "write rediss://, or leave it away".to_owned();
            item.complain(format!("`{name}` is of TLS, and the url is without"), Some(help));
            return None;
        }
    }
    Some(RedisServer { url, ca, identity, sentinel_password: section.get(&SENTINEL_PASSWORD) })
}

fn check_url(item: &Item<'_>, url: &SecretString) -> Option<()> {
    let url = url.expose_secret();
    let schemes = ["redis://", "rediss://", "redis+unix://", "unix://"];
    // The library's own error could repeat the password.
    let is_one = schemes.iter().any(|scheme| url.starts_with(scheme)) && redis::parse_redis_url(url).is_some();
    if is_one || names_several(url) {
        return Some(());
    }
    let help = "write redis://host:6379, rediss://host:6379 for TLS, redis+unix:///path/to/socket, \
                redis-sentinel://host:26379,host:26379/0#MASTER or redis-cluster://host:7000,host:7000";
    item.complain(format!("`{}` is not a Redis URL", item.path), Some(help.to_owned()));
    None
}

/// Whether it names sentinels and their master, or nodes of a cluster.
fn names_several(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let (rest, is_whole) = match scheme.trim_start_matches("redis").trim_start_matches('s') {
        "-sentinel" => rest.rsplit_once('#').map_or((rest, false), |(rest, master)| (rest, !master.is_empty())),
        "-cluster" => (rest, !rest.trim_end_matches('/').contains('/')),
        _ => return false,
    };
    let (user, hosts) = rest.rfind('@').map_or(("", rest), |at| rest.split_at(at.saturating_add(1)));
    let (hosts, database) = hosts.find('/').map_or((hosts, ""), |at| hosts.split_at(at));
    let one =
        |host: &str| !host.is_empty() && redis::parse_redis_url(&format!("redis://{user}{host}{database}")).is_some();
    is_whole && hosts.split(',').all(one)
}
