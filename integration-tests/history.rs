//! Breaks of the source's history: noticed, named, and mended on an operator's word or by the configuration's, never in silence.
//!
//! With the real program, and a Redis that must end as the source is: no row missing, and none that is gone there.

use std::time::Duration;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::shop::{PATIENCE, Shop, config};
use crate::support::{PgOptions, Postgres, StopMode, eventually};

/// Scenario 8, the second half: the operator's word mends it, and what was deleted in the gap goes from the target.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_is_mended_by_an_order_and_deletes_in_the_gap_are_found() {
    let mut shop = Shop::open(PgOptions::default(), "").await;
    shop.walbridge.sigterm();
    shop.postgres.psql("SELECT pg_drop_replication_slot('walbridge_shop')");
    shop.change_in_the_gap();
    shop.walbridge.start_again();
    let status = shop.halted("source.slot_missing").await;
    let message = status["sources"]["shop"]["message"].as_str().expect("a message");
    assert!(message.contains("walbridge resnapshot") && message.matches("0/").count() >= 2, "{message}");
    assert_eq!(shop.postgres.psql("SELECT count(*) FROM pg_replication_slots"), "0", "nothing was healed");
    assert!(shop.order().contains("history begins anew"));
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
    let status = shop.walbridge.status().await;
    assert_eq!(status["sources"]["shop"]["epoch"], 2, "{status:#}");
    assert!(status["sources"]["shop"]["decision"].as_str().is_some_and(|text| text.contains("slot_missing")));
    // The decision stands in the log, before what it led to.
    let dump = shop.walbridge.run(&["log", "dump", "--json"]);
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    let decision = dump.lines().position(|line| line.contains("walbridge.source")).expect("the decision");
    let begun = dump.lines().position(|line| line.contains("\"copy\":\"begun\"")).expect("the copy");
    assert!(decision < begun, "{decision} {begun}");
    // And it streams on, over restarts too.
    shop.postgres.psql("UPDATE t SET n = n + 1 WHERE id % 2 = 0");
    assert_eq!(shop.walbridge.sigterm(), Some(0), "{}", shop.walbridge.log());
    shop.walbridge.start_again();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
}

/// Scenario 8 by policy: what the configuration has decided needs nobody at night.
#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_mended_at_once_where_the_configuration_says_so() {
    let mut shop = Shop::open(PgOptions::default(), "on_history_break = \"copy_again\"").await;
    shop.walbridge.sigterm();
    shop.change_in_the_gap();
    // Made anew by somebody else: PostgreSQL would stream from it without a word.
    shop.postgres.psql("SELECT pg_drop_replication_slot('walbridge_shop')");
    shop.postgres.psql("SELECT pg_create_logical_replication_slot('walbridge_shop', 'pgoutput')");
    shop.walbridge.start_again();
    shop.walbridge.wait_for(PATIENCE, |status| status["sources"]["shop"]["epoch"] == 2).await;
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
    assert!(shop.walbridge.log().contains("source.gap") || shop.walbridge.log().contains("has been advanced"));
}

/// Scenario 13: dump and restore, a mistake in DNS. The other cluster has a slot of the same name, and other rows.
#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_in_the_old_ones_place_is_copied_only_on_an_operators_word() {
    let mut shop = Shop::open(PgOptions::default(), "").await;
    shop.walbridge.sigterm();
    let other = Postgres::start(PgOptions { own_initdb: true, ..PgOptions::default() });
    other.psql(
        "CREATE TABLE unrelated (id int); CREATE TABLE t (id int PRIMARY KEY, n int);
         INSERT INTO t SELECT i, 3 FROM generate_series(300, 700) i; DROP TABLE unrelated",
    );
    other.psql("SELECT pg_create_logical_replication_slot('walbridge_shop', 'pgoutput')");
    shop.walbridge.configure(&config(&other.url(), &shop.redis, shop.directory.path(), ""));
    shop.walbridge.start_again();
    let status = shop.halted("source.history_changed").await;
    let message = status["sources"]["shop"]["message"].as_str().expect("a message");
    assert!(message.contains("cluster"), "{message}");
    let mut connection = shop.redis.connection().await;
    let before: usize = redis::cmd("DBSIZE").query_async(&mut connection).await.expect("a count");
    assert_eq!(before, 501, "nothing was touched");
    shop.order();
    shop.postgres = other;
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
}

/// Restored from a backup: the log holds what the server has forgotten, and so do the sinks.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_restored_to_an_earlier_time_halts_and_an_order_takes_back_what_never_happened() {
    let mut shop = Shop::open(PgOptions::default(), "").await;
    shop.postgres.stop(StopMode::Fast);
    let backup = shop.postgres.copy_of_data();
    shop.postgres.start_again();
    shop.postgres.psql("INSERT INTO t SELECT i, 9 FROM generate_series(2000, 2500) i; DELETE FROM t WHERE id < 50");
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.postgres.stop(StopMode::Immediate);
    shop.postgres.restore(&backup);
    shop.postgres.start_again();
    let status = shop.halted("source.position_ahead").await;
    assert!(status["sources"]["shop"]["message"].as_str().is_some_and(|text| text.contains("restored")));
    shop.order();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
}

/// Scenario 36: on demand, on a healthy source, for one table; the readers see no empty target.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_copied_again_on_demand_while_the_stream_goes_on() {
    let mut shop = Shop::open(PgOptions::default(), "").await;
    let mut connection = shop.redis.connection().await;
    // Somebody spoilt the target: a row is gone, one is foreign, one is wrong.
    redis::cmd("DEL").arg("t:17").query_async::<()>(&mut connection).await.expect("deleted");
    redis::cmd("SET").arg("t:18").arg("{\"id\":18,\"n\":99}").query_async::<()>(&mut connection).await.expect("set");
    let wrong = shop.walbridge.run(&["resnapshot", "shop", "--table", "public.nowhere"]);
    assert_eq!(wrong.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("public.nowhere"), "{wrong:?}");
    let answer = shop.walbridge.run(&["resnapshot", "shop", "--table", "public.t", "--json"]);
    let answer: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    assert_eq!(answer, serde_json::json!({ "source": "shop", "tables": ["public.t"] }));
    shop.postgres.psql("UPDATE t SET n = 5 WHERE id > 490");
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
    let status = shop.walbridge.status().await;
    assert_eq!(status["sources"]["shop"]["epoch"], 1, "no history was broken");
}

/// The order of writes after a break, under SIGKILL at whatever moment: never a new history without the copies that make it whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_repair_never_leaves_a_history_that_is_not_whole() {
    let mut shop = Shop::open(PgOptions::default(), "on_history_break = \"copy_again\"").await;
    for round in 0..6 {
        shop.walbridge.sigkill();
        // The walsender of a client that was killed is gone a moment later.
        eventually(PATIENCE, || async {
            let dropped = shop.postgres.try_psql(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'walbridge_shop'",
            );
            dropped.map(drop)
        })
        .await;
        shop.postgres.psql(&format!(
            "DELETE FROM t WHERE id % 50 = {round}; UPDATE t SET n = n + 1 WHERE id % 7 = {round}; INSERT INTO t VALUES ({}, 0)",
            10_000 + round
        ));
        let known = shop.walbridge.log().len();
        shop.walbridge.start_again();
        // Each round dies at another moment of the repair, once that has been decided.
        eventually(PATIENCE, || async {
            let log = shop.walbridge.log();
            if log[known..].contains("history begins anew") { Ok(()) } else { Err(log.len()) }
        })
        .await;
        tokio::time::sleep(Duration::from_millis(round * 9)).await;
    }
    shop.walbridge.sigkill();
    shop.walbridge.start_again();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
    let verified = shop.walbridge.run(&["log", "verify"]);
    assert!(verified.status.success(), "{verified:?}");
}
