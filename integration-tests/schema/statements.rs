//! Statements that change other rows than they name.

use super::World;

/// Scenario 81: whatever a statement leads to, rows are what the tables say.
#[tokio::test(flavor = "multi_thread")]
async fn conflicts_merges_cascades_triggers_and_rules_arrive_as_the_rows_they_changed() {
    let tables = "CREATE TABLE t (id int PRIMARY KEY, a text, n int DEFAULT 0);
         CREATE TABLE child (id int PRIMARY KEY, t_id int REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE TABLE orphan (id int PRIMARY KEY, t_id int REFERENCES t ON DELETE SET NULL ON UPDATE CASCADE);
         CREATE TABLE audit (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit (what) VALUES (TG_OP); NEW.n := NEW.n + 1; RETURN NEW; END $$;
         CREATE TRIGGER noted BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TABLE ruled (id int PRIMARY KEY, deleted boolean DEFAULT false);
         CREATE RULE softly AS ON DELETE TO ruled DO INSTEAD UPDATE ruled SET deleted = true WHERE id = OLD.id;
         INSERT INTO t SELECT i, 'a' FROM generate_series(1, 10) i; INSERT INTO child SELECT i, i FROM generate_series(1, 10) i;
         INSERT INTO orphan SELECT i, i FROM generate_series(1, 10) i; INSERT INTO ruled SELECT i FROM generate_series(1, 5) i;";
    let mut world = World::start(tables).await;
    world.postgres.psql(
        "INSERT INTO t VALUES (1, 'conflict'), (11, 'new') ON CONFLICT (id) DO UPDATE SET a = EXCLUDED.a; INSERT INTO t VALUES (2, 'x') ON CONFLICT DO NOTHING;
         MERGE INTO t USING (VALUES (3, 'merged'), (12, 'merged')) v (id, a) ON t.id = v.id WHEN MATCHED AND v.id = 3 THEN UPDATE SET a = v.a
           WHEN NOT MATCHED THEN INSERT (id, a) VALUES (v.id, v.a);
         MERGE INTO t USING (VALUES (4)) v (id) ON t.id = v.id WHEN MATCHED THEN DELETE;
         DELETE FROM t WHERE id IN (5, 6); UPDATE t SET id = 70 WHERE id = 7; DELETE FROM ruled WHERE id < 3;
         WITH moved AS (DELETE FROM t WHERE id = 8 RETURNING *) INSERT INTO t SELECT 80, a, n FROM moved;
         BEGIN; DELETE FROM t WHERE id = 9; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT; BEGIN; DELETE FROM child; ROLLBACK",
    );
    world.caught_up().await;
    world.t_equals_select().await;
    for table in ["child", "orphan", "audit", "ruled"] {
        world.documents_equal(&format!("SELECT * FROM {table}"), &format!("public.{table}:{{id}}")).await;
    }
}
