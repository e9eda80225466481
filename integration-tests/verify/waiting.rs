//! What cannot be told yet is waited for, or said: a sink that is held up, a table that is being copied, commits that nobody sees yet.

use std::time::Duration;

use serde_json::json;

use super::{PATIENCE, TABLE, begin, cache, reported, source, text, verify};
use crate::pipeline::caught_up;
use crate::support::{PgOptions, Postgres, Redis, Walbridge, eventually};

/// With `synchronous_standby_names` a commit is in the WAL, in the log and in the sink long before any snapshot shows it. What the sink has then is right, and what `SELECT` says is
/// not yet; a repair by that would have put the older row over the newer, for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_no_snapshot_shows_yet_are_no_differences_and_are_not_undone() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(TABLE);
    let config = |more: &str| source(&postgres, more) + &cache(&redis);
    let mut walbridge = Walbridge::start(&config(""));
    caught_up(&mut walbridge, &postgres).await;
    // From now on rows are read so slowly that the verification takes some seconds.
    assert_eq!(walbridge.sigterm(), Some(0));
    walbridge.configure(&config("snapshot_rate = \"300KB\""));
    walbridge.start_again();
    caught_up(&mut walbridge, &postgres).await;
    let n_of = |id: u32| {
        let redis = &redis;
        async move {
            let mut connection = redis.connection().await;
            let text: String =
                redis::cmd("GET").arg(format!("t:{id}")).query_async(&mut connection).await.expect("GET");
            serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["n"].as_i64()
        }
    };
    postgres.hold_commits().await;
    begin(&walbridge, "cache", r#"{"repair": true}"#).await;
    some_rows_are_read(&walbridge).await;
    let client = postgres.client().await;
    let changes = "UPDATE t SET n = 9 WHERE id % 100 = 0; DELETE FROM t WHERE id % 100 = 1";
    let commit = tokio::spawn(async move { client.batch_execute(changes).await.expect("a commit") });
    eventually(PATIENCE, || async { if n_of(1500).await == Some(9) { Ok(()) } else { Err("not there") } }).await;
    // Nobody sees it, and it stays so until the verification is through.
    assert_eq!(postgres.psql("SELECT n FROM t WHERE id = 1500").trim(), "0");
    let verified = reported(&walbridge, "cache", |report| report["state"] != "running").await;
    assert!(!commit.is_finished());
    postgres.release_commits();
    commit.await.expect("committed in the end");
    assert_eq!((&verified.report["state"], verified.findings()), (&json!("done"), &[][..]), "{}", verified.report);
    caught_up(&mut walbridge, &postgres).await;
    crate::support::equal::json_equals(&postgres, &redis, "SELECT * FROM t", "t:{id}").await;
}

/// A sink that is held up is waited for; one that has halted is not, and neither is called equal. A table whose copy is under way is not verified.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_settled_is_waited_for_or_said() {
    let (postgres, mut redis) =
        (Postgres::start(PgOptions::default()), Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]));
    postgres.psql(TABLE);
    let history = "[sinks.history]\nkind = \"file\"\npath = \"history.jsonl\"\nfrom = \"public.t\"\n";
    let config = source(&postgres, "") + &cache(&redis) + history;
    let mut walbridge = Walbridge::start(&config);
    caught_up(&mut walbridge, &postgres).await;
    // A copy waits for whoever is writing to the table.
    let client = postgres.client().await;
    let cancel = client.cancel_token();
    let writer = tokio::spawn(async move {
        let _ = client.batch_execute("BEGIN; UPDATE t SET n = n WHERE id = 1; SELECT pg_sleep(600)").await;
    });
    let order = walbridge.run(&["resnapshot", "shop", "--table", "public.t"]);
    assert!(order.status.success(), "{}", String::from_utf8_lossy(&order.stderr));
    let is_waiting = |status: &serde_json::Value| status["sources"]["shop"]["tables"]["public.t"]["done"] == false;
    walbridge.wait_for(PATIENCE, is_waiting).await;
    let copying = verify(&walbridge, "cache", &[]);
    assert_eq!((copying.exit_code, copying.findings()), (Some(3), &[][..]), "{}", copying.report);
    assert!(text(&copying.table()["skipped"]).contains("being copied"), "{}", copying.report);
    cancel.cancel_query(tokio_postgres::NoTls).await.expect("cancelled");
    writer.await.expect("ended");
    caught_up(&mut walbridge, &postgres).await;

    let output = walbridge.run(&["verify", "history"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("keeps history") && said.contains("log verify"), "{said}");
    let said = walbridge.run(&["verify", "nobody"]);
    assert_eq!(said.status.code(), Some(2));

    let mut connection = redis.connection().await;
    let () = redis::cmd("DEL").arg("t:17").query_async(&mut connection).await.expect("damage");
    redis.kill9();
    postgres.psql("UPDATE t SET n = 1 WHERE id > 1400");
    begin(&walbridge, "cache", "{}").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = reported(&walbridge, "cache", |_| true).await;
    assert_eq!((&waiting.report["state"], waiting.findings()), (&json!("running"), &[][..]), "{}", waiting.report);
    redis.start_again();
    let verified = reported(&walbridge, "cache", |report| report["state"] != "running").await;
    assert_eq!(verified.found(), [("t:17".to_owned(), "missing".to_owned())].into(), "{}", verified.report);
    let sampled = verify(&walbridge, "cache", &["--sample", "20%"]);
    let rows = sampled.table()["rows"].as_u64().unwrap_or_default();
    assert!(rows > 50 && rows < 1200 && sampled.table()["whole"] == false, "{}", sampled.report);

    // Another log's checkpoint halts the sink.
    let mut connection = redis.connection().await;
    let foreign = json!({ "log": "00000000000000000000000000000abc", "offset": 1 }).to_string();
    let () = redis::cmd("SET")
        .arg("walbridge:cache:checkpoint")
        .arg(foreign)
        .query_async(&mut connection)
        .await
        .expect("SET");
    walbridge.wait_for(PATIENCE, |status| status["sinks"]["cache"]["state"] == "halted").await;
    let halted = walbridge.run(&["verify", "cache"]);
    let said = [halted.stdout, halted.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(halted.status.code(), Some(3), "{said}");
    assert!(said.contains("could not be verified") || said.contains("loop has ended"), "{said}");
}

/// A table is walked over by places. While that goes on a row leaves a place that is still to come for one that has been passed, and then its document is lost: at neither
/// place it was met, and the sink was called equal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_moves_behind_the_walk_is_compared_all_the_same() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY, n int, filler text);
         INSERT INTO t SELECT i, 0, repeat('f', 400) FROM generate_series(1, 2500) i",
    );
    let mut walbridge = Walbridge::start(&(source(&postgres, "") + &cache(&redis)));
    caught_up(&mut walbridge, &postgres).await;
    assert_eq!(walbridge.sigterm(), Some(0));
    walbridge.configure(&(source(&postgres, "snapshot_rate = \"100KB\"") + &cache(&redis)));
    walbridge.start_again();
    caught_up(&mut walbridge, &postgres).await;
    begin(&walbridge, "cache", "{}").await;
    let read = some_rows_are_read(&walbridge).await;
    // Room where the walk has been.
    postgres.psql("DELETE FROM t WHERE id <= 100");
    postgres.psql("VACUUM t");
    postgres.psql("UPDATE t SET n = 1 WHERE id = 2400");
    let block = postgres.psql("SELECT (ctid::text::point)[0]::int FROM t WHERE id = 2400");
    assert!(block.trim().parse::<u32>().is_ok_and(|block| block < 10), "{block}");
    assert_eq!(some_rows_are_read(&walbridge).await, read, "the walk has not come further");
    let mut connection = redis.connection().await;
    caught_up(&mut walbridge, &postgres).await;
    // A lag is looked at ten times a second: the change itself is waited for, or it would bring back what is damaged here.
    eventually(PATIENCE, || {
        let mut connection = connection.clone();
        async move {
            let text: String = redis::cmd("GET").arg("t:2400").query_async(&mut connection).await.expect("GET");
            if text.contains("\"n\":1") { Ok(()) } else { Err(text) }
        }
    })
    .await;
    let () = redis::cmd("DEL").arg("t:2400").query_async(&mut connection).await.expect("damage");
    let verified = reported(&walbridge, "cache", |report| report["state"] != "running").await;
    assert_eq!(verified.found(), [("t:2400".to_owned(), "missing".to_owned())].into(), "{}", verified.report);
}

/// Waits until the first run of rows has been read; the next is not due for some seconds. How far that is.
async fn some_rows_are_read(walbridge: &Walbridge) -> String {
    let begun = reported(walbridge, "cache", |report| report["percent"].as_f64() > Some(0.0)).await.report;
    assert_eq!(begun["state"], "running", "{begun}");
    begun["percent"].to_string()
}

/// Rows that changed while a table was walked over are read again by their keys, in the end. Where those held more than one answer may, the same keys were asked for again and
/// refused again, and the verification failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_rows_that_change_meanwhile_are_compared_in_several_answers() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT i, 0, repeat('x', 30000) FROM generate_series(1, 300) i",
    );
    let mut walbridge = Walbridge::start(&(source(&postgres, "") + &cache(&redis)));
    caught_up(&mut walbridge, &postgres).await;
    assert_eq!(walbridge.sigterm(), Some(0));
    walbridge.configure(&(source(&postgres, "snapshot_rate = \"2MB\"") + &cache(&redis)));
    walbridge.start_again();
    caught_up(&mut walbridge, &postgres).await;
    begin(&walbridge, "cache", "{}").await;
    some_rows_are_read(&walbridge).await;
    postgres.psql("UPDATE t SET n = 1, big = repeat('y', 30000)");
    caught_up(&mut walbridge, &postgres).await;
    let mut connection = redis.connection().await;
    let () = redis::cmd("DEL").arg("t:7").query_async(&mut connection).await.expect("damage");
    let verified = reported(&walbridge, "cache", |report| report["state"] != "running").await;
    assert_eq!(verified.report["state"], "done", "{}", verified.report);
    assert_eq!(verified.found(), [("t:7".to_owned(), "missing".to_owned())].into(), "{}", verified.report);
}
