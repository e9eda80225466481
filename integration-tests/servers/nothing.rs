//! Scenario 37: nothing to capture, in its several forms. Nothing is a state like others where it is meant, and a mistake that is named
//! where it is not.

use crate::pipeline::caught_up;
use crate::shop::PATIENCE;
use crate::support::{PgOptions, Postgres, Redis, Walbridge, eventually};

fn config(postgres: &Postgres, redis: &Redis, source: &str) -> String {
    format!(
        "[sources.shop]\nurl = \"{}\"\n{source}\n[log]\npath = \"log\"\n[sinks.cache]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.*\"\n\
         [sinks.search]\nkind = \"tantivy\"\npath = \"index\"\nfrom = \"public.t\"\nbatch = {{ linger = \"20ms\" }}\n",
        postgres.url(),
        redis.url()
    )
}

/// An empty table is copied like any other: it is told as done, the target is made, and the first row finds all ready.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_is_copied_its_index_is_made_and_its_first_row_arrives() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, word text)");
    let mut walbridge = Walbridge::start(&config(&postgres, &redis, "tables = \"public.*\""));
    let status = walbridge.wait_for(PATIENCE, |status| status["sources"]["shop"]["state"] == "streaming").await;
    let table = &status["sources"]["shop"]["tables"]["public.t"];
    assert_eq!((&table["done"], &table["rows"]), (&true.into(), &0.into()), "{status:#}");
    assert!(walbridge.directory().join("index/meta.json").is_file(), "the index is made");
    assert_eq!(walbridge.get("/readyz").await.as_deref(), Ok("ready\n"));
    postgres.psql("INSERT INTO t VALUES (1, 'first')");
    caught_up(&mut walbridge, &postgres).await;
    eventually(PATIENCE, || async {
        let found = walbridge.get("/search/search?q=first").await?;
        if found.contains("\"total\":1") { Ok(()) } else { Err(found) }
    })
    .await;
}

/// Nothing that `tables` could mean: named, with what to look at, and not "healthy".
#[tokio::test(flavor = "multi_thread")]
async fn patterns_that_mean_no_table_and_a_publication_of_none_are_named_and_not_healthy() {
    for (tables, made, code, remedy) in [
        (
            "tables = \"public.nothing_*\"",
            "CREATE PUBLICATION walbridge_shop FOR TABLE t",
            "source.publication",
            "tables",
        ),
        ("tables = \"nowhere.*\"", "CREATE PUBLICATION walbridge_shop FOR TABLE t", "source.publication", "tables"),
        ("tables = \"public.t\"", "CREATE PUBLICATION walbridge_shop", "source.publication", "ALTER PUBLICATION"),
    ] {
        let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
        postgres
            .psql(&format!("CREATE TABLE t (id int PRIMARY KEY, word text); GRANT SELECT ON t TO walbridge; {made}"));
        let text = config(&postgres, &redis, tables).replace("from = \"public.*\"", "from = \"*.*\"");
        let text = text.split("[sinks.search]").next().expect("a beginning").to_owned();
        let mut walbridge = Walbridge::configured(&text);
        walbridge.go_on();
        assert_eq!(walbridge.exit_code(PATIENCE), Some(2), "{tables}: {}", walbridge.log());
        let log = walbridge.log();
        assert!(log.contains(code) && log.contains(remedy), "{tables}: {log}");
        assert_eq!(postgres.psql("SELECT count(*) FROM pg_replication_slots"), "0", "{tables}");
    }
}
