//! A role and a database whose settings have been chosen by somebody who never thought of walbridge.

use crate::pipeline::caught_up;
use crate::shop::Shop;
use crate::support::{PgOptions, eventually};

/// Each of these changes what SQL means, how a value is written, or how long a session may live. `{}` is a time that is far too short
/// for a session that waits for something to happen.
const SETTINGS: [&str; 24] = [
    "standard_conforming_strings = off",
    "backslash_quote = off",
    "default_transaction_isolation = serializable",
    "default_transaction_deferrable = on",
    "default_transaction_read_only = on",
    "statement_timeout = '100ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "idle_session_timeout = '100ms'",
    "search_path = attic",
    "client_encoding = LATIN1",
    "DateStyle = 'German, DMY'",
    "IntervalStyle = iso_8601",
    "TimeZone = 'Asia/Kathmandu'",
    "bytea_output = escape",
    "extra_float_digits = -15",
    "xmloption = document",
    "quote_all_identifiers = on",
    "enable_tidscan = off",
    "row_security = on",
    "client_min_messages = debug5",
    "synchronous_commit = remote_apply",
    "lc_messages = 'C'",
    "array_nulls = off",
];

/// The settings of the role and of its database, each of which walbridge had rather otherwise: what it needs it says itself, on every
/// connection.
#[tokio::test(flavor = "multi_thread")]
async fn no_setting_of_the_role_or_the_database_changes_what_arrives() {
    for major in [15, 18] {
        let postgres = crate::support::Postgres::start(PgOptions::of_major(major));
        postgres.psql(
            "CREATE SCHEMA attic; CREATE TABLE attic.t (id int PRIMARY KEY, n int); CREATE SCHEMA \"pgbench\"; CREATE TABLE pgbench.k (id text PRIMARY KEY, n int, big text);
             ALTER TABLE pgbench.k ALTER big SET STORAGE EXTERNAL; INSERT INTO pgbench.k SELECT 'it''s \\ ' || i, 0, repeat('x', 5000) FROM generate_series(1, 2000) i",
        );
        let url = postgres.url();
        let mut shop = Shop::stock(postgres, &url, "");
        let text = std::fs::read_to_string(shop.walbridge.config_path()).expect("the configuration");
        let text = text.replace("tables = \"public.*\"", "tables = [\"public.*\", \"pgbench.*\"]");
        shop.walbridge.configure(&(text + "\n[sinks.k]\nkind = \"file\"\npath = \"k.jsonl\"\nfrom = \"pgbench.*\"\n"));
        shop.walbridge.set_up();
        for setting in SETTINGS {
            shop.postgres.psql(&format!("ALTER ROLE walbridge IN DATABASE postgres SET {setting}"));
        }
        if major >= 17 {
            shop.postgres.psql("ALTER ROLE walbridge IN DATABASE postgres SET transaction_timeout = '50ms'");
        }
        shop.walbridge.go_on();
        caught_up(&mut shop.walbridge, &shop.postgres).await;
        shop.same().await;
        let walsender = "SELECT pid FROM pg_stat_replication";
        let before = shop.postgres.psql(walsender);
        shop.postgres
            .psql("UPDATE t SET n = 1; UPDATE pgbench.k SET n = 1 WHERE id LIKE '%00'; INSERT INTO t VALUES (2000, 2)");
        // Long enough for every one of those times.
        eventually(crate::shop::PATIENCE, || async {
            let old = shop
                .postgres
                .psql("SELECT coalesce(max(now() - backend_start) > '3 s', false) FROM pg_stat_replication");
            if old == "t" { Ok(()) } else { Err(old) }
        })
        .await;
        shop.order_table("public.t");
        caught_up(&mut shop.walbridge, &shop.postgres).await;
        shop.same().await;
        let lines = std::fs::read_to_string(shop.walbridge.directory().join("k.jsonl")).expect("the file");
        assert_eq!(lines.lines().count(), 2020);
        assert_eq!(shop.postgres.psql(walsender), before, "{}", shop.walbridge.log());
        let log = shop.walbridge.log();
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    }
}
