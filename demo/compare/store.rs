//! A table against Redis: every row under its key, and no other key beside.

use std::collections::{BTreeMap, BTreeSet};

use redis::aio::MultiplexedConnection;
use serde_json::{Map, Value};

use super::Verdict;
use super::rows::Rows;
use crate::sinks::SinkPlan;
use crate::support::Redis;

/// Compares values as JSON documents, or hashes field by field as text.
pub(crate) async fn compare(sink: &SinkPlan, rows: &Rows, redis: &Redis) -> Verdict {
    let mut connection = redis.connection().await;
    let mut differences = Vec::new();
    let mut expected = BTreeSet::new();
    for row in rows.rows.values() {
        let key = rows.fill(&sink.key, row);
        match read(&mut connection, sink, &key).await {
            Ok(Some(found)) => {
                let difference = if sink.value == "hash" { in_hash(row, &found) } else { rows.difference(row, &found) };
                differences.extend(difference.map(|difference| format!("{key}: {difference}")));
            }
            Ok(None) => differences.push(format!("{key} is missing")),
            Err(error) => differences.push(format!("{key}: {error}")),
        }
        expected.insert(key);
    }
    let (prefix, _) = sink.key.split_once('{').unwrap_or((&sink.key, ""));
    let keys = scan(&mut connection, &format!("{prefix}*")).await;
    differences.extend(keys.difference(&expected).map(|key| format!("{key} is too much")));
    Verdict::new(sink, format!("{} in Redis as {}", rows.table, sink.key), expected.len(), differences)
}

async fn read(
    connection: &mut MultiplexedConnection,
    sink: &SinkPlan,
    key: &str,
) -> Result<Option<Map<String, Value>>, String> {
    if sink.value == "hash" {
        let hash = redis::cmd("HGETALL").arg(key).query_async::<BTreeMap<String, String>>(connection).await;
        let hash = hash.map_err(|error| error.to_string())?;
        let fields = hash.into_iter().map(|(field, value)| (field, value.into())).collect::<Map<_, _>>();
        return Ok(Some(fields).filter(|fields| !fields.is_empty()));
    }
    let text = redis::cmd("GET").arg(key).query_async::<Option<String>>(connection).await;
    let Some(text) = text.map_err(|error| error.to_string())? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| format!("{error}: {text}"))
}

/// A hash holds texts: of a string itself, of anything else its JSON. A NULL has no field.
fn in_hash(expected: &Map<String, Value>, found: &Map<String, Value>) -> Option<String> {
    let there = expected.iter().filter(|(_, value)| !value.is_null());
    for (column, value) in there.clone() {
        if !matches!(value, Value::Array(_) | Value::Object(_) | Value::Bool(_))
            && found.get(column) != Some(&Value::String(super::rows::text(value)))
            && !column.ends_with("_at")
        {
            return Some(format!("{column} is {:?}, not {value}", found.get(column)));
        }
    }
    (there.count() != found.len()).then(|| format!("{} fields: {:?}", found.len(), found.keys()))
}

async fn scan(connection: &mut MultiplexedConnection, pattern: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut cursor = 0_u64;
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1_000);
        let answer: (u64, Vec<String>) = command.query_async(connection).await.expect("Redis answers SCAN");
        keys.extend(answer.1);
        cursor = answer.0;
        if cursor == 0 {
            return keys;
        }
    }
}
