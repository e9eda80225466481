//! The keys of a `file` sink.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::key::{Describe, Key, Section, Value};
use super::reader::Item;
use super::value::{Bytes, Choice, Positive};
use crate::project::layout::Layout;

/// Where events go.
#[derive(Clone, Debug)]
pub struct File {
    /// The file; or with `files` the directory.
    pub path: PathBuf,
    /// Files in a directory; `None`: one file.
    pub files: Option<Files>,
}

/// How events are divided among files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The directories below the path.
    pub layout: Layout,
    /// What a file holds.
    pub format: FileFormat,
    /// How it is compressed.
    pub compression: FileCompression,
    /// A file is finished with so many bytes.
    pub rotate_bytes: u64,
    /// And so long after its first event.
    pub rotate_after: Duration,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// A JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileCompression {
    /// Not at all.
    None,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Choice for FileFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("jsonl", FileFormat::Jsonl), ("parquet", FileFormat::Parquet)];

    fn hint(word: &str) -> Option<&'static str> {
        matches!(word, "json" | "ndjson" | "json_lines").then_some("JSON Lines: format = \"jsonl\"")
    }
}

impl Choice for FileCompression {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", FileCompression::None), ("gzip", FileCompression::Gzip), ("zstd", FileCompression::Zstd)];
}

static PATH: Key<PathBuf> = Key::required(
    "path",
    "\"/var/lib/walbridge-events.jsonl\"",
    "The file; one JSON object a line is appended for each event. With `layout` the directory, made if it is not there.",
);
static LAYOUT: Key<Layout> = Key::optional(
    "layout",
    "one file, which grows",
    "\"{schema}/{table}/date={date}\"",
    "The directories below `path` in which files are finished one after the other. Of `{source}`, `{schema}`, `{table}` and of the commit's `{date}` and `{hour}` in UTC.",
);
static FORMAT: Key<FileFormat> =
    Key::default("format", "\"jsonl\"", "\"parquet\"", "What a file holds: `jsonl` or `parquet`. Needs `layout`.");
static COMPRESSION: Key<FileCompression> = Key::optional(
    "compression",
    "`none`; of `parquet` `zstd`",
    "\"gzip\"",
    "How finished files are compressed: `none`, `gzip` or `zstd`. Needs `layout`.",
);
static ROTATE_BYTES: Key<Bytes> = Key::default(
    "rotate_bytes",
    "\"128MiB\"",
    "\"1GiB\"",
    "A file is finished when its events have so many bytes, before it is compressed. Needs `layout`.",
);
static ROTATE_AFTER: Key<Positive> = Key::default(
    "rotate_after",
    "\"1h\"",
    "\"5m\"",
    "And so long after its first event was written, however few there are. Needs `layout`.",
);

pub(super) static KEYS: &[&dyn Describe] = &[&PATH, &LAYOUT, &FORMAT, &COMPRESSION, &ROTATE_BYTES, &ROTATE_AFTER];

/// Reads them.
pub(super) fn read(section: &Section<'_>) -> Option<File> {
    let (path, layout, format) = (section.get(&PATH), section.get(&LAYOUT), section.get(&FORMAT));
    let compression = section.get(&COMPRESSION);
    let (rotate_bytes, rotate_after) = (section.get(&ROTATE_BYTES), section.get(&ROTATE_AFTER));
    let Some(layout) = layout else {
        if section.item(LAYOUT.name()).is_some() {
            return None;
        }
        refuse_without_layout(section)?;
        return Some(File { path: path?, files: None });
    };
    let format = format?;
    if let (FileFormat::Parquet, false, Some(item)) = (format, layout.tells_tables_apart(), section.item(LAYOUT.name()))
    {
        let help = "put both into it: layout = \"{schema}/{table}/date={date}\"".to_owned();
        item.complain(
            "a Parquet file has one table's columns, and `layout` is without {schema} or {table}".to_owned(),
            Some(help),
        );
        return None;
    }
    if compression.is_none() && section.item(COMPRESSION.name()).is_some() {
        return None;
    }
    let compression = compression.unwrap_or(match format {
        FileFormat::Jsonl => FileCompression::None,
        FileFormat::Parquet => FileCompression::Zstd,
    });
    let (rotate_bytes, rotate_after) = (rotate_bytes?.0, rotate_after?.0);
    Some(File { path: path?, files: Some(Files { layout, format, compression, rotate_bytes, rotate_after }) })
}

/// What one growing file has no use for.
fn refuse_without_layout(section: &Section<'_>) -> Option<()> {
    let others: [&dyn Describe; 4] = [&FORMAT, &COMPRESSION, &ROTATE_BYTES, &ROTATE_AFTER];
    let Some(item) = others.iter().find_map(|key| section.item(key.name())) else { return Some(()) };
    let help = "add layout, and path is a directory: layout = \"{schema}/{table}/date={date}\"".to_owned();
    item.complain(
        format!("`{}` is for files in a directory, and without `layout` there is one file", item.path),
        Some(help),
    );
    None
}

impl Value for Layout {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a layout such as \"{schema}/{table}/date={date}\"")?;
        let layout = Layout::parse(&text);
        let layout = layout.inspect_err(|error| {
            item.complain(format!("`{}` cannot be a layout", item.written()), Some(error.to_string()));
        });
        layout.ok()
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "pattern": "^[^/]" })
    }
}
