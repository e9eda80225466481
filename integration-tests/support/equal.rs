//! Documents against `SELECT`: every row under its key with every column, and no document besides.
//!
//! What is expected is PostgreSQL's own text and JSON of each value, nothing of walbridge's code. Numbers in documents are
//! compared by their text, instants by the moment they name; all else must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde_json::{Map, Value};
use tokio_postgres::types::{Kind, Type};

use super::{Postgres, Redis, Walbridge, eventually};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// More differences than this are counted, not told.
const TOLD: usize = 5;

type Document = Map<String, Value>;

/// Waits until a `redis` sink of JSON documents holds just what `select` says. `key` is its template, as
/// `public.users:{id}`; all keys that begin as it does must be among the rows'.
#[track_caller]
pub(crate) fn json_equals(postgres: &Postgres, redis: &Redis, select: &str, key: &str) -> impl Future<Output = ()> {
    equals(postgres, redis, select, key, false)
}

/// The same for a sink with `value = "hash"`: a field with PostgreSQL's text for each value, none for NULL.
#[track_caller]
pub(crate) fn hash_equals(postgres: &Postgres, redis: &Redis, select: &str, key: &str) -> impl Future<Output = ()> {
    equals(postgres, redis, select, key, true)
}

#[track_caller]
fn equals(postgres: &Postgres, redis: &Redis, select: &str, key: &str, hashes: bool) -> impl Future<Output = ()> {
    let probe = move || async move {
        let expected = rows(postgres, select, hashes).await;
        let columns: BTreeSet<String> = expected.iter().flat_map(|row| row.keys().cloned()).collect();
        let expected: BTreeMap<String, Document> = expected.into_iter().map(|row| (fill(key, &row), row)).collect();
        let mut connection = redis.connection().await;
        let mut differences = Vec::new();
        for (key, row) in &expected {
            match read(&mut connection, key, hashes).await {
                Ok(Some(found)) => differences.extend(difference(row, &found).map(|found| format!("{key}: {found}"))),
                Ok(None) => differences.push(format!("{key} is missing")),
                Err(error) => differences.push(format!("{key}: {error}")),
            }
        }
        let there = keys(&mut connection, &prefix(key, &columns)).await;
        differences
            .extend(there.iter().filter(|key| !expected.contains_key(*key)).map(|key| format!("{key} is too much")));
        let told = differences.iter().take(TOLD).cloned().collect::<Vec<_>>().join("; ");
        if differences.is_empty() { Ok(()) } else { Err(format!("{} differences: {told}", differences.len())) }
    };
    eventually(PATIENCE, probe)
}

/// The rows of a query as documents would have them.
pub(crate) async fn rows(postgres: &Postgres, select: &str, hashes: bool) -> Vec<Document> {
    let client = postgres.client().await;
    let statement = client.prepare(select).await.expect("a query");
    let columns = statement.columns().iter().map(|column| {
        let name = format!("\"{}\"", column.name().replace('"', "\"\""));
        match column.type_() {
            // `format` writes as the type's output function does, where `::text` writes `true` for `t` and strips a `char`.
            kind if stays_json(kind) && !hashes => format!("to_jsonb(q.{name}) AS {name}"),
            _ => format!("CASE WHEN q.{name} IS NOT NULL THEN format('%s', q.{name}) END AS {name}"),
        }
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT to_jsonb(s)::text FROM (SELECT {columns} FROM ({select}) q) s");
    let rows = client.query(&sql, &[]).await.expect("PostgreSQL answers");
    let document = |row: &tokio_postgres::Row| {
        let row: Document = serde_json::from_str(row.get(0)).expect("PostgreSQL writes JSON");
        row.into_iter()
            .map(|(name, value)| (name, plain(value)))
            .filter(|(_, value)| !hashes || !value.is_null())
            .collect()
    };
    rows.iter().map(document).collect()
}

/// Types that JSON has a form of its own for.
fn stays_json(kind: &Type) -> bool {
    let known = [Type::BOOL, Type::JSON, Type::JSONB, Type::TIMESTAMP, Type::TIMESTAMPTZ, Type::DATE];
    known.contains(kind) || matches!(kind.kind(), Kind::Array(_))
}

/// One spelling for what has several.
pub(crate) fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => number.to_string().into(),
        Value::String(text) => match text.parse::<jiff::Timestamp>() {
            Ok(instant) => instant.to_string().into(),
            Err(_) => text.into(),
        },
        Value::Array(values) => values.into_iter().map(plain).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, plain(value))).collect(),
        Value::Null | Value::Bool(_) => value,
    }
}

/// `user:{id}` for a row.
pub(crate) fn fill(template: &str, row: &Document) -> String {
    row.iter().fold(template.to_owned(), |name, (column, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        name.replace(&format!("{{{column}}}"), &text)
    })
}

/// What stands before the first column: a table's name may have braces too.
fn prefix(template: &str, columns: &BTreeSet<String>) -> String {
    let places = columns.iter().filter_map(|column| template.find(&format!("{{{column}}}")));
    let end = places.min().or_else(|| template.find('{')).unwrap_or(template.len());
    template.get(..end).unwrap_or_default().to_owned()
}

pub(crate) fn difference(expected: &Document, found: &Document) -> Option<String> {
    for (column, value) in expected {
        match found.get(column) {
            None => return Some(format!("column {column} is missing")),
            Some(there) if there != value => return Some(format!("{column} is {there:.60}, not {value:.60}")),
            Some(_) => {}
        }
    }
    found.keys().find(|column| !expected.contains_key(*column)).map(|column| format!("column {column} is too much"))
}

/// A document as it stands; `None` if there is none.
async fn read(connection: &mut MultiplexedConnection, key: &str, hash: bool) -> Result<Option<Document>, String> {
    if hash {
        let fields: BTreeMap<String, String> =
            redis::cmd("HGETALL").arg(key).query_async(connection).await.map_err(|error| error.to_string())?;
        let fields: Document = fields.into_iter().map(|(field, value)| (field, plain(value.into()))).collect();
        return Ok(Some(fields).filter(|fields| !fields.is_empty()));
    }
    let text: Option<String> =
        redis::cmd("GET").arg(key).query_async(connection).await.map_err(|error| error.to_string())?;
    let Some(text) = text else { return Ok(None) };
    let document: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    match plain(document) {
        Value::Object(members) => Ok(Some(members)),
        other => Err(format!("{other} is no document")),
    }
}

/// Every key that begins so.
pub(crate) async fn keys(connection: &mut MultiplexedConnection, prefix: &str) -> BTreeSet<String> {
    let escaped = prefix.chars().flat_map(|letter| ['\\', letter]).collect::<String>();
    let (mut keys, mut cursor) = (BTreeSet::new(), 0_u64);
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(format!("{escaped}*")).arg("COUNT").arg(1_000);
        let (next, found): (u64, Vec<String>) = command.query_async(connection).await.expect("Redis answers");
        keys.extend(found);
        if next == 0 {
            return keys;
        }
        cursor = next;
    }
}

/// Waits until a search for everything finds just what `select` says, among the documents of tables with these columns.
#[track_caller]
pub(crate) fn search_equals(
    postgres: &Postgres,
    walbridge: &Walbridge,
    sink: &str,
    select: &str,
) -> impl Future<Output = ()> {
    let probe = move || async move {
        let line = |document: &Document| {
            let sorted: BTreeMap<&String, &Value> = document.iter().collect();
            serde_json::to_string(&sorted).expect("JSON")
        };
        let expected = rows(postgres, select, false).await;
        let mut expected: Vec<String> = expected.iter().map(line).collect();
        let answer = walbridge.get(&format!("/search/{sink}?q=*&limit=1000")).await?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
        let hits = answer.get("hits").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut found: Vec<String> = hits
            .into_iter()
            .filter_map(|hit| match plain(hit.get("document").cloned().unwrap_or_default()) {
                Value::Object(document) => Some(line(&document)),
                _ => None,
            })
            .collect();
        expected.sort();
        found.sort();
        if expected == found { Ok(()) } else { Err(format!("found {found:.300?}, not {expected:.300?}")) }
    };
    eventually(PATIENCE, probe)
}
