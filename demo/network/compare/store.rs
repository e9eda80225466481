//! A table against Redis: every row under its key, and no other key beside.

use std::collections::{BTreeMap, BTreeSet};

use redis::aio::MultiplexedConnection;
use serde_json::{Map, Value};

use super::Verdict;
use super::rows::Rows;
use crate::network::sinks::SinkPlan;
use crate::support::Redis;

/// Compares values as JSON documents; hashes field by field with PostgreSQL's text, and no field for a NULL.
pub(crate) async fn compare(sink: &SinkPlan, rows: &Rows, redis: &Redis) -> Verdict {
    let mut connection = redis.connection().await;
    let mut differences = Vec::new();
    let mut expected = BTreeSet::new();
    let hashes = sink.value == "hash";
    for (row, text) in rows.rows.values().zip(rows.texts.values()) {
        let key = rows.fill(&sink.key, row);
        match read(&mut connection, sink, &key).await {
            Ok(Some(found)) => {
                let difference = rows.difference(if hashes { text } else { row }, &found);
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
