//! Files of events, from a database through walbridge: every event once whatever is killed, every value as `SELECT` has it, disks that take nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::pipeline::caught_up;
use crate::shop::PATIENCE;
use crate::support::{PgOptions, Postgres, Walbridge, eventually, store};

/// A database, and walbridge that writes two stores of it: of JSON Lines and of Parquet.
struct World {
    postgres: Postgres,
    walbridge: Walbridge,
    home: tempfile::TempDir,
}

impl World {
    /// Nothing is started but the database.
    fn with(schema: &str, rotation: &str) -> World {
        let (postgres, home) = (Postgres::start(PgOptions::default()), tempfile::tempdir().expect("a directory"));
        postgres.psql(schema);
        let sink = |name: &str, more: &str| {
            format!(
                "[sinks.{name}]\nkind = \"file\"\nfrom = \"public.*\"\npath = \"{}/{name}\"\n\
                 layout = \"{{schema}}/{{table}}/date={{date}}\"\n{rotation}\n{more}\n",
                home.path().display()
            )
        };
        let config = format!(
            "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\n[log]\npath = \"{}/log\"\n{}{}",
            postgres.url(),
            home.path().display(),
            sink("lines", "compression = \"zstd\""),
            sink("parquet", "format = \"parquet\""),
        );
        let walbridge = Walbridge::configured(&config);
        World { postgres, walbridge, home }
    }

    fn store(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Waits until nothing is left to be finished.
    async fn all_finished(&mut self) {
        caught_up(&mut self.walbridge, &self.postgres).await;
        let unfinished = |name| store::finished(&self.store(name).join(".walbridge/unfinished"));
        eventually(PATIENCE, || async {
            match [unfinished("lines"), unfinished("parquet")].concat() {
                left if left.is_empty() => Ok(()),
                left => Err(left),
            }
        })
        .await;
    }
}

/// The place of an event, wherever it was read.
fn place(event: &Value) -> (u64, u64, u64) {
    let number = |value: &Value| value.as_u64().expect("a number");
    match &event["position"] {
        Value::Null => (number(&event["epoch"]), number(&event["commit_lsn"]), number(&event["ordinal"])),
        position => {
            let lsn: walbridge::event::Lsn =
                position["commit_lsn"].as_str().and_then(|lsn| lsn.parse().ok()).expect("an LSN");
            (number(&position["epoch"]), lsn.get(), number(&position["ordinal"]))
        }
    }
}

/// Each place once, and in the order of a listing.
fn places(events: &[Value]) -> BTreeSet<(u64, u64, u64)> {
    let all: Vec<_> = events.iter().map(place).collect();
    assert!(all.is_sorted_by(|one, other| one < other), "an event is there twice, or stands before an earlier one");
    all.into_iter().collect()
}

/// `n` of each row, by its `id`, after these events in their order.
fn rows(events: &[Value]) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut rows = BTreeMap::new();
    for event in events {
        let before = if event["before"].is_object() { &event["before"] } else { &event["key"] };
        rows.remove(&text(&before["id"]));
        if event["after"].is_object() {
            rows.insert(text(&event["after"]["id"]), text(&event["after"]["n"]));
        }
    }
    rows
}

/// Scenario: SIGKILL at random moments, with files so small that one is being finished all the time. What the two stores hold is every event
/// once and in order, both the same, and comes to what `SELECT` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_in_one_file_whatever_is_killed() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(u64::from(std::process::id()));
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let schema = "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 500) i";
    let mut world = World::with(schema, "rotate_bytes = \"4KiB\"\nrotate_after = \"300ms\"");
    world.walbridge.start_again();
    for kill in 0..8 {
        for _ in 0..10 {
            let at = random.random_range(1..500);
            world.postgres.psql(&format!(
                "UPDATE t SET n = n + 1 WHERE id BETWEEN {at} AND {at} + 20; DELETE FROM t WHERE id = {at}; INSERT INTO t VALUES ({}, {kill}) ON CONFLICT DO NOTHING",
                random.random_range(500..600),
            ));
        }
        // Not a wait for something: the moment is the test.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
        world.walbridge.sigkill();
        world.walbridge.go_on();
    }
    world.all_finished().await;
    let wanted: BTreeMap<String, String> = world
        .postgres
        .psql("SELECT id || '=' || n FROM t")
        .lines()
        .map(|row| row.split_once('=').map(|(id, n)| (id.to_owned(), n.to_owned())).expect("a row"))
        .collect();
    let lines: Vec<Value> = store::lines(&world.store("lines")).into_values().flatten().collect();
    let parquet = store::parquet(&world.store("parquet"));
    assert!(store::finished(&world.store("parquet")).len() > 10, "many files");
    assert_eq!(places(&lines), places(&parquet));
    assert_eq!(rows(&lines), wanted);
    assert_eq!(rows(&parquet), wanted);
    assert_eq!(world.walbridge.sigterm(), Some(0), "{}", world.walbridge.log());
}

/// A column of each kind, with values at the edges.
const TYPES: &str = r#"
CREATE TABLE types (id int8 PRIMARY KEY, b bool, i2 int2, i4 int4, o oid, f4 float4, f8 float8, money2 numeric(12,2), wide numeric(38,10), any_number numeric,
    t text, "Strange ""name""" varchar(20), u uuid, j json, jb jsonb, raw bytea, d date, at time, atz timetz, ts timestamp, tsz timestamptz, tags text[], span int4range);
ALTER TABLE types REPLICA IDENTITY FULL;
INSERT INTO types VALUES
  (1, true, -32768, 2147483647, 4294967295, 0.1, 1e300, -1234567890.12, 1234567890123456789012345678.0123456789, 1e-20, E'a\n"b"\t\\', 'ä', '6f1c0f4e-2b1a-4f6e-9d55-000000000001', '{"a" : 1}', '{"b": [1, null]}',
   '\x00ff10', '2026-11-27', '23:59:59.999999', '10:00:00+02', '2026-11-27 10:00:00.5', '2026-11-27 10:00:00.000001+00', '{a,NULL,"b c"}', '[1,5)'),
  (-9223372036854775808, false, 0, -2147483648, 0, 'NaN', '-Infinity', 'NaN', 0, 'Infinity', '', '', '00000000-0000-0000-0000-000000000000', 'null', '"x"', '', 'infinity', '24:00:00', '00:00:00+00',
   '0044-03-15 10:00:00 BC', '-infinity', '{}', 'empty')
;
INSERT INTO types (id) VALUES (3);
INSERT INTO types (id, i2) VALUES (9223372036854775807, 7)"#;

/// What PostgreSQL says of a column, in the words that DuckDB has for the same value; `None`: it is written as text, to the byte.
const SELECTED: &str = r#"
SELECT json_build_object('id', id::text, 'b', b::text, 'i2', i2::text, 'i4', i4::text, 'o', o::text, 'f4', f4::text, 'f8', f8::text,
    'money2', nullif(money2::text, 'NaN'), 'wide', wide::text, 'any_number', any_number::text, 't', t, 'Strange "name"', "Strange ""name""", 'u', u::text,
    'j', j::text, 'jb', jb::text, 'raw', raw::text, 'd', nullif(d::text, 'infinity'), 'at', nullif(at::text, '24:00:00'), 'atz', atz::text,
    'ts', regexp_replace(ts::text, '^(\S+) (.*) BC$', '\1 (BC) \2'), 'tsz', nullif(tsz::text, '-infinity'), 'tags', to_json(tags)::text, 'span', span::text)
FROM types ORDER BY id"#;

/// What the columns are to a reader.
const READ_AS: [(&str, &str); 23] = [
    ("id", "BIGINT"),
    ("b", "BOOLEAN"),
    ("i2", "SMALLINT"),
    ("i4", "INTEGER"),
    ("o", "BIGINT"),
    ("f4", "FLOAT"),
    ("f8", "DOUBLE"),
    ("money2", "DECIMAL(12,2)"),
    ("wide", "DECIMAL(38,10)"),
    ("any_number", "VARCHAR"),
    ("t", "VARCHAR"),
    ("Strange \"name\"", "VARCHAR"),
    ("u", "VARCHAR"),
    ("j", "JSON"),
    ("jb", "JSON"),
    ("raw", "BLOB"),
    ("d", "DATE"),
    ("at", "TIME"),
    ("atz", "VARCHAR"),
    ("ts", "TIMESTAMP"),
    ("tsz", "TIMESTAMP WITH TIME ZONE"),
    ("tags", "JSON"),
    ("span", "VARCHAR"),
];

/// DuckDB's text of a value, where it only differs in how a number is written.
fn as_told(column: &str, value: &Value) -> Value {
    match value.as_str() {
        Some(text) if matches!(column, "f4" | "f8") => {
            let number: f64 = text.to_lowercase().parse().expect("a float");
            Value::from(number.to_string())
        }
        Some(text) if column == "tags" => serde_json::from_str(text).expect("JSON"),
        _ => value.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_reader_finds_in_parquet_what_select_says_and_what_no_column_holds_as_text() {
    let mut world = World::with(TYPES, "rotate_after = \"300ms\"");
    world.walbridge.start_again();
    world.all_finished().await;
    let wanted = world.postgres.psql(&format!("SET TIME ZONE 'UTC'; {SELECTED}"));
    let wanted: Vec<Value> = wanted
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|row| serde_json::from_str(row).expect("JSON"))
        .collect();
    let check = |events: &[Value]| {
        let mut found: Vec<&Value> = events.iter().collect();
        found.sort_by_key(|event| event["after"]["id"].as_str().and_then(|id| id.parse::<i64>().ok()));
        assert_eq!(found.len(), wanted.len());
        for (event, wanted) in found.iter().zip(&wanted) {
            for (column, _) in READ_AS {
                assert_eq!(
                    as_told(column, &event["after"][column]),
                    as_told(column, &wanted[column]),
                    "{column} of {event:#}"
                );
            }
        }
    };
    let events = store::parquet(&world.store("parquet"));
    check(&events);
    let read_as: serde_json::Map<_, _> =
        READ_AS.into_iter().map(|(name, of)| (name.to_owned(), Value::from(of))).collect();
    assert_eq!(events[0]["types"], Value::from(read_as));
    let second = events.iter().find(|event| event["key"]["id"] == "-9223372036854775808").expect("the row");
    let as_text: Value = serde_json::from_str(second["as_text"].as_str().expect("some")).expect("JSON");
    assert_eq!(
        as_text,
        serde_json::json!({ "after": { "money2": "NaN", "d": "infinity", "at": "24:00:00", "tsz": "-infinity" } })
    );
    assert!(events.iter().all(|event| event["op"] == "read" && event["source"] == "shop" && event["before"].is_null()));

    world.postgres.psql("UPDATE types SET t = 'new' WHERE id = 1; DELETE FROM types WHERE id = 3; TRUNCATE types");
    world.all_finished().await;
    let all = store::parquet(&world.store("parquet"));
    let later: Vec<_> = all.iter().filter(|event| event["op"] != "read").collect();
    assert_eq!(later.iter().map(|event| &event["op"]).collect::<Vec<_>>(), ["update", "delete", "truncate"]);
    assert_eq!((&later[0]["after"]["t"], &later[0]["before_is_whole"]), (&"new".into(), &true.into()));
    assert_eq!(later[0]["before"]["t"], "a\n\"b\"\t\\");
    assert_eq!((&later[1]["after"], &later[1]["before"]["id"]), (&Value::Null, &"3".into()));
    assert_eq!((&later[2]["key"], &later[2]["table"]), (&Value::Null, &"types".into()));
    assert_eq!(places(&store::lines(&world.store("lines")).into_values().flatten().collect::<Vec<_>>()), places(&all));
}

/// Mounts what is named first, replaces itself by the rest. The mount goes with the last process that sees it.
fn mounting(options: &str, place: &Path) -> Vec<String> {
    // Whoever is not root may mount where he is the only one to see it, as a root of his own.
    let own: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["unshare", "--mount"],
        false => &["unshare", "--user", "--map-root-user", "--mount"],
    };
    let script = format!("mount -t tmpfs -o {options} store \"$0\" && exec \"$@\"");
    let place = place.display().to_string();
    own.iter().copied().chain(["sh", "-c", &script, &place]).map(str::to_owned).collect()
}

/// A disk that is full is waited for, one that may not be written stops the sink, and both say so; on one with room everything arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for_and_a_read_only_one_is_told() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, n text); INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 3000) i";
    let mut world = World::with(schema, "rotate_after = \"300ms\"");
    for (options, state, code, says) in [
        ("size=1m", "paused", "sink.throttled", "give the target room"),
        ("size=1m,ro", "halted", "sink.rejected", "Let walbridge's user read and write it"),
    ] {
        let place = world.store("parquet");
        std::fs::create_dir_all(&place).expect("made");
        let mounting = mounting(options, &place);
        world.walbridge.run_by(&mounting.iter().map(String::as_str).collect::<Vec<_>>());
        world.walbridge.start_again();
        let wanted =
            |status: &Value| status["sinks"]["parquet"]["code"] == code && status["sinks"]["parquet"]["state"] == state;
        let status = world.walbridge.wait_for(PATIENCE, wanted).await;
        let message = status["sinks"]["parquet"]["message"].as_str().expect("a message");
        assert!(message.contains(says), "{message}");
        world.walbridge.sigterm();
    }
    world.walbridge.run_by(&[]);
    world.walbridge.go_on();
    world.all_finished().await;
    assert_eq!(places(&store::parquet(&world.store("parquet"))).len(), 3000);
    assert_eq!(world.walbridge.sigterm(), Some(0), "{}", world.walbridge.log());
}
