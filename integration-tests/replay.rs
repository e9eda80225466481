//! `walbridge replay` with the real program: a Redis cache and a search index apply again what they have applied. And what else puts a target ahead of the log:
//! rows that are read back.

use std::time::Duration;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::equal::json_equals;
#[cfg(feature = "search")]
use crate::support::equal::search_equals;
use crate::support::{PgOptions, Postgres, Redis, Walbridge, eventually};

const PATIENCE: Duration = Duration::from_secs(60);
const ALL: &str = "SELECT * FROM t";

fn configuration(postgres: &Postgres, redis: &Redis) -> String {
    let search = if cfg!(feature = "search") {
        "[sinks.search]\nkind = \"tantivy\"\npath = \"index\"\nfrom = \"public.t\"\nbatch = { linger = \"50ms\" }\n"
    } else {
        ""
    };
    format!(
        "[sources.shop]\nurl = \"{}\"\ntables = [\"public.*\"]\n[log]\npath = \"log\"\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.t\"\nkey = \"t:{{id}}\"\nbatch = {{ rows = 20 }}\n\
         [sinks.history]\nkind = \"file\"\npath = \"history.jsonl\"\nfrom = \"public.t\"\n{search}",
        postgres.url(),
        redis.url()
    )
}

/// Gives an order that is to be carried out to its end.
fn replayed(walbridge: &Walbridge, sink: &str, from: &str) -> Value {
    let output = walbridge.run(&["replay", sink, "--from", from, "--wait", "--json"]);
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), walbridge.log());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn refused(walbridge: &Walbridge, sink: &str, from: &str) -> String {
    let output = walbridge.run(&["replay", sink, "--from", from]);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Removes every third document, and leaves nothing but braces of the next.
async fn damage(redis: &Redis) {
    let mut connection = redis.connection().await;
    let script = "for id = 1, 600, 3 do redis.call('DEL', 't:' .. id) redis.call('SET', 't:' .. id + 1, '{}') end";
    let () = redis::cmd("EVAL").arg(script).arg(0).query_async(&mut connection).await.expect("damage");
}

/// The checkpoint as Redis has it.
async fn checkpoint(redis: &Redis) -> Value {
    let mut connection = redis.connection().await;
    let text: String =
        redis::cmd("GET").arg("walbridge:cache:checkpoint").query_async(&mut connection).await.expect("a checkpoint");
    serde_json::from_str(&text).expect("JSON")
}

/// A row got another key while its large value was left alone, and another row took the old key. Applied again over the later state, the first row was to
/// be completed from what stood under its old key: the other row's value. No later event would have put that right.
async fn moved_rows_keep_their_values(postgres: &Postgres, redis: &Redis, walbridge: &mut Walbridge) {
    let place = postgres.end_of_wal().to_string();
    postgres.psql(
        "UPDATE t SET id = 9001 WHERE id = 1; INSERT INTO t VALUES (1, 0, repeat('y', 3000)); UPDATE t SET n = 5 WHERE id = 9001;
         UPDATE t SET id = 9002 WHERE id = 2; UPDATE t SET id = 2 WHERE id = 3; UPDATE t SET id = 3 WHERE id = 9002",
    );
    caught_up(walbridge, postgres).await;
    let events = replayed(walbridge, "cache", &place);
    json_equals(postgres, redis, ALL, "t:{id}").await;
    let status = walbridge.status().await;
    let sink = &status["sinks"]["cache"];
    assert_eq!((&sink["replay"], sink["state"].as_str()), (&Value::Null, Some("streaming")), "{status}");
    assert!(events["from"].as_u64() > Some(500) && events["until"].as_u64() <= sink["checkpoint"].as_u64(), "{events}");
    #[cfg(feature = "search")]
    {
        replayed(walbridge, "search", &place);
        search_equals(postgres, walbridge, "search", ALL).await;
    }
}

/// Documents are lost and damaged in a target, which has a checkpoint behind them all, so that nothing would ever write them again. Here they are to be,
/// though the process is killed in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_mends_a_damaged_target_and_survives_a_sigkill() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT i, 0, CASE WHEN i < 10 THEN repeat('x', 3000 + i) END FROM generate_series(1, 600) i",
    );
    let mut walbridge = Walbridge::start(&configuration(&postgres, &redis));
    caught_up(&mut walbridge, &postgres).await;
    moved_rows_keep_their_values(&postgres, &redis, &mut walbridge).await;
    let before: jiff::Timestamp = jiff::Timestamp::now();
    postgres.psql("UPDATE t SET n = id WHERE id <= 600; DELETE FROM t WHERE id BETWEEN 500 AND 600");
    caught_up(&mut walbridge, &postgres).await;

    // All rows that are damaged have changed since.
    damage(&redis).await;
    let since = replayed(&walbridge, "cache", &before.to_string());
    json_equals(&postgres, &redis, ALL, "t:{id}").await;

    damage(&redis).await;
    let mut tries = 0;
    loop {
        let output = walbridge.run(&["replay", "cache", "--from", "start", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let begun = eventually(PATIENCE, || async {
            let checkpoint = checkpoint(&redis).await;
            if checkpoint["offset"].as_u64() > Some(0) { Ok(checkpoint) } else { Err(checkpoint) }
        });
        begun.await;
        walbridge.sigkill();
        let checkpoint = checkpoint(&redis).await;
        // It may have been through by then.
        if checkpoint["replay"]["until"].as_u64() >= since["until"].as_u64() {
            break;
        }
        tries += 1;
        assert!(tries < 50, "no kill fell into the middle: {checkpoint}");
        walbridge.start_again();
        caught_up(&mut walbridge, &postgres).await;
    }
    walbridge.start_again();
    json_equals(&postgres, &redis, ALL, "t:{id}").await;
    let through = |status: &Value| {
        let sink = &status["sinks"]["cache"];
        sink["replay"].is_null() && sink["state"] == "streaming" && sink["lag_events"] == 0
    };
    walbridge.wait_for(PATIENCE, through).await;

    for (sink, from, why) in [
        ("history", "start", "walbridge log dump"),
        ("cache", "1000000", "beyond the end"),
        ("cache", "2100-01-01T00:00:00Z", "none of that is at"),
        ("cache", "end", "behind the end"),
        ("cache", "yesterday", "16/B374D848"),
        ("nobody", "start", "cache, history"),
    ] {
        let said = refused(&walbridge, sink, from);
        assert!(said.contains(why), "{sink} from {from}: {said}");
    }
}

/// A document is missing when a change comes that leaves its large value alone, so the row is read back: as it is by now, another one, which has taken the
/// key meanwhile. When the first row's own move came to be applied, it was completed from that document, and had the other's large value for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_read_back_lends_nothing_to_one_that_had_its_key_before() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;
         INSERT INTO t VALUES (1, 0, repeat('x', 3000)), (2, 0, repeat('y', 3000))",
    );
    let mut walbridge = Walbridge::start(&configuration(&postgres, &redis).replace("rows = 20", "rows = 1"));
    caught_up(&mut walbridge, &postgres).await;
    let mut connection = redis.connection().await;
    let () = redis::cmd("DEL").arg("t:1").query_async(&mut connection).await.expect("an answer");
    redis.freeze();
    for sql in ["n = 1 WHERE id = 1", "id = 3 WHERE id = 1", "id = 1 WHERE id = 2"] {
        postgres.psql(&format!("UPDATE t SET {sql}"));
    }
    redis.thaw();
    json_equals(&postgres, &redis, ALL, "t:{id}").await;
    caught_up(&mut walbridge, &postgres).await;
    json_equals(&postgres, &redis, ALL, "t:{id}").await;
    let ahead = checkpoint(&redis).await["ahead"].clone();
    assert!(ahead.is_object(), "the checkpoint tells how far: {ahead}");
    // One that is committed behind all of that puts the target level with the log again.
    postgres.psql("UPDATE t SET n = n + 1");
    caught_up(&mut walbridge, &postgres).await;
    assert_eq!(checkpoint(&redis).await["ahead"], Value::Null);
}
