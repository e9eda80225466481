//! A table against a file of its events: played from the first line to the last, they end in the table.

use std::collections::BTreeMap;
use std::fs::read_to_string;

use serde_json::{Map, Value};

use super::Verdict;
use super::rows::Rows;
use crate::network::sinks::SinkPlan;

/// Plays the events of one table.
pub(crate) fn compare(sink: &SinkPlan, rows: &Rows) -> Verdict {
    let mut differences = Vec::new();
    let mut played = BTreeMap::new();
    let text = read_to_string(&sink.path).unwrap_or_default();
    let mut events = 0;
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            differences.push(format!("not JSON: {line:.80}"));
            continue;
        };
        if table_of(&event) == rows.table {
            events += 1;
            play(rows, &mut played, &event);
        }
    }
    for (key, row) in &rows.rows {
        let name = key.join(" ");
        match played.remove(key) {
            Some(found) => {
                differences.extend(rows.difference(row, &found).map(|difference| format!("{name}: {difference}")));
            }
            None => differences.push(format!("{name} is missing")),
        }
    }
    differences.extend(played.keys().map(|key| format!("{} is too much", key.join(" "))));
    Verdict::new(sink, format!("{} from {events} events in a file", rows.table), rows.rows.len(), differences)
}

fn table_of(event: &Value) -> String {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{}.{}", text("schema"), text("table"))
}

fn play(rows: &Rows, played: &mut BTreeMap<Vec<String>, Map<String, Value>>, event: &Value) {
    let object = |key: &str| event.get(key).and_then(Value::as_object).cloned();
    let before = object("before").or_else(|| object("key"));
    match event.get("op").and_then(Value::as_str).unwrap_or_default() {
        "truncate" => played.clear(),
        "delete" => drop(before.map(|before| played.remove(&rows.key_of(&before)))),
        _ => {
            // An unchanged value that the event does not carry is the one there was, under the old key if that changed.
            let old = before.and_then(|before| played.remove(&rows.key_of(&before)));
            let Some(after) = object("after") else { return };
            let mut row = old.or_else(|| played.remove(&rows.key_of(&after))).unwrap_or_default();
            row.extend(after);
            played.insert(rows.key_of(&row), row);
        }
    }
}
