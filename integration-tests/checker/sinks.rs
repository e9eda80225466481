//! What the sinks hold, beside what `SELECT` says: C1, every row with every value, and C2, nothing besides.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::workload::{TABLES, Table};
use crate::support::equal::{difference, fill, keys, plain, rows};
use crate::support::{Postgres, Walbridge};

pub(super) type Document = Map<String, Value>;

/// Read at once.
const PAGE: usize = 1_000;

impl Table {
    /// The name as SQL has it.
    pub(super) fn quoted(&self) -> String {
        format!("\"{}\"", self.name)
    }

    /// The default template of its documents' keys.
    fn template(&self) -> String {
        let values: Vec<String> = self.key.iter().map(|column| format!("{{{column}}}")).collect();
        format!("public.{}:{}", self.name, values.join(":"))
    }

    pub(super) async fn expected(&self, postgres: &Postgres, hashes: bool) -> BTreeMap<String, Document> {
        let rows = rows(postgres, &format!("SELECT * FROM {}", self.quoted()), hashes).await;
        rows.into_iter().map(|row| (fill(&self.template(), &row), row)).collect()
    }
}

/// A `redis` sink of all tables.
pub(super) async fn redis(what: &str, postgres: &Postgres, url: &str, hashes: bool) -> Vec<String> {
    let mut connection = crate::support::redis::connection(url).await;
    let mut wrong = Vec::new();
    for table in TABLES {
        let expected = table.expected(postgres, hashes).await;
        let prefix = format!("public.{}:", table.name);
        let there: Vec<String> = keys(&mut connection, &prefix).await.into_iter().collect();
        let mut found = BTreeMap::new();
        for page in there.chunks(PAGE) {
            let mut pipeline = redis::pipe();
            for key in page {
                pipeline.cmd(if hashes { "HGETALL" } else { "GET" }).arg(key);
            }
            let values: Vec<redis::Value> = pipeline.query_async(&mut connection).await.expect("Redis answers");
            found.extend(page.iter().cloned().zip(values.iter().map(|value| document(value, hashes))));
        }
        compare(what, &expected, &found, &mut wrong);
    }
    wrong
}

fn document(value: &redis::Value, hash: bool) -> Document {
    if hash {
        let fields: BTreeMap<String, String> = redis::from_redis_value_ref(value).expect("a hash");
        return fields.into_iter().map(|(field, value)| (field, plain(value.into()))).collect();
    }
    let text: String = redis::from_redis_value_ref(value).expect("a string");
    as_document(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

pub(super) fn as_document(value: Value) -> Document {
    match plain(value) {
        Value::Object(members) => members,
        other => panic!("{other} is no document"),
    }
}

/// A `tantivy` sink of some tables.
pub(super) async fn search(what: &str, postgres: &Postgres, walbridge: &Walbridge, sink: &str) -> Vec<String> {
    let (mut wrong, mut found) = (Vec::new(), BTreeMap::new());
    for offset in (0..).step_by(PAGE) {
        let answer = walbridge.get(&format!("/search/{sink}?q=*&limit={PAGE}&offset={offset}")).await;
        let answer = answer.unwrap_or_else(|error| panic!("{error}"));
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let Some(hits) = answer["hits"].as_array().filter(|hits| !hits.is_empty()) else { break };
        for hit in hits {
            let key = hit["key"].as_str().expect("a key").to_owned();
            if found.insert(key.clone(), as_document(hit["document"].clone())).is_some() {
                wrong.push(format!("{what}: {key} stands twice"));
            }
        }
    }
    let mut expected = BTreeMap::new();
    for table in TABLES.iter().filter(|table| SEARCHED.contains(&table.name)) {
        expected.extend(table.expected(postgres, false).await);
    }
    compare(what, &expected, &found, &mut wrong);
    wrong
}

/// The tables of the search sink: those that stay small enough to be listed by a search.
pub(super) const SEARCHED: &[&str] = &["reg", "lst", "mover", "big", "bigfull", "parts", "typed", "Odd näme", "churn"];

pub(super) fn compare(
    what: &str,
    expected: &BTreeMap<String, Document>,
    found: &BTreeMap<String, Document>,
    wrong: &mut Vec<String>,
) {
    for (key, row) in expected {
        match found.get(key) {
            None => wrong.push(format!("C1 {what}: {key} is missing")),
            Some(document) => wrong.extend(difference(row, document).map(|found| format!("C1 {what}: {key}: {found}"))),
        }
    }
    wrong.extend(
        found.keys().filter(|key| !expected.contains_key(*key)).map(|key| format!("C2 {what}: {key} is too much")),
    );
}
