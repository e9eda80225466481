//! The slot: lost while it streams, timed out, taken over, half made, shown, and taken away.

use crate::pipeline::caught_up;
use crate::shop::{PATIENCE, Shop, config};
use crate::support::process::{Signal, signal};
use crate::support::{Direction, PgOptions, Postgres, Proxy, Walbridge, eventually};

/// Scenario 9: the server takes the slot away in the middle of a transaction; nothing of that transaction is delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_invalidated_while_it_streams_halts_and_half_a_transaction_is_not_delivered() {
    let conf =
        ["max_slot_wal_keep_size = '1MB'", "min_wal_size = '32MB'", "max_wal_size = '32MB'", "wal_keep_size = 0"];
    let postgres = Postgres::start(PgOptions { conf: conf.map(str::to_owned).to_vec(), ..PgOptions::default() });
    let proxy = Proxy::start(postgres.port);
    let url = postgres.url_through(proxy.port);
    let mut shop = Shop::open_at(postgres, &url, "").await;
    // The stream stands still, far from where the server is.
    proxy.blackhole(Direction::Down);
    shop.postgres.psql("ALTER TABLE t ADD COLUMN v text");
    shop.postgres.psql("INSERT INTO t SELECT i, 1, repeat(md5(i::text), 30) FROM generate_series(1000, 31000) i");
    eventually(PATIENCE, || async {
        shop.postgres.psql("SELECT pg_switch_wal(); CHECKPOINT");
        let status = shop.postgres.psql("SELECT wal_status FROM pg_replication_slots");
        if status == "lost" { Ok(()) } else { Err(status) }
    })
    .await;
    proxy.heal();
    let status = shop.halted("source.slot_lost").await;
    let message = status["sources"]["shop"]["message"].as_str().expect("a message");
    assert!(message.contains("lost to the stream") && message.contains("walbridge resnapshot"), "{message}");
    let mut connection = shop.redis.connection().await;
    let keys: usize = redis::cmd("DBSIZE").query_async(&mut connection).await.expect("a count");
    assert_eq!(keys, 501, "500 rows and a checkpoint");
    let slots = shop.walbridge.run(&["slots"]);
    let said = String::from_utf8_lossy(&slots.stdout).into_owned();
    assert_eq!(slots.status.code(), Some(3), "{said}");
    assert!(said.contains("lost") && said.contains("walbridge resnapshot"), "{said}");
    shop.order();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
}

/// PostgreSQL 18 gives up slots that nobody has read from for a while, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_timed_out_while_walbridge_was_away_says_so() {
    let options = PgOptions { conf: vec!["idle_replication_slot_timeout = '1s'".into()], ..PgOptions::of_major(18) };
    let mut shop = Shop::open(options, "").await;
    assert_eq!(shop.walbridge.sigterm(), Some(0));
    eventually(PATIENCE, || async {
        shop.postgres.psql("CHECKPOINT");
        let reason = shop.postgres.psql("SELECT invalidation_reason FROM pg_replication_slots");
        if reason == "idle_timeout" { Ok(()) } else { Err(reason) }
    })
    .await;
    shop.walbridge.start_again();
    let status = shop.halted("source.slot_lost").await;
    assert!(status["sources"]["shop"]["message"].as_str().is_some_and(|text| text.contains("idle_timeout")));
}

/// Scenario 160: the log has moved to another machine, and the old process still holds the slot there.
#[tokio::test(flavor = "multi_thread")]
async fn the_slot_is_taken_over_from_a_frozen_predecessor_when_that_is_gone() {
    let mut shop = Shop::open(PgOptions::default(), "").await;
    let old = shop.walbridge.pid().expect("it runs");
    assert!(signal(old, Signal::STOP));
    let moved = tempfile::tempdir().expect("a directory");
    let copied =
        std::process::Command::new("cp").arg("-a").arg(shop.directory.path().join("log")).arg(moved.path()).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let mut successor = Walbridge::start(&config(&shop.postgres.superuser_url(), &shop.redis, moved.path(), ""));
    let status = successor.wait_for(PATIENCE, |status| status["sources"]["shop"]["code"] == "source.slot_active").await;
    let holder = shop.postgres.psql("SELECT active_pid FROM pg_replication_slots");
    assert!(status["sources"]["shop"]["message"].as_str().is_some_and(|text| text.contains(&holder)), "{status:#}");
    shop.walbridge.sigkill();
    shop.postgres.psql("UPDATE t SET n = 8 WHERE id < 20");
    caught_up(&mut successor, &shop.postgres).await;
    shop.same().await;
}

/// A slot that was being made when we were killed: the server goes on making it, for a client that is no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_half_made_at_a_kill_is_waited_for_and_used() {
    let postgres = Postgres::start(PgOptions::default());
    let url = postgres.url();
    let mut shop = Shop::stock(postgres, &url, "");
    let open = shop.postgres.client().await;
    open.batch_execute("BEGIN; INSERT INTO t VALUES (9999, 0)").await.expect("open");
    shop.walbridge.start_again();
    shop.until(|source| source["message"].as_str().is_some_and(|text| text.contains("pid "))).await;
    shop.walbridge.sigkill();
    shop.walbridge.start_again();
    let source = shop.until(|source| source["code"] == "source.slot_active").await;
    assert!(source["message"].as_str().is_some_and(|text| text.contains("still being made by process")), "{source:#}");
    open.batch_execute("COMMIT").await.expect("closed");
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
    assert_eq!(shop.postgres.psql("SELECT count(*) FROM pg_replication_slots"), "1", "and none is left behind");
}

/// Scenario 161: listed first, then removed, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn teardown_lists_and_then_removes_what_walbridge_made_and_nothing_else() {
    let mut shop = Shop::open(PgOptions::default(), "").await;
    shop.postgres
        .psql("CREATE PUBLICATION somebodys FOR TABLE t; SELECT pg_create_physical_replication_slot('somebodys')");
    let catalog = "SELECT 'slot ' || slot_name FROM pg_replication_slots UNION ALL SELECT 'publication ' || pubname FROM pg_publication \
                   UNION ALL SELECT 'role ' || rolname FROM pg_roles UNION ALL SELECT 'table ' || relname FROM pg_class WHERE relkind = 'r' \
                   ORDER BY 1";
    let before = shop.postgres.psql(catalog);
    let admin = shop.postgres.superuser_url();
    let in_use = shop.walbridge.run(&["teardown", "--yes", "--json"]);
    assert!(String::from_utf8_lossy(&in_use.stdout).contains("stop walbridge first"), "{in_use:?}");
    assert_eq!(shop.walbridge.sigterm(), Some(0));
    let listed = shop.walbridge.run(&["teardown", "--admin-url", &admin]);
    let said = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        said.contains("would remove replication slot \"walbridge_shop\"") && said.contains("publication"),
        "{said}"
    );
    assert_eq!(shop.postgres.psql(catalog), before, "listing changes nothing");
    let removed = shop.walbridge.run(&["teardown", "--admin-url", &admin, "--yes"]);
    assert_eq!(removed.status.code(), Some(0), "{removed:?}");
    let after = shop.postgres.psql(catalog);
    let gone: Vec<&str> = before.lines().filter(|line| !after.lines().any(|left| left == *line)).collect();
    assert_eq!(gone, ["publication walbridge_shop", "slot walbridge_shop"]);
    assert!(after.lines().all(|line| before.contains(line)));
}
