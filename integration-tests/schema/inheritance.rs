//! Tables that inherit from others without being partitions: each is a table of its own, also where the server thinks otherwise.

use super::World;

const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY, a text);
     CREATE TABLE child (extra int, PRIMARY KEY (id)) INHERITS (t);
     CREATE SCHEMA attic; CREATE TABLE attic.keyless () INHERITS (t);
     INSERT INTO t SELECT i, 'parent' FROM generate_series(1, 10) i; INSERT INTO child SELECT i, 'child', i FROM generate_series(1, 5) i;
     INSERT INTO attic.keyless SELECT i, 'nobody''s' FROM generate_series(1, 5) i;";

/// `ADD TABLE parent` publishes its children too, and a child does not inherit the primary key: an UPDATE of one that nobody had
/// asked for was refused by the server from then on. A parent's documents are its own rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_parent_is_captured_alone_and_its_children_are_left_as_they_were() {
    let mut world = World::start(TABLES).await;
    assert_eq!(
        world.postgres.psql("SELECT count(*) FROM pg_publication_tables WHERE tablename = 'keyless'"),
        "0",
        "what is not meant is not published"
    );
    world.postgres.psql(
        "UPDATE attic.keyless SET a = 'still mine' WHERE id = 1; DELETE FROM attic.keyless WHERE id = 2;
         UPDATE ONLY t SET a = 'changed' WHERE id = 3; UPDATE child SET a = 'changed too' WHERE id = 3; UPDATE t SET a = a || '!' WHERE id = 4;
         DELETE FROM child WHERE id = 5",
    );
    world.caught_up().await;
    world.documents_equal("SELECT * FROM ONLY t", "public.t:{id}").await;
    world.documents_equal("SELECT * FROM child", "public.child:{id}").await;
    // Inheritance that comes and goes, and a column that reaches the child through its parent.
    world.postgres.psql("ALTER TABLE child NO INHERIT t; ALTER TABLE t ADD COLUMN late int DEFAULT 3; CREATE TABLE other (id int PRIMARY KEY, a text, late int); ALTER TABLE other INHERIT t; INSERT INTO other VALUES (1, 'x', 1)");
    world.documents_equal("SELECT * FROM ONLY t", "public.t:{id}").await;
    world.documents_equal("SELECT * FROM child", "public.child:{id}").await;
    world.postgres.psql("TRUNCATE ONLY t");
    world.documents_equal("SELECT * FROM ONLY t", "public.t:{id}").await;
}
