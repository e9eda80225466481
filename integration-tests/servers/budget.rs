//! How much WAL the server keeps for walbridge, why, and what happens when that is too much.

use crate::pipeline::caught_up;
use crate::shop::Shop;
use crate::support::PgOptions;

const MIB: usize = 1 << 20;

/// Writes so much WAL into a table that nobody captures.
fn write(shop: &Shop, bytes: usize) {
    shop.postgres.psql(&format!(
        "CREATE SCHEMA IF NOT EXISTS other; CREATE TABLE IF NOT EXISTS other.waste (v text);
         INSERT INTO other.waste SELECT repeat(md5(i::text), 31) FROM generate_series(1, {}) i; CHECKPOINT",
        bytes / 1060
    ));
}

/// Scenarios 15 and 155. A transaction that somebody forgot pins the WAL although walbridge confirms everything: first it is named,
/// then, beyond the budget, the source is protected as was decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_transaction_is_named_at_half_the_budget_and_the_slot_goes_beyond_it() {
    let more = "wal_budget = \"12MiB\"\non_wal_budget = \"protect_source\"\non_history_break = \"copy_again\"";
    let mut shop = Shop::open(PgOptions::default(), more).await;
    let forgotten = shop.postgres.client().await;
    let pid: i32 = forgotten.query_one("SELECT pg_backend_pid()", &[]).await.expect("a row").get(0);
    forgotten.batch_execute("BEGIN; INSERT INTO t VALUES (9999, 0)").await.expect("open");
    write(&shop, 8 * MIB);
    let source = shop.until(|source| source["warning"]["code"] == "source.wal_budget").await;
    let why = source["warning"]["message"].as_str().expect("why");
    assert!(why.contains(&format!("process {pid}")) && why.contains("confirmed nearly all"), "{why}");
    assert_eq!(source["state"], "streaming", "acknowledging goes on: {source:#}");
    caught_up(&mut shop.walbridge, &shop.postgres).await;

    write(&shop, 8 * MIB);
    let status = shop.halted("source.slot_lost").await;
    assert!(status["sources"]["shop"]["decision"].as_str().is_some_and(|text| text.contains("protect the source")));
    assert_eq!(shop.postgres.psql("SELECT count(*) FROM pg_replication_slots"), "0", "the WAL is free");
    let dump = shop.walbridge.run(&["log", "dump", "--json"]);
    assert!(String::from_utf8_lossy(&dump.stdout).contains("walbridge.source"), "the decision is in the log");
    let log = shop.walbridge.log();
    assert!(log.find("is dropped to protect the source").is_some_and(|at| log[at..].contains("halted")), "{log}");
    // Not again by itself, although breaks are: what holds the WAL is still there.
    forgotten.batch_execute("ROLLBACK").await.expect("closed");
    shop.postgres.psql("DELETE FROM t WHERE id < 10");
    shop.order();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
    assert_eq!(shop.until(|source| source["warning"].is_null()).await["epoch"], 2);
}

/// Scenario 155, the other choice.
#[tokio::test(flavor = "multi_thread")]
async fn the_slot_is_kept_and_it_is_said_loudly_where_the_data_matter_more() {
    let mut shop = Shop::open(PgOptions::default(), "wal_budget = \"6MiB\"\non_wal_budget = \"protect_data\"").await;
    let forgotten = shop.postgres.client().await;
    forgotten.batch_execute("BEGIN; INSERT INTO t VALUES (9999, 0)").await.expect("open");
    write(&shop, 10 * MIB);
    let source = shop
        .until(|source| source["warning"]["message"].as_str().is_some_and(|text| text.contains("of a budget of")))
        .await;
    assert_eq!((source["state"].as_str(), source["wal_budget_bytes"].as_u64()), (Some("streaming"), Some(6 << 20)));
    assert!(shop.walbridge.log().contains("the slot is kept (protect_data)"), "{}", shop.walbridge.log());
    assert_eq!(shop.postgres.psql("SELECT count(*) FROM pg_replication_slots"), "1");
    forgotten.batch_execute("ROLLBACK").await.expect("closed");
    // The next running-transactions record lets the slot go on, and the warning goes.
    shop.postgres
        .psql("CHECKPOINT; UPDATE t SET n = 1 WHERE id = 1; CHECKPOINT; UPDATE t SET n = 2 WHERE id = 1; CHECKPOINT");
    shop.until(|source| source["warning"].is_null()).await;
    shop.same().await;
}
