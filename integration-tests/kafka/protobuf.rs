//! Protobuf with a registry, as other consumers meet it: another implementation reads the records by the schemas that the registry
//! has.

use std::collections::{BTreeMap, HashMap};

use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use protox::file::{File, FileResolver};

use super::Stage;
use super::schemas::id;
use crate::support::{Kafka, Registry};

/// Reads records by the schemas that the registry has.
pub(crate) struct Consumer<'r> {
    registry: &'r Registry,
    messages: HashMap<u32, MessageDescriptor>,
}

impl<'r> Consumer<'r> {
    pub(crate) fn new(registry: &'r Registry) -> Self {
        Consumer { registry, messages: HashMap::new() }
    }

    pub(crate) async fn read(&mut self, bytes: &[u8]) -> DynamicMessage {
        let id = id(bytes);
        if !self.messages.contains_key(&id) {
            self.messages.insert(id, first_message(&self.registry.schema(id).await));
        }
        read_as(&self.messages[&id], bytes)
    }
}

/// Reads a record as a message: nothing may be in it that the message's schema does not tell of.
fn read_as(message: &MessageDescriptor, bytes: &[u8]) -> DynamicMessage {
    assert_eq!((bytes[0], bytes[5]), (0, 0), "the magic byte, and the index of the first message");
    let read = DynamicMessage::decode(message.clone(), &bytes[6..]).expect("a message of the schema");
    known(&read);
    read
}

fn known(message: &DynamicMessage) {
    assert_eq!(message.unknown_fields().count(), 0, "{message:?}");
    message.fields().filter_map(|(_, value)| value.as_message()).for_each(known);
}

/// Compiles a file, and gives its first message.
fn first_message(text: &str) -> MessageDescriptor {
    struct Text(String);
    impl FileResolver for Text {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            File::from_source(name, &self.0)
        }
    }
    let mut compiler = protox::Compiler::with_file_resolver(Text(text.to_owned()));
    compiler.open_file("schema.proto").unwrap_or_else(|error| panic!("{error}\n{text}"));
    let pool = compiler.descriptor_pool();
    pool.get_file_by_name("schema.proto").and_then(|file| file.messages().next()).expect("a message")
}

/// The fields that are there, by their names.
pub(crate) fn fields(message: &DynamicMessage) -> BTreeMap<String, Value> {
    message.fields().map(|(field, value)| (field.name().to_owned(), value.clone())).collect()
}

/// A member that is a message.
pub(crate) fn member(message: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    fields(message).remove(name).and_then(|value| value.as_message().cloned())
}

/// The rows of an envelope, by the names of their fields.
fn rows(envelope: &DynamicMessage) -> [Option<BTreeMap<String, Value>>; 2] {
    ["before", "after"].map(|name| member(envelope, name).map(|row| fields(&row)))
}

/// A value as `psql` writes it.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::I64(number)) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

/// A table gets a column, loses one, and one of another type; one comes back that was there before, is renamed, and integers grow.
/// The registry takes each version by its own rule (`BACKWARD_TRANSITIVE`), nothing halts, and whoever has the newest schema reads the whole
/// topic by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_in_protobuf_may_change_as_it_likes() {
    let (kafka, registry) = (Kafka::shared(), Registry::shared().await);
    let log = format!("format = \"protobuf\"\nschema_registry = {{ url = \"{}\" }}", registry.url());
    let mut stage = Stage::set(&kafka, &log);
    stage.caught_up().await;
    let subjects = ["value", "key"].map(|of| format!("{}-{of}", stage.topic("t")));
    for subject in &subjects {
        assert_eq!(registry.versions(subject).await, 1);
        registry.set_compatibility(subject, "BACKWARD_TRANSITIVE").await;
    }
    for (ddl, versions) in [
        ("ALTER TABLE t ADD COLUMN \"größer als\" int", 2),
        ("ALTER TABLE t DROP COLUMN v", 3),
        ("ALTER TABLE t ALTER \"größer als\" TYPE bigint", 3),
        ("ALTER TABLE t ALTER n TYPE text", 4),
        ("ALTER TABLE t ADD COLUMN v text", 5),
        ("ALTER TABLE t RENAME v TO w", 6),
        ("ALTER TABLE t ALTER id TYPE bigint", 6),
        ("ALTER TABLE t ADD COLUMN tags text[]; ALTER TABLE t DROP COLUMN tags", 6),
    ] {
        let rows = "INSERT INTO t SELECT max(id) + 1 FROM t; UPDATE t SET n = n WHERE id < 4";
        stage.postgres.psql(&format!("ALTER TABLE t ALTER n DROP NOT NULL; {ddl}; {rows}"));
        stage.caught_up().await;
        assert_eq!(registry.versions(&subjects[0]).await, versions, "{ddl}: {}", stage.walbridge.log());
    }
    assert_eq!(stage.walbridge.sigterm(), Some(0), "{}", stage.walbridge.log());
    stage.walbridge.start_again();
    stage
        .postgres
        .psql("UPDATE t SET w = 'row ' || id, \"größer als\" = id WHERE id <> 7; UPDATE t SET id = -id WHERE id = 7");
    stage.caught_up().await;
    assert_eq!((registry.versions(&subjects[0]).await, registry.versions(&subjects[1]).await), (6, 1));

    let latest = registry.get(&format!("/subjects/{}/versions/latest", subjects[0])).await;
    let latest = first_message(latest["schema"].as_str().expect("a schema"));
    let mut consumer = Consumer::new(&registry);
    let mut table = BTreeMap::new();
    for record in kafka.read_settled(&stage.topic("t")) {
        let key = consumer.read(record.key.as_deref().expect("a key")).await;
        let key = fields(&key)["id"].as_i64().expect("a number");
        let Some(value) = record.value.as_deref() else {
            table.remove(&key);
            continue;
        };
        let (by_its_own, by_latest) = (consumer.read(value).await, read_as(&latest, value));
        assert_eq!(rows(&by_its_own), rows(&by_latest));
        let [_, after] = rows(&by_latest);
        match after {
            None => drop(table.remove(&key)),
            Some(row) => drop(table.insert(key, row)),
        }
    }
    let names = ["id", "n_string", "gr_u00f6_u00dfer_u0020als", "w"];
    let row = |row: &BTreeMap<String, Value>| names.map(|name| shown(row.get(name))).join("|");
    let found: Vec<String> = table.values().map(row).collect();
    let expected = stage.postgres.psql("SELECT id, n, \"größer als\", w FROM t ORDER BY id");
    assert_eq!(found.join("\n"), expected, "{}", stage.walbridge.log());
    assert!(table.len() > 15, "{}", table.len());
}
