//! One value that is larger than every buffer of ours.
//!
//! `VALUE_BYTES=52428800` makes it fifty megabytes.

use crate::pipeline::caught_up;
use crate::shop::PATIENCE;
use crate::support::{PgOptions, Postgres, Redis, Walbridge, process};

/// Scenario 70. First as a row that is copied, then as one that is streamed, it arrives to the byte, in memory that is bounded by
/// its size, and what comes behind it flows.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_many_megabytes_arrives_from_copy_and_stream_and_the_rows_behind_it_too() {
    let bytes: usize = std::env::var("VALUE_BYTES").map_or(20 << 20, |text| text.parse().expect("a number"));
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, n int, s text); INSERT INTO t VALUES (1, 0, repeat('c', {bytes})), (2, 0, 'behind it')"
    ));
    let mut walbridge = Walbridge::start(&format!(
        "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\n[log]\npath = \"log\"\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.t\"\nkey = \"t:{{id}}\"\n",
        postgres.url(),
        redis.url()
    ));
    caught_up(&mut walbridge, &postgres).await;
    let pid = walbridge.pid().expect("it runs");
    let copied = process::memory(pid);
    postgres
        .psql(&format!("INSERT INTO t VALUES (3, 0, repeat('s', {bytes})); INSERT INTO t VALUES (4, 0, 'behind it')"));
    // A value that is left alone is not sent; the document keeps it.
    postgres.psql("UPDATE t SET n = 1 WHERE id IN (1, 3)");
    caught_up(&mut walbridge, &postgres).await;
    let peak = process::memory(pid);
    println!("peak memory {} MiB, {} MiB after the copy", peak >> 20, copied >> 20);
    let mut connection = redis.connection().await;
    for (id, letter) in [(1, b'c'), (3, b's')] {
        let document: Vec<u8> =
            redis::cmd("GET").arg(format!("t:{id}")).query_async(&mut connection).await.expect("it");
        let document: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
        let text = document["s"].as_str().expect("a text").as_bytes();
        assert!(text.len() == bytes && text.iter().all(|&byte| byte == letter), "{} bytes", text.len());
        assert_eq!(document["n"], 1);
    }
    for id in [2, 4] {
        let document: String = redis::cmd("GET").arg(format!("t:{id}")).query_async(&mut connection).await.expect("it");
        assert!(document.contains("behind it"));
    }
    assert!(peak < (64 << 20) + 16 * bytes as u64, "{} MiB", peak >> 20);
    assert_eq!(walbridge.sigterm(), Some(0), "{}", walbridge.log());
}

/// Scenario 70, over the cap. A row that is larger than a sink is to be given is set aside with its key and position, from copy and stream,
/// and so is one that only becomes whole by being read back; what is smaller flows, and no document is ever half old and half new.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_beyond_the_cap_of_a_sink_is_set_aside_and_comes_back_when_it_is_small() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY, n int, v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL;
         INSERT INTO t VALUES (1, 0, repeat('c', 300000)), (2, 0, 'small'), (3, 0, repeat('m', 50000))",
    );
    let mut walbridge = Walbridge::start(&format!(
        "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\n[log]\npath = \"log\"\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.t\"\nkey = \"t:{{id}}\"\nrow_bytes_max = \"100KiB\"\n\
         [sinks.feed]\nkind = \"file\"\npath = \"feed.jsonl\"\nfrom = \"public.t\"\nrow_bytes_max = \"100KiB\"\n\
         [sinks.all]\nkind = \"file\"\npath = \"all.jsonl\"\nfrom = \"public.t\"\n",
        postgres.url(),
        redis.url()
    ));
    let refused = |count: u64| {
        move |status: &serde_json::Value| {
            status["sinks"]["cache"]["rejected"] == count && status["sinks"]["cache"]["lag_events"] == 0
        }
    };
    let found = async || {
        let mut connection = redis.connection().await;
        let mut keys: Vec<String> = redis::cmd("KEYS").arg("t:*").query_async(&mut connection).await.expect("keys");
        keys.sort();
        keys
    };
    walbridge.wait_for(PATIENCE, refused(1)).await;
    assert_eq!(found().await, ["t:2", "t:3"]);
    // The value comes with the row, is left alone, is left alone under another key; and a row that grows loses its document.
    postgres.psql("INSERT INTO t VALUES (4, 0, repeat('s', 300000)), (5, 0, 'small')");
    walbridge.wait_for(PATIENCE, refused(2)).await;
    postgres.psql("UPDATE t SET n = 1 WHERE id = 4; UPDATE t SET v = repeat('g', 300000) WHERE id = 3");
    walbridge.wait_for(PATIENCE, refused(4)).await;
    assert_eq!(found().await, ["t:2", "t:5"]);
    postgres.psql("UPDATE t SET id = 40 WHERE id = 4; UPDATE t SET n = 2 WHERE id = 2");
    walbridge.wait_for(PATIENCE, refused(5)).await;
    postgres.psql("UPDATE t SET v = 'fits' WHERE id IN (1, 3, 40)");
    super::caught_up_with_alarm(&mut walbridge, &postgres).await;
    crate::support::equal::json_equals(&postgres, &redis, "SELECT * FROM t", "t:{id}").await;
    let letters =
        std::fs::read_to_string(walbridge.directory().join("log/dead-letters/cache.jsonl")).expect("dead letters");
    let lines = letters.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    // The other lines are notes of what became of them.
    let letters: Vec<serde_json::Value> = lines.filter(|line| line.get("id").is_some()).collect();
    let mut keys: Vec<&str> = letters.iter().filter_map(|letter| letter["key"].as_str()).collect();
    // In one batch a row that had to be read back is set aside behind those that came whole.
    keys.sort_unstable();
    assert_eq!(keys, ["t:1", "t:3", "t:4", "t:4", "t:40"]);
    assert!(
        letters.iter().all(|letter| letter["position"].is_object()
            && letter["reason"].as_str().is_some_and(|text| text.contains("row_bytes_max"))),
        "{letters:?}"
    );
    let lines = |file: &str| std::fs::read_to_string(walbridge.directory().join(file)).expect("a feed").lines().count();
    // A file parks by default.
    assert_eq!(
        lines("all.jsonl") - lines("feed.jsonl"),
        3 + 5,
        "those that came whole, and later changes of those rows"
    );
    assert_eq!(walbridge.sigterm(), Some(0), "{}", walbridge.log());
}
