//! The publication in other hands.

use super::World;
use crate::support::{PgOptions, Postgres};
use tokio_postgres::SimpleQueryMessage;
use walbridge::capture::publication::sent;

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, a text, n int); \
     INSERT INTO t SELECT i, 'a' || i, i FROM generate_series(1, 20) i;";

/// Scenario 54: taken out by somebody, the table's changes do not come, which is said at once, with the statement that mends
/// it; what was missed is copied when it is in again.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_taken_out_of_the_publication_is_missed_and_copied_when_it_is_back() {
    let mut world = World::start(T).await;
    world
        .postgres
        .psql("ALTER PUBLICATION walbridge_shop DROP TABLE t; UPDATE t SET n = 0; DELETE FROM t WHERE id = 3");
    let finding = world.finding(Some("source.publication"), "public.t is not in publication").await;
    assert_eq!(
        (finding["state"].as_str(), finding["state_code"].as_str()),
        (Some("degraded"), Some("source.publication"))
    );
    let told = String::from_utf8_lossy(&world.walbridge.run(&["status"]).stdout).into_owned();
    let sql = "ALTER PUBLICATION \"walbridge_shop\" ADD TABLE \"public\".\"t\"";
    assert!(told.contains(sql), "{told}");
    world.postgres.psql(sql);
    world.t_equals_select().await;
    world.all_well().await;
}

/// Taken out and put in again between two looks, or while walbridge is down, its entry in the catalog is another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_taken_out_and_put_in_again_unseen_is_copied_again() {
    let mut world = World::start(T).await;
    let out_and_in = "ALTER PUBLICATION walbridge_shop DROP TABLE t; UPDATE t SET n = n + 1; DELETE FROM t WHERE n % 7 = 0; \
                      ALTER PUBLICATION walbridge_shop ADD TABLE t";
    world.postgres.psql(out_and_in);
    world.t_equals_select().await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
    world.postgres.psql(out_and_in);
    world.walbridge.start_again();
    world.t_equals_select().await;
    // Left out when walbridge starts, it is put in, and copied.
    assert_eq!(world.walbridge.sigterm(), Some(0));
    world
        .postgres
        .psql("ALTER PUBLICATION walbridge_shop DROP TABLE t; UPDATE t SET n = n + 1; DELETE FROM t WHERE id = 1");
    world.walbridge.start_again();
    world.t_equals_select().await;
}

/// Scenario 52: the copy applies the list and the filter that the stream applies, a row that crosses the filter's border comes or
/// goes, and another list or filter has the table copied again.
#[tokio::test(flavor = "multi_thread")]
async fn column_lists_and_row_filters_hold_for_copy_and_stream_alike() {
    let published = format!(
        "{T} ALTER TABLE t REPLICA IDENTITY FULL; CREATE TABLE other (id int PRIMARY KEY, a text, b text); INSERT INTO other VALUES (1, 'a', 'b');
         CREATE PUBLICATION walbridge_shop FOR TABLE t WHERE (n > 10), other (id, a) WITH (publish_via_partition_root = true);"
    );
    let mut world = World::start(&published).await;
    let select = "SELECT * FROM t WHERE n > 10";
    world.postgres.psql("UPDATE t SET n = 100 WHERE id = 1; UPDATE t SET n = 1 WHERE id = 20; INSERT INTO t VALUES (30, 'in', 30), (31, 'out', 3)");
    world.caught_up().await;
    world.documents_equal(select, "public.t:{id}").await;
    world.documents_equal("SELECT id, a FROM other", "public.other:{id}").await;
    world.postgres.psql("ALTER PUBLICATION walbridge_shop SET TABLE t WHERE (n > 15), other (id, a)");
    world.documents_equal("SELECT * FROM t WHERE n > 15", "public.t:{id}").await;
    world.postgres.psql("ALTER PUBLICATION walbridge_shop SET TABLE t WHERE (n > 15), other (id, b)");
    world.documents_equal("SELECT id, b FROM other", "public.other:{id}").await;
    world.postgres.psql("ALTER PUBLICATION walbridge_shop SET TABLE t WHERE (n > 15), other");
    world.documents_equal("SELECT * FROM other", "public.other:{id}").await;
}

/// A publication that leaves out kinds of changes, or is gone, is not silently lived with.
#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_sends_less_raises_an_alarm() {
    let mut world = World::start(T).await;
    world.postgres.psql("ALTER PUBLICATION walbridge_shop SET (publish = 'insert')");
    world.finding(Some("source.publication"), "leaves out some kinds of changes").await;
    world.postgres.psql("ALTER PUBLICATION walbridge_shop SET (publish = 'insert, update, delete, truncate')");
    world.all_well().await;
}

/// Scenario 32: row-level security that is turned on while running is told before the next copy would be partial.
#[tokio::test(flavor = "multi_thread")]
async fn rows_hidden_from_the_role_while_running_raise_an_alarm() {
    let mut world = World::start(T).await;
    world.walbridge.sigterm();
    world.postgres.psql(
        "CREATE ROLE bridge LOGIN REPLICATION; GRANT SELECT ON ALL TABLES IN SCHEMA public TO bridge; GRANT CREATE ON DATABASE postgres TO bridge",
    );
    let url = world.postgres.superuser_url().replace("postgres://postgres@", "postgres://bridge@");
    world.configure_url(&url);
    world.walbridge.start_again();
    world.caught_up().await;
    world.postgres.psql("ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    world.finding(Some("snapshot.partial_view"), "public.t").await;
    world.postgres.psql("ALTER TABLE t DISABLE ROW LEVEL SECURITY; REVOKE SELECT ON t FROM bridge");
    world.finding(Some("source.privilege"), "GRANT SELECT").await;
    // A new table that this role may not publish: said so, with the statement for its owner.
    world.postgres.psql("GRANT SELECT ON t TO bridge; CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1); GRANT SELECT ON late TO bridge");
    let sql = "ALTER PUBLICATION \"walbridge_shop\" ADD TABLE \"public\".\"late\"";
    world.finding(Some("source.publication"), sql).await;
    world.postgres.psql(sql);
    world.documents_equal("SELECT * FROM late", "public.late:{id}").await;
    world.all_well().await;
}

/// Somebody's publication of whole schemas: a table made in one is sent without anybody's doing, and one whose schema was taken out for a
/// moment, or for long, is copied when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_publication_of_schemas_is_followed_as_they_come_and_go() {
    let tables = format!(
        "{T} CREATE PUBLICATION walbridge_shop FOR TABLES IN SCHEMA public WITH (publish_via_partition_root = true);"
    );
    let mut world = World::start(&tables).await;
    world.postgres.psql("CREATE TABLE late (id int PRIMARY KEY, a text); INSERT INTO late VALUES (1, 'x'); GRANT SELECT ON late TO walbridge");
    world.documents_equal("SELECT * FROM late", "public.late:{id}").await;
    world.postgres.psql("ALTER PUBLICATION walbridge_shop DROP TABLES IN SCHEMA public; UPDATE t SET a = 'missed'; DELETE FROM t WHERE id = 2; ALTER PUBLICATION walbridge_shop ADD TABLES IN SCHEMA public");
    world.t_equals_select().await;
    world
        .postgres
        .psql("ALTER PUBLICATION walbridge_shop SET TABLE t; UPDATE t SET a = 'only t'; UPDATE late SET a = 'missed'");
    world.t_equals_select().await;
    world.finding(Some("source.publication"), "public.late is not in publication").await;
    world.postgres.psql("CREATE SCHEMA other; CREATE TABLE other.keyless (id int); ALTER PUBLICATION walbridge_shop SET TABLES IN SCHEMA public, other; INSERT INTO other.keyless VALUES (1)");
    world.documents_equal("SELECT * FROM late", "public.late:{id}").await;
    world.t_equals_select().await;
    world.all_well().await;
}

/// What a publication sends is asked of the tables behind `pg_publication_tables`, which itself waits for locks. Both must say the same:
/// roots and partitions, each alone or together, lists, filters, schemas, all tables, generated columns.
#[tokio::test]
async fn what_a_publication_sends_is_what_the_server_says() {
    let tables = "CREATE SCHEMA s; CREATE SCHEMA \"S 2\"; CREATE TABLE a (id int PRIMARY KEY, b text, g int GENERATED ALWAYS AS (id * 2) STORED, gone int);
         ALTER TABLE a DROP gone; CREATE TABLE child (x int) INHERITS (a); CREATE UNLOGGED TABLE u (id int); CREATE VIEW v AS SELECT 1;
         CREATE TABLE s.c (id int PRIMARY KEY, d text); CREATE TABLE \"S 2\".e (id int); CREATE TABLE none ();
         CREATE TABLE r (id int, k int) PARTITION BY LIST (k); CREATE TABLE r1 PARTITION OF r FOR VALUES IN (1) PARTITION BY LIST (id);
         CREATE TABLE r11 PARTITION OF r1 FOR VALUES IN (1); CREATE TABLE s.r12 PARTITION OF r1 FOR VALUES IN (2); CREATE TABLE \"S 2\".r2 PARTITION OF r FOR VALUES IN (2);";
    let publications = [
        "FOR ALL TABLES",
        "FOR TABLE a",
        "FOR TABLE ONLY a, s.c",
        "FOR TABLE a (id), s.c (d, id) WHERE (id > 3)",
        "FOR TABLE r",
        "FOR TABLE r1",
        "FOR TABLE r11, r",
        "FOR TABLE r11, \"S 2\".r2 WHERE (id > 1)",
        "FOR TABLE r1, s.r12",
        "FOR TABLES IN SCHEMA s",
        "FOR TABLES IN SCHEMA \"S 2\", public",
        "FOR TABLES IN SCHEMA s, TABLE r, a WHERE (id = 1)",
        "FOR TABLES IN SCHEMA s, TABLE s.c WHERE (id = 1)",
        "",
        "FOR TABLE none, r11 WHERE (id = 1)",
    ];
    for major in [15, 16, 18] {
        let postgres = Postgres::start(PgOptions::of_major(major));
        postgres.psql(tables);
        let generated = if major < 18 { &[""][..] } else { &["", ", publish_generated_columns = stored"] };
        let client = postgres.client().await;
        let text = async |sql: &str| {
            let rows = client.simple_query(sql).await.expect("PostgreSQL answers");
            let row = |message: &SimpleQueryMessage| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect::<Vec<_>>())
                }
                _ => None,
            };
            rows.iter().filter_map(row).collect::<Vec<_>>()
        };
        // Before 18 generated columns are listed, and never sent.
        let listed = if major < 18 { "a.attgenerated = ''" } else { "true" };
        let theirs = format!(
            "SELECT schemaname, tablename, ARRAY(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = format('%I.%I', schemaname, tablename)::regclass
                 AND a.attname = ANY (attnames) AND {listed} ORDER BY attnum), rowfilter FROM pg_publication_tables ORDER BY 1, 2"
        );
        let ours = format!(
            "SELECT nspname, relname, columns, pg_get_expr(filter, c.oid) FROM ({}) s JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = relnamespace ORDER BY 1, 2",
            sent("p", major * 10_000)
        );
        for publication in publications {
            for options in ["true", "false"]
                .iter()
                .flat_map(|root| generated.iter().map(move |generated| format!("{root}{generated}")))
            {
                text(&format!("CREATE PUBLICATION p {publication} WITH (publish_via_partition_root = {options})"))
                    .await;
                let theirs = text(&theirs).await;
                assert_eq!(text(&ours).await, theirs, "{major} {publication} {options}");
                text("DROP PUBLICATION p").await;
            }
        }
    }
}
