//! From the server to JSON and back, with the real program: every type, from snapshot and stream, in text and in binary form.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::cases::{BINARY, BINARY_OF_USERS, Case, TEXT_ONLY};
use super::{install, seed, session};
use crate::pipeline::caught_up;
use crate::support::{PgOptions, Postgres, Walbridge};

/// So many rows come from the snapshot; as many with the same values from the stream.
pub(super) const ROWS: usize = 24;
/// A row's id in the stream is so much larger than in the snapshot.
pub(super) const STREAMED: usize = 1000;

/// A column of the table under test.
pub(super) struct Column {
    pub(super) name: String,
    type_name: String,
    expression: String,
}

/// Scalars and arrays of all these types, as far as arrays can be made of them.
pub(super) fn columns(cases: impl IntoIterator<Item = &'static Case>) -> Vec<Column> {
    let mut columns = Vec::new();
    for (index, case) in cases.into_iter().enumerate() {
        let scalar = (case.name.to_owned(), case.expression());
        let array = case.nests().then(|| (case.array_name(), case.array_expression()));
        for (prefix, (type_name, expression)) in
            [("c", Some(scalar)), ("a", array)].into_iter().filter_map(|(p, c)| Some((p, c?)))
        {
            columns.push(Column { name: format!("{prefix}{index}"), type_name, expression });
        }
    }
    columns
}

pub(super) fn create(postgres: &Postgres, columns: &[Column], seed: f64) {
    install(postgres);
    let mut sql = "CREATE TABLE public.t (id int PRIMARY KEY".to_owned();
    columns.iter().for_each(|Column { name, type_name, .. }| write!(sql, ", {name} {type_name}").expect("a string"));
    let values: Vec<&str> = columns.iter().map(|column| column.expression.as_str()).collect();
    // A NULL in every column, too.
    write!(
        sql,
        ");\n{}INSERT INTO t SELECT g, {} FROM generate_series(1, {ROWS}) g; INSERT INTO t (id) VALUES (0);\n",
        session(seed),
        values.join(", ")
    )
    .expect("a string");
    postgres.psql(&sql);
}

/// The rows of one source's log as last told, each column's JSON as it stands there.
fn rows(walbridge: &Walbridge, source: &str) -> BTreeMap<usize, BTreeMap<String, Box<RawValue>>> {
    #[derive(serde::Deserialize)]
    struct Event {
        after: BTreeMap<String, Box<RawValue>>,
    }
    let output = walbridge.run(&["log", "dump", "--json", "--source", source]);
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let event: Event = serde_json::from_str(line).expect("an event with a row");
        rows.insert(event.after["id"].get().parse().expect("an id"), event.after);
    }
    rows
}

/// The whole of it: snapshot and stream agree, both sources agree, and the JSON holds the value.
async fn check(postgres: &Postgres, columns: &[Column], expected_form: &str, seed: f64) {
    let config = |name: &str, values: &str| {
        format!("[sources.{name}]\nurl = \"{}\"\ntables = [\"public.*\"]\n{values}\n", postgres.url())
    };
    let (auto, text) = (config("auto", ""), config("text", "values = \"text\""));
    let mut walbridge = Walbridge::start(&format!("{auto}{text}[log]\npath = \"log\"\n"));
    caught_up(&mut walbridge, postgres).await;
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    postgres.psql(&format!("INSERT INTO t SELECT id + {STREAMED}, {} FROM t", names.join(", ")));
    caught_up(&mut walbridge, postgres).await;
    let status = walbridge.status().await;
    assert_eq!(status["sources"]["auto"]["values"], expected_form, "seed {seed}: {}", walbridge.log());
    assert_eq!(status["sources"]["text"]["values"], "text");

    let (from_auto, from_text) = (rows(&walbridge, "auto"), rows(&walbridge, "text"));
    assert_eq!(from_auto.len(), 2 * (ROWS + 1));
    for (id, row) in from_auto.iter().filter(|(id, _)| **id < STREAMED) {
        for column in columns {
            let shown = |row: &BTreeMap<String, Box<RawValue>>| row[&column.name].get().to_owned();
            let (read, streamed) = (shown(row), shown(&from_auto[&(id + STREAMED)]));
            let what = format!("{} of row {id}, seed {seed}", column.type_name);
            assert_eq!(read, streamed, "{what}: snapshot and stream");
            assert_eq!(streamed, shown(&from_text[&(id + STREAMED)]), "{what}: {expected_form} and text");
        }
    }
    refuse_differences(postgres, columns, &from_auto, seed);
}

/// Casts each JSON value back to its type on the server, and compares with the table.
fn refuse_differences(
    postgres: &Postgres,
    columns: &[Column],
    rows: &BTreeMap<usize, BTreeMap<String, Box<RawValue>>>,
    seed: f64,
) {
    let mut sql =
        format!("{}CREATE TEMP TABLE back (id int, name text, value text);\nCOPY back FROM stdin;\n", session(seed));
    for (id, row) in rows {
        for column in columns {
            let value = literal(&column.type_name, &row[&column.name]);
            writeln!(sql, "{id}\t{}\t{}", column.name, value.as_deref().map_or("\\N".to_owned(), copied))
                .expect("a string");
        }
    }
    sql.push_str("\\.\n");
    // What JSON cannot tell apart (docs/types.md): `null` in a json column, and arrays of json.
    for Column { name, type_name, .. } in
        columns.iter().filter(|column| !column.type_name.starts_with("json") || column.type_name == "jsonpath")
    {
        writeln!(
            sql,
            "SELECT '{}', id, t.{name}, back.value FROM t JOIN back USING (id) WHERE name = '{name}' \
             AND format('%s', t.{name}) IS DISTINCT FROM format('%s', back.value::{type_name});",
            type_name.replace('\'', "''")
        )
        .expect("a string");
    }
    assert_eq!(postgres.psql(&sql), "", "seed {seed}");
}

/// A value's text for its type's input function.
fn literal(type_name: &str, value: &RawValue) -> Option<String> {
    let raw = value.get();
    match raw.as_bytes().first() {
        _ if raw == "null" => None,
        Some(b'[') if type_name.ends_with("[]") || type_name == "counts" => Some(array(type_name, value)),
        Some(b'"') => {
            let text: String = serde_json::from_str(raw).expect("a string");
            Some(if type_name.starts_with("timestamp") || type_name.starts_with("date") {
                from_iso(&text)
            } else {
                text
            })
        }
        _ => Some(raw.to_owned()),
    }
}

fn array(type_name: &str, value: &RawValue) -> String {
    let elements: Vec<&RawValue> = serde_json::from_str(value.get()).expect("an array");
    let element = |element: &&RawValue| match element.get().as_bytes().first() {
        Some(b'[') => array(type_name, element),
        _ => literal(type_name, element)
            .map_or("NULL".to_owned(), |text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))),
    };
    let delimiter = if type_name.starts_with("box") { ";" } else { "," };
    format!("{{{}}}", elements.iter().map(element).collect::<Vec<_>>().join(delimiter))
}

/// ISO 8601's years, which PostgreSQL does not read: `-0043` is 44 BC, and a year beyond 9999 has a sign.
fn from_iso(text: &str) -> String {
    let unsigned = text.trim_start_matches(['+', '-']);
    let Some((year, rest)) = unsigned.split_once('-') else { return text.to_owned() };
    let Ok(number) = year.parse::<u32>() else { return text.to_owned() };
    if text.starts_with('-') || number == 0 { format!("{:04}-{rest} BC", number + 1) } else { unsigned.to_owned() }
}

/// A value in COPY's text format.
fn copied(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}

/// Scenarios 58 to 60, 62 and 63: the same values come before the start, with the snapshot, and after it, with the stream; once
/// as text and once in binary form. All four must be the same JSON, and the JSON, cast back, the value.
#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives_the_way_to_json_and_back_from_snapshot_and_stream_as_text_and_as_binary() {
    let (postgres, seed) = (Postgres::start(PgOptions::default()), seed());
    let mut columns = columns(BINARY.iter().chain(BINARY_OF_USERS));
    columns.push(Column {
        name: "counts".into(),
        type_name: "counts".into(),
        expression: "ARRAY[g, NULL]::counts".into(),
    });
    create(&postgres, &columns, seed);
    check(&postgres, &columns, "binary", seed).await;
}

/// Scenarios 61 and 62: composites, ranges of users, and types of extensions, among them one whose binary form is its own
/// business and one that has none. They arrive as their own text, and by themselves make the stream a text one.
#[tokio::test(flavor = "multi_thread")]
async fn types_that_are_not_known_arrive_as_their_own_text() {
    let (postgres, seed) = (Postgres::start(PgOptions::default()), seed());
    let columns = columns(TEXT_ONLY.iter().filter(|case| !case.name.ends_with("[]")));
    create(&postgres, &columns, seed);
    check(&postgres, &columns, "text", seed).await;
}
