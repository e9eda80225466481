//! What must hold all the time, looked at while everything is at work: C8, a reader never sees a row go back or go away; C10, no
//! more is confirmed to PostgreSQL than is durable.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::feed::lsn;

/// What the onlookers saw that must not be.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub(super) fn note(&self, wrong: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(wrong);
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Ends when it is dropped.
pub(super) struct Onlooker(JoinHandle<()>);

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the counters of `reg` in Redis, again and again.
pub(super) fn versions(url: &str, seen: Seen) -> Onlooker {
    let client = redis::Client::open(url).expect("a Redis URL");
    let keys: Vec<String> = (0..60).map(|k| format!("public.reg:{k}")).collect();
    Onlooker(tokio::spawn(async move {
        let mut last: HashMap<usize, i64> = HashMap::new();
        let mut connection = None;
        loop {
            let values = versions_now(&client, &mut connection, &keys).await;
            for (at, value) in values.iter().enumerate() {
                let version = value.as_ref().and_then(|json| serde_json::from_str::<Value>(json).ok()?["ver"].as_i64());
                match (last.get(&at), version) {
                    (Some(before), Some(now)) if now < *before => {
                        seen.note(format!("C8 {} went back from {before} to {now}", keys[at]));
                    }
                    (Some(before), None) => seen.note(format!("C8 {} was {before} and is gone", keys[at])),
                    _ => {}
                }
                last.extend(version.map(|version| (at, version)));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }))
}

/// Nothing while Redis is away.
async fn versions_now(
    client: &redis::Client,
    kept: &mut Option<redis::aio::MultiplexedConnection>,
    keys: &[String],
) -> Vec<Option<String>> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => match client.get_multiplexed_async_connection().await {
            Ok(connection) => connection,
            Err(_) => return Vec::new(),
        },
    };
    let Ok(values) = redis::cmd("MGET").arg(keys).query_async(&mut connection).await else { return Vec::new() };
    *kept = Some(connection);
    values
}

/// Asks PostgreSQL what was confirmed, and only then walbridge what is durable.
pub(super) fn confirmations(postgres_url: String, status_url: String, seen: Seen) -> Onlooker {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build().expect("a client");
    Onlooker(tokio::spawn(async move {
        let mut client: Option<Client> = None;
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let Some(connected) = client.take().filter(|client| !client.is_closed()) else {
                if let Ok((opened, connection)) = tokio_postgres::connect(&postgres_url, tokio_postgres::NoTls).await {
                    tokio::spawn(async move { drop(connection.await) });
                    client = Some(opened);
                }
                continue;
            };
            let confirmed = confirmed(&connected).await;
            let durable = durable(&http, &status_url).await;
            client = Some(connected);
            if let (Some(confirmed), Some(durable)) = (confirmed, durable)
                && confirmed > durable
            {
                seen.note(format!("C10 {confirmed:X} was confirmed, and {durable:X} is durable"));
            }
        }
    }))
}

async fn confirmed(client: &Client) -> Option<u64> {
    let sql = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE plugin = 'pgoutput' AND confirmed_flush_lsn IS NOT NULL";
    let row = client.query_opt(sql, &[]).await.ok()??;
    Some(lsn(row.get(0)))
}

/// `None` while it is not known yet.
async fn durable(http: &reqwest::Client, url: &str) -> Option<u64> {
    let text = http.get(url).send().await.ok()?.text().await.ok()?;
    let status: Value = serde_json::from_str(&text).ok()?;
    let (_, source) = status["sources"].as_object()?.iter().next()?;
    Some(lsn(source["durable_lsn"].as_str()?)).filter(|&lsn| lsn > 0 && source["state"] != "starting")
}
