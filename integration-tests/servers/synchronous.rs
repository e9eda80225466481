//! `synchronous_standby_names` that names walbridge, on purpose or by `*`: every commit of the server waits for it.

use crate::pipeline::caught_up;
use crate::shop::Shop;
use crate::support::PgOptions;

/// What walbridge itself has to commit at its start, before anybody can confirm anything, must not wait for itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_commits_wait_for_walbridge_is_started_with_and_kept_going() {
    let postgres = crate::support::Postgres::start(PgOptions::default());
    let url = postgres.superuser_url();
    let mut shop = Shop::stock(postgres, &url, "");
    shop.postgres.psql("ALTER SYSTEM SET synchronous_standby_names = '*'");
    shop.postgres.psql("SET synchronous_commit = local; SELECT pg_reload_conf()");
    shop.walbridge.go_on();
    shop.until(|source| source["state"] == "streaming").await;
    // None of these would return if nobody confirmed it: of a captured table, of another one, and of none.
    shop.postgres.psql("UPDATE t SET n = 1 WHERE id = 1");
    shop.postgres.psql("CREATE SCHEMA other; CREATE TABLE other.x (id int)");
    shop.postgres.psql("INSERT INTO other.x VALUES (1)");
    shop.order();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
}
