//! A history of events, replayed: what the rows are after all of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::world::{Documents, Values};

/// The documents after these events, which come in order, each once. `has_retries`: those of different rows may stand in another order.
pub(super) fn documents(events: impl IntoIterator<Item = Value>, has_retries: bool) -> Documents {
    let (mut documents, mut copied, mut last) = (Documents::new(), None, None);
    let (mut seen, mut of_rows) = (BTreeSet::new(), BTreeMap::new());
    for event in events {
        let position = place(&event);
        assert!(has_retries || Some(position) > last, "{position:?} after {last:?}");
        last = Some(position);
        assert!(seen.insert(position), "{position:?} is there twice");
        if event["key"].is_object() {
            let before = of_rows.insert((event["table"].to_string(), event["key"].to_string()), position);
            assert!(Some(position) > before, "{position:?} after {before:?} of the same row: {event}");
        }
        replay(&event, &mut documents, &mut copied);
    }
    documents
}

/// Without those that came before: a receiver that is told at least once drops them.
pub(super) fn once(events: Vec<Value>) -> impl Iterator<Item = Value> {
    let mut seen = BTreeMap::new();
    events.into_iter().filter(move |event| match seen.insert(place(event), event.clone()) {
        Some(earlier) => {
            assert_eq!(earlier, *event, "the same event, told twice");
            false
        }
        None => true,
    })
}

/// As the lines of JSON have them, in the order of their places: each table's files are in a directory of their own.
pub(super) fn of_parquet(mut events: Vec<Value>) -> Vec<Value> {
    for event in &mut events {
        let lsn = event["commit_lsn"].as_u64().expect("a number");
        event["position"] = json!({ "commit_lsn": format!("0/{lsn:X}"), "ordinal": event["ordinal"] });
        if event["unchanged"].is_null() {
            event["unchanged"] = json!([]);
        }
    }
    events.sort_by_key(place);
    events
}

fn place(event: &Value) -> (Option<u64>, Option<u64>) {
    let lsn = event["position"]["commit_lsn"].as_str().and_then(|lsn| lsn.strip_prefix("0/"));
    let lsn = lsn.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    (lsn, event["position"]["ordinal"].as_u64())
}

/// A JSON document's values as text.
pub(super) fn values_of(document: &Value) -> Values {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    };
    document.as_object().expect("an object").iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// What a line of history does to the documents. `copied` are those put since a table's copy began.
fn replay(event: &Value, documents: &mut Documents, copied: &mut Option<BTreeSet<String>>) {
    let table =
        format!("{}.{}", event["schema"].as_str().expect("a schema"), event["table"].as_str().expect("a table"));
    let key_of = |row: &Value| format!("{table}:{}", values_of(row)["id"].as_deref().expect("an id"));
    if event["copy"] == "begun" {
        return *copied = Some(BTreeSet::new());
    }
    if event["op"] == "message" {
        assert_eq!(event["prefix"], "walbridge.copy");
        let copied = copied.take().expect("a copy that has begun");
        return documents.retain(|key, _| !key.starts_with(&format!("{table}:")) || copied.contains(key));
    }
    if event["op"] == "truncate" {
        return documents.retain(|key, _| !key.starts_with(&format!("{table}:")));
    }
    let before = event["before"].is_object().then(|| key_of(&event["before"]));
    let older = documents.remove(before.as_ref().unwrap_or(&key_of(&event["key"])));
    if event["after"].is_object() {
        let mut values = values_of(&event["after"]);
        for column in event["unchanged"].as_array().expect("a list") {
            let column = column.as_str().expect("a column's name");
            let value = older.as_ref().expect("an older row")[column].clone();
            values.insert(column.to_owned(), value);
        }
        copied.iter_mut().for_each(|copied| _ = copied.insert(key_of(&event["after"])));
        documents.insert(key_of(&event["after"]), values);
    }
}
