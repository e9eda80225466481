//! Several changes of definition in one transaction, each of which alone would be told apart by a name that another one takes.

use super::World;
use crate::support::equal::keys;

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, a text, b text, n int); \
     INSERT INTO t SELECT i, 'a' || i, 'b' || i, i FROM generate_series(1, 30) i;";

/// Two columns of one type swap their names.
#[tokio::test(flavor = "multi_thread")]
async fn columns_that_swap_their_names_swap_their_values() {
    let mut world = World::start(T).await;
    let swap = "BEGIN; UPDATE t SET a = 'before' WHERE id = 1; ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b;
         UPDATE t SET a = 'after' WHERE id = 2; INSERT INTO t VALUES ({id}, 'was a', 'was b', 0); COMMIT";
    world.postgres.psql(&swap.replace("{id}", "100"));
    world.t_equals_select().await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
    world.postgres.psql(&swap.replace("{id}", "101"));
    world.walbridge.start_again();
    world.t_equals_select().await;
}

/// A column is dropped, and another of the same name and another type, or the same type, is there at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_made_anew_under_its_name_is_another_column() {
    let world = World::start(T).await;
    world.postgres.psql("BEGIN; UPDATE t SET n = -1 WHERE id = 1; ALTER TABLE t DROP n; ALTER TABLE t ADD n text; UPDATE t SET n = 'text' WHERE id = 2; COMMIT");
    world.t_equals_select().await;
    world.postgres.psql("ALTER TABLE t DROP n, ADD n text DEFAULT 'anew'");
    world.t_equals_select().await;
}

/// A table goes to another schema under another name, and a new one takes its place, in one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_moved_away_under_another_name_is_followed_or_left_and_the_one_in_its_place_is_new() {
    let mut world = World::start(T).await;
    world.postgres.psql("BEGIN; INSERT INTO t VALUES (100, 'in', 'time', 0); CREATE SCHEMA attic; ALTER TABLE t SET SCHEMA attic; ALTER TABLE attic.t RENAME TO old;
         CREATE TABLE t (id int CONSTRAINT t_anew PRIMARY KEY, word text); INSERT INTO t VALUES (1, 'new'), (500, 'new'); GRANT SELECT ON t TO walbridge; ALTER PUBLICATION walbridge_shop ADD TABLE t;
         INSERT INTO attic.old VALUES (101, 'nobody', 'asks', 0); INSERT INTO t VALUES (501, 'streamed'); COMMIT");
    world.documents_equal("SELECT * FROM t", "public.t:{id}").await;
    world.caught_up().await;
    assert_eq!(keys(&mut world.redis.connection().await, "attic").await.len(), 0);
    // Back, under a third name.
    world.postgres.psql("BEGIN; ALTER TABLE attic.old SET SCHEMA public; ALTER TABLE old RENAME TO back; UPDATE back SET a = 'back' WHERE id = 1; COMMIT");
    world.documents_equal("SELECT * FROM back", "public.back:{id}").await;
    world.documents_equal("SELECT * FROM t", "public.t:{id}").await;
}

/// COPY with FREEZE, into a table made or emptied in the same transaction: its rows look as old as the database.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_frozen_at_their_birth_arrive() {
    let world = World::start(T).await;
    world.postgres.psql("BEGIN; TRUNCATE t; COPY t FROM STDIN WITH (FREEZE);\n1\tf\tf\t1\n2\tf\tf\t2\n\\.\nCOMMIT;");
    world.t_equals_select().await;
    world.postgres.psql("BEGIN; CREATE TABLE frozen (id int PRIMARY KEY, a text); COPY frozen FROM STDIN WITH (FREEZE);\n1\tf\n2\tg\n\\.\nGRANT SELECT ON frozen TO walbridge; ALTER PUBLICATION walbridge_shop ADD TABLE frozen; COMMIT;");
    world.documents_equal("SELECT * FROM frozen", "public.frozen:{id}").await;
}

/// What `tables` might mean besides tables: none of it stops the tables, nor is published.
#[tokio::test(flavor = "multi_thread")]
async fn views_sequences_foreign_and_temporary_tables_are_passed_over() {
    let mut world = World::start(&format!(
        "{T} CREATE VIEW v AS SELECT * FROM t; CREATE MATERIALIZED VIEW m AS SELECT * FROM t; CREATE SEQUENCE s;
         CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere; CREATE FOREIGN TABLE f (id int, a text) SERVER nowhere;
         CREATE TYPE composite AS (a int); CREATE TABLE r (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
         CREATE TABLE r1 PARTITION OF r FOR VALUES IN (1); INSERT INTO r VALUES (1, 1);"
    ))
    .await;
    let client = world.postgres.client().await;
    client
        .batch_execute(
            "CREATE TEMP TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'temporary'); REFRESH MATERIALIZED VIEW m; SELECT nextval('s');
             SELECT lo_create(0); UPDATE public.t SET n = 0 WHERE id = 1",
        )
        .await
        .expect("done");
    world.postgres.psql("REINDEX TABLE t; CREATE MATERIALIZED VIEW m2 AS SELECT * FROM t; CREATE FOREIGN TABLE f2 (id int) SERVER nowhere; CREATE UNLOGGED TABLE u (id int PRIMARY KEY); DROP TABLE u; UPDATE t SET n = 0 WHERE id = 2");
    world.caught_up().await;
    world.t_equals_select().await;
    world.all_well().await;
    world.documents_equal("SELECT * FROM r", "public.r:{id}:{k}").await;
}
