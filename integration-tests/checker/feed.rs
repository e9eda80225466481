//! Changes as two witnesses tell them: `walbridge log dump --json`, and a second slot decoded by another plugin. Both are
//! brought into one form, with PostgreSQL's own text for each value.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::workload::{Table, table};

/// A row's columns; `None` is NULL. Columns that were not sent are absent.
pub(super) type Row = BTreeMap<String, Option<String>>;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The transaction; 0 for rows that a copy read.
    pub(super) xid: u64,
    pub(super) op: Op,
    pub(super) table: String,
    /// The primary key's values, those of the new row if there is one.
    pub(super) key: Vec<String>,
    /// The old key, if the row had another.
    pub(super) moved_from: Option<Vec<String>>,
    /// The new row.
    pub(super) row: Option<Row>,
    /// Columns that the new row lacks.
    pub(super) unchanged: Vec<String>,
    /// The whole old row, where that is sent.
    pub(super) old: Option<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Insert,
    Update,
    Delete,
    Truncate,
    Read,
    CopyBegun,
    CopyDone,
}

/// A change at its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) position: (u64, u64, u64),
    pub(super) change: Change,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { xid, op, table, key, moved_from, row, unchanged, old: _ } = self;
        write!(f, "xid {xid} {op:?} {table} {}", key.join(","))?;
        if let Some(from) = moved_from {
            write!(f, " from {}", from.join(","))?;
        }
        for (column, value) in row.iter().flatten() {
            write!(f, " {column}={:.40}", value.as_deref().unwrap_or("NULL"))?;
        }
        if unchanged.is_empty() { Ok(()) } else { write!(f, " unchanged {unchanged:?}") }
    }
}

/// The events of the workload's tables in a dump of the log.
pub(super) fn events(dump: &str) -> Vec<Event> {
    dump.lines().filter_map(event).collect()
}

fn event(line: &str) -> Option<Event> {
    event_of(&serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
}

/// A line of the log's dump; `None`: it is of none of the workload's tables.
pub(super) fn event_of(line: &Value) -> Option<Event> {
    let table = table(line["table"].as_str()?)?;
    let position = &line["position"];
    let lsn = lsn(position["commit_lsn"].as_str().expect("an LSN"));
    let number = |name: &str| position[name].as_u64().expect("a number");
    let op = match line["op"].as_str()? {
        "insert" => Op::Insert,
        "update" => Op::Update,
        "delete" => Op::Delete,
        "truncate" if line["copy"] == "begun" => Op::CopyBegun,
        "truncate" => Op::Truncate,
        "read" => Op::Read,
        "message" if line["prefix"] == "walbridge.copy" => Op::CopyDone,
        other => panic!("an op {other}: {line}"),
    };
    let unchanged = line["unchanged"].as_array().expect("a list");
    let key = key_of(table, line["key"].as_object());
    // Only a moved row's old key stands in `before`, under the workload's replica identities but FULL.
    let before = line["before"].as_object().filter(|_| op == Op::Update).map(|before| key_of(table, Some(before)));
    let change = Change {
        xid: line["xid"].as_u64().expect("an xid"),
        op,
        table: table.name.to_owned(),
        moved_from: before.filter(|before| *before != key),
        key,
        row: line["after"].as_object().map(|row| row_of(table, row)),
        unchanged: unchanged.iter().filter_map(|column| column.as_str().map(str::to_owned)).collect(),
        // Under REPLICA IDENTITY FULL; else only the key stands there.
        old: line["before"].as_object().map(|before| row_of(table, before)).filter(|_| table.full && op == Op::Update),
    };
    Some(Event { position: (number("epoch"), lsn, number("ordinal")), change })
}

/// `16/B374D848` as a number.
pub(super) fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').expect("an LSN");
    let part = |text| u64::from_str_radix(text, 16).expect("an LSN");
    part(high) << 32 | part(low)
}

fn key_of(table: &Table, values: Option<&Map<String, Value>>) -> Vec<String> {
    let value = |column: &&str| values?.get(*column).and_then(text_of);
    table.key.iter().filter_map(value).collect()
}

fn row_of(table: &Table, row: &Map<String, Value>) -> Row {
    let compared = |column: &&str| Some(((*column).to_owned(), text_of(row.get(*column)?)));
    table.compared.iter().filter_map(compared).collect()
}

/// PostgreSQL's text of a value of the kinds that are compared word by word.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(|v| text_of(v).unwrap_or_else(|| "NULL".to_owned())).collect();
            Some(format!("{{{}}}", values.join(",")))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Some(value.to_string()),
    }
}
