//! A fan-out timeline and a like set from PostgreSQL to Redis, with rows that change where they belong.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::{PgOptions, Postgres, Redis, Walbridge};

const SCHEMA: &str = "CREATE TABLE timeline (user_id int, post_id int, created_at timestamptz NOT NULL, PRIMARY KEY (user_id, post_id));
    CREATE TABLE likes (id int PRIMARY KEY, post_id int NOT NULL, user_id int NOT NULL);
    INSERT INTO timeline SELECT u, p, '2026-11-24 10:00:00+00'::timestamptz + p * interval '1 minute' FROM generate_series(1, 20) u, generate_series(1, 30) p;
    INSERT INTO likes SELECT i, i % 10, i FROM generate_series(1, 200) i;";

fn config(postgres: &Postgres, redis: &Redis) -> String {
    format!(
        "[sources.shop]\nurl = \"{}\"\ntables = [\"public.*\"]\n[log]\npath = \"log\"\n\
         [sinks.timeline]\nkind = \"redis\"\nurl = \"{url}\"\nfrom = \"public.timeline\"\nkey = \"timeline:{{user_id}}\"\nmember = \"{{post_id}}\"\n\
         value = \"sorted_set\"\nscore = \"created_at\"\n\
         [sinks.likes]\nkind = \"redis\"\nurl = \"{url}\"\nfrom = \"public.likes\"\nkey = \"likes:{{post_id}}\"\nmember = \"{{user_id}}:{{id}}\"\nvalue = \"set\"\n\
         [sinks.events]\nkind = \"redis\"\nurl = \"{url}\"\nfrom = \"public.likes\"\nvalue = \"stream\"\n",
        postgres.url(),
        url = redis.url()
    )
}

type Sets = BTreeMap<String, BTreeMap<String, String>>;

/// All timelines and like sets, as a client reads them.
async fn found(redis: &Redis) -> Sets {
    let mut connection = redis.connection().await;
    let mut sets = Sets::new();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*:[0-9]*").query_async(&mut connection).await.expect("KEYS");
    for key in keys {
        let members = if key.starts_with("timeline:") {
            let command = redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).arg("WITHSCORES").to_owned();
            let pairs: Vec<(String, f64)> = command.query_async(&mut connection).await.expect("ZRANGE");
            pairs.into_iter().map(|(member, score)| (member, score.to_string())).collect()
        } else {
            let members: Vec<String> =
                redis::cmd("SMEMBERS").arg(&key).query_async(&mut connection).await.expect("SMEMBERS");
            members.into_iter().map(|member| (member, String::new())).collect()
        };
        sets.insert(key, members);
    }
    sets
}

/// The same of the source.
async fn wanted(postgres: &Postgres) -> Sets {
    let select =
        "SELECT 'timeline:' || user_id, post_id::text, extract(epoch from created_at)::float8::text FROM timeline
        UNION ALL SELECT 'likes:' || post_id, user_id || ':' || id, '' FROM likes";
    let mut sets = Sets::new();
    for row in postgres.client().await.query(select, &[]).await.expect("rows") {
        let score: String = row.get(2);
        let score = score.parse().map_or(score, |score: f64| score.to_string());
        sets.entry(row.get(0)).or_default().insert(row.get(1), score);
    }
    sets
}

async fn assert_equal(walbridge: &mut Walbridge, postgres: &Postgres, redis: &Redis) {
    caught_up(walbridge, postgres).await;
    let (found, wanted) = (found(redis).await, wanted(postgres).await);
    for key in found.keys().chain(wanted.keys()) {
        assert_eq!(found.get(key), wanted.get(key), "{key}");
    }
}

fn verify(walbridge: &Walbridge, sink: &str, more: &[&str]) -> (Option<i32>, Value) {
    let output = tokio::task::block_in_place(|| walbridge.run(&[&["verify", sink, "--json"], more].concat()));
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or(Value::String(String::from_utf8_lossy(&output.stderr).into_owned()));
    (output.status.code(), report)
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_follow_rows_that_change_where_they_belong() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(SCHEMA);
    postgres.psql("ALTER TABLE likes REPLICA IDENTITY FULL");
    let redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut walbridge = Walbridge::start(&config(&postgres, &redis));
    assert_equal(&mut walbridge, &postgres, &redis).await;
    postgres.psql(
        "UPDATE timeline SET user_id = 100 + user_id WHERE post_id = 1; UPDATE timeline SET post_id = 500 + post_id WHERE post_id = 2;
         UPDATE timeline SET created_at = created_at + interval '1 day 0.25 seconds' WHERE post_id = 3; DELETE FROM timeline WHERE post_id = 4;
         UPDATE likes SET post_id = post_id + 1 WHERE id % 3 = 0; UPDATE likes SET user_id = 0 WHERE id % 7 = 0; DELETE FROM likes WHERE post_id = 5",
    );
    assert_equal(&mut walbridge, &postgres, &redis).await;
    let length: u64 =
        redis::cmd("XLEN").arg("public.likes").query_async(&mut redis.connection().await).await.expect("XLEN");
    assert!(length > 300, "{length}: all rows, all updates and the deletes");

    // Somebody has been at it.
    let mut connection = redis.connection().await;
    let _: redis::Value = redis::pipe()
        .cmd("ZREM")
        .arg("timeline:7")
        .arg("9")
        .cmd("ZADD")
        .arg("timeline:7")
        .arg(5)
        .arg("10")
        .cmd("ZADD")
        .arg("timeline:7")
        .arg(5)
        .arg("9999")
        .cmd("SADD")
        .arg("likes:77")
        .arg("1:1")
        .query_async(&mut connection)
        .await
        .expect("damage");
    let (code, report) = verify(&walbridge, "timeline", &["--repair"]);
    assert_eq!(report[0]["findings"].as_array().map(Vec::len), Some(3), "{code:?} {report}");
    verify(&walbridge, "likes", &["--repair"]);
    assert_eq!(found(&redis).await, wanted(&postgres).await);
    assert_eq!(verify(&walbridge, "timeline", &[]).0, Some(0));
    let (code, refused) = verify(&walbridge, "events", &[]);
    assert!(code != Some(0) && refused.to_string().contains("a stream keeps history"), "{code:?} {refused}");

    postgres.psql("TRUNCATE timeline; INSERT INTO timeline VALUES (1, 1, 'infinity')");
    assert_equal(&mut walbridge, &postgres, &redis).await;
    walbridge.sigkill();
    let _: String = redis::cmd("FLUSHALL").query_async(&mut connection).await.expect("FLUSHALL");
    walbridge.start_again();
    assert_equal(&mut walbridge, &postgres, &redis).await;
}

/// A row that leaves a collection is only found there by its old row.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_does_not_tell_its_old_rows_is_refused_at_the_start() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(SCHEMA);
    let redis = Redis::start(&[]);
    let mut walbridge = Walbridge::start(&config(&postgres, &redis));
    let status = walbridge
        .wait_for(std::time::Duration::from_secs(60), |status| status["sinks"]["likes"]["state"] == "halted")
        .await;
    let message = status["sinks"]["likes"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("post_id") && message.contains("REPLICA IDENTITY"), "{message}");
}

/// Cached like counts: the number itself is under the key, so that `GET` and `MGET` are all that a reader needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_counter_is_under_its_key_as_a_number() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(
        "CREATE TABLE posts (id int PRIMARY KEY, title text, likes int NOT NULL); INSERT INTO posts SELECT i, 'post ' || i, i FROM generate_series(1, 100) i",
    );
    let redis = Redis::start(&[]);
    let config = |text: &str| {
        format!(
            "[sources.shop]\nurl = \"{}\"\ntables = \"public.posts\"\n[log]\npath = \"log\"\n\
             [sinks.likes]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.posts\"\nkey = \"likes:{{id}}\"\nvalue = \"text\"\ntext = \"{text}\"\n",
            postgres.url(),
            redis.url()
        )
    };
    let mut walbridge = Walbridge::start(&config("{likes}"));
    caught_up(&mut walbridge, &postgres).await;
    postgres.psql("UPDATE posts SET likes = likes + 1000 WHERE id % 2 = 0; DELETE FROM posts WHERE id > 90");
    caught_up(&mut walbridge, &postgres).await;
    let mut connection = redis.connection().await;
    let keys: Vec<String> = (1..=100).map(|id| format!("likes:{id}")).collect();
    let found: Vec<Option<i64>> = redis::cmd("MGET").arg(&keys).query_async(&mut connection).await.expect("numbers");
    let likes = |id: i64| (id <= 90).then_some(if id % 2 == 0 { id + 1000 } else { id });
    assert_eq!(found, (1..=100).map(likes).collect::<Vec<_>>());
    let () = redis::cmd("SET").arg("likes:7").arg(8).query_async(&mut connection).await.expect("damage");
    let (code, report) = verify(&walbridge, "likes", &["--repair"]);
    assert_eq!(report[0]["findings"].as_array().map(Vec::len), Some(1), "{code:?} {report}");
    assert_eq!(verify(&walbridge, "likes", &[]).0, Some(0));

    walbridge.sigterm();
    walbridge.configure(&config("{like}"));
    walbridge.start_again();
    postgres.psql("UPDATE posts SET likes = 0 WHERE id = 1");
    let halted = |status: &Value| status["sinks"]["likes"]["state"] == "halted";
    let status = walbridge.wait_for(std::time::Duration::from_secs(60), halted).await;
    let message = status["sinks"]["likes"]["message"].to_string();
    assert!(message.contains("text: ") && message.contains("no column `like`"), "{message}");
}
