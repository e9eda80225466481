//! A table against the search index: what a search for everything finds is every row, once, and no more.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Verdict;
use super::rows::Rows;
use crate::network::sinks::SinkPlan;
use crate::support::Walbridge;

/// Hits in one answer, as many as the search gives.
const PAGE: usize = 1_000;

/// Asks the index as anybody would, over HTTP.
pub(crate) async fn compare(sink: &SinkPlan, rows: &Rows, walbridge: &Walbridge) -> Verdict {
    let mut differences = Vec::new();
    let mut found = BTreeMap::new();
    for offset in (0..).step_by(PAGE) {
        match page(walbridge, sink, offset).await {
            Ok(documents) if documents.is_empty() => break,
            Ok(documents) => {
                for document in documents {
                    let key = rows.key_of(&document);
                    if found.insert(key.clone(), document).is_some() {
                        differences.push(format!("{} is in the index twice", key.join(" ")));
                    }
                }
            }
            Err(error) => {
                differences.push(format!("search for everything, from {offset} on: {error}"));
                break;
            }
        }
    }
    for (key, row) in &rows.rows {
        let name = key.join(" ");
        match found.remove(key) {
            Some(document) => {
                differences.extend(rows.difference(row, &document).map(|difference| format!("{name}: {difference}")));
            }
            None => differences.push(format!("{name} is missing")),
        }
    }
    differences.extend(found.keys().map(|key| format!("{} is too much", key.join(" "))));
    Verdict::new(sink, format!("{} in the search index", rows.table), rows.rows.len(), differences)
}

async fn page(walbridge: &Walbridge, sink: &SinkPlan, offset: usize) -> Result<Vec<Map<String, Value>>, String> {
    let text = walbridge.get(&format!("/search/{}?q=*&limit={PAGE}&offset={offset}", sink.name)).await?;
    let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    let hits = answer.get("hits").and_then(Value::as_array).ok_or_else(|| text.clone())?;
    let documents = hits.iter().filter_map(|hit| hit.get("document").and_then(Value::as_object).cloned());
    Ok(documents.collect())
}
