//! Capturing from a standby, and over a promotion.

use crate::pipeline::caught_up;
use crate::shop::{PATIENCE, Shop};
use crate::support::{PgOptions, Postgres, StopMode, eventually};

fn both(primary: &Postgres, standby: &Postgres) -> String {
    format!("postgres://walbridge@127.0.0.1:{},127.0.0.1:{}/postgres", primary.port, standby.port)
}

/// PostgreSQL 17: the standby keeps a copy of the slot. After its promotion the timeline's own history proves that it has all that the
/// log has, so nothing is copied, nothing is lost, and nothing halts.
#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_with_a_copy_of_the_slot_is_followed_without_copying_anything() {
    follows_a_promotion(17, "", "").await;
}

/// PostgreSQL 18 keeps copies also of a slot that hands out prepared transactions. One that was prepared before the promotion, and
/// will not be sent again, is committed after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_prepared_before_a_promotion_is_committed_after_it() {
    let prepared = "BEGIN; UPDATE t SET n = 77 WHERE id BETWEEN 300 AND 400; INSERT INTO t VALUES (7000, 7); PREPARE TRANSACTION 'over'";
    follows_a_promotion(18, "two_phase = true", prepared).await;
}

async fn follows_a_promotion(major: u32, more: &str, prepared: &str) {
    let conf = vec!["max_prepared_transactions = 5".to_owned()];
    let mut primary = Postgres::start(PgOptions { conf, ..PgOptions::of_major(major) });
    let standby = primary.make_standby(&["sync_replication_slots = on"]);
    primary.set("synchronized_standby_slots", "standby");
    let url = both(&primary, &standby);
    let mut shop = Shop::open_at(primary, &url, more).await;
    // A copy counts once it is no longer temporary; for that the standby has to come past where the slot began.
    eventually(PATIENCE, || async {
        shop.postgres.psql("INSERT INTO t SELECT max(id) + 1, 1 FROM t; CHECKPOINT");
        let slot = standby.psql("SELECT synced AND NOT temporary AND failover FROM pg_replication_slots");
        if slot == "t" { Ok(()) } else { Err(format!("{slot}: {}", standby.log())) }
    })
    .await;
    shop.postgres.psql(prepared);
    shop.postgres.psql("INSERT INTO t VALUES (6000, 6)");
    let end = shop.postgres.end_of_wal();
    let confirmed =
        |source: &serde_json::Value| source["confirmed_flush_lsn"].as_str().and_then(|lsn| lsn.parse().ok());
    shop.until(|source| confirmed(source) >= Some(end)).await;
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    standby.replayed(&shop.postgres);
    shop.postgres.stop(StopMode::Immediate);
    standby.promote();
    shop.postgres = standby;
    shop.until(|source| source["epoch"] == 2 && source["state"] == "streaming").await;
    shop.postgres.psql(
        "UPDATE t SET n = 2 WHERE id % 3 = 0 AND id < 300; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (5000, 5)",
    );
    if !prepared.is_empty() {
        shop.postgres.psql("COMMIT PREPARED 'over'");
    }
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
    let source = shop.until(|source| source["state"] == "streaming").await;
    assert!(source["decision"].as_str().is_some_and(|text| text.contains("promoted")), "{source:#}");
    let dump = shop.walbridge.run(&["log", "dump", "--json"]);
    assert!(!String::from_utf8_lossy(&dump.stdout).contains("\"copy\":\"begun\""), "nothing was copied again");
    // The new timeline is known from now on.
    shop.walbridge.sigterm();
    shop.walbridge.start_again();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    assert_eq!(shop.until(|source| source["state"] == "streaming").await["epoch"], 2);
}

/// A standby that was promoted before it had everything: what the log and the sinks have beyond that never happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_promoted_too_early_halts_and_an_order_takes_back_what_never_happened() {
    let mut primary = Postgres::start(PgOptions::default());
    let mut standby = primary.make_standby(&[]);
    let url = both(&primary, &standby);
    let mut shop = Shop::open_at(primary, &url, "").await;
    standby.replayed(&shop.postgres);
    standby.stop(StopMode::Fast);
    shop.postgres.psql("INSERT INTO t SELECT i, 9 FROM generate_series(2000, 2100) i; DELETE FROM t WHERE id < 50");
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.postgres.stop(StopMode::Immediate);
    standby.start_again();
    standby.promote();
    shop.postgres = standby;
    let status = shop.halted("source.history_changed").await;
    let message = status["sources"]["shop"]["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("timeline 2") && message.contains("left it at 0/"), "{message}");
    shop.order();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
}

/// PostgreSQL 16: the slot and the copy are on the standby, and nothing is asked of the primary but its publication.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_of_16_is_captured_from_and_a_conflict_there_is_a_lost_slot() {
    let mut primary = Postgres::start(PgOptions::of_major(16));
    let standby = primary.make_standby(&["hot_standby_feedback = off"]);
    let url = format!("postgres://walbridge@127.0.0.1:{}/postgres?target_session_attrs=standby", standby.port);
    let mut shop = Shop::stock(primary, &url, "");
    shop.walbridge.set_up();
    standby.replayed(&shop.postgres);
    shop.walbridge.start_again();
    // An idle primary rarely logs its running transactions: the status says what to do about that.
    shop.until(|source| source["message"].as_str().is_some_and(|text| text.contains("pg_log_standby_snapshot"))).await;
    shop.postgres.psql("SELECT pg_log_standby_snapshot()");
    shop.until(|source| source["state"] == "streaming").await;
    shop.postgres.psql("UPDATE t SET n = 4 WHERE id < 10; DELETE FROM t WHERE id > 490");
    shop.same().await;
    assert_eq!(shop.postgres.psql("SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical'"), "0");

    // Without feedback the primary's vacuum removes catalog rows that the slot needs.
    shop.postgres.psql("CREATE TABLE waste (id int); DROP TABLE waste");
    shop.postgres.psql("VACUUM pg_class; VACUUM pg_attribute; VACUUM pg_type; SELECT pg_switch_wal()");
    let status = shop.halted("source.slot_lost").await;
    assert!(status["sources"]["shop"]["message"].as_str().is_some_and(|text| text.contains("conflict")), "{status:#}");
    shop.postgres.psql("DELETE FROM t WHERE id < 100");
    shop.order();
    eventually(PATIENCE, || async {
        // The new slot waits for the same again.
        shop.postgres.psql("SELECT pg_log_standby_snapshot()");
        let status = shop.walbridge.status().await;
        let source = &status["sources"]["shop"];
        if source["epoch"] == 2 && source["state"] == "streaming" { Ok(()) } else { Err(source.clone()) }
    })
    .await;
    shop.same().await;
}

/// Scenario 11, and that a standby is never taken by accident.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_cannot_decode_or_was_not_asked_for_is_refused() {
    for (major, said) in [(15, "before PostgreSQL 16"), (16, "target_session_attrs=standby")] {
        let mut primary = Postgres::start(PgOptions::of_major(major));
        let standby = primary.make_standby(&[]);
        let mut shop = Shop::stock(primary, &standby.url(), "");
        shop.walbridge.set_up();
        standby.replayed(&shop.postgres);
        shop.walbridge.start_again();
        let status = shop.halted("source.not_primary").await;
        let message = status["sources"]["shop"]["message"].as_str().expect("a message");
        assert!(message.contains(said), "{message}");
    }
}
