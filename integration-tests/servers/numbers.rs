//! Numbers that run over: positions whose text gets longer, transactions whose ids begin again at the smallest.

use crate::pipeline::caught_up;
use crate::shop::Shop;
use crate::support::{PgOptions, Postgres};

/// Everything that can be done to a row, before and behind the border, and a restart between.
async fn over_the_border(postgres: Postgres, cross: &str, crossed: &str) {
    let url = postgres.url();
    let mut shop = Shop::open_at(postgres, &url, "").await;
    let change =
        "BEGIN; UPDATE t SET n = n + 1 WHERE id % 3 = 0; SAVEPOINT a; DELETE FROM t WHERE id > 300; ROLLBACK TO a;
         DELETE FROM t WHERE id % 50 = 0; INSERT INTO t SELECT max(id) + 1, 7 FROM t; COMMIT";
    shop.postgres.psql(change);
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    assert_eq!(shop.postgres.psql(crossed), "f", "it lies ahead");
    // The copy of a table, on its way when the border is passed.
    shop.order_table("public.t");
    shop.postgres.psql(cross);
    assert_eq!(shop.postgres.psql(crossed), "t", "it lies behind");
    shop.postgres.psql(change);
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
    assert_eq!(shop.walbridge.sigterm(), Some(0), "{}", shop.walbridge.log());
    shop.postgres.psql(change);
    shop.walbridge.start_again();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.order_table("public.t");
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
    let verified = shop.walbridge.run(&["log", "verify"]);
    assert!(verified.status.success(), "{verified:?}");
}

/// Scenario 20. `F/FF000000` is before `10/0`, and behind it as text.
#[tokio::test(flavor = "multi_thread")]
async fn positions_are_numbers_where_their_text_gets_longer() {
    let mut postgres = Postgres::start(PgOptions::default());
    postgres.go_on_at_wal_file("000000010000000F000000FE");
    let cross = "CREATE SCHEMA other; CREATE TABLE other.waste AS SELECT repeat('x', 1000) FROM generate_series(1, 1000); SELECT pg_switch_wal();
         INSERT INTO other.waste VALUES (''); SELECT pg_switch_wal(); INSERT INTO other.waste VALUES (''); SELECT pg_switch_wal()";
    over_the_border(postgres, cross, "SELECT pg_current_wal_lsn() >= '10/0'").await;
}

/// Scenario 21. The ids of transactions begin again at 3: one that began later has a smaller one, in what a copy's snapshot saw too.
#[tokio::test(flavor = "multi_thread")]
async fn transaction_ids_that_begin_again_are_no_order() {
    let conf = vec!["autovacuum = off".to_owned()];
    let mut postgres = Postgres::start(PgOptions { conf, ..PgOptions::default() });
    postgres.go_on_at_xid(u32::MAX - 300);
    let cross = "DO $$ BEGIN FOR i IN 1..400 LOOP PERFORM pg_current_xact_id(); UPDATE t SET n = n WHERE id = i; COMMIT; END LOOP; END $$";
    over_the_border(postgres, cross, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::numeric > 4294967296")
        .await;
}
