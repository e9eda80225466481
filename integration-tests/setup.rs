//! `walbridge setup --print-sql`: exactly what the role needs, and nothing that a superuser has.

use expect_test::expect;

use crate::pipeline::caught_up;
use crate::support::postgres::role::CREATE_ROLE;
use crate::support::{PgOptions, Postgres, Walbridge};

fn config(url: &str, tables: &str) -> String {
    format!(
        "[sources.shop]\nurl = \"{url}\"\ntables = {tables}\n[log]\npath = \"log\"\n\
         [sinks.events]\nkind = \"file\"\npath = \"events.jsonl\"\nfrom = \"*.*\"\n"
    )
}

/// Scenario 178. The suite's own role is made by the same statement: what passes with it passes with this.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_anything_is_set_up_by_the_printed_statements_alone() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(
        "DROP ROLE walbridge; CREATE ROLE shop_owner; CREATE SCHEMA sales; CREATE TABLE sales.\"Order\" (id int PRIMARY KEY);
         ALTER TABLE sales.\"Order\" OWNER TO shop_owner; INSERT INTO sales.\"Order\" VALUES (1);
         CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE secret (id int PRIMARY KEY);
         CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY);",
    );
    let url = postgres.superuser_url().replace("postgres@", "capture@");
    let mut walbridge = Walbridge::configured(&config(&url, "[\"public.a\", \"sales.*\"]"));
    let admin = postgres.superuser_url();
    let printed = walbridge.run(&["setup", "--print-sql", "--admin-url", &admin]);
    let sql = String::from_utf8(printed.stdout).expect("UTF-8");
    let statements: Vec<&str> = sql.lines().filter(|line| !line.starts_with("--")).collect();
    expect![[r#"
        CREATE ROLE "capture" LOGIN REPLICATION;
        GRANT CONNECT ON DATABASE "postgres" TO "capture";
        GRANT USAGE ON SCHEMA "public" TO "capture";
        GRANT USAGE ON SCHEMA "sales" TO "capture";
        GRANT SELECT ON TABLE "public"."a", "sales"."Order" TO "capture";
        ALTER DEFAULT PRIVILEGES FOR ROLE "shop_owner" IN SCHEMA "sales" GRANT SELECT ON TABLES TO "capture";
        CREATE PUBLICATION "walbridge_shop" FOR TABLE ONLY "public"."a", ONLY "sales"."Order" WITH (publish_via_partition_root = true);
        COMMENT ON PUBLICATION "walbridge_shop" IS 'made by walbridge';
    "#]]
    .assert_eq(&(statements.join("\n") + "\n"));
    assert_eq!(statements[0].replace("capture", "walbridge"), format!("{CREATE_ROLE};"), "what the suite runs with");

    postgres.psql(&sql);
    walbridge.start_again();
    caught_up(&mut walbridge, &postgres).await;
    let events = std::fs::read_to_string(walbridge.directory().join("events.jsonl")).expect("the file");
    assert_eq!(events.lines().count(), 1, "the row of sales.Order: {events}");
    let rights = postgres.psql(
        "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls, has_table_privilege('capture', 'secret', 'SELECT'),
                has_table_privilege('capture', 'a', 'INSERT, UPDATE, DELETE, TRUNCATE'),
                has_database_privilege('capture', 'postgres', 'CREATE') FROM pg_roles WHERE rolname = 'capture'",
    );
    assert_eq!(rights, "f|f|f|f");
    // All of it may be run again, and what is there already is not asked for.
    let again = walbridge.run(&["setup", "--print-sql"]);
    let sql = String::from_utf8(again.stdout).expect("UTF-8");
    assert!(!sql.contains("CREATE"), "{sql}");
    postgres.psql(&sql);
    assert_eq!(walbridge.sigterm(), Some(0), "{}", walbridge.log());
}

/// Scenario 32. What the stream shows and the copy would not must not be a silent difference.
#[test]
fn row_level_security_is_seen_and_asked_for_on_its_own() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    let walbridge = Walbridge::configured(&config(&postgres.url(), "\"public.*\""));
    walbridge.set_up();
    assert_eq!(postgres.psql("SELECT rolbypassrls FROM pg_roles WHERE rolname = 'walbridge'"), "t");
    postgres.psql("ALTER ROLE walbridge NOBYPASSRLS");
    let printed = walbridge.run(&["setup", "--print-sql", "--json"]);
    let text = String::from_utf8_lossy(&printed.stdout);
    assert!(text.contains("ALTER ROLE \\\"walbridge\\\" BYPASSRLS;"), "{text}");
}

#[test]
fn setup_says_what_it_cannot_look_at() {
    let walbridge =
        Walbridge::configured(&config("postgres://nobody@127.0.0.1:1/shop?connect_timeout=2", "\"public.*\""));
    let printed = walbridge.run(&["setup", "--print-sql"]);
    let text = String::from_utf8_lossy(&printed.stderr);
    assert_eq!(printed.status.code(), Some(3), "{text}");
    assert!(text.contains("--admin-url") && text.contains("127.0.0.1:1"), "{text}");
    let printed = walbridge.run(&["setup", "--print-sql", "--source", "other"]);
    assert_eq!(printed.status.code(), Some(2));
}
