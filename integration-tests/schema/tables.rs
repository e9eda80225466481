//! Tables that come, go, change their names and their keys.

use serde_json::Value;

use super::World;
use crate::support::equal::keys;
use crate::support::{PgOptions, StopMode};

const T: &str =
    "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT i, 'a' FROM generate_series(1, 20) i;";

async fn keys_of(world: &World, prefix: &str) -> Vec<String> {
    keys(&mut world.redis.connection().await, prefix).await.into_iter().collect()
}

/// Scenario 42: documents are named after their table. After a rename they stand under the new name only, whichever side of
/// the rename the rows were written on.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_table_has_its_documents_under_the_new_name_only() {
    let mut world = World::start(T).await;
    world
        .postgres
        .psql("INSERT INTO t VALUES (100, 'before'); ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (101, 'after')");
    world.documents_equal("SELECT * FROM u", "public.u:{id}").await;
    world.caught_up().await;
    assert_eq!(keys_of(&world, "public.t:").await, [] as [&str; 0]);
    // To a schema that `tables` does not mean: gone. And back: there again, with what happened meanwhile.
    world
        .postgres
        .psql("CREATE SCHEMA attic; ALTER TABLE u SET SCHEMA attic; UPDATE attic.u SET a = 'unseen' WHERE id = 1");
    world.documents_equal("SELECT * FROM attic.u WHERE false", "public.u:{id}").await;
    world.postgres.psql("DELETE FROM attic.u WHERE id = 2; ALTER TABLE attic.u SET SCHEMA public");
    world.documents_equal("SELECT * FROM u", "public.u:{id}").await;
}

/// Two tables swap their names, as is done to put a newly built table in another's place.
#[tokio::test(flavor = "multi_thread")]
async fn tables_that_swap_their_names_swap_their_documents() {
    let two = "CREATE TABLE t (id int PRIMARY KEY, a text); CREATE TABLE u (id int PRIMARY KEY, a text);
         INSERT INTO t SELECT i, 't' FROM generate_series(1, 5) i; INSERT INTO u SELECT i, 'u' FROM generate_series(4, 9) i;";
    let world = World::start(two).await;
    world.postgres.psql(
        "BEGIN; ALTER TABLE t RENAME TO x; ALTER TABLE u RENAME TO t; ALTER TABLE x RENAME TO u; COMMIT;
         INSERT INTO t VALUES (50, 'new'); DELETE FROM u WHERE id = 1",
    );
    world.documents_equal("SELECT * FROM u", "public.u:{id}").await;
    world.t_equals_select().await;
}

/// Scenario 43: the table under the old name is another one, with another key, made while walbridge was down. Rows written
/// before are decoded as what they were, and no document of theirs is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_anew_while_walbridge_was_down_leaves_no_old_document() {
    let mut world =
        World::start("CREATE TABLE p (id int PRIMARY KEY, a text); INSERT INTO p VALUES (1, 'x'), (2, 'y');").await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
    world.postgres.psql(
        "INSERT INTO p VALUES (3, 'z'); DROP TABLE p; CREATE TABLE p (code text PRIMARY KEY, v int); INSERT INTO p VALUES ('k', 1)",
    );
    world.walbridge.start_again();
    world.documents_equal("SELECT * FROM p", "public.p:{code}").await;
    world.caught_up().await;
    let events = world.events();
    let old = events.iter().find(|event| event["op"] == "insert" && event["key"]["id"] == 3);
    assert!(old.is_some(), "what was written before the drop is in the log as it was");
}

/// A dropped table's documents go, or stay, as `on_table_drop` says.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_tables_documents_are_removed_or_kept_by_choice() {
    let two = format!("{T} CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1);");
    let mut world = World::start_as_owner(&two).await;
    world.postgres.psql("DROP TABLE t");
    world.documents_equal("SELECT 1 AS id WHERE false", "public.t:{id}").await;
    world.documents_equal("SELECT * FROM other", "public.other:{id}").await;
    world.walbridge.sigterm();
    world.configure("on_table_drop = \"keep\"");
    world.walbridge.start_again();
    world.caught_up().await;
    world.postgres.psql("CREATE TABLE fresh (id int PRIMARY KEY); DROP TABLE other; INSERT INTO fresh VALUES (7)");
    world.documents_equal("SELECT * FROM fresh", "public.fresh:{id}").await;
    world.finding(None, "table public.other is gone").await;
    world.caught_up().await;
    assert_eq!(keys_of(&world, "public.other:").await, ["public.other:1"]);
}

/// Scenario 27: a table made while walbridge runs is published, copied and followed without a restart. A transaction that
/// was writing to it before it was published is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_while_running_is_captured_with_what_was_being_written_to_it() {
    let mut world = World::start_as_owner(T).await;
    world.postgres.psql("CREATE TABLE late (id int PRIMARY KEY, a text)");
    let client = world.postgres.client().await;
    // Either it is published by now or not: written before, or after, no row may be missing.
    client
        .batch_execute("BEGIN; INSERT INTO late SELECT i, 'open' FROM generate_series(1, 10) i")
        .await
        .expect("written");
    let published = "SELECT count(*) FROM pg_publication_tables WHERE tablename = 'late'";
    crate::support::eventually(super::PATIENCE, || async {
        if world.postgres.psql(published) == "1" { Ok(()) } else { Err("not published yet") }
    })
    .await;
    world.postgres.psql("INSERT INTO late VALUES (100, 'published')");
    client.batch_execute("COMMIT").await.expect("committed");
    world.documents_equal("SELECT * FROM late", "public.late:{id}").await;
    world.postgres.psql("UPDATE late SET a = 'streamed' WHERE id = 5; DELETE FROM late WHERE id = 6");
    world.documents_equal("SELECT * FROM late", "public.late:{id}").await;
    world.all_well().await;
}

/// Scenario 28: taken out of the configuration and put in again, a table is copied again, and what was deleted meanwhile
/// goes. Meanwhile its documents stay as they were.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_left_out_for_a_while_ends_up_right() {
    let two = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY, a text);
         INSERT INTO other SELECT i, 'a' FROM generate_series(1, 20) i;";
    let mut world = World::start(two).await;
    world.walbridge.sigterm();
    world.configure("tables = [\"public.*\", \"!public.other\"]");
    world.walbridge.start_again();
    world.finding(None, "table public.other is gone, or no longer meant").await;
    world.postgres.psql("DELETE FROM other WHERE id > 10; UPDATE other SET a = 'b'");
    world.caught_up().await;
    assert_eq!(keys_of(&world, "public.other:").await.len(), 20);
    world.walbridge.sigterm();
    world.configure("");
    world.walbridge.start_again();
    world.documents_equal("SELECT * FROM other", "public.other:{id}").await;
}

/// Scenario 46: another primary key gives every document another name; none is left under the old one.
#[tokio::test(flavor = "multi_thread")]
async fn another_primary_key_renames_every_document_and_leaves_no_orphan() {
    let world = World::start(
        "CREATE TABLE p (id int PRIMARY KEY, code text NOT NULL); INSERT INTO p SELECT i, 'c' || i FROM generate_series(1, 20) i;",
    )
    .await;
    world.postgres.psql(
        "BEGIN; UPDATE p SET code = 'x' || id WHERE id < 5; ALTER TABLE p DROP CONSTRAINT p_pkey; ALTER TABLE p ADD PRIMARY KEY (code);
         UPDATE p SET id = 100 + id WHERE id > 15; DELETE FROM p WHERE id = 10; COMMIT",
    );
    world.documents_equal("SELECT * FROM p", "public.p:{code}").await;
    let expected: usize = world.postgres.psql("SELECT count(*) FROM p").parse().expect("a count");
    assert_eq!(keys_of(&world, "public.p:").await.len(), expected);
}

/// Scenario 53: an unlogged table sends nothing any more; nobody else says so. Logged again, it is copied again.
#[tokio::test(flavor = "multi_thread")]
async fn an_unlogged_table_raises_an_alarm_and_is_copied_when_it_is_logged_again() {
    let postgres_first = "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'a'), (2, 'b');
         CREATE PUBLICATION walbridge_shop FOR ALL TABLES WITH (publish_via_partition_root = true);";
    let mut world = World::start(postgres_first).await;
    world.postgres.psql("ALTER TABLE t SET UNLOGGED; UPDATE t SET a = 'unseen'; DELETE FROM t WHERE id = 2");
    let finding = world.finding(Some("source.publication"), "unlogged").await;
    assert_eq!(finding["state"], "degraded");
    assert!(finding["message"].as_str().is_some_and(|text| text.contains("SET LOGGED")), "{finding}");
    world.postgres.psql("ALTER TABLE t SET LOGGED; INSERT INTO t VALUES (3, 'c')");
    world.t_equals_select().await;
    world.all_well().await;
}

/// Scenario 45: TRUNCATE with CASCADE, of captured tables and others: what was there before goes, what came after stays.
#[tokio::test(flavor = "multi_thread")]
async fn truncate_cascade_takes_its_place_between_the_rows() {
    let tables = "CREATE SCHEMA attic; CREATE TABLE t (id int PRIMARY KEY, a text);
         CREATE TABLE child (id int PRIMARY KEY, t_id int REFERENCES t); CREATE TABLE attic.log (id int PRIMARY KEY, t_id int REFERENCES t);
         CREATE TABLE bystander (id int PRIMARY KEY);
         INSERT INTO t SELECT i, 'old' FROM generate_series(1, 9) i; INSERT INTO child SELECT i, i FROM generate_series(1, 9) i;
         INSERT INTO bystander VALUES (1);";
    let world = World::start(tables).await;
    world.postgres.psql(
        "BEGIN; INSERT INTO t VALUES (50, 'gone'); TRUNCATE t CASCADE; INSERT INTO t VALUES (1, 'new'), (60, 'new'); INSERT INTO child VALUES (1, 1); COMMIT",
    );
    world.t_equals_select().await;
    world.documents_equal("SELECT * FROM child", "public.child:{id}").await;
    world.documents_equal("SELECT * FROM bystander", "public.bystander:{id}").await;
}

/// Scenario 45: `truncate = "ignore"` and `"halt"`.
#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_is_ignored_or_halts_the_source_by_choice() {
    let mut world = World::start_with(PgOptions::default(), T, "truncate = \"ignore\"").await;
    world.postgres.psql("TRUNCATE t; INSERT INTO t VALUES (1, 'again'), (100, 'new')");
    world.caught_up().await;
    assert_eq!(keys_of(&world, "public.t:").await.len(), 21, "the old ones and the new one");
    world.walbridge.sigterm();
    world.configure("truncate = \"halt\"");
    world.walbridge.start_again();
    world.caught_up().await;
    world.postgres.psql("TRUNCATE t");
    let (code, message) = world.halted().await;
    assert_eq!(code, "schema.unsupported");
    assert!(message.contains("public.t was truncated"), "{message}");
    let truncates =
        world.events().into_iter().filter(|event: &Value| event["op"] == "truncate" && event["copy"].is_null());
    assert_eq!(truncates.count(), 0);
}

/// A restart with the source down: what the log has reaches the sinks, one that was emptied included, for each event brings its
/// table as it was.
#[tokio::test(flavor = "multi_thread")]
async fn sinks_start_from_the_log_alone_while_the_source_is_down() {
    let mut world = World::start(T).await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
    world.postgres.stop(StopMode::Fast);
    let mut connection = world.redis.connection().await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.expect("flushed");
    world.walbridge.start_again();
    let filled = |status: &Value| {
        let sinks = status["sinks"].as_object().cloned().unwrap_or_default();
        status["sources"]["shop"]["state"] == "paused"
            && sinks.values().all(|sink| sink["state"] == "streaming" && sink["lag_events"] == 0)
    };
    world.walbridge.wait_for(super::PATIENCE, filled).await;
    assert_eq!(keys_of(&world, "public.t:").await.len(), 20);
    let found = world.walbridge.get("/search/search?q=*").await.expect("an answer");
    assert!(found.contains("\"total\":20"), "{found}");
}
