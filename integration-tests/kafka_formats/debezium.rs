//! walbridge's records beside those of Debezium's own connector, for the same changes of the same server.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};
use walbridge::event::{Change, Event, OldRow, Relation, Row, Timestamp};
use walbridge::kafka::format::debezium::encoder;
use walbridge::kafka::format::{Records, Settings, Unit};
use walbridge::log::Limit;
use walbridge::log::embedded::ReadOnly;

use super::types::{COLUMNS, SETUP, Told, rows, table_of_types};
use crate::pipeline::caught_up;
use crate::support::debezium::Debezium;
use crate::support::kafka::Kafka;
use crate::support::{PgOptions, Postgres, Walbridge, eventually};

/// The source, the slot and the topics: no other test's, for the broker is shared.
const NAME: &str = "compared";
const PATIENCE: Duration = Duration::from_secs(240);

/// A record as the two are compared: what tells of processing is taken out.
#[derive(Clone, Debug, PartialEq)]
struct Compared {
    key: Value,
    value: Value,
    headers: BTreeMap<String, Value>,
}

/// Every type, operation and replica identity, copied and streamed. Of the connector's fields only those are not compared that
/// tell of processing (its version and clock) and the LSN, which is each change's own there and the commit's here.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_those_of_debeziums_own_connector() {
    let (postgres, kafka) = (Postgres::start(PgOptions::default()), Kafka::shared());
    postgres.psql(&format!("{SETUP}{}{TABLES}", table_of_types()));
    postgres.psql(&format!("{}INSERT INTO ops VALUES (100, 'copied', NULL);", rows(0)));
    let debezium = Debezium::start(
        &postgres,
        &kafka,
        NAME,
        &[
            ("publication.autocreate.mode", "all_tables"),
            ("skipped.operations", "none"),
            ("provide.transaction.metadata", "true"),
        ],
    );
    let source =
        format!("url = \"{}\"\ntables = [\"public.*\"]\ntables_without_key = \"full\"\n", postgres.superuser_url());
    let mut walbridge = Walbridge::start(&format!("[sources.{NAME}]\n{source}[log]\npath = \"log\"\n"));
    caught_up(&mut walbridge, &postgres).await;
    let topic = |table: &str| format!("{NAME}.public.{table}");
    arrived(&kafka, &debezium, &topic("ops"), 1).await;
    postgres.psql(&rows(1000));
    postgres.psql(CHANGES);
    caught_up(&mut walbridge, &postgres).await;
    arrived(&kafka, &debezium, &topic("sentinel"), 1).await;
    let ours = ours(&walbridge.directory().join("log").join(NAME));
    let mut complaints = Vec::new();
    for (topic, ours) in &ours {
        let theirs: Vec<Compared> = kafka.read(topic).iter().map(theirs).collect();
        if theirs.len() != ours.len() {
            complaints.push(format!("{topic}: {} records, theirs {}: {theirs:#?}", ours.len(), theirs.len()));
        }
        for (ours, theirs) in ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs) {
            complaints.push(format!("{topic} {}:\n{}", ours.key, differences(ours, theirs)));
        }
    }
    let known: Vec<&String> = ours.keys().collect();
    let topics = kafka.topics().into_iter().filter(|topic| topic.starts_with(NAME));
    complaints.extend(topics.filter(|topic| !known.contains(&topic)).map(|topic| format!("{topic} is theirs alone")));
    assert!(complaints.is_empty(), "{}\n{}", complaints.join("\n"), debezium.log());
}

async fn arrived(kafka: &Kafka, debezium: &Debezium, topic: &str, count: usize) {
    eventually(PATIENCE, || async {
        let found = if kafka.topics().iter().any(|known| known == topic) { kafka.read(topic).len() } else { 0 };
        if found >= count { Ok(()) } else { Err(format!("{found} records in {topic}: {}", debezium.log())) }
    })
    .await;
}

/// Our records by topic, made of the log's events.
fn ours(log: &Path) -> BTreeMap<String, Vec<Compared>> {
    let log = ReadOnly::open(log).expect("the log");
    let mut reader = log.reader(log.start()).expect("a reader");
    let settings = Settings {
        name: NAME.to_owned(),
        database: "postgres".to_owned(),
        tombstones: true,
        transactions: true,
        ..Settings::default()
    };
    let mut unit = Unit::new(&settings);
    let mut topics: BTreeMap<String, Vec<Compared>> = BTreeMap::new();
    let mut put = |topic: String, write: &mut dyn FnMut(&mut Records)| {
        let mut records = Records::default();
        write(&mut records);
        topics.entry(topic).or_default().extend(records.iter().map(told));
    };
    let boundaries = || format!("{NAME}.transaction");
    let mut open = None;
    let limit = Limit { events: 1000, bytes: 1 << 24 };
    while let Some(batch) = reader.next(&log, limit).expect("events") {
        for event in &batch.events {
            if open.as_ref() != Some(&event.transaction) {
                if unit.tells() {
                    put(boundaries(), &mut |records| unit.ended(records));
                }
                unit.begin(&event.transaction, Timestamp::now());
                open = Some(std::sync::Arc::clone(&event.transaction));
                if unit.tells() {
                    put(boundaries(), &mut |records| unit.begun(records));
                }
            }
            let mut records = Records::default();
            let topic = encode(event, &mut unit, &settings, &mut records);
            put(topic, &mut |out| std::mem::swap(out, &mut records));
        }
    }
    put(boundaries(), &mut |records| unit.ended(records));
    topics
}

fn told(record: walbridge::kafka::format::Record<'_>) -> Compared {
    let headers = record.headers();
    Compared {
        key: of_transaction(json(record.key)),
        value: cleaned(json(record.value)),
        headers: headers.filter_map(|(name, value)| Some((header(name)?, json(Some(value))))).collect(),
    }
}

/// Writes an event's records; returns their topic.
fn encode(event: &Event, unit: &mut Unit, settings: &Settings, records: &mut Records) -> String {
    let part = |letter: u8, row: &Row| [&[letter], row.as_bytes().as_ref()].concat();
    let old = |old: &OldRow| part(if matches!(old, OldRow::Full(_)) { b'O' } else { b'K' }, old.row());
    let body = match &event.change {
        Change::Insert { new, .. } | Change::Read { row: new, .. } => part(b'N', new),
        Change::Update { old: before, new, .. } => {
            [before.as_ref().map(old).unwrap_or_default(), part(b'N', new)].concat()
        }
        Change::Delete { old: before, .. } => old(before),
        Change::Truncate { .. } => Vec::new(),
        Change::Message { prefix, content } => {
            unit.message(event.ordinal, prefix, content, records);
            return format!("{NAME}.message");
        }
        Change::CopyBegun { relation } | Change::CopyDone { relation, .. } => {
            panic!("{} is copied again", relation.name)
        }
    };
    let relation: &std::sync::Arc<Relation> = event.change.relation().expect("a table");
    let encoder = encoder(relation, settings);
    encoder.change(unit, event.ordinal, event.change.op(), &body, records).expect("a change");
    format!("{NAME}.{}", relation.name).replace('\'', "_")
}

fn theirs(record: &crate::support::kafka::Record) -> Compared {
    let headers = record.headers.iter();
    Compared {
        key: of_transaction(json(record.key.as_deref())),
        value: cleaned(json(record.value.as_deref())),
        headers: headers.filter_map(|(name, value)| Some((header(name)?, json(Some(value))))).collect(),
    }
}

/// Headers that tell of the change.
fn header(name: &str) -> Option<String> {
    (!name.starts_with("__debezium.context.") && !name.starts_with("walbridge.")).then(|| name.to_owned())
}

fn json(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| numbers(serde_json::from_slice(bytes).expect("JSON")))
}

/// Floats by what they are, not by how they are written: Java 17 does not always find the shortest form.
fn numbers(value: Value) -> Value {
    match value {
        Value::Number(number) if number.to_string().contains(['.', 'e', 'E']) => {
            let float: f64 = number.to_string().parse().expect("a float");
            Value::String(format!("float {float:?}"))
        }
        Value::Array(list) => list.into_iter().map(numbers).collect(),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, numbers(value))).collect())
        }
        value => value,
    }
}

/// Without what tells of processing, of places, and of columns that the two tell apart; the order of members does not count.
fn cleaned(mut value: Value) -> Value {
    let copied = value["op"] == "r";
    let value_is_alone = value["message"]["prefix"] == "alone";
    if value.get("status").is_some() {
        return of_transaction(value);
    }
    let Some(envelope) = value.as_object_mut() else { return value };
    if let Some(transaction) = envelope.get_mut("transaction") {
        *transaction = of_transaction(transaction.take());
    }
    for name in ["ts_ms", "ts_us", "ts_ns"] {
        envelope.remove(name);
    }
    let source = envelope.get_mut("source").and_then(Value::as_object_mut).expect("a source");
    for name in ["version", "lsn", "sequence"] {
        source.remove(name).expect(name);
    }
    // Outside a transaction the connector has no clock but the last commit's.
    if copied || value_is_alone {
        ["snapshot", "txId", "ts_ms", "ts_us", "ts_ns"].iter().for_each(|name| drop(source.remove(*name)));
    }
    if source["table"] == "types" {
        let copied_date = COLUMNS.iter().position(|(name, ..)| *name == "date").filter(|_| copied);
        for side in ["before", "after"] {
            envelope.get_mut(side).and_then(Value::as_object_mut).map(|row| {
                only_told(row);
                // The connector's copy reads dates before 1582 by another calendar than its stream.
                copied_date.and_then(|index| row.remove(&format!("c{index}")))
            });
        }
    }
    value
}

/// A transaction's id without the place, which the connector takes anew from each record, and a message's count under its own name
/// instead of a Java object's.
fn of_transaction(mut value: Value) -> Value {
    let id = value.get_mut("id").filter(|id| id.is_string());
    if let Some(id) = id {
        let text = id.as_str().unwrap_or_default();
        let (xid, place) = text.split_once(':').expect("an id and a place");
        assert!(place.parse::<u64>().is_ok(), "{text}");
        *id = xid.into();
    }
    for counted in value.get_mut("data_collections").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = &mut counted["data_collection"];
        if name.as_str().is_some_and(|name| name.contains("LogicalDecodingMessageId@")) {
            *name = "message".into();
        }
    }
    // Theirs are in a hash map's order.
    if let Some(list) = value.get_mut("data_collections").and_then(Value::as_array_mut) {
        list.sort_by_key(|counted| counted["data_collection"].to_string());
    }
    value
}

/// Leaves in a row what both tell.
fn only_told(row: &mut Map<String, Value>) {
    for (index, (name, _, told)) in COLUMNS.iter().enumerate() {
        if *told != Told::Same {
            row.remove(&format!("c{index}"));
        } else if *name == "float4" {
            let column = format!("c{index}");
            let float = row.get(&column).and_then(Value::as_str).and_then(|text| text.strip_prefix("float "));
            if let Some(float) = float.and_then(|text| text.parse::<f32>().ok()) {
                row.insert(column, float.to_string().into());
            }
        } else if *name == "hstore" {
            // A map's order is no part of it.
            let column = format!("c{index}");
            let text = row.get(&column).and_then(Value::as_str).map(str::to_owned);
            if let Some(parsed) = text.and_then(|text| serde_json::from_str::<BTreeMap<String, Value>>(&text).ok()) {
                row.insert(column, serde_json::to_value(parsed).expect("a map"));
            }
        }
    }
}

fn differences(ours: &Compared, theirs: &Compared) -> String {
    let mut found = Vec::new();
    compare("key", &ours.key, &theirs.key, &mut found);
    compare("value", &ours.value, &theirs.value, &mut found);
    if ours.headers != theirs.headers {
        found.push(format!("headers: ours {:?}, theirs {:?}", ours.headers, theirs.headers));
    }
    found.join("\n")
}

fn compare(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for name in names {
                let of = |members: &Map<String, Value>| members.get(name).cloned().unwrap_or("(absent)".into());
                compare(&format!("{path}.{name}"), &of(ours), &of(theirs), found);
            }
        }
        _ if ours != theirs => {
            let column = path.rsplit(".c").next().and_then(|digits| digits.parse::<usize>().ok());
            let name = column.and_then(|index| COLUMNS.get(index)).map_or("", |(name, ..)| name);
            found.push(format!("  {path} {name}: ours {ours}, theirs {theirs}"));
        }
        _ => {}
    }
}

const TABLES: &str = r#"
CREATE TABLE ops (id int PRIMARY KEY, a text, b text);
CREATE TABLE everything (id int PRIMARY KEY, a text, b text); ALTER TABLE everything REPLICA IDENTITY FULL;
CREATE TABLE keyless_full (id int, a text); ALTER TABLE keyless_full REPLICA IDENTITY FULL;
CREATE TABLE by_index (id int NOT NULL UNIQUE, a text); ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_id_key;
CREATE TABLE two_keys (x text, y int, z timestamptz, v text, PRIMARY KEY (z, y));
CREATE TABLE typed_keys (n numeric, ts timestamp, PRIMARY KEY (n, ts));
CREATE TABLE "it's" ("I d" int PRIMARY KEY, "a.b" text, "é""x" text);
CREATE TABLE toast (id int PRIMARY KEY, t text, b bytea, j jsonb, ta text[], ia int[], n int);
ALTER TABLE toast ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL, ALTER ta SET STORAGE EXTERNAL,
    ALTER ia SET STORAGE EXTERNAL;
CREATE TABLE toast_full (LIKE toast INCLUDING ALL); ALTER TABLE toast_full REPLICA IDENTITY FULL;
CREATE TABLE sentinel (id int PRIMARY KEY);
"#;

const CHANGES: &str = r#"
INSERT INTO ops VALUES (1, 'a', 'b'); UPDATE ops SET a = 'c' WHERE id = 1; UPDATE ops SET id = 2 WHERE id = 1; UPDATE ops SET id = id;
DELETE FROM ops WHERE id = 2;
BEGIN; INSERT INTO ops VALUES (3, 'a', NULL), (4, 'a', NULL); UPDATE ops SET b = 'z'; COMMIT;
TRUNCATE ops;
INSERT INTO everything VALUES (1, 'a', 'b'); UPDATE everything SET a = 'c'; UPDATE everything SET id = 2; DELETE FROM everything;
TRUNCATE everything, ops RESTART IDENTITY CASCADE;
INSERT INTO keyless_full VALUES (1, 'a'); UPDATE keyless_full SET a = 'c';
INSERT INTO by_index VALUES (1, 'a'); UPDATE by_index SET a = 'c'; UPDATE by_index SET id = 5; DELETE FROM by_index;
INSERT INTO two_keys VALUES ('x', 1, '2026-01-01 00:00+00', 'v'); UPDATE two_keys SET v = 'w'; UPDATE two_keys SET y = 2; DELETE FROM two_keys;
INSERT INTO typed_keys VALUES (1.50, '2026-01-01 00:00'); DELETE FROM typed_keys;
INSERT INTO "it's" VALUES (1, 'a', 'b'); DELETE FROM "it's";
INSERT INTO toast SELECT 1, repeat('x', 3000), decode(repeat('ab', 3000), 'hex'), jsonb_build_object('a', repeat('y', 3000)), ARRAY[repeat('z', 3000)],
    (SELECT array_agg(g) FROM generate_series(1, 2000) g), 1;
INSERT INTO toast_full SELECT * FROM toast;
UPDATE toast SET n = 2; UPDATE toast SET id = 2; DELETE FROM toast;
UPDATE toast_full SET n = 2; UPDATE toast_full SET id = 2; UPDATE toast_full SET t = NULL; DELETE FROM toast_full;
SELECT pg_logical_emit_message(true, 'pre', 'hello'); SELECT pg_logical_emit_message(false, 'alone', '\x00ff'::bytea);
BEGIN; INSERT INTO ops VALUES (9, 'x', 'y'); SELECT pg_logical_emit_message(true, 'pre', 'inside'); COMMIT;
INSERT INTO sentinel VALUES (1);
"#;
