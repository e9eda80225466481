//! A table's rows, as an application's JSON would have them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tokio_postgres::Client;

/// A table at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// `schema.table`.
    pub(crate) table: String,
    /// Its primary key, in the key's order.
    pub(crate) key: Vec<String>,
    /// All rows, by the text of their keys.
    pub(crate) rows: BTreeMap<Vec<String>, Map<String, Value>>,
    /// The same rows with PostgreSQL's own text of each value, and without NULLs.
    pub(crate) texts: BTreeMap<Vec<String>, Map<String, Value>>,
    /// `timestamptz`, `numeric`… of each column.
    types: BTreeMap<String, String>,
}

impl Rows {
    /// The tables of the demo.
    pub(crate) async fn tables(client: &Client) -> Vec<String> {
        let tables = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
        let tables = client.query(tables, &[]).await.expect("PostgreSQL answers");
        tables.iter().map(|row| row.get(0)).collect()
    }

    /// Reads it.
    pub(crate) async fn of(client: &Client, table: &str) -> Rows {
        let types = "SELECT attname::text, atttypid::regtype::text FROM pg_attribute \
                     WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped";
        let types = client.query(types, &[&table]).await.expect("a table of the demo");
        let types: BTreeMap<String, String> = types.iter().map(|row| (row.get(0), row.get(1))).collect();
        let key = "SELECT attname::text FROM pg_index, unnest(indkey) WITH ORDINALITY AS part (number, place) \
                   JOIN pg_attribute ON attnum = number \
                   WHERE indrelid = $1::text::regclass AND indisprimary AND attrelid = indrelid ORDER BY place";
        let key = client.query(key, &[&table]).await.expect("a table of the demo");
        let key = key.iter().map(|row| row.get(0)).collect();
        let mut read = Rows { table: table.to_owned(), key, rows: BTreeMap::new(), texts: BTreeMap::new(), types };
        let names: Vec<String> = read.types.keys().map(|column| format!("'{column}'")).collect();
        let texts: Vec<String> = read.types.keys().map(|column| format!("t.{column}::text")).collect();
        let (names, texts) = (names.join(", "), texts.join(", "));
        let rows = format!(
            "SELECT to_jsonb(t)::text, jsonb_strip_nulls(jsonb_object(ARRAY[{names}], ARRAY[{texts}]))::text FROM {table} t"
        );
        for row in client.query(&rows, &[]).await.expect("a table of the demo") {
            let [json, text] = [0, 1].map(|column| {
                let row: Map<String, Value> = serde_json::from_str(row.get(column)).expect("PostgreSQL writes JSON");
                row
            });
            read.texts.insert(read.key_of(&json), text);
            read.rows.insert(read.key_of(&json), json);
        }
        read
    }

    /// The key of a row, or of anything that holds at least the key's columns.
    pub(crate) fn key_of(&self, row: &Map<String, Value>) -> Vec<String> {
        self.key.iter().map(|column| row.get(column).map(text).unwrap_or_default()).collect()
    }

    /// `user:{id}` for a row.
    pub(crate) fn fill(&self, template: &str, row: &Map<String, Value>) -> String {
        row.iter()
            .fold(template.to_owned(), |name, (column, value)| name.replace(&format!("{{{column}}}"), &text(value)))
    }

    /// How two versions of a row differ, if they do.
    pub(crate) fn difference(&self, expected: &Map<String, Value>, found: &Map<String, Value>) -> Option<String> {
        for (column, value) in expected {
            let Some(there) = found.get(column) else { return Some(format!("column {column} is missing")) };
            let kind = self.types.get(column).map(String::as_str).unwrap_or_default();
            if same(value, kind) != same(there, kind) {
                return Some(format!("{column} is {}, not {}", short(there), short(value)));
            }
        }
        found.keys().find(|&column| !expected.contains_key(column)).map(|column| format!("column {column} is too much"))
    }
}

/// A value's plain text.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// One spelling for what has several: an instant with another offset, a number as a number or as text.
fn same(value: &Value, kind: &str) -> Value {
    match (kind, value) {
        ("timestamp with time zone", Value::String(text)) => {
            text.parse::<jiff::Timestamp>().map_or_else(|_| value.clone(), |instant| instant.to_string().into())
        }
        ("bigint" | "integer" | "smallint" | "numeric" | "real" | "double precision", Value::Number(number)) => {
            number.to_string().into()
        }
        _ => value.clone(),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(60).chain(['…']).collect() }
}
