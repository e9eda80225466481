//! `[log]`: where the log is and how long it is kept.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::kafka;
use super::key::{Describe, Key, Section, Value, table_schema};
use super::reader::Item;
use super::value::{Bytes, Choice, Limit, Positive};
use crate::kafka::Settings;

/// The log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Its directory; the log of source `NAME` is in `NAME` there.
    pub path: PathBuf,
    /// How much of the past it keeps. A log on Kafka keeps what its topics keep.
    pub retain: Retain,
    /// Where it is, if not on the local disk.
    pub kafka: Option<Settings>,
}

impl Log {
    /// The directory of a source's log.
    #[must_use]
    pub fn path_of(&self, source: &str) -> PathBuf {
        self.path.join(source)
    }

    /// The directory of all sinks' dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> PathBuf {
        self.path.join(DEAD_LETTERS)
    }
}

/// Beside the sources' directories, so no source can have this name.
pub(super) const DEAD_LETTERS: &str = "dead-letters";

/// How much of the past is kept: what is older, or more, goes, but never what a sink has yet to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retain {
    /// By age; `None` for ever.
    pub age: Option<Duration>,
    /// By size, for each source; `None` without limit.
    pub size_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Embedded,
    Kafka,
}

impl Choice for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[("embedded", Kind::Embedded), ("kafka", Kind::Kafka)];
}

static KIND: Key<Kind> = Key::default(
    "kind",
    "\"embedded\"",
    "\"kafka\"",
    "`embedded`: segments on the local disk. `kafka`: topics of a Kafka cluster.",
);
static PATH: Key<PathBuf> = Key::required(
    "path",
    "\"/var/lib/walbridge\"",
    "The log's directory; each source has one of its own in it. Made, for its owner only, if it is not there. With `kafka` it holds what is kept beside the log.",
);
static RETAIN: Key<Retain> = Key::default(
    "retain",
    "{}",
    "{ age = \"7d\", size = \"50GiB\" }",
    "How much of the past is kept. What a running sink has not read yet stays, whatever this says.",
);
static AGE: Key<Limit<Positive>> =
    Key::default("age", "\"7d\"", "\"36h\"", "Older events go. `unlimited` keeps them for ever.");
static SIZE: Key<Limit<Bytes>> = Key::default(
    "size",
    "\"50GiB\"",
    "\"500MiB\"",
    "Beyond this size, for each source, the oldest events go. `unlimited` sets no limit.",
);

static COMMON: &[&dyn Describe] = &[&KIND, &PATH];
static EMBEDDED: &[&dyn Describe] = &[&RETAIN];
pub(super) static RETAIN_KEYS: &[&dyn Describe] = &[&AGE, &SIZE];

impl Kind {
    fn own_keys(self) -> &'static [&'static dyn Describe] {
        match self {
            Kind::Embedded => EMBEDDED,
            Kind::Kafka => kafka::KEYS,
        }
    }
}

/// The keys that every log has, and those of each kind.
pub(super) fn keys() -> impl Iterator<Item = (Option<&'static str>, &'static [&'static dyn Describe])> {
    let of_kinds = Kind::WORDS.iter().map(|(word, kind)| (Some(*word), kind.own_keys()));
    std::iter::once((None, COMMON)).chain(of_kinds)
}

/// The JSON Schema: one alternative for each kind.
pub(super) fn schema() -> Json {
    let alternatives = Kind::WORDS.iter().map(|(word, kind)| {
        let keys: Vec<&dyn Describe> = COMMON.iter().chain(kind.own_keys()).copied().collect();
        let mut schema = table_schema(&keys);
        if let Some(own) = schema.pointer_mut("/properties/kind") {
            *own = json!({ "const": word, "description": KIND.about() });
        }
        if let (Kind::Kafka, Some(required)) = (kind, schema.pointer_mut("/required").and_then(Json::as_array_mut)) {
            // What is not said is embedded.
            required.push(json!("kind"));
        }
        schema
    });
    json!({ "oneOf": alternatives.collect::<Vec<_>>() })
}

/// Reads it.
pub(super) fn read(section: &Section<'_>) -> Option<Log> {
    let kind = section.get(&KIND);
    let known: Vec<&dyn Describe> = match kind {
        Some(kind) => COMMON.iter().chain(kind.own_keys()).copied().collect(),
        None => COMMON.iter().chain(EMBEDDED).chain(kafka::KEYS).copied().collect(),
    };
    section.refuse_others(&known, belongs_elsewhere);
    let path = section.get(&PATH);
    let (retain, kafka) = match kind {
        Some(Kind::Kafka) => (Some(Retain { age: None, size_bytes: None }), Some(kafka::read(section))),
        Some(Kind::Embedded) | None => (section.get(&RETAIN), None),
    };
    kind?;
    let kafka = match kafka {
        Some(settings) => Some(settings?),
        None => None,
    };
    Some(Log { path: path?, retain: retain?, kafka })
}

fn belongs_elsewhere(name: &str) -> Option<String> {
    let is = |keys: &[&dyn Describe]| keys.iter().any(|key| key.name() == name);
    if name == RETAIN.name() {
        return Some(
            "how long a topic keeps records is the topic's: topics = { config = { \"retention.ms\" = … } }".to_owned(),
        );
    }
    is(kafka::KEYS).then(|| format!("`{name}` is a key of kind kafka: add kind = \"kafka\""))
}

impl Value for Retain {
    fn read(item: &Item<'_>) -> Option<Self> {
        let section = Section::of(item, item.value.span())?;
        section.refuse_others(RETAIN_KEYS, |_| None);
        let age = section.get(&AGE);
        let size = section.get(&SIZE);
        Some(Retain { age: age?.0.map(|age| age.0), size_bytes: size?.0.map(|size| size.0) })
    }

    fn schema() -> Json {
        table_schema(RETAIN_KEYS)
    }
}
