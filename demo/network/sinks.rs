//! What `config/demo.toml` says of its sinks: the demo follows the file, so that one may play with that.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// A sink of the demo's configuration.
#[derive(Clone, Debug)]
pub(crate) struct SinkPlan {
    /// Its name.
    pub(crate) name: String,
    /// `redis`, `tantivy`, `file`.
    pub(crate) kind: String,
    /// The tables it takes: `public.users`, `public.*`, `!public.audit`.
    pub(crate) from: Vec<String>,
    /// How it names a row: `user:{id}`.
    pub(crate) key: String,
    /// What a Redis key holds: `json`, `hash`, `invalidate`.
    pub(crate) value: String,
    /// A file's path, or an index's folder.
    pub(crate) path: PathBuf,
}

impl SinkPlan {
    /// Whether it takes a table. As in the configuration, `!` leaves out what came before.
    pub(crate) fn takes(&self, table: &str) -> bool {
        let fits = |pattern: &str| match pattern.split_once('*') {
            Some((begin, end)) => table.starts_with(begin) && table.ends_with(end),
            None => table == pattern,
        };
        self.from.iter().fold(false, |taken, pattern| match pattern.strip_prefix('!') {
            Some(pattern) => taken && !fits(pattern),
            None => taken || fits(pattern),
        })
    }
}

/// The sinks in the file's order, with the environment's values in place of `${NAME}`.
pub(crate) fn read(config: &Path, environment: &[(&str, &str)]) -> Vec<SinkPlan> {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    let text = environment.iter().fold(text, |text, (name, value)| text.replace(&format!("${{{name}}}"), value));
    let parsed = text.parse::<Table>();
    assert!(parsed.is_ok(), "{}: {:?}", config.display(), parsed.err());
    let parsed = parsed.unwrap_or_default();
    let sinks = parsed.get("sinks").and_then(Value::as_table);
    sinks.into_iter().flatten().map(|(name, sink)| plan(name, sink)).collect()
}

fn plan(name: &str, sink: &Value) -> SinkPlan {
    let text = |key: &str| sink.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let from = match sink.get("from") {
        Some(Value::String(pattern)) => vec![pattern.clone()],
        Some(Value::Array(patterns)) => patterns.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let value = Some(text("value")).filter(|value| !value.is_empty()).unwrap_or_else(|| "json".to_owned());
    SinkPlan { name: name.to_owned(), kind: text("kind"), from, key: text("key"), value, path: text("path").into() }
}
