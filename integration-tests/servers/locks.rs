//! A table that somebody has locked for long: a `VACUUM FULL` that takes hours, a session that was left open.

use crate::pipeline::caught_up;
use crate::shop::Shop;
use crate::support::PgOptions;

const OURS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'walbridge' AND backend_type = 'client backend'";

/// From PostgreSQL 16 on `pg_publication_tables` waits for such a table. walbridge asked it at every look: it gave up after a minute and
/// asked again, and each session that it had given up went on waiting on the server, until that had no connection left. And a stream
/// that broke meanwhile could not begin again, whatever other table had something to tell. The copy of the table itself has to wait; it
/// says so, and asks again with one session.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_locked_for_long_holds_up_neither_stream_nor_start_and_costs_no_connections() {
    let tables = "CREATE TABLE locked (id int PRIMARY KEY); CREATE TABLE filtered (id int, n int, g int GENERATED ALWAYS AS (n * 2) STORED, PRIMARY KEY (id, n));
         CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10);
         CREATE PUBLICATION walbridge_shop FOR TABLE t, parted, locked, filtered WHERE (n > 3) WITH (publish_via_partition_root = true)";
    let postgres = crate::support::Postgres::start(PgOptions::of_major(18));
    let url = postgres.url();
    let mut shop = Shop::stock(postgres, &url, "watch_interval = \"200ms\"");
    shop.postgres.psql(tables);
    shop.walbridge.start_again();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    let locker = shop.postgres.client().await;
    locker.batch_execute("BEGIN; LOCK TABLE locked, filtered, part IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let before: u32 = shop.postgres.psql(OURS).parse().expect("a count");
    shop.order_table("public.locked");
    shop.until(|source| {
        source["message"].as_str().is_some_and(|text| text.contains("public.locked") && text.contains("locked"))
    })
    .await;
    // A definition that changes meanwhile is followed, and a session that ends is followed by another.
    shop.postgres.psql("ALTER TABLE t ADD COLUMN more int DEFAULT 3; UPDATE t SET n = 1");
    shop.same().await;
    shop.postgres.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication; UPDATE t SET n = 2");
    shop.same().await;
    assert_eq!(shop.walbridge.sigterm(), Some(0));
    shop.postgres.psql("UPDATE t SET n = 3");
    shop.walbridge.go_on();
    shop.same().await;
    let after: u32 = shop.postgres.psql(OURS).parse().expect("a count");
    assert!(after <= before + 1, "{after} connections, {before} before");
    locker.batch_execute("COMMIT").await.expect("let go");
    caught_up(&mut shop.walbridge, &shop.postgres).await;
}
