//! What names a row: replica identities that change, and tables that have no key at all.

use super::World;
use crate::support::PgOptions;
use crate::support::equal::keys;

/// Scenario 47: every change is read by its own marker, whatever the identity is by now, and the moment it is lost there is an
/// alarm with the statement that mends it, for the application's statements fail from then on.
#[tokio::test(flavor = "multi_thread")]
async fn identities_may_change_under_way_and_a_lost_one_is_told_at_once() {
    let mut world = World::start(
        "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         CREATE UNIQUE INDEX t_code ON t (code); INSERT INTO t SELECT i, 'c' || i, i, repeat('x', 5000) FROM generate_series(1, 10) i;",
    )
    .await;
    world.postgres.psql(
        "UPDATE t SET n = 0 WHERE id = 1; ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET n = 0 WHERE id = 2; DELETE FROM t WHERE id = 3;
         UPDATE t SET id = 400 WHERE id = 4; ALTER TABLE t REPLICA IDENTITY DEFAULT; UPDATE t SET id = 500 WHERE id = 5; DELETE FROM t WHERE id = 6",
    );
    world.t_equals_select().await;
    assert_eq!(world.copies("t"), 0);
    world.postgres.psql("ALTER TABLE t REPLICA IDENTITY NOTHING");
    let refused = world.postgres.try_psql("UPDATE t SET n = 1 WHERE id = 1").expect_err("the server refuses it");
    assert!(refused.contains("does not have a replica identity"), "{refused}");
    let finding = world.finding(Some("source.identity"), "REPLICA IDENTITY NOTHING").await;
    assert_eq!(finding["state_code"], "source.identity");
    assert!(finding["message"].as_str().is_some_and(|text| text.contains("REPLICA IDENTITY DEFAULT;")), "{finding}");
    world.postgres.psql("INSERT INTO t VALUES (20, 'inserted', 1, 'meanwhile')");
    world.t_equals_select().await;
    world.postgres.psql("ALTER TABLE t REPLICA IDENTITY DEFAULT; UPDATE t SET n = 2 WHERE id = 1");
    world.t_equals_select().await;
    world.all_well().await;
}

/// Scenario 47: by an index, documents are named after its columns; when it is dropped that is told.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_by_index_names_the_documents_until_the_index_is_dropped() {
    let mut world = World::start(
        "CREATE TABLE p (id int PRIMARY KEY, code text NOT NULL, n int); CREATE UNIQUE INDEX p_code ON p (code);
         INSERT INTO p SELECT i, 'c' || i, i FROM generate_series(1, 10) i;",
    )
    .await;
    world.postgres.psql("ALTER TABLE p REPLICA IDENTITY USING INDEX p_code; UPDATE p SET n = 0 WHERE id = 1; DELETE FROM p WHERE id = 2");
    world.documents_equal("SELECT * FROM p", "public.p:{code}").await;
    world.postgres.psql("DROP INDEX p_code");
    world.finding(Some("source.identity"), "the index that is table public.p's replica identity is gone").await;
    world.postgres.psql("ALTER TABLE p REPLICA IDENTITY DEFAULT; DELETE FROM p WHERE id = 3");
    world.documents_equal("SELECT * FROM p", "public.p:{id}").await;
    world.all_well().await;
}

const KEYLESS: &str =
    "CREATE TABLE log (at int, what text); INSERT INTO log VALUES (1, 'a'), (2, NULL), (NULL, NULL), (NULL, '');
     CREATE TABLE slow (id int PRIMARY KEY DEFERRABLE); CREATE TABLE fine (id int PRIMARY KEY);";

/// Scenario 31: refused before any work, each table with its reason and the statements to choose from.
#[tokio::test(flavor = "multi_thread")]
async fn tables_without_a_key_are_refused_by_name_before_a_slot_is_made() {
    let mut world = World::begin(PgOptions::default(), KEYLESS, "");
    assert_eq!(world.walbridge.exit_code(super::PATIENCE), Some(2));
    let log = world.walbridge.log();
    for words in [
        "source.identity",
        "public.log (it has no primary key)",
        "public.slow (its primary key, slow_pkey, is deferrable",
        "ALTER TABLE \\\"public\\\".\\\"log\\\" REPLICA IDENTITY FULL;",
    ] {
        assert!(log.contains(words) || log.contains(&words.replace("\\\"", "\"")), "{words}: {log}");
    }
    assert!(!log.contains("public.fine ("), "{log}");
    assert_eq!(world.postgres.psql("SELECT count(*) FROM pg_replication_slots"), "0");
    // With "full" they still need the identity.
    world.configure("tables_without_key = \"full\"");
    world.walbridge.start_again();
    assert_eq!(world.walbridge.exit_code(super::PATIENCE), Some(2));
}

/// Scenario 31: with the whole row as the key, every kind of change arrives, NULLs in the key included. Two rows that are
/// alike in every column are one document.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_captured_with_its_whole_row_as_the_key() {
    let tables = "CREATE TABLE log (at int, what text); ALTER TABLE log REPLICA IDENTITY FULL;
         INSERT INTO log VALUES (1, 'a'), (2, NULL), (NULL, NULL), (NULL, ''), (3, repeat('long', 3000));";
    let mut world = World::start_with(PgOptions::default(), tables, "tables_without_key = \"full\"").await;
    world.whole_rows_equal("log").await;
    world.postgres.psql(
        "UPDATE log SET what = 'b' WHERE at = 1; UPDATE log SET at = 4 WHERE at = 3; DELETE FROM log WHERE what = '';
         INSERT INTO log VALUES (5, 'x:y%'), (NULL, 'n'); UPDATE log SET what = 'c' WHERE at IS NULL AND what IS NULL",
    );
    world.whole_rows_equal("log").await;
    world.postgres.psql("ALTER TABLE log ADD COLUMN extra int DEFAULT 5");
    world.whole_rows_equal("log").await;
    world.postgres.psql("TRUNCATE log");
    world.caught_up().await;
    assert_eq!(keys(&mut world.redis.connection().await, "public.log").await.len(), 0);
}

/// A table that comes without a key is left alone: published, it would have the application's UPDATEs fail. The alarm says what
/// to do, and done, it is captured.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_comes_without_a_key_is_not_published_before_it_has_one() {
    let mut world = World::start_as_owner("CREATE TABLE fine (id int PRIMARY KEY);").await;
    world.postgres.psql("CREATE TABLE late (id int, a text); INSERT INTO late VALUES (1, 'a')");
    world.finding(Some("source.identity"), "public.late has no primary key").await;
    world.postgres.psql("UPDATE late SET a = 'b'");
    world.postgres.psql("ALTER TABLE late ADD PRIMARY KEY (id); INSERT INTO late VALUES (2, 'c')");
    world.documents_equal("SELECT * FROM late", "public.late:{id}").await;
    world.all_well().await;
}

/// The next start refused tables that had only raised an alarm while it ran: a restart in the night, and nothing came up. What
/// came or changed since the first start is an alarm then too; a table that the configuration has come to name is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_has_run_starts_again_whatever_has_become_of_its_tables() {
    let mut world =
        World::start_as_owner("CREATE TABLE fine (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY);").await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
    world.postgres.psql(
        "CREATE TABLE late (id int); CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY);
         ALTER TABLE t DROP CONSTRAINT t_pkey; INSERT INTO fine VALUES (1)",
    );
    world.walbridge.start_again();
    for words in ["public.late has no primary key", "public.t has no primary key"] {
        assert_eq!(world.finding(Some("source.identity"), words).await["state"], "degraded");
    }
    world.finding(Some("source.publication"), "public.fleeting is unlogged").await;
    world.documents_equal("SELECT * FROM fine", "public.fine:{id}").await;
    world.walbridge.sigterm();
    world.configure("tables = [\"public.*\", \"public.late\"]");
    world.walbridge.start_again();
    assert_eq!(world.walbridge.exit_code(super::PATIENCE), Some(2));
    assert!(world.walbridge.log().contains("public.late (it has no primary key)"), "{}", world.walbridge.log());
    world.postgres.psql("ALTER TABLE late ADD PRIMARY KEY (id); INSERT INTO late VALUES (7)");
    world.walbridge.start_again();
    world.documents_equal("SELECT * FROM late", "public.late:{id}").await;
}

/// Rows that came while a table had no key are left out, and the key that came back looked like the one before: they were
/// never seen again.
#[tokio::test(flavor = "multi_thread")]
async fn rows_written_while_a_table_had_no_key_are_there_once_it_has_one_again() {
    let mut world = World::start("CREATE TABLE t (id int PRIMARY KEY, a text);").await;
    world.postgres.psql("ALTER TABLE t DROP CONSTRAINT t_pkey; INSERT INTO t VALUES (1, 'without a key')");
    world.finding(Some("source.identity"), "public.t has no primary key").await;
    world.caught_up().await;
    world.postgres.psql("ALTER TABLE t ADD PRIMARY KEY (id); INSERT INTO t VALUES (2, 'with one')");
    world.t_equals_select().await;
    world.all_well().await;
}

/// A key that is generated is not sent before PostgreSQL 18: the copy had taken the whole row for the key, and no UPDATE or DELETE that
/// came later named any of its documents.
#[tokio::test(flavor = "multi_thread")]
async fn a_generated_key_is_refused_at_the_start_and_alarmed_later() {
    let generated = "g int GENERATED ALWAYS AS (a * 2) STORED";
    let tables = format!("CREATE TABLE t (a int, {generated} PRIMARY KEY); INSERT INTO t VALUES (1), (2);");
    let mut world = World::begin(PgOptions::default(), &tables, "");
    assert_eq!(world.walbridge.exit_code(super::PATIENCE), Some(2));
    let log = world.walbridge.log();
    assert!(log.contains("source.identity") && log.contains("t_pkey, has a generated column"), "{log}");
    world.postgres.psql(
        "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    );
    world.walbridge.start_again();
    world.caught_up().await;
    world.documents_equal("SELECT id, a FROM t", "public.t:{id}").await;
    world.postgres.psql("ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (g)");
    world.finding(Some("source.identity"), "public.t").await;
    world.postgres.psql("ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (id); UPDATE t SET a = 7 WHERE id = 1; DELETE FROM t WHERE id = 2");
    world.documents_equal("SELECT id, a FROM t", "public.t:{id}").await;
    world.all_well().await;
}
