//! What sinks hold is the same whichever log they are fed from.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::{Kafka, PgOptions, Postgres, Redis, Registry, Walbridge};

/// Values of which a format without types of its own keeps too little, beside plain ones.
const TYPES: [(&str, &[&str]); 22] = [
    ("numeric", &["'NaN'", "'Infinity'", "1.50", "-0.000", "123456789012345678901234567890.5"]),
    ("numeric(12,4)", &["1.5", "-7"]),
    ("float8", &["'NaN'", "'-Infinity'", "1e300", "0.1", "-0"]),
    ("float4", &["3.4e38", "1"]),
    ("int2", &["-7"]),
    ("bool", &["true", "false"]),
    ("text", &["''", "'null'", "'é \"x\" \\ '", "E'a\\nb'"]),
    ("bytea", &["'\\x00ff'"]),
    ("timestamptz", &["'infinity'", "'0044-03-15 12:00:00 BC'", "'2026-01-02 03:04:05.678901+05'"]),
    ("timestamp(3)", &["'-infinity'", "'2026-01-02 03:04:05.678'"]),
    ("date", &["'infinity'", "'1969-07-20'"]),
    ("time", &["'23:59:59.999999'", "'24:00:00'"]),
    ("timetz", &["'12:00:00+05:30'"]),
    ("interval", &["'1 year 2 mons -3 days 04:05:06.789'"]),
    ("jsonb", &["'{\"a\": [1, null, 1.50]}'"]),
    ("json", &["'{ \"b\":  1 }'"]),
    ("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    ("int4[]", &["'{1,NULL,3}'", "'[0:1]={7,8}'", "'{{1,2},{3,4}}'"]),
    ("text[]", &["'{a,\"b c\",NULL}'"]),
    ("int4range", &["'[1,5)'", "'empty'"]),
    ("inet", &["'10.0.0.1/8'"]),
    ("bit varying", &["B'1011'"]),
];

fn create(postgres: &Postgres) {
    let columns: Vec<String> = TYPES.iter().enumerate().map(|(index, (kind, _))| format!("c{index} {kind}")).collect();
    postgres.psql(&format!(
        "CREATE TABLE kinds (id int PRIMARY KEY, {});
         CREATE TABLE users (id int PRIMARY KEY, name text, about text);
         CREATE TABLE full_rows (id int, note text); ALTER TABLE full_rows REPLICA IDENTITY FULL;
         ALTER TABLE full_rows ADD PRIMARY KEY (id);
         ALTER TABLE users ALTER about SET STORAGE EXTERNAL;
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO walbridge",
        columns.join(", ")
    ));
}

/// Inserts, updates with and without unchanged TOAST, changed keys, deletes, truncates, a message, several in one transaction.
fn write(postgres: &Postgres) {
    let longest = TYPES.iter().map(|(_, values)| values.len()).max().expect("types");
    for id in 0..=longest {
        let values: Vec<&str> = TYPES.iter().map(|(_, values)| values.get(id).copied().unwrap_or("NULL")).collect();
        postgres.psql(&format!("INSERT INTO kinds VALUES ({id}, {})", values.join(", ")));
    }
    postgres.psql(
        "INSERT INTO users SELECT i, 'user ' || i, repeat('x' || i, 3000) FROM generate_series(1, 200) i;
         BEGIN; UPDATE users SET name = name || '!' WHERE id % 3 = 0; UPDATE users SET id = id + 1000 WHERE id % 5 = 0;
         DELETE FROM users WHERE id % 7 = 0; SELECT pg_logical_emit_message(true, 'outbox', 'a message'); COMMIT;
         INSERT INTO full_rows SELECT i, 'note ' || i FROM generate_series(1, 50) i;
         UPDATE full_rows SET note = NULL WHERE id = 1; UPDATE full_rows SET id = 99 WHERE id = 2; DELETE FROM full_rows WHERE id = 3;
         BEGIN; TRUNCATE full_rows; INSERT INTO full_rows VALUES (7, 'after'); COMMIT;
         UPDATE kinds SET c5 = NOT c5; ALTER TABLE users ADD COLUMN extra int; INSERT INTO users VALUES (5000, 'new', 'short', 7);
         UPDATE users SET about = 'short' WHERE id = 1",
    );
}

/// Of a sink whose keys are made of the key alone, and some of whose filter is of a value that is often not sent.
const SHAPE: &str = r#"shape = { where = "id % 2 = 0 AND about NOT LIKE '%x4%'", deleted = "name LIKE '%!'", columns = ["id AS user_id", "CASE WHEN id < 100 THEN 'low' ELSE 'high' END AS half", "upper(name) AS title", "name", "length(about) AS size"], mask = { name = 2 } }"#;

fn configuration(postgres: &Postgres, redis: &Redis, source: &str, database: u32, log: &str) -> String {
    let (url, redis) = (postgres.url(), redis.url());
    format!(
        "[sources.{source}]\nurl = \"{url}\"\ntables = [\"public.*\"]\nslot = \"same_{database}\"\npublication = \"same\"\n\
         snapshot = \"never\"\non_schema_change = \"follow\"\nmessages = true\n\
         [log]\npath = \"log\"\n{log}\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{redis}/{database}\"\nfrom = \"public.*\"\n\
         [sinks.hashes]\nkind = \"redis\"\nurl = \"{redis}/{}\"\nfrom = \"public.*\"\nvalue = \"hash\"\n\
         [sinks.history]\nkind = \"file\"\npath = \"history.jsonl\"\nfrom = \"public.*\"\n\
         [sinks.shaped]\nkind = \"redis\"\nurl = \"{redis}/{}\"\nfrom = \"public.users\"\nkey = \"{{half}}:{{user_id}}\"\n{SHAPE}\n\
         [sinks.search]\nkind = \"tantivy\"\npath = \"index\"\nfrom = \"public.users\"\n",
        database + 2,
        database + 4
    )
}

/// Everything in a database of Redis but walbridge's own place in the log, which is another log's.
async fn dump(redis: &Redis, database: u32) -> BTreeMap<String, String> {
    let mut connection = redis.connection().await;
    let _: () = redis::cmd("SELECT").arg(database).query_async(&mut connection).await.expect("an answer");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.expect("an answer");
    let mut found = BTreeMap::new();
    for key in keys.into_iter().filter(|key| !key.starts_with("walbridge")) {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.expect("an answer");
        let value = if kind == "hash" {
            let fields: BTreeMap<String, String> =
                redis::cmd("HGETALL").arg(&key).query_async(&mut connection).await.expect("an answer");
            format!("{fields:?}")
        } else {
            redis::cmd("GET").arg(&key).query_async(&mut connection).await.expect("an answer")
        };
        found.insert(key, value);
    }
    found
}

async fn hits(walbridge: &Walbridge) -> Vec<Value> {
    let answer = walbridge.get("/search/search?q=*&limit=1000").await.expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let mut hits = answer["hits"].as_array().expect("hits").clone();
    hits.iter_mut().for_each(|hit| _ = hit.as_object_mut().map(|hit| hit.remove("score")));
    hits.sort_by_key(Value::to_string);
    hits
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_derived_through_kafka_is_what_is_derived_through_the_embedded_log() {
    the_same("same-debezium", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_so_it_is_through_flat_json() {
    the_same("same-json", "format = \"json\"\ncloudevents = true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_through_avro_with_a_schema_registry() {
    let registry = Registry::shared().await;
    let log = format!("format = \"avro\"\nschema_registry = {{ url = \"{}\" }}", registry.url());
    the_same("same-avro", &log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_through_protobuf_with_a_schema_registry() {
    let registry = Registry::shared().await;
    let log = format!("format = \"protobuf\"\nschema_registry = {{ url = \"{}\" }}", registry.url());
    the_same("same-protobuf", &log).await;
}

/// Two walbridges capture the same history by slots of their own, one into the embedded log, one into topics of three partitions;
/// that one is stopped in the middle and goes on. What came out was to be the same to the byte: lines with Positions, JSON documents,
/// hashes, search hits.
async fn the_same(source: &str, log: &str) {
    let (kafka, postgres, redis) = (Kafka::shared(), Postgres::start(PgOptions::default()), Redis::start(&[]));
    create(&postgres);
    let embedded = configuration(&postgres, &redis, source, 0, "kind = \"embedded\"");
    let log = format!("kind = \"kafka\"\nbrokers = \"{}\"\ntopics = {{ partitions = 3 }}\n{log}", kafka.brokers());
    let on_kafka = configuration(&postgres, &redis, source, 1, &log);
    let mut both = [Walbridge::start(&embedded), Walbridge::start(&on_kafka)];
    for walbridge in &mut both {
        caught_up(walbridge, &postgres).await;
    }
    write(&postgres);
    caught_up(&mut both[1], &postgres).await;
    assert_eq!(both[1].sigterm(), Some(0), "{}", both[1].log());
    postgres.psql("UPDATE users SET name = 'while away' WHERE id < 20; DELETE FROM kinds WHERE id = 0");
    both[1].start_again();
    for walbridge in &mut both {
        caught_up(walbridge, &postgres).await;
    }
    let history = |walbridge: &Walbridge| std::fs::read_to_string(walbridge.directory().join("history.jsonl")).unwrap();
    let (ours, theirs) = (history(&both[0]), history(&both[1]));
    for (number, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {number}");
    }
    assert_eq!(ours.len(), theirs.len());
    assert!(ours.lines().count() > 400, "{}", ours.lines().count());
    let (ours, theirs) = (dump(&redis, 4).await, dump(&redis, 5).await);
    assert_eq!(ours, theirs, "shaped");
    let expected = postgres.psql(
        "SELECT CASE WHEN id < 100 THEN 'low' ELSE 'high' END || ':' || id || '=' || json_build_object('user_id', id, 'half',
         CASE WHEN id < 100 THEN 'low' ELSE 'high' END, 'title', upper(name), 'name', repeat('*', length(name) - 2) || right(name, 2), 'size', length(about))
         FROM users WHERE id % 2 = 0 AND about NOT LIKE '%x4%' AND NOT name LIKE '%!'",
    );
    let expected: BTreeMap<&str, Value> = expected
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, row)| (key, serde_json::from_str(row).unwrap()))
        .collect();
    let found: BTreeMap<&str, Value> =
        ours.iter().map(|(key, row)| (key.as_str(), serde_json::from_str(row).unwrap())).collect();
    assert_eq!(found, expected);
    assert!(found.len() > 20, "{}", found.len());
    for database in [0, 2] {
        let (ours, theirs) = (dump(&redis, database).await, dump(&redis, database + 1).await);
        assert_eq!(ours, theirs, "database {database}");
        assert!(ours.len() > 170, "{}", ours.len());
    }
    let (ours, theirs) = (hits(&both[0]).await, hits(&both[1]).await);
    assert_eq!(ours, theirs);
    assert!(ours.len() > 150, "{}", ours.len());
}
