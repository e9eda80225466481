//! What readers see while tables change their names or are made anew: the old documents, until the new ones are there.

use super::{PATIENCE, World};
use crate::support::equal::keys;
use crate::support::{PgOptions, eventually};

const ROWS: usize = 4000;
/// Slow enough that a reader sees the copy going on.
const SLOWLY: &str = "snapshot_rate = \"2MiB\"\nsnapshot_workers = 1";

fn table(name: &str, what: &str) -> String {
    format!(
        "CREATE TABLE {name} (id int PRIMARY KEY, a text, filler text);
         INSERT INTO {name} SELECT i, '{what}', repeat('x', 1000) FROM generate_series(1, {ROWS}) i;"
    )
}

async fn count(world: &World, prefix: &str) -> usize {
    keys(&mut world.redis.connection().await, prefix).await.len()
}

/// Scenario 42: the documents under the old name went before the first one stood under the new name, and for as long as the
/// copy took nobody found a row. They go when all are there, also if walbridge is killed in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_table_can_be_read_under_one_of_its_names_at_any_time() {
    let mut world = World::start_with(PgOptions::default(), &table("t", "a"), SLOWLY).await;
    world.postgres.psql("ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (0, 'new', '')");
    eventually(PATIENCE, || async {
        // In this order: what goes under the old name is there under the new one by then.
        let old = count(&world, "public.t:").await;
        let new = count(&world, "public.u:").await;
        assert!(old == ROWS || new > ROWS, "{old} documents under the old name, {new} under the new one");
        if new > 200 { Ok(()) } else { Err(format!("{new} documents under the new name")) }
    })
    .await;
    world.walbridge.sigkill();
    world.walbridge.start_again();
    eventually(PATIENCE, || async {
        let old = count(&world, "public.t:").await;
        let new = count(&world, "public.u:").await;
        assert!(old == ROWS || new > ROWS, "{old} documents under the old name, {new} under the new one");
        if old == 0 { Ok(()) } else { Err(format!("{old} documents under the old name")) }
    })
    .await;
    world.documents_equal("SELECT * FROM u", "public.u:{id}").await;
}

/// Scenario 43: so went those of a table that was dropped and made anew. Now its copy takes their place one by one, and what it
/// did not bring goes at its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_anew_is_never_seen_empty() {
    let world = World::start_with(PgOptions::default(), &table("t", "old"), SLOWLY).await;
    let made = format!(
        "BEGIN; DROP TABLE t; {} DELETE FROM t WHERE id % 100 = 0; ALTER PUBLICATION walbridge_shop ADD TABLE t; GRANT SELECT ON t TO PUBLIC; COMMIT",
        table("t", "new")
    );
    world.postgres.psql(&made);
    let remaining = ROWS - ROWS / 100;
    eventually(PATIENCE, || async {
        let count = count(&world, "public.t:").await;
        assert!(count >= remaining, "{count} documents");
        if count == remaining { Ok(()) } else { Err(format!("{count} documents")) }
    })
    .await;
    world.documents_equal("SELECT * FROM t", "public.t:{id}").await;
}

/// The name is taken by a third table before the copy under the new name is done: no document of the first is left, and none of
/// the third is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_again_meanwhile_has_the_new_tables_documents_only() {
    let world = World::start_with(PgOptions::default(), &table("t", "a"), SLOWLY).await;
    world.postgres.psql("ALTER TABLE t RENAME TO u");
    eventually(PATIENCE, || async {
        if count(&world, "public.u:").await > 0 { Ok(()) } else { Err("the copy has not begun".to_owned()) }
    })
    .await;
    world.postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY, a text, filler text); INSERT INTO t VALUES (3, 'third', ''), (90000, 'third', '');
         ALTER PUBLICATION walbridge_shop ADD TABLE t; GRANT SELECT ON t TO PUBLIC",
    );
    world.t_equals_select().await;
    world.documents_equal("SELECT * FROM u", "public.u:{id}").await;
    world.t_equals_select().await;
}
