//! Shaped sinks with the real program: documents are what a `SELECT` of the same expressions gives, and a mistake is told with its place.

use std::time::Duration;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::{PgOptions, Postgres, Redis, Walbridge};

const PATIENCE: Duration = Duration::from_secs(60);

fn config(postgres: &Postgres, redis: &Redis, filter: &str) -> String {
    format!(
        r#"[sources.shop]
url = "{}"
tables = "public.*"
[log]
path = "log"
[sinks.people]
kind = "redis"
url = "{}"
from = "public.people"
[sinks.people.shape]
where = "{filter}"
deleted = "deleted_at IS NOT NULL"
columns = ["id", "name AS title", "lower(email) AS email", "(net * 1.19)::numeric(12,2) AS gross", "phone", "ssn", "length(about) AS size"]
mask = {{ phone = 3 }}
hash = "email"
hash_key = "a key of more than sixteen"
redact = "ssn"
[sinks.changes]
kind = "file"
path = "changes.jsonl"
from = "public.*"
shape = {{ tables = "public.people", where = "old.country IS DISTINCT FROM new.country", columns = ["id", "country"] }}
"#,
        postgres.url(),
        redis.url()
    )
}

const FILTER: &str = "country IN ('DE', 'AT') AND about NOT LIKE '%secret%'";

async fn documents(redis: &Redis) -> Vec<(String, Value)> {
    let mut connection = redis.connection().await;
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("public.*").query_async(&mut connection).await.expect("KEYS");
    keys.sort();
    let mut found = Vec::new();
    for key in keys {
        let text: String = redis::cmd("GET").arg(&key).query_async(&mut connection).await.expect("GET");
        found.push((key, serde_json::from_str(&text).expect("JSON")));
    }
    found
}

/// The same by PostgreSQL, pgcrypto hashing.
fn expected(postgres: &Postgres) -> Vec<(String, Value)> {
    let answer = postgres.psql(&format!(
        "SELECT 'public.people:' || id || '=' || json_build_object('id', id, 'title', name,
           'email', encode(hmac(lower(email), 'a key of more than sixteen', 'sha256'), 'hex'), 'gross', ((net * 1.19)::numeric(12,2))::text,
           'phone', repeat('*', length(phone) - 3) || right(phone, 3), 'ssn', CASE WHEN ssn IS NULL THEN NULL ELSE 'REDACTED' END, 'size', length(about))
         FROM people WHERE ({FILTER}) AND deleted_at IS NULL ORDER BY ('public.people:' || id) COLLATE \"C\""
    ));
    let document = |line: &str| {
        let (key, row) = line.split_once('=').expect("a key and a row");
        (key.to_owned(), serde_json::from_str(row).expect("JSON"))
    };
    answer.lines().map(document).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shaped_cache_is_what_select_gives_and_a_dropped_column_stops_only_its_sink() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(
        "CREATE EXTENSION pgcrypto;
         CREATE TABLE people (id int PRIMARY KEY, name text, email text, net numeric, phone text, ssn text, country text, about text, deleted_at timestamptz);
         ALTER TABLE people REPLICA IDENTITY FULL; ALTER TABLE people ALTER about SET STORAGE EXTERNAL;
         INSERT INTO people SELECT i, 'n' || i, 'E' || i || '@X.org', i * 1.5, '+49 30 ' || 100000 + i, CASE WHEN i % 3 = 0 THEN 's' || i END,
           (ARRAY['DE', 'AT', 'FR', NULL])[1 + i % 4], repeat('x', 3000) || CASE WHEN i % 5 = 0 THEN 'secret' ELSE '' END, CASE WHEN i % 7 = 0 THEN now() END
           FROM generate_series(1, 60) i",
    );
    let mut walbridge = Walbridge::start(&config(&postgres, &redis, FILTER));
    caught_up(&mut walbridge, &postgres).await;
    assert_eq!(documents(&redis).await, expected(&postgres));
    // From here on large values are not sent with the old row either.
    postgres.psql("ALTER TABLE people REPLICA IDENTITY FULL");
    postgres.psql(
        "UPDATE people SET country = 'FR' WHERE id % 4 = 0; UPDATE people SET country = 'DE' WHERE id % 4 = 2; UPDATE people SET deleted_at = NULL WHERE id = 7;
         UPDATE people SET deleted_at = now() WHERE id BETWEEN 20 AND 23; UPDATE people SET id = id + 100, name = 'moved' WHERE id < 6; DELETE FROM people WHERE id = 30;
         BEGIN; UPDATE people SET country = 'XX', about = 'short' WHERE id = 40; UPDATE people SET country = 'AT' WHERE id = 40; COMMIT",
    );
    caught_up(&mut walbridge, &postgres).await;
    assert_eq!(documents(&redis).await, expected(&postgres));
    assert!(expected(&postgres).len() > 15);
    let changes = std::fs::read_to_string(walbridge.directory().join("changes.jsonl")).expect("a file");
    let after = changes
        .lines()
        .filter(|line| line.contains(r#""op":"update""#))
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let after: Vec<Value> = after.map(|event| event["after"].clone()).collect();
    assert!(after.len() > 20 && after.iter().all(|row| row.as_object().is_some_and(|row| row.len() == 2)), "{after:?}");
    // The column that the filter names goes; what the other sink needs stays.
    postgres.psql(
        "ALTER TABLE people DROP COLUMN about; INSERT INTO people (id, name, country) VALUES (999, 'late', 'DE')",
    );
    let status = walbridge
        .wait_for(PATIENCE, |status| {
            status["sinks"]["people"]["state"] == "halted" && status["sinks"]["changes"]["lag_events"] == 0
        })
        .await;
    let people = &status["sinks"]["people"];
    assert_eq!(people["code"], "config.invalid");
    let message = people["message"].as_str().expect("a message");
    assert!(
        message.contains("line 11, column ")
            && message.contains("table public.people has no column \"about\"")
            && message.contains("^^^^^"),
        "{message}"
    );
    assert_eq!(status["sinks"]["changes"]["state"], "streaming");
}
