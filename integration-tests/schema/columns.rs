//! Columns that come, go and change.

use serde_json::{Value, json};

use super::World;
use crate::support::PgOptions;

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, a text, n int); \
     INSERT INTO t SELECT i, 'a' || i, i FROM generate_series(1, 50) i;";

/// Scenario 39: rows before, between and after two changes of the table in one transaction have three shapes.
#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_a_transaction_has_the_columns_that_its_table_had_then() {
    let mut world = World::start("CREATE TABLE t (id int PRIMARY KEY, a text);").await;
    world.postgres.psql(
        "BEGIN; INSERT INTO t VALUES (1, 'one'); ALTER TABLE t ADD COLUMN b int; INSERT INTO t VALUES (2, 'two', 2);
         ALTER TABLE t DROP COLUMN a; INSERT INTO t VALUES (3, 3); COMMIT",
    );
    world.caught_up().await;
    let inserts = world.events().into_iter().filter(|event| event["op"] == "insert");
    let rows: Vec<Value> = inserts.map(|event| event["after"].clone()).collect();
    assert_eq!(rows, [json!({"id": 1, "a": "one"}), json!({"id": 2, "a": "two", "b": 2}), json!({"id": 3, "b": 3})]);
    world.t_equals_select().await;
}

/// Scenarios 39 and 41: existing rows get a new column without an event, its default or null, and so must the documents: one
/// that lacks the column is not what `SELECT` says.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_column_reaches_the_documents_of_rows_that_nobody_touched() {
    let mut world = World::start(T).await;
    world.postgres.psql("ALTER TABLE t ADD COLUMN plain text; UPDATE t SET n = 0 WHERE id = 7");
    world.finding(None, "column plain was added").await;
    world.t_equals_select().await;
    world.postgres.psql("ALTER TABLE t ADD COLUMN d text NOT NULL DEFAULT 'x'; UPDATE t SET n = 0 WHERE id = 8");
    world.t_equals_select().await;
    // A volatile default rewrites the table.
    world.postgres.psql("ALTER TABLE t ADD COLUMN r float8 DEFAULT random()");
    world.t_equals_select().await;
    assert_eq!(world.copies("t"), 3);
}

/// Scenario 40: the old name must not stay in any document, nor a dropped column.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_or_dropped_column_is_gone_from_every_document() {
    let world = World::start(T).await;
    world.postgres.psql("ALTER TABLE t RENAME COLUMN a TO z; UPDATE t SET n = 1 WHERE id < 10");
    world.t_equals_select().await;
    world.postgres.psql("ALTER TABLE t DROP COLUMN n");
    world.t_equals_select().await;
}

/// Scenario 41: a rewrite changes values, or at least their types, without one row event. Also where the type stays
/// (`USING`), and while walbridge is down, with rows of the old type still to come.
#[tokio::test(flavor = "multi_thread")]
async fn a_retyped_column_reaches_every_document_also_when_walbridge_was_down() {
    let mut world = World::start(T).await;
    world.postgres.psql("ALTER TABLE t ALTER COLUMN n TYPE numeric USING n / 10.0");
    world.t_equals_select().await;
    world.postgres.psql("ALTER TABLE t ALTER COLUMN n TYPE numeric USING n * 3");
    world.t_equals_select().await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
    world.postgres.psql(
        "INSERT INTO t VALUES (100, 'old', 5); ALTER TABLE t ALTER COLUMN n TYPE text USING 'n' || n;
         INSERT INTO t VALUES (101, 'new', 'text'); DELETE FROM t WHERE id = 50",
    );
    world.walbridge.start_again();
    world.t_equals_select().await;
    let old = world.events().into_iter().find(|event| event["op"] == "insert" && event["key"]["id"] == 100);
    assert_eq!(old.expect("logged")["after"]["n"], "5", "read with the version it was written with");
}

/// What gives a table another file and leaves its rows alone costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn vacuum_full_cluster_and_truncate_do_not_have_a_table_copied_again() {
    let mut world = World::start(T).await;
    world.postgres.psql("VACUUM FULL t");
    world.looked().await;
    world.postgres.psql("CLUSTER t USING t_pkey");
    world.postgres.psql("TRUNCATE t; INSERT INTO t VALUES (1, 'after', 1)");
    world.caught_up().await;
    world.t_equals_select().await;
    world.looked().await;
    assert_eq!(world.copies("t"), 0);
}

/// Scenario 44: with walbridge down, each row is still read with the definition it was written with.
#[tokio::test(flavor = "multi_thread")]
async fn ten_changes_while_down_with_rows_between_leave_every_row_as_it_was_written() {
    let mut world = World::start("CREATE TABLE t (id int PRIMARY KEY, a text);").await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
    let changes = [
        "ADD COLUMN b int DEFAULT 7",
        "RENAME COLUMN a TO a2",
        "ALTER COLUMN b TYPE bigint",
        "DROP COLUMN a2",
        "ADD COLUMN c text",
        "ALTER COLUMN b TYPE text USING 'b' || b",
        "RENAME COLUMN c TO d",
        "ADD COLUMN e jsonb DEFAULT '{}'",
        "ALTER COLUMN d SET DEFAULT 'late'",
        "DROP COLUMN b",
    ];
    let mut written = Vec::new();
    for (id, change) in (0..).zip(changes) {
        world.postgres.psql(&format!("INSERT INTO t (id) VALUES ({id}); ALTER TABLE t {change}"));
        written.push(change);
    }
    world.postgres.psql("INSERT INTO t (id) VALUES (10)");
    world.walbridge.start_again();
    world.t_equals_select().await;
    let inserts = world.events().into_iter().filter(|event| event["op"] == "insert");
    let shapes: Vec<String> = inserts
        .map(|event| {
            let row = event["after"].as_object().cloned().unwrap_or_default();
            row.keys().skip(1).cloned().collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(shapes, ["a", "a b", "a2 b", "a2 b", "b", "b c", "b c", "b d", "b d e", "b d e", "d e"]);
}

/// `on_schema_change = "halt"`: nothing is copied, the message says what was changed and how to go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_must_not_follow_halts_and_goes_on_when_it_may() {
    let mut world = World::start_with(PgOptions::default(), T, "on_schema_change = \"halt\"").await;
    world.postgres.psql("ALTER TABLE t ADD COLUMN d int DEFAULT 5");
    let (code, message) = world.halted().await;
    assert_eq!(code, "schema.unsupported");
    assert!(message.contains("column d was added with a default") && message.contains("\"follow\""), "{message}");
    assert_eq!(world.walbridge.sigterm(), Some(3));
    world.configure("on_schema_change = \"follow\"");
    world.walbridge.start_again();
    world.t_equals_select().await;
}

/// Generated columns are not sent before PostgreSQL 18, and there only if the publication says so.
#[tokio::test(flavor = "multi_thread")]
async fn generated_columns_are_left_out_alike_by_copy_and_stream() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED); \
         INSERT INTO t VALUES (1, 1), (2, 2);";
    let mut world = World::start(table).await;
    world.postgres.psql("INSERT INTO t VALUES (3, 3); UPDATE t SET a = 20 WHERE id = 2");
    world.caught_up().await;
    world.documents_equal("SELECT id, a FROM t", "public.t:{id}").await;
}

/// PostgreSQL 18: `publish_generated_columns = stored` sends them, and turned on later it has the table copied again. Under
/// REPLICA IDENTITY FULL an unpublished one makes the server refuse UPDATEs: an alarm says so.
#[tokio::test(flavor = "multi_thread")]
async fn published_generated_columns_of_postgres_18_are_documents_columns() {
    let options = PgOptions { major: 18, ..PgOptions::default() };
    let table = "CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED); \
         INSERT INTO t VALUES (1, 1), (2, 2);";
    let mut world = World::start_with(options, table, "").await;
    world.documents_equal("SELECT id, a FROM t", "public.t:{id}").await;
    world.postgres.psql("ALTER PUBLICATION walbridge_shop SET (publish_generated_columns = stored)");
    world.postgres.psql("INSERT INTO t VALUES (3, 3)");
    world.documents_equal("SELECT * FROM t", "public.t:{id}").await;
    world.postgres.psql("ALTER TABLE t ALTER COLUMN g SET EXPRESSION AS (a * 5)");
    world.documents_equal("SELECT * FROM t", "public.t:{id}").await;
    world.postgres.psql("ALTER PUBLICATION walbridge_shop SET (publish_generated_columns = none)");
    world.postgres.psql("ALTER TABLE t REPLICA IDENTITY FULL");
    let refused = world.postgres.try_psql("UPDATE t SET a = 9 WHERE id = 1").expect_err("the server refuses it");
    assert!(refused.contains("generated"), "{refused}");
    world.finding(Some("source.identity"), "g of table public.t").await;
    let degraded = |status: &Value| {
        let shop = &status["sources"]["shop"];
        shop["state"] == "degraded" && shop["code"] == "source.identity"
    };
    world.walbridge.wait_for(super::PATIENCE, degraded).await;
}
