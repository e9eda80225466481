//! Databases in other encodings than UTF-8.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::{PgOptions, Postgres, Walbridge};

fn create(postgres: &Postgres, database: &str, encoding: &str) {
    postgres.psql(&format!(
        "CREATE DATABASE {database} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ));
}

fn run(postgres: &Postgres, database: &str, sql: &str) {
    postgres.psql(&format!("\\connect {database}\n{sql}"));
}

fn config(postgres: &Postgres, database: &str) -> String {
    let url = postgres.url().replace("/postgres", &format!("/{database}"));
    let source = |name: &str, values: &str| {
        format!("[sources.{name}]\nurl = \"{url}\"\ntables = [\"public.*\"]\nvalues = \"{values}\"\n")
    };
    format!("{}{}[log]\npath = \"log\"\n", source("auto", "auto"), source("text", "text"))
}

/// The rows as last told, by key.
fn rows(walbridge: &Walbridge, source: &str) -> BTreeMap<String, Value> {
    let output = walbridge.run(&["log", "dump", "--json", "--source", source]);
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).expect("an event");
        let key = event["key"]["k"].as_str().expect("a key").to_owned();
        match event["op"].as_str() {
            Some("delete") => assert!(rows.remove(&key).is_some(), "{key} was not there"),
            _ => drop(rows.insert(key, event["after"].clone())),
        }
    }
    rows
}

/// Scenario 68. The server converts what it can: in LATIN1 every byte is a character.
#[tokio::test(flavor = "multi_thread")]
async fn text_of_a_latin1_database_arrives_as_utf8() {
    let postgres = Postgres::start(PgOptions::default());
    create(&postgres, "latin", "LATIN1");
    let schema = "SET client_encoding = 'UTF8'; CREATE TABLE t (k text PRIMARY KEY, v varchar(20), list text[]);";
    run(&postgres, "latin", &format!("{schema} INSERT INTO t VALUES ('é', 'naïve ÿ', '{{ü,\"ß x\"}}')"));
    let mut walbridge = Walbridge::start(&config(&postgres, "latin"));
    caught_up(&mut walbridge, &postgres).await;
    run(&postgres, "latin", "SET client_encoding = 'UTF8'; INSERT INTO t SELECT k || '2', v, list FROM t");
    caught_up(&mut walbridge, &postgres).await;
    assert_eq!(walbridge.status().await["sources"]["auto"]["values"], "binary");
    for source in ["auto", "text"] {
        let rows = rows(&walbridge, source);
        for key in ["é", "é2"] {
            assert_eq!(rows[key]["v"], "naïve ÿ", "{source}");
            assert_eq!(rows[key]["list"], serde_json::json!(["ü", "ß x"]), "{source}");
        }
    }
}

/// Scenario 68. An SQL_ASCII database holds any bytes, and no one knows what they mean: none is dropped, none stops anything, in
/// keys either. The copy goes on behind such keys, chunk by chunk.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_an_sql_ascii_database_arrive_as_escapes_and_name_their_rows() {
    let postgres = Postgres::start(PgOptions::default());
    create(&postgres, "ascii", "SQL_ASCII");
    // More than a chunk's rows, and each key has bytes above 0x7F that are no UTF-8.
    let schema = r"CREATE TABLE t (k text PRIMARY KEY, v text);
        DO $$ BEGIN FOR n IN 1..5000 LOOP EXECUTE 'INSERT INTO t VALUES (E''\x' || to_hex(128 + n % 128) || ' ' || n || ''', E''a\xff\xfe\x80'')'; END LOOP; END $$;";
    run(&postgres, "ascii", schema);
    let mut walbridge = Walbridge::start(&config(&postgres, "ascii"));
    caught_up(&mut walbridge, &postgres).await;
    run(
        &postgres,
        "ascii",
        r"UPDATE t SET v = E'b\xff' WHERE k = E'\x81 1'; DELETE FROM t WHERE k = E'\x82 2'; INSERT INTO t VALUES (E'\xc3\xa9', '')",
    );
    caught_up(&mut walbridge, &postgres).await;
    assert_eq!(walbridge.status().await["sources"]["auto"]["values"], "binary");
    for source in ["auto", "text"] {
        let rows = rows(&walbridge, source);
        assert_eq!(rows.len(), 5000, "{source}");
        assert_eq!(rows[r"\x81 1"]["v"], r"b\xff", "{source}");
        assert_eq!(rows[r"\x83 3"]["v"], r"a\xff\xfe\x80", "{source}");
        assert_eq!(rows["é"]["v"], "", "{source}: bytes that are UTF-8 are themselves");
        assert!(!rows.contains_key(r"\x82 2"), "{source}");
    }
}
