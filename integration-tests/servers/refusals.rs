//! Scenario 10: what is wrong with the set-up is said in one line with its remedy, and nothing is left behind.

use crate::shop::{PATIENCE, Shop};
use crate::support::{Auth, PgOptions, Postgres};

fn with(conf: &[&str], hba: &[&str]) -> PgOptions {
    let own = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
    PgOptions { conf: own(conf), hba: own(hba), ..PgOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_set_up_that_cannot_work_ends_the_start_with_the_cause_and_the_remedy() {
    let scram = PgOptions { auth: Auth::Scram, ..PgOptions::default() };
    for (options, user, code, remedy) in [
        (with(&[], &["host all walbridge all reject"]), "walbridge", "source.auth", "pg_hba.conf"),
        (scram, "walbridge:wrong-word", "source.auth", "password"),
        (with(&[], &[]), "reader", "source.privilege", "REPLICATION"),
        (with(&[], &[]), "replicator", "source.privilege", "GRANT SELECT"),
        (with(&[], &[]), "owner_of_nothing", "source.publication", "CREATE PUBLICATION"),
    ] {
        let postgres = Postgres::start(options);
        postgres.psql(
            "CREATE ROLE reader LOGIN; CREATE ROLE replicator LOGIN REPLICATION; CREATE ROLE owner_of_nothing LOGIN REPLICATION;
             ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader, owner_of_nothing",
        );
        let url = format!("postgres://{user}@127.0.0.1:{}/postgres", postgres.port);
        let mut shop = Shop::stock(postgres, &url, "");
        // Not as an administrator would leave it.
        shop.walbridge.go_on();
        assert_eq!(shop.walbridge.exit_code(PATIENCE), Some(2), "{user}: {}", shop.walbridge.log());
        let log = shop.walbridge.log();
        let line = log.lines().find(|line| line.contains(code)).unwrap_or_else(|| panic!("{user}: no {code} in {log}"));
        assert!(line.contains(remedy) && !log.contains("wrong-word"), "{user}: {log}");
        let left = "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_publication)";
        assert_eq!(shop.postgres.psql(left), "0", "{user}");
    }
}

/// A server without a free slot may have one in a minute: that is waited for, and nothing is half made.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_free_slot_is_waited_for() {
    let postgres = Postgres::start(with(&["max_replication_slots = 1"], &[]));
    postgres.psql("SELECT pg_create_physical_replication_slot('others')");
    let url = postgres.url();
    let mut shop = Shop::stock(postgres, &url, "");
    shop.walbridge.start_again();
    let source = shop.until(|source| source["state"] == "paused").await;
    assert!(source["message"].as_str().is_some_and(|text| text.contains("max_replication_slots")), "{source:#}");
    shop.postgres.psql("SELECT pg_drop_replication_slot('others')");
    shop.same().await;
}
