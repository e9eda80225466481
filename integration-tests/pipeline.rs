//! End to end, with the real program: PostgreSQL in, Redis and a search index out.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{PgOptions, Postgres, Redis, Walbridge, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

const SCHEMA: &str =
    "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, bio text, score numeric, tags text[], born date,
     seen timestamptz, active boolean, data jsonb);
     ALTER TABLE users ALTER COLUMN bio SET STORAGE EXTERNAL;";

fn config(postgres: &Postgres, redis: &Redis, directory: &std::path::Path) -> String {
    format!(
        r#"
[sources.shop]
url = "{url}"
tables = ["public.*"]

[log]
path = "{directory}/log"

[sinks.user-cache]
kind = "redis"
url = "{redis}"
from = "public.users"
key = "user:{{id}}"

[sinks.user-hash]
kind = "redis"
url = "{redis}"
from = "public.users"
key = "hash:{{id}}"
value = "hash"

[sinks.user-search]
kind = "tantivy"
path = "{directory}/index"
from = "public.users"
batch = {{ linger = "50ms" }}

[sinks.events]
kind = "file"
path = "{directory}/events.jsonl"
from = "public.*"
"#,
        url = postgres.url(),
        redis = redis.url(),
        directory = directory.display()
    )
}

async fn document(redis: &Redis, key: &str) -> Option<Value> {
    let mut connection = redis.connection().await;
    let text: Option<String> = redis::cmd("GET").arg(key).query_async(&mut connection).await.expect("an answer");
    text.map(|text| serde_json::from_str(&text).expect("JSON"))
}

/// Every sink has what the log has, and the log has what the server has.
pub(crate) async fn caught_up(walbridge: &mut Walbridge, postgres: &Postgres) {
    let end = postgres.end_of_wal();
    walbridge
        .wait_for(PATIENCE, |status| {
            let sources = status["sources"].as_object().into_iter().flatten();
            let durable = sources.map(|(_, source)| source["durable_lsn"].as_str().and_then(|lsn| lsn.parse().ok()));
            let reached = durable.flatten().all(|lsn: walbridge::event::Lsn| lsn >= end);
            let mut sinks = status["sinks"].as_object().into_iter().flatten();
            let copied = status["sources"]
                .as_object()
                .into_iter()
                .flatten()
                .all(|(_, source)| source["state"] != "snapshotting" && source["state"] != "starting");
            reached && copied && sinks.all(|(_, sink)| sink["lag_events"] == 0 && !sink["checkpoint"].is_null())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_edit_reaches_cache_and_search_with_every_value_as_postgres_15_has_it() {
    a_profile_edit(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_edit_reaches_cache_and_search_with_every_value_as_postgres_16_has_it() {
    a_profile_edit(16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_edit_reaches_cache_and_search_with_every_value_as_postgres_17_has_it() {
    a_profile_edit(17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_edit_reaches_cache_and_search_with_every_value_as_postgres_18_has_it() {
    a_profile_edit(18).await;
}

async fn a_profile_edit(major: u32) {
    let postgres = Postgres::start(PgOptions::of_major(major));
    let redis = Redis::start(&[]);
    let directory = tempfile::tempdir().expect("a directory");
    postgres.psql(SCHEMA);
    postgres.psql(
        "INSERT INTO users VALUES (1, 'Ada', repeat('long ', 1000), 1.50, '{a,NULL,\"b c\"}', '1815-12-10', '2026-11-24 10:00:00.5+02', true, '{\"a\": [1, 2]}'),
         (9007199254740993, 'Big', NULL, 'NaN', NULL, NULL, NULL, false, NULL)",
    );
    let mut walbridge = Walbridge::start(&config(&postgres, &redis, directory.path()));
    caught_up(&mut walbridge, &postgres).await;
    let ada = document(&redis, "user:1").await.expect("a document");
    assert_eq!(ada["name"], "Ada");
    assert_eq!(ada["score"], "1.50");
    assert_eq!(ada["tags"], json!(["a", null, "b c"]));
    assert_eq!(ada["born"], "1815-12-10");
    assert_eq!(ada["seen"], "2026-11-24T08:00:00.5Z");
    assert_eq!(ada["data"], json!({"a": [1, 2]}));
    let big = document(&redis, "user:9007199254740993").await.expect("a document");
    assert_eq!(big["id"], "9007199254740993");

    // The long bio is unchanged TOAST: PostgreSQL does not send it, and it must not be lost.
    postgres.psql("UPDATE users SET name = 'Ada Lovelace' WHERE id = 1; DELETE FROM users WHERE id > 1");
    caught_up(&mut walbridge, &postgres).await;
    let ada = document(&redis, "user:1").await.expect("a document");
    assert_eq!((ada["name"].as_str(), ada["bio"].as_str().map(str::len)), (Some("Ada Lovelace"), Some(5000)));
    assert!(document(&redis, "user:9007199254740993").await.is_none());
    let found: Value =
        serde_json::from_str(&walbridge.get("/search/user-search?q=lovelace&highlight=name").await.expect("an answer"))
            .expect("JSON");
    assert_eq!(found["total"], 1, "{found}");
    assert_eq!(found["hits"][0]["document"]["bio"].as_str().map(str::len), Some(5000));
    assert!(
        found["hits"][0]["highlights"]["name"].as_str().is_some_and(|html| html.contains("<b>Lovelace</b>")),
        "{found}"
    );
    assert_eq!(walbridge.sigterm(), Some(0), "a clean stop: {}", walbridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_was_emptied_is_filled_again_from_the_log() {
    let postgres = Postgres::start(PgOptions::default());
    let redis = Redis::start(&[]);
    let directory = tempfile::tempdir().expect("a directory");
    postgres.psql(SCHEMA);
    postgres.psql("INSERT INTO users (id, name) SELECT i, 'n' || i FROM generate_series(1, 500) i");
    let mut walbridge = Walbridge::start(&config(&postgres, &redis, directory.path()));
    caught_up(&mut walbridge, &postgres).await;
    let mut connection = redis.connection().await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.expect("flushed");
    eventually(PATIENCE, || async {
        let mut connection = redis.connection().await;
        let size: usize = redis::cmd("DBSIZE").query_async(&mut connection).await.expect("a count");
        // Two sinks of 500 rows, and their checkpoints.
        if size == 1002 { Ok(()) } else { Err(format!("{size} keys")) }
    })
    .await;
    assert_eq!(document(&redis, "user:500").await.expect("a document")["name"], "n500");
}
