//! Scenario 17: a server that is told to stop stops, whatever walbridge is at. `Postgres::stop` fails by itself if it does not.

use crate::pipeline::caught_up;
use crate::shop::Shop;
use crate::support::{PgOptions, StopMode};

/// What a busy night would leave in the server's log; a few lines for each connection that is turned away are none.
fn assert_no_flood(log: &str) {
    let errors = log.lines().filter(|line| line.contains("ERROR:") || line.contains("FATAL:")).count();
    assert!(errors < 40, "{errors} errors in the server's log:\n{log}");
}

/// The smart mode waits for clients and tells them nothing: connections that stay open for later would keep the server for ever.
#[tokio::test(flavor = "multi_thread")]
async fn neither_a_smart_nor_a_fast_shutdown_waits_for_an_idle_or_a_busy_stream() {
    let mut shop = Shop::open(PgOptions::default(), "").await;
    for mode in [StopMode::Smart, StopMode::Fast] {
        shop.postgres.psql("UPDATE t SET n = n + 1");
        shop.postgres.stop(mode);
        shop.until(|source| source["state"] == "paused" && source["code"] == "source.unreachable").await;
        shop.postgres.start_again();
        caught_up(&mut shop.walbridge, &shop.postgres).await;
        shop.same().await;
    }
    assert_no_flood(&shop.postgres.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_keeps_no_server_from_stopping() {
    let mut shop = Shop::open(PgOptions::default(), "").await;
    shop.redis.freeze();
    shop.postgres.psql("UPDATE t SET n = n + 1; INSERT INTO t SELECT i, 1 FROM generate_series(1000, 30000) i");
    shop.postgres.stop(StopMode::Smart);
    shop.postgres.start_again();
    shop.redis.thaw();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_under_way_keeps_no_server_from_stopping_and_goes_on_afterwards() {
    let mut shop = Shop::open(PgOptions::default(), "snapshot_rate = \"64KiB\"").await;
    for mode in [StopMode::Smart, StopMode::Fast] {
        shop.postgres.psql("UPDATE t SET n = n + 1");
        // So slow that it is still at it.
        shop.postgres.psql("INSERT INTO t SELECT i, 0 FROM generate_series(1000, 3000) i ON CONFLICT DO NOTHING");
        let order = shop.walbridge.run(&["resnapshot", "shop", "--table", "public.t"]);
        assert!(order.status.success(), "{order:?}");
        shop.postgres.stop(mode);
        shop.postgres.start_again();
        caught_up(&mut shop.walbridge, &shop.postgres).await;
        shop.same().await;
    }
}

/// Reading rows back for a target that lost them takes a connection; it is not kept for later.
#[tokio::test(flavor = "multi_thread")]
async fn rows_read_back_keep_no_server_from_stopping() {
    let mut shop = Shop::open(PgOptions::default(), "").await;
    shop.postgres.psql(
        "ALTER TABLE t ADD COLUMN v text; ALTER TABLE t ALTER COLUMN v SET STORAGE EXTERNAL;
         UPDATE t SET v = repeat('long ', 2000) WHERE id <= 20",
    );
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    let mut connection = shop.redis.connection().await;
    for id in 1..=20 {
        redis::cmd("DEL").arg(format!("t:{id}")).query_async::<()>(&mut connection).await.expect("deleted");
    }
    shop.postgres.psql("UPDATE t SET n = 3 WHERE id <= 20");
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    let row: String = redis::cmd("GET").arg("t:7").query_async(&mut connection).await.expect("it was read back");
    assert!(row.contains("long long"), "{row}");
    shop.postgres.stop(StopMode::Smart);
    shop.postgres.start_again();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
}

/// A transaction too large for the server's memory is streamed before it is committed; the shutdown aborts it.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_inside_a_streamed_transaction_is_prompt_and_leaves_nothing_of_it() {
    let options = PgOptions { conf: vec!["logical_decoding_work_mem = 64kB".into()], ..PgOptions::default() };
    let mut shop = Shop::open(options, "").await;
    let open = shop.postgres.client().await;
    open.batch_execute("BEGIN; INSERT INTO t SELECT i, 6 FROM generate_series(10000, 60000) i").await.expect("open");
    // Some of it has been decoded and sent by now.
    crate::support::eventually(crate::shop::PATIENCE, || async {
        let streamed = shop.postgres.psql("SELECT coalesce(sum(stream_txns), 0) FROM pg_stat_replication_slots");
        if streamed == "0" { Err(streamed) } else { Ok(()) }
    })
    .await;
    shop.postgres.stop(StopMode::Fast);
    drop(open);
    shop.postgres.start_again();
    shop.postgres.psql("INSERT INTO t VALUES (777, 7)");
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
    assert_no_flood(&shop.postgres.log());
}
