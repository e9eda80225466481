//! Partitions that come with rows, go with rows, and send their rows under one name or another.

use super::World;
use crate::support::PgOptions;
use crate::support::equal::keys;

const R: &str = "CREATE TABLE r (id int, k int, a text, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
     CREATE TABLE r0 PARTITION OF r FOR VALUES FROM (0) TO (10); CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (10) TO (20);
     INSERT INTO r SELECT i, i % 20, 'a' FROM generate_series(1, 40) i;";

const KEY: &str = "public.r:{id}:{k}";

/// Scenario 48: rows that come with an attached partition, and go with a detached or dropped one, have no events. A new
/// partition is empty and costs no copy. A partition truncated by itself sends nothing either.
#[tokio::test(flavor = "multi_thread")]
async fn rows_come_and_go_with_their_partition() {
    let mut world = World::start(R).await;
    world
        .postgres
        .psql("CREATE TABLE r2 PARTITION OF r FOR VALUES FROM (20) TO (30); INSERT INTO r VALUES (1, 25, 'new')");
    world.documents_equal("SELECT * FROM r", KEY).await;
    world.looked().await;
    assert_eq!(world.copies("r"), 0);
    // Another order of columns, and one that was dropped (scenario 51).
    world.postgres.psql(
        "CREATE SCHEMA attic; CREATE TABLE attic.r3 (a text, gone int, k int NOT NULL, id int NOT NULL);
         ALTER TABLE attic.r3 DROP COLUMN gone; INSERT INTO attic.r3 SELECT 'attached', 35, i FROM generate_series(1, 1000) i;
         ALTER TABLE r ATTACH PARTITION attic.r3 FOR VALUES FROM (30) TO (40); INSERT INTO r VALUES (2000, 36, 'through the root');
         INSERT INTO attic.r3 VALUES ('directly', 37, 2001); UPDATE r SET a = 'changed' WHERE id = 7 AND k = 35",
    );
    world.documents_equal("SELECT * FROM r", KEY).await;
    world.postgres.psql("ALTER TABLE r DETACH PARTITION attic.r3");
    world.documents_equal("SELECT * FROM r", KEY).await;
    world.postgres.psql("DROP TABLE r0");
    world.documents_equal("SELECT * FROM r", KEY).await;
    world.postgres.psql("TRUNCATE r1");
    world.documents_equal("SELECT * FROM r", KEY).await;
}

/// Scenario 48, with walbridge down.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_attached_and_detached_while_walbridge_is_down_are_found_at_the_start() {
    let mut world = World::start(R).await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
    world.postgres.psql(
        "CREATE SCHEMA attic; CREATE TABLE attic.r3 (LIKE r INCLUDING ALL); INSERT INTO attic.r3 SELECT i, 35, 'x' FROM generate_series(1, 50) i;
         INSERT INTO r VALUES (500, 5, 'then detached'); ALTER TABLE r DETACH PARTITION r0; ALTER TABLE r0 SET SCHEMA attic;
         ALTER TABLE r ATTACH PARTITION attic.r3 FOR VALUES FROM (30) TO (40); DELETE FROM r WHERE id = 3 AND k = 35",
    );
    world.walbridge.start_again();
    world.documents_equal("SELECT * FROM r", KEY).await;
}

/// Scenario 49: a row that moves to another partition is a row with another key, or the same row.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_move_between_partitions_leave_no_stale_copy() {
    let mut world = World::start(R).await;
    for _ in 0..3 {
        world.postgres.psql("UPDATE r SET k = (k + 7) % 20, a = a || 'm'");
        world.walbridge.sigkill();
        world.walbridge.start_again();
    }
    world.documents_equal("SELECT * FROM r", KEY).await;
    let expected: usize = world.postgres.psql("SELECT count(*) FROM r").parse().expect("a count");
    assert_eq!(
        keys(&mut world.redis.connection().await, "public.r").await.len(),
        expected,
        "none under a partition's name"
    );
}

/// Scenario 50: turned off by somebody, `publish_via_partition_root` makes rows come under their partitions' names. They make
/// no second set of documents; an alarm stands until it is turned on, and then the table is copied again.
#[tokio::test(flavor = "multi_thread")]
async fn another_name_for_the_same_rows_makes_no_second_documents() {
    let mut world = World::start(R).await;
    world.postgres.psql(
        "ALTER PUBLICATION walbridge_shop SET (publish_via_partition_root = false); INSERT INTO r VALUES (100, 1, 'x')",
    );
    world.finding(Some("source.publication"), "publish_via_partition_root").await;
    world.postgres.psql("UPDATE r SET a = 'meanwhile' WHERE id = 1; DELETE FROM r WHERE id = 2");
    world.caught_up().await;
    assert_eq!(keys(&mut world.redis.connection().await, "public.r0").await.len(), 0);
    world.walbridge.sigterm();
    world.walbridge.start_again();
    world.finding(Some("source.publication"), "publish_via_partition_root").await;
    world.postgres.psql(
        "ALTER PUBLICATION walbridge_shop SET (publish_via_partition_root = true); INSERT INTO r VALUES (101, 1, 'x')",
    );
    world.documents_equal("SELECT * FROM r", KEY).await;
    world.all_well().await;
    assert_eq!(keys(&mut world.redis.connection().await, "public.r0").await.len(), 0);
    // Off and on between two looks.
    world.postgres.psql(
        "ALTER PUBLICATION walbridge_shop SET (publish_via_partition_root = false); INSERT INTO r VALUES (102, 1, 'x');
         ALTER PUBLICATION walbridge_shop SET (publish_via_partition_root = true)",
    );
    world.documents_equal("SELECT * FROM r", KEY).await;
}

/// In a publication of somebody else's making that sends partitions by their own names they are tables of their own, rows
/// that move between them included.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_published_by_their_own_names_are_tables_of_their_own() {
    let made = format!("{R} CREATE PUBLICATION walbridge_shop FOR TABLE r;");
    let world = World::start_with(PgOptions::default(), &made, "").await;
    world.postgres.psql("UPDATE r SET k = (k + 7) % 20; DELETE FROM r WHERE id > 35");
    world.documents_equal("SELECT * FROM r0", "public.r0:{id}:{k}").await;
    world.documents_equal("SELECT * FROM r1", "public.r1:{id}:{k}").await;
    assert_eq!(keys(&mut world.redis.connection().await, "public.r:").await.len(), 0);
    // A partition that comes is a table that comes, and one that goes, a table that goes.
    world
        .postgres
        .psql("CREATE TABLE r2 PARTITION OF r FOR VALUES FROM (20) TO (30); INSERT INTO r VALUES (1, 25, 'new')");
    world.documents_equal("SELECT * FROM r2", "public.r2:{id}:{k}").await;
    world.postgres.psql("DROP TABLE r1");
    world.documents_equal("SELECT 1 AS id, 1 AS k WHERE false", "public.r1:{id}:{k}").await;
}

/// Taken away by `DETACH CONCURRENTLY`, and put back one level deeper with its rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_comes_back_one_level_deeper_brings_its_rows() {
    let world = World::start(R).await;
    world.postgres.psql("ALTER TABLE r DETACH PARTITION r1 CONCURRENTLY");
    world.documents_equal("SELECT * FROM r", KEY).await;
    world.postgres.psql(
        "CREATE TABLE middle PARTITION OF r FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (k);
         ALTER TABLE middle ATTACH PARTITION r1 FOR VALUES FROM (10) TO (20)",
    );
    world.documents_equal("SELECT * FROM r", KEY).await;
}
