//! Values at the limits of their types, and of what JSON readers bear.

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::{PgOptions, Postgres, Redis, Walbridge};

fn config(postgres: &Postgres, redis: &Redis) -> String {
    let source = |name: &str, values: &str| {
        format!("[sources.{name}]\nurl = \"{}\"\ntables = [\"public.*\"]\nvalues = \"{values}\"\n", postgres.url())
    };
    let sink = |name: &str, database: u8, value: &str| {
        format!(
            "[sinks.{name}]\nkind = \"redis\"\nsource = \"auto\"\nurl = \"{}/{database}\"\nfrom = \"public.t\"\nvalue = \"{value}\"\n",
            redis.url()
        )
    };
    format!(
        "{}{}[log]\npath = \"log\"\n{}{}[sinks.feed]\nkind = \"file\"\nsource = \"auto\"\npath = \"feed.jsonl\"\nfrom = \"public.t\"\n",
        source("auto", "auto"),
        source("text", "text"),
        sink("json", 0, "json"),
        sink("hash", 1, "hash")
    )
}

/// The events of a source, as values.
fn events(walbridge: &Walbridge, source: &str) -> Vec<Value> {
    let output = walbridge.run(&["log", "dump", "--json", "--source", source]);
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("an event that any parser reads")).collect()
}

/// Scenarios 60, 70 and 71: a number of 131,072 digits before the point and 16,383 behind it, a text of 20 MB, and JSON that is
/// nested ten thousand deep or repeats its keys. Before the start and after it, as text and in binary form.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_values_pass_whole() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, n numeric, v text, j json, w json)");
    let insert = |id: u32| {
        postgres.psql(&format!(
            "INSERT INTO t VALUES ({id}, (repeat('7', 131072) || '.' || repeat('3', 16383))::numeric, repeat('0123456789', 2000000), \
             (repeat('[', 10000) || repeat(']', 10000))::json, '{{\"b\": 1, \"a\": 2, \"b\": {{\"z\": null, \"y\": []}}}}')"
        ))
    };
    insert(1);
    let mut walbridge = Walbridge::start(&config(&postgres, &redis));
    caught_up(&mut walbridge, &postgres).await;
    insert(2);
    postgres.psql("INSERT INTO t VALUES (3, 1, 'small', '1', '2')");
    caught_up(&mut walbridge, &postgres).await;
    for source in ["auto", "text"] {
        let events = events(&walbridge, source);
        assert_eq!(events.len(), 3, "{source}");
        for event in &events[..2] {
            let (after, id) = (&event["after"], &event["after"]["id"]);
            let number = after["n"].as_str().expect("a string");
            assert_eq!((number.len(), number.find('.')), (131_072 + 1 + 16_383, Some(131_072)), "{source} {id}");
            assert!(number.bytes().all(|byte| matches!(byte, b'7' | b'.' | b'3')));
            assert_eq!(after["v"].as_str(), Some("0123456789".repeat(2_000_000).as_str()), "{source} {id}");
            // Deeper than common parsers follow: as the string of its text.
            let nested = after["j"].as_str().expect("a string");
            assert_eq!(nested, format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
        }
        assert_eq!(events[2]["after"]["v"], "small", "{source}: what comes behind it flows");
    }
    // Duplicate keys and their order are kept, which a parser would not show.
    let raw = String::from_utf8(walbridge.run(&["log", "dump", "--json", "--source", "auto"]).stdout).expect("JSON");
    assert_eq!(raw.matches(r#""w":{"b": 1, "a": 2, "b": {"z": null, "y": []}}"#).count(), 2);
    let mut connection = redis.connection().await;
    let document: String = redis::cmd("GET").arg("public.t:2").query_async(&mut connection).await.expect("a document");
    let document: Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["v"].as_str().map(str::len), Some(20_000_000));
}

/// Scenario 69, where a target can tell them apart: a hash has no field for NULL, an empty one for empty text.
#[tokio::test(flavor = "multi_thread")]
async fn empty_blank_null_and_the_word_null_are_four_things_in_every_sink() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, v text, list text[], j jsonb)");
    let values = "(1, '', '{}', '\"\"'), (2, ' ', '{\"\"}', '\" \"'), (3, NULL, NULL, NULL), (4, 'NULL', '{NULL}', 'null'), (5, 'null', '{\"NULL\"}', '\"null\"')";
    postgres.psql(&format!("INSERT INTO t VALUES {values}"));
    let mut walbridge = Walbridge::start(&config(&postgres, &redis));
    caught_up(&mut walbridge, &postgres).await;
    postgres.psql("INSERT INTO t SELECT id + 10, v, list, j FROM t");
    caught_up(&mut walbridge, &postgres).await;
    let expected = [
        r#""v":"","list":[],"j":"""#,
        r#""v":" ","list":[""],"j":" ""#,
        r#""v":null,"list":null,"j":null"#,
        r#""v":"NULL","list":[null],"j":null"#,
        r#""v":"null","list":["NULL"],"j":"null""#,
    ];
    let feed = std::fs::read_to_string(walbridge.directory().join("feed.jsonl")).expect("the feed");
    let mut connection = redis.connection().await;
    for (id, expected) in (1..).zip(expected) {
        for id in [id, id + 10] {
            let row = format!("{{\"id\":{id},{expected}}}");
            assert!(feed.contains(&format!("\"after\":{row}")), "{row} is not in the feed:\n{feed}");
            let document: String =
                redis::cmd("GET").arg(format!("public.t:{id}")).query_async(&mut connection).await.expect("a document");
            assert_eq!(document, row);
        }
    }
    redis::cmd("SELECT").arg(1).query_async::<()>(&mut connection).await.expect("the other database");
    for (id, expected) in [(1, Some("")), (2, Some(" ")), (3, None), (4, Some("NULL")), (15, Some("null")), (13, None)]
    {
        let field: Option<String> = redis::cmd("HGET")
            .arg(format!("public.t:{id}"))
            .arg("v")
            .query_async(&mut connection)
            .await
            .expect("an answer");
        assert_eq!(field.as_deref(), expected, "row {id}");
    }
}
