//! One value that is larger than every buffer of ours.
//!
//! `VALUE_BYTES=52428800` makes it fifty megabytes.

use crate::pipeline::caught_up;
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
