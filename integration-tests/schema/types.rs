//! Types that change under the columns that have them: no table changes, and no row, but what `SELECT` says does.

use super::World;

/// Composites are documents' as PostgreSQL's own text.
const OTHER: &str = "SELECT id, k, p::text, ps::text[] FROM other";

/// A label that is renamed is another text in every row that has it, without one event: the documents kept the old one for
/// good. One that is added changes no row.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_label_reaches_the_documents_of_rows_that_nobody_touched() {
    let mut world = World::start(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN kept AS mood; CREATE TYPE pair AS (a int, m mood);
         CREATE TABLE t (id int PRIMARY KEY, m mood, list mood[]); INSERT INTO t SELECT i, 'sad', '{sad,ok}' FROM generate_series(1, 20) i;
         CREATE TABLE other (id int PRIMARY KEY, k kept, p pair, ps pair[]); INSERT INTO other SELECT i, 'ok', ROW(1, 'sad')::pair, ARRAY[ROW(2, 'ok')::pair] FROM generate_series(1, 20) i;
         CREATE TABLE plain (id int PRIMARY KEY); INSERT INTO plain VALUES (1);",
    )
    .await;
    world.postgres.psql("ALTER TYPE mood ADD VALUE 'great' BEFORE 'ok'");
    world.looked().await;
    assert_eq!((world.copies("t"), world.copies("other")), (0, 0), "an added label changes no row");
    world.postgres.psql("BEGIN; UPDATE t SET m = 'ok' WHERE id = 1; ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'; INSERT INTO t VALUES (50, 'blue'); COMMIT");
    world.t_equals_select().await;
    world.documents_equal(OTHER, "public.other:{id}").await;
    assert_eq!(world.copies("plain"), 0);
    // While walbridge is down.
    assert_eq!(world.walbridge.sigterm(), Some(0));
    world.postgres.psql("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'; UPDATE t SET m = 'fine' WHERE id = 2");
    world.walbridge.start_again();
    world.t_equals_select().await;
    world.documents_equal(OTHER, "public.other:{id}").await;
}

/// So is an attribute that a composite type gains or loses.
#[tokio::test(flavor = "multi_thread")]
async fn a_composite_that_gains_or_loses_an_attribute_reaches_every_document() {
    let world = World::start(
        "CREATE TYPE pair AS (a int, b text); CREATE TABLE t (id int PRIMARY KEY, p pair); INSERT INTO t SELECT i, ROW(i, 'x')::pair FROM generate_series(1, 20) i;",
    )
    .await;
    for change in ["ADD ATTRIBUTE c date", "DROP ATTRIBUTE a"] {
        world.postgres.psql(&format!("ALTER TYPE pair {change}"));
        world.documents_equal("SELECT id, p::text FROM t", "public.t:{id}").await;
    }
}
