//! Examples and documentation hold what the program holds: every file in `config/` loads, every example in the documentation
//! does, every key is documented and every documented key exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use walbridge::config::{self, Config, ConfigErrors, KeyDocumentation};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("config")).expect("config/");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    files
}

/// Where the examples' secrets are, as an operator would have them.
fn secrets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, text) in
        [("shop-password", "a\n"), ("crm-password", "b\n"), ("admin-token", "0123456789abcdef0123456789abcdef\n")]
    {
        fs::write(folder.path().join(file), text).expect("written");
    }
    folder
}

fn load(text: &str, path: &Path, secrets: &Path) -> Result<Config, ConfigErrors> {
    let environment = |name: &str| {
        Some(match name {
            "DATABASE_URL" | "DEMO_PG_URL" => "postgres://walbridge:secret@localhost/network".to_owned(),
            "SEARCH_PASSWORD" => "secret".to_owned(),
            "WEBHOOK_SECRET" => "a secret of some length".to_owned(),
            "KAFKA_BROKERS" => "localhost:9092".to_owned(),
            "REDIS_URL" | "DEMO_REDIS_URL" => "redis://localhost:6379".to_owned(),
            "DEMO_DIR" => "/tmp/demo".to_owned(),
            "DEMO_ADMIN" => "127.0.0.1:7431".to_owned(),
            "HASH_KEY" => "0123456789abcdef".to_owned(),
            "WALBRIDGE_TOKEN" => "0123456789abcdef0123456789abcdef".to_owned(),
            "SECRETS" => secrets.to_string_lossy().into_owned(),
            _ => return None,
        })
    };
    config::parse(text, path, &environment)
}

#[test]
fn every_example_loads() {
    let secrets = secrets();
    for path in examples() {
        let text = fs::read_to_string(&path).expect("text");
        let loaded = load(&text, &path, secrets.path());
        assert!(loaded.is_ok(), "{}", loaded.expect_err("checked").render(false));
        assert!(text.starts_with("# "), "{}: begin with what it is for", path.display());
    }
}

#[test]
fn every_whole_configuration_in_the_documents_loads() {
    let secrets = secrets();
    let mut found = 0;
    for document in ["README.md", "docs/configuration.md", "docs/operating.md", "docs/search.md", "docs/shaping.md"] {
        let text = fs::read_to_string(root().join(document)).expect("text");
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            if !block.contains("[sources.") || !block.contains("[log]") {
                continue;
            }
            let loaded = load(block, &root().join(document), secrets.path());
            assert!(loaded.is_ok(), "{document}:\n{}", loaded.expect_err("checked").render(false));
            found += 1;
        }
    }
    assert!(found >= 2, "only {found} found");
}

/// A key's line in `docs/configuration.md`.
fn line(key: &KeyDocumentation) -> String {
    format!("| `{}` | `{}` | {} | {} |", key.path, key.example, key.default, key.about)
}

#[test]
fn the_documentation_has_every_key_as_it_is_declared_and_no_other() {
    let text = fs::read_to_string(root().join("docs/configuration.md")).expect("docs/configuration.md");
    let is_key = |line: &&str| {
        let tables = ["sources.", "log.", "sinks.", "admin."];
        line.strip_prefix("| `").is_some_and(|rest| tables.iter().any(|table| rest.starts_with(table)))
    };
    let documented: BTreeSet<&str> = text.lines().filter(is_key).collect();
    let declared: Vec<String> = config::documented_keys().iter().map(line).collect();
    let missing: Vec<&String> = declared.iter().filter(|line| !documented.contains(line.as_str())).collect();
    let unknown: Vec<&&str> = documented.iter().filter(|line| !declared.iter().any(|known| known == **line)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing:\n{missing:#?}\nnot (or no longer) so:\n{unknown:#?}");
}

/// Collects `path → whether it is a key` from a schema: every property of every object.
fn schema_keys(schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    for alternative in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        schema_keys(alternative, path, keys);
    }
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        keys.insert(path.clone());
        schema_keys(inner, &path, keys);
    }
    if let Some(named) = schema.get("additionalProperties").filter(|inner| inner.is_object()) {
        schema_keys(named, &format!("{path}.NAME"), keys);
    }
}

#[test]
fn the_schema_has_the_documented_keys_and_no_others() {
    let mut keys = BTreeSet::new();
    schema_keys(&config::json_schema(), "", &mut keys);
    for table in ["sources", "log", "sinks", "admin"] {
        assert!(keys.remove(table), "{table}");
    }
    let documented: BTreeSet<String> = config::documented_keys().into_iter().map(|key| key.path).collect();
    assert_eq!(keys, documented);
}

#[test]
fn the_schema_refuses_unknown_keys_everywhere() {
    let schema = config::json_schema();
    let open = |value: &Value| {
        value.get("properties").is_some() && value.get("additionalProperties") == Some(&Value::Bool(true))
    };
    fn any(value: &Value, test: &impl Fn(&Value) -> bool) -> bool {
        test(value)
            || match value {
                Value::Object(fields) => fields.values().any(|inner| any(inner, test)),
                Value::Array(items) => items.iter().any(|inner| any(inner, test)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
            }
    }
    let unstated = |value: &Value| {
        value.get("type") == Some(&Value::from("object")) && value.get("additionalProperties").is_none()
    };
    assert!(!any(&schema, &open) && !any(&schema, &unstated));
}
