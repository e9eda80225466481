//! The configuration: a TOML file, read into types that are valid by construction.
//!
//! Two levels. The keys are declared once (`key`), with type, default and meaning; a file is read by those declarations, and
//! every mistake in it is found in one go. What comes out, [`Config`], holds no text that would have to be parsed later.
//!
//! Invariants: an unknown key is a mistake; secrets are in `SecretString` and in no message.

mod admin;
mod aws;
mod batch;
mod cross;
mod error;
mod exec;
mod file;
mod interpolate;
mod kafka;
mod key;
mod log;
mod mask;
pub mod messages;
mod opensearch;
mod pattern;
mod policy;
mod postgres;
mod reader;
mod redis;
mod registry;
mod schema;
mod shape;
mod sink;
mod source;
mod tantivy;
mod units;
mod value;
mod webhook;

use std::fs;
use std::path::Path;

use toml::de::{DeTable, DeValue};

pub use self::admin::Admin;
pub use self::batch::BatchLimits;
pub use self::error::{ConfigErrors, Mistake, Place};
pub use self::log::{Log, Retain};
pub use self::messages::Messages;
pub use self::pattern::TablePatterns;
pub use self::policy::{
    Failover, OnHistoryBreak, OnSchemaChange, OnTableDrop, OnTruncate, OnWalBudget, TablesWithoutKey,
};
pub use self::redis::{Redis, RedisForm, RedisServer, RedisValue};
pub use self::schema::{KeyDocumentation, documented_keys, json_schema};
pub use self::shape::Shape;
pub use self::sink::{OnReject, Sink, Target};
pub use self::source::{OriginMode, SnapshotMode, Source, Values};
pub use self::units::{parse_duration, parse_size};
pub use exec::Exec;
pub use file::{File, FileCompression, FileFormat, Files};
pub use opensearch::OpenSearch;
pub use postgres::Postgres;
pub use tantivy::{Analyzer, Tantivy};
pub use webhook::Webhook;

use self::error::Complaint;
use self::key::{Section, did_you_mean};
use self::reader::Reader;

/// All of it. At least one source; names are unique; every sink's source is there.
#[derive(Clone, Debug)]
pub struct Config {
    /// In the order of the file.
    pub sources: Vec<Source>,
    /// The log.
    pub log: Log,
    /// In the order of the file.
    pub sinks: Vec<Sink>,
    /// The admin port.
    pub admin: Admin,
}

/// Nobody writes so much by hand.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The tables at the top.
const TABLES: [&str; 4] = ["sources", "log", "sinks", "admin"];

/// Reads a configuration file. `${NAME}` is taken from the process's environment; relative paths start at the file's directory.
///
/// # Errors
/// All mistakes at once.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let refuse = |why: String| {
        ConfigErrors::of_file(path, format!("cannot read the configuration: {why}"), "name it with --config FILE")
    };
    let size = fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(refuse(format!("{size} bytes are too many for one")));
    }
    let source = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    parse(&source, path, &|name| std::env::var(name).ok())
}

/// Reads a configuration from text, with an environment of the caller's choice. `path` is where the text is from.
///
/// # Errors
/// All mistakes at once.
pub fn parse(source: &str, path: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
    let (document, errors) = DeTable::parse_recoverable(source);
    if !errors.is_empty() {
        // What was made of the rest is a guess; complaints about it could be wrong.
        let complaints = errors.iter().map(syntax_complaint).collect();
        return Err(ConfigErrors::locate(path, source, complaints));
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = absolute.parent().unwrap_or(Path::new("/"));
    let reader = Reader::new(source, directory, environment);
    let config = read(&reader, document.get_ref());
    let complaints = reader.into_complaints();
    match config {
        Some(config) if complaints.is_empty() => Ok(config),
        _ => Err(ConfigErrors::locate(path, source, complaints)),
    }
}

fn syntax_complaint(error: &toml::de::Error) -> Complaint {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    Complaint { key: String::new(), span: error.span().or(Some(0..0)), message, help: None }
}

fn read<'a>(reader: &'a Reader<'a>, document: &'a DeTable<'a>) -> Option<Config> {
    let top = Section::top(reader, document);
    for (name, span, _) in top.items().filter(|(name, ..)| !TABLES.contains(name)) {
        let help = did_you_mean(name, TABLES.into_iter());
        reader.complain(name, Some(span), format!("unknown table `{name}`"), Some(help));
    }
    let sources = named(&top, "sources", source::read);
    if sources.is_empty() {
        refuse_without(&top, "sources", "there is no source", "add [sources.NAME] with url and tables");
    }
    let log = match top.table("log") {
        Some(section) => log::read(&section),
        None => {
            refuse_without(&top, "log", "there is no [log]", "add [log] with path = \"/var/lib/walbridge\"");
            None
        }
    };
    let sinks = named(&top, "sinks", sink::read);
    let nothing = DeTable::new();
    let admin = match top.table("admin") {
        Some(section) => admin::read(&section),
        None => admin::read(&Section::top(reader, &nothing)),
    };
    let sinks = cross::check(&log, &sources, sinks);
    let sources = sources.into_iter().map(|source| source.value).collect::<Option<_>>();
    Some(Config { sources: sources?, log: log?, sinks: sinks?, admin: admin? })
}

/// Complains of a table that must be there, unless something of that name is and has been complained of.
fn refuse_without(top: &Section<'_>, name: &str, message: &str, help: &str) {
    if top.item(name).is_none_or(|item| matches!(item.value.get_ref(), DeValue::Table(table) if table.is_empty())) {
        top.complain_of_file(name, message, help);
    }
}

/// A table under a name that the user chose. `value` is `None` if something in it is wrong, which has been complained of.
struct Named<'a, T> {
    name: &'a str,
    section: Section<'a>,
    value: Option<T>,
}

/// The tables in a table of tables, each read.
fn named<'a, T>(top: &Section<'a>, name: &str, read: impl Fn(&str, &Section<'a>) -> Option<T>) -> Vec<Named<'a, T>> {
    let Some(section) = top.table(name) else { return Vec::new() };
    let tables = section.items().filter_map(|(name, span, item)| {
        let valid = is_name(name);
        if !valid {
            let help =
                "a name has 1 to 63 lower-case letters, digits, - and _, a letter first; and it is not dead-letters"
                    .to_owned();
            item.reader.complain(&item.path, Some(span.clone()), format!("`{name}` cannot be a name"), Some(help));
        }
        let section = Section::of(&item, span)?;
        let value = read(name, &section).filter(|_| valid);
        Some(Named { name, section, value })
    });
    tables.collect()
}

/// Names become directories, labels and parts of URLs.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    name != log::DEAD_LETTERS
        && name.len() <= 63
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(source: &str) -> Result<Config, ConfigErrors> {
        let environment = |name: &str| (name == "PG").then(|| "postgres://u:canary@localhost/shop".to_owned());
        parse(source, Path::new("/etc/walbridge/walbridge.toml"), &environment)
    }

    const LEAST: &str = "[sources.shop-1]\nurl = '${PG}'\ntables = 'public.*'\n[log]\npath = 'log'\n";

    #[test]
    fn the_least_that_must_be_written_is_completed_by_defaults() {
        let config = read(&format!("{LEAST}[sinks.f]\nkind='file'\nfrom='public.*'\npath='/tmp/f'\n")).expect("valid");
        let source = &config.sources[0];
        assert_eq!((source.slot.as_str(), source.publication.as_str()), ("walbridge_shop_1", "walbridge_shop_1"));
        assert_eq!(source.snapshot, SnapshotMode::Initial);
        assert_eq!(config.log.path_of("shop-1"), Path::new("/etc/walbridge/log/shop-1"), "beside the file");
        let week = Retain { age: Some(Duration::from_secs(604_800)), size_bytes: Some(50 << 30) };
        assert_eq!(config.log.retain, week);
        assert_eq!(config.admin.listen.to_string(), "127.0.0.1:7431");
        assert_eq!(config.sinks[0].source, "shop-1");
        assert_eq!(config.sinks[0].batch, BatchLimits { rows: 10_000, bytes: 8 << 20, linger: Duration::ZERO });
    }

    #[test]
    fn a_limit_can_be_lifted_and_one_of_two_be_given() {
        let config = read(&format!("{LEAST}retain = {{ age = 'unlimited' }}\n")).expect("valid");
        assert_eq!(config.log.retain, Retain { age: None, size_bytes: Some(50 << 30) });
    }

    #[test]
    fn what_is_resolved_shows_no_secret() {
        let config = read(&format!("{LEAST}[admin]\ntoken = 'canary-canary-canary'\n")).expect("valid");
        assert!(!format!("{config:?}").contains("canary"));
    }
}
