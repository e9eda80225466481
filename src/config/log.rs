//! `[log]`: where the log is and how long it is kept.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

use super::key::{Describe, Key, Section, Value, table_schema};
use super::reader::Item;
use super::value::{Bytes, Choice, Limit, Positive};

/// The log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Its directory; the log of source `NAME` is in `NAME` there.
    pub path: PathBuf,
    /// How much of the past it keeps.
    pub retain: Retain,
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
}

impl Choice for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[("embedded", Kind::Embedded)];

    fn hint(word: &str) -> Option<&'static str> {
        (word == "kafka").then_some("this build has only the embedded log: kind = \"embedded\"")
    }
}

static KIND: Key<Kind> = Key::default(
    "kind",
    "\"embedded\"",
    "\"embedded\"",
    "`embedded`: segments on the local disk. There is no other yet.",
);
static PATH: Key<PathBuf> = Key::required(
    "path",
    "\"/var/lib/walbridge\"",
    "The log's directory; each source has one of its own in it. Made, for its owner only, if it is not there.",
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

pub(super) static KEYS: &[&dyn Describe] = &[&KIND, &PATH, &RETAIN];
pub(super) static RETAIN_KEYS: &[&dyn Describe] = &[&AGE, &SIZE];

/// Reads it.
pub(super) fn read(section: &Section<'_>) -> Option<Log> {
    section.refuse_others(KEYS, |_| None);
    let kind = section.get(&KIND);
    let path = section.get(&PATH);
    let retain = section.get(&RETAIN);
    match kind? {
        Kind::Embedded => Some(Log { path: path?, retain: retain? }),
    }
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
