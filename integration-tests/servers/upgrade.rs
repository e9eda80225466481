//! A major upgrade of the server by PostgreSQL's own `pg_upgrade`.
//!
//! From a major version to itself, which goes the same way as from one to the next (a new `initdb`, files linked or copied into it,
//! another system identifier) and needs the programs of one version only; before version 17 no slot is carried over.

use crate::pipeline::caught_up;
use crate::shop::{Shop, config};
use crate::support::PgOptions;

/// It is another cluster, and says so before anything is applied; with the order, or by a policy that was set before, the tables are
/// copied again, and what went and came while nobody watched is right in the target.
#[tokio::test(flavor = "multi_thread")]
async fn after_pg_upgrade_the_source_halts_as_another_cluster_and_is_mended_by_an_order_or_by_policy() {
    for policy in ["", "on_history_break = \"copy_again\""] {
        let mut shop = Shop::open(PgOptions::default(), policy).await;
        assert_eq!(shop.walbridge.sigterm(), Some(0));
        shop.change_in_the_gap();
        shop.postgres.upgrade();
        assert_eq!(shop.postgres.psql("SELECT count(*) FROM pg_replication_slots"), "0", "no slot is carried over");
        shop.walbridge.configure(&config(&shop.postgres.url(), &shop.redis, shop.directory.path(), policy));
        shop.walbridge.start_again();
        if policy.is_empty() {
            let status = shop.halted("source.history_changed").await;
            let message = status["sources"]["shop"]["message"].as_str().expect("a message");
            assert!(message.contains("pg_upgrade") && message.contains("walbridge resnapshot"), "{message}");
            let mut connection = shop.redis.connection().await;
            let keys: usize = redis::cmd("DBSIZE").query_async(&mut connection).await.expect("a count");
            assert_eq!(keys, 501, "the target is as it was");
            assert_eq!(shop.postgres.psql("SELECT count(*) FROM pg_replication_slots"), "0", "nothing was healed");
            shop.order();
        }
        caught_up(&mut shop.walbridge, &shop.postgres).await;
        shop.same().await;
        let status = shop.walbridge.status().await;
        assert_eq!(status["sources"]["shop"]["epoch"], 2, "{status:#}");
        shop.postgres.psql("UPDATE t SET n = n + 1");
        caught_up(&mut shop.walbridge, &shop.postgres).await;
        shop.same().await;
    }
}
