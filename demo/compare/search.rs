//! A table against the search index: every row is found by its key, and the index holds no more.

use serde_json::{Map, Value};

use super::Verdict;
use super::rows::Rows;
use crate::sinks::SinkPlan;
use crate::support::Walbridge;

/// Asks the index as anybody would, over HTTP.
pub(crate) async fn compare(sink: &SinkPlan, rows: &Rows, walbridge: &Walbridge) -> Verdict {
    let mut differences = Vec::new();
    for row in rows.rows.values() {
        let key = rows.key_of(row);
        let query: Vec<String> = rows.key.iter().zip(&key).map(|(column, value)| format!("{column}:{value}")).collect();
        match ask(walbridge, sink, &query.join(" AND ")).await {
            Ok((_, hits)) => differences.extend(different(rows, row, &key, &hits)),
            Err(error) => differences.push(format!("{}: {error}", key.join(" "))),
        }
    }
    match ask(walbridge, sink, "*").await {
        Ok((total, _)) if total == rows.rows.len() => {}
        Ok((total, _)) => differences.push(format!("the index holds {total} rows, the table {}", rows.rows.len())),
        Err(error) => differences.push(format!("search for *: {error}")),
    }
    Verdict::new(sink, format!("{} in the search index", rows.table), rows.rows.len(), differences)
}

/// The index keeps the columns it was told to; those must be the row's.
fn different(rows: &Rows, row: &Map<String, Value>, key: &[String], hits: &[Value]) -> Option<String> {
    let name = key.join(" ");
    let [hit] = hits else { return Some(format!("{name} is found {} times", hits.len())) };
    let document = hit.get("document").unwrap_or(hit).as_object()?;
    let kept = row.iter().filter(|(column, _)| document.contains_key(*column));
    let kept: Map<String, Value> = kept.map(|(column, value)| (column.clone(), value.clone())).collect();
    rows.difference(&kept, document).map(|difference| format!("{name}: {difference}"))
}

/// How many rows match, and the first of them.
async fn ask(walbridge: &Walbridge, sink: &SinkPlan, query: &str) -> Result<(usize, Vec<Value>), String> {
    let query = query.replace(' ', "%20");
    let text = walbridge.get(&format!("/search/{}?q={query}&limit=2", sink.name)).await?;
    let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    let hits = answer.get("hits").and_then(Value::as_array).ok_or_else(|| text.clone())?;
    let total = answer.get("total").and_then(Value::as_u64).and_then(|total| usize::try_from(total).ok());
    Ok((total.unwrap_or(hits.len()), hits.clone()))
}
