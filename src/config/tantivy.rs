//! The keys of a `tantivy` sink.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::key::{Describe, Key, Section, Value, table_schema};
use super::reader::Item;
use super::value::{Bytes, Choice, Names, Template};

/// Where the index is, and how it is made.
#[derive(Clone, Debug)]
pub struct Tantivy {
    /// Its directory.
    pub path: PathBuf,
    /// The document key's template; `None`: schema, table and the row's key.
    pub key: Option<String>,
    /// The columns to search in; empty for all.
    pub fields: Vec<String>,
    /// How text becomes terms, where a column has no analyzer of its own.
    pub analyzer: Analyzer,
    /// How the text of these columns becomes terms.
    pub analyzers: BTreeMap<String, Analyzer>,
    /// Text columns that can be counted and sorted by.
    pub facets: Vec<String>,
    /// Memory for documents on their way into the index, in bytes.
    pub memory: usize,
}

/// How text becomes terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Analyzer {
    /// `words`, `keyword`, `prefix`, or a language.
    pub name: &'static str,
    /// Stop words are left out; `None`: where the language has a list of them.
    pub stop_words: Option<bool>,
    /// `é` is the same as `e`.
    pub fold: bool,
}

/// The name of an analyzer.
#[derive(Clone, Copy, Debug)]
struct Name(&'static str);

const KEYWORD: &str = "keyword";
/// Of these there is no list of stop words, or they are no languages.
const WITHOUT_STOP_WORDS: [&str; 8] = ["words", KEYWORD, "prefix", "arabic", "greek", "romanian", "tamil", "turkish"];
/// Tantivy works with no less.
const MEMORY_BYTES_MIN: usize = 15_000_000;

impl Choice for Name {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("words", Name("words")),
        (KEYWORD, Name(KEYWORD)),
        ("prefix", Name("prefix")),
        ("arabic", Name("arabic")),
        ("danish", Name("danish")),
        ("dutch", Name("dutch")),
        ("english", Name("english")),
        ("finnish", Name("finnish")),
        ("french", Name("french")),
        ("german", Name("german")),
        ("greek", Name("greek")),
        ("hungarian", Name("hungarian")),
        ("italian", Name("italian")),
        ("norwegian", Name("norwegian")),
        ("portuguese", Name("portuguese")),
        ("romanian", Name("romanian")),
        ("russian", Name("russian")),
        ("spanish", Name("spanish")),
        ("swedish", Name("swedish")),
        ("tamil", Name("tamil")),
        ("turkish", Name("turkish")),
    ];

    fn hint(word: &str) -> Option<&'static str> {
        match word {
            "raw" | "exact" => Some("a value that is one term is a keyword: \"keyword\""),
            "ngram" | "edge_ngram" | "autocomplete" => Some("words are found by their beginnings with \"prefix\""),
            "default" | "standard" | "simple" => Some("words in lower case are \"words\""),
            _ => None,
        }
    }
}

static PATH: Key<PathBuf> =
    Key::required("path", "\"/var/lib/walbridge-search/users\"", "The index's directory. Made if it is not there.");
static KEY: Key<Template> = Key::optional(
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
static ANALYZER: Key<Analyzer> = Key::default(
    "analyzer",
    "\"words\"",
    "\"german\"",
    "How text becomes what is searched for, in columns that `analyzers` does not name: `words`, `keyword`, `prefix`, or a language.",
);
static ANALYZERS: Key<Analyzers> = Key::default(
    "analyzers",
    "{}",
    "{ sku = \"keyword\", name = \"prefix\", bio = { name = \"french\", fold = true } }",
    "The same for the text and JSON columns named here.",
);
static FACETS: Key<Names> = Key::optional(
    "facets",
    "none",
    "[\"country\", \"category\"]",
    "Text columns by which documents are counted and sorted, as whole values of at most 1 KiB. By numbers, dates and booleans they always can be.",
);
static MEMORY: Key<Memory> = Key::default(
    "memory",
    "\"15MB\"",
    "\"64MiB\"",
    "Memory for documents on their way into the index: for the indexing thread, for its queue, and for completing rows, each. At least 15 MB.",
);
static NAME: Key<Name> =
    Key::required("name", "\"french\"", "The analyzer's name, for an analyzer that is written as a table.");
static STOP_WORDS: Key<bool> = Key::optional(
    "stop_words",
    "where the language has a list of them",
    "false",
    "Whether words such as `the` and `of` are left out, of the index and of searches.",
);
static FOLD: Key<bool> = Key::default(
    "fold",
    "false",
    "true",
    "Whether letters with accents are the same as those without: `café` as `cafe`.",
);

pub(super) static KEYS: &[&dyn Describe] = &[&PATH, &KEY, &FIELDS, &ANALYZER, &ANALYZERS, &FACETS, &MEMORY];
pub(super) static ANALYZER_KEYS: &[&dyn Describe] = &[&NAME, &STOP_WORDS, &FOLD];

/// Reads them.
pub(super) fn read(section: &Section<'_>) -> Option<Tantivy> {
    let (path, key, fields) = (section.get(&PATH), section.get(&KEY), section.get(&FIELDS));
    let (analyzer, analyzers) = (section.get(&ANALYZER), section.get(&ANALYZERS));
    let (facets, memory) = (section.get(&FACETS), section.get(&MEMORY));
    if cfg!(not(feature = "search"))
        && let Some(item) = section.item("kind")
    {
        let help = "build it with: cargo build --features search".to_owned();
        item.complain("this build of walbridge is without the search sink".to_owned(), Some(help));
        return None;
    }
    let index = Tantivy {
        path: path?,
        key: key.map(|key| key.0),
        fields: fields.map(|names| names.0).unwrap_or_default(),
        analyzer: analyzer?,
        analyzers: analyzers?.0,
        facets: facets.map(|names| names.0).unwrap_or_default(),
        memory: memory?.0,
    };
    let is_left_out = |name: &&String| !index.fields.is_empty() && !index.fields.contains(name);
    if let Some(name) = index.analyzers.keys().chain(&index.facets).find(is_left_out) {
        let item = section.item(if index.analyzers.contains_key(name) { "analyzers" } else { "facets" })?;
        let help = "add it to `fields`, or leave it out here".to_owned();
        item.complain(format!("`{name}` is not one of the columns to search in"), Some(help));
        return None;
    }
    Some(index)
}

/// A word, or a table.
impl Value for Analyzer {
    fn read(item: &Item<'_>) -> Option<Self> {
        if item.value.get_ref().is_str() {
            return Some(Analyzer { name: Name::read(item)?.0, stop_words: None, fold: false });
        }
        let section = Section::of(item, item.value.span())?;
        section.refuse_others(ANALYZER_KEYS, |_| None);
        let (name, stop_words, fold) = (section.get(&NAME), section.get(&STOP_WORDS), section.get(&FOLD));
        let analyzer = Analyzer { name: name?.0, stop_words, fold: fold? };
        if analyzer.stop_words == Some(true) && WITHOUT_STOP_WORDS.contains(&analyzer.name) {
            let help = "leave `stop_words` out".to_owned();
            item.complain(format!("there is no list of stop words for `{}`", analyzer.name), Some(help));
            return None;
        }
        if analyzer.fold && analyzer.name == KEYWORD {
            let help = "use \"words\", or leave `fold` out".to_owned();
            item.complain("a keyword is kept as it is".to_owned(), Some(help));
            return None;
        }
        Some(analyzer)
    }

    fn schema() -> Json {
        json!({ "anyOf": [Name::schema(), table_schema(ANALYZER_KEYS)] })
    }
}

/// Analyzers by column.
struct Analyzers(BTreeMap<String, Analyzer>);

impl Value for Analyzers {
    fn read(item: &Item<'_>) -> Option<Self> {
        let section = Section::of(item, item.value.span())?;
        // All are read, so that all mistakes are reported.
        let read: Vec<_> =
            section.items().map(|(column, _, item)| Some((column.to_owned(), Analyzer::read(&item)?))).collect();
        read.into_iter().collect::<Option<_>>().map(Analyzers)
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": { "oneOf": [Name::schema(), table_schema(ANALYZER_KEYS)] } })
    }
}

/// Enough for tantivy.
struct Memory(usize);

impl Value for Memory {
    fn read(item: &Item<'_>) -> Option<Self> {
        let bytes = Bytes::read(item)?.0;
        let memory = usize::try_from(bytes).ok().filter(|bytes| *bytes >= MEMORY_BYTES_MIN);
        if memory.is_none() {
            item.complain(
                format!("`{}` is too little for an index", item.written()),
                Some("give it 15MB or more".to_owned()),
            );
        }
        memory.map(Memory)
    }

    fn schema() -> Json {
        Bytes::schema()
    }
}
