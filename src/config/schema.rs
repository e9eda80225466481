//! The keys as a JSON Schema for editors, and as a list for the documentation.

use serde_json::{Value as Json, json};

use super::key::{Absence, Describe, table_schema};
use super::{admin, aws, batch, kafka, log, registry, shape, sink, source, tantivy};

/// The JSON Schema (draft 2020-12) of a configuration file: what `walbridge schema` prints.
#[must_use]
pub fn json_schema() -> Json {
    let name = json!({ "pattern": "^[a-z][a-z0-9_-]{0,62}$" });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "walbridge configuration",
        "type": "object",
        "properties": {
            "sources": {
                "description": "The databases, by name.",
                "type": "object",
                "propertyNames": name,
                "additionalProperties": table_schema(source::KEYS),
                "minProperties": 1,
            },
            "log": log::schema(),
            "sinks": {
                "description": "The targets, by name.",
                "type": "object",
                "propertyNames": name,
                "additionalProperties": sink::schema(),
            },
            "admin": table_schema(admin::KEYS),
        },
        "required": ["sources", "log"],
        "additionalProperties": false,
    })
}

/// A key as the documentation shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDocumentation {
    /// `sinks.NAME.ttl`, `log.retain.age`.
    pub path: String,
    /// The kind of sink it belongs to, if only to one.
    pub kind: Option<&'static str>,
    /// What holds without it: `required`, the default as TOML, or what that means.
    pub default: String,
    /// A TOML value.
    pub example: &'static str,
    /// What it is for.
    pub about: &'static str,
}

/// Every key, in the order of the documentation.
#[must_use]
pub fn documented_keys() -> Vec<KeyDocumentation> {
    let mut keys = Vec::new();
    let mut add = |prefix: &str, kind: Option<&'static str>, described: &[&dyn Describe]| {
        keys.extend(described.iter().map(|key| KeyDocumentation {
            path: format!("{prefix}.{}", key.name()),
            kind,
            default: match key.absence() {
                Absence::Refused => "required".to_owned(),
                Absence::Default(text) => format!("`{text}`"),
                Absence::Means(text) => text.to_owned(),
            },
            example: key.example(),
            about: key.about(),
        }));
    };
    add("sources.NAME", None, source::KEYS);
    for (kind, described) in log::keys() {
        add("log", kind, described);
    }
    add("log.retain", Some("embedded"), log::RETAIN_KEYS);
    let of_kafka = [
        ("topics", kafka::TOPICS_KEYS),
        ("tls", kafka::TLS_KEYS),
        ("sasl", kafka::SASL_KEYS),
        ("schema_registry", registry::KEYS),
    ];
    for (table, described) in of_kafka {
        add(&format!("log.{table}"), Some("kafka"), described);
    }
    for (kind, described) in sink::keys() {
        add("sinks.NAME", kind, described);
        if kind.is_none() {
            add("sinks.NAME.batch", None, batch::BATCH_KEYS);
            add("sinks.NAME.shape", None, shape::KEYS);
        }
    }
    add("sinks.NAME.analyzers.NAME", Some("tantivy"), tantivy::ANALYZER_KEYS);
    for (table, described) in of_kafka {
        add(&format!("sinks.NAME.{table}"), Some("kafka"), described);
    }
    add("sinks.NAME.aws", Some("opensearch"), aws::KEYS);
    add("admin", None, admin::KEYS);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_and_every_example_is_a_value_of_its_key() {
        let kinds = sink::keys().chain(log::keys()).map(|(_, keys)| keys);
        let kafka = [kafka::TOPICS_KEYS, kafka::TLS_KEYS, kafka::SASL_KEYS, registry::KEYS];
        let keys = [
            source::KEYS,
            log::RETAIN_KEYS,
            admin::KEYS,
            aws::KEYS,
            batch::BATCH_KEYS,
            shape::KEYS,
            tantivy::ANALYZER_KEYS,
        ]
        .into_iter()
        .chain(kinds)
        .chain(kafka);
        for keys in keys {
            for key in keys {
                let read = key.reads_its_own_texts();
                assert!(read.is_ok(), "{read:?}");
            }
        }
    }

    #[test]
    fn the_schema_has_every_key() {
        let schema = json_schema().to_string();
        for key in documented_keys() {
            let name = key.path.rsplit('.').next().expect("a name");
            assert!(schema.contains(&format!("\"{name}\"")), "{name}");
            assert!(schema.contains(key.about.split('"').next().expect("text")), "{name}");
        }
    }
}
