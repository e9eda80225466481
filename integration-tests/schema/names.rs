//! Names that need quoting, everywhere they go.

use super::World;
use crate::support::PgOptions;
use crate::support::equal::{keys, rows};

/// Names of tables and columns, of up to 63 bytes, that break whoever builds SQL, patterns or keys by hand.
const NASTY: [&str; 30] = [
    "Upper",
    "with space",
    " leading",
    "trailing ",
    "quo\"te",
    "\"",
    "it's",
    "back\\slash",
    "\\",
    "x\"; DROP TABLE y; --",
    "'; DROP TABLE y; --",
    "$1",
    "$$",
    "{id}",
    "}{",
    "%s",
    "100%",
    "a.b",
    "a:b",
    "*",
    "?x",
    "!not",
    "[glob]",
    "naïve",
    "日本語",
    "😀",
    "select",
    "tab\there",
    "line\nbreak",
    "ab_cdefghijklmnopqrstuvwxyz_0123456789_ABCDEFGHIJKLMNOPQRSTUVWX",
];

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Scenarios 56 and 171: each name as a table's and as a column's, copied and streamed; a schema that needs quotes; and
/// the tables that the names would drop are there at the end.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_nasty_names_go_through_whole() {
    let mut sql = "CREATE TABLE y (id int PRIMARY KEY); CREATE SCHEMA \"Sch\"\"e.ma\";".to_owned();
    let tables: Vec<String> = NASTY
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let schema = if index % 2 == 0 { "public" } else { "\"Sch\"\"e.ma\"" };
            format!("{schema}.{}", quoted(name))
        })
        .collect();
    for (table, column) in tables.iter().zip(NASTY) {
        let column = quoted(column);
        sql.push_str(&format!(
            "CREATE TABLE {table} (\"K y\" int PRIMARY KEY, {column} text); INSERT INTO {table} VALUES (1, 'copied');"
        ));
    }
    let source = "tables = [\"public.*\", \"Sch*.*\"]";
    let mut world = World::start_with(PgOptions::default(), &sql, source).await;
    let mut change = String::new();
    for (table, column) in tables.iter().zip(NASTY) {
        let column = quoted(column);
        change.push_str(&format!(
            "INSERT INTO {table} VALUES (2, 'streamed'), (3, 'gone'); UPDATE {table} SET {column} = 'changed' WHERE \"K y\" = 1; DELETE FROM {table} WHERE \"K y\" = 3;"
        ));
    }
    world.postgres.psql(&change);
    world.caught_up().await;
    let events = world.events();
    for ((table, name), index) in tables.iter().zip(NASTY).zip(0..) {
        let schema = if index % 2 == 0 { "public" } else { "Sch\"e.ma" };
        let of_table = events.iter().filter(|event| event["table"] == name && event["schema"] == schema);
        let ops: Vec<&str> = of_table.clone().filter_map(|event| event["op"].as_str()).collect();
        assert_eq!(ops, ["read", "insert", "insert", "update", "delete"], "{name}");
        let changed = of_table.clone().find(|event| event["op"] == "update").expect("an update");
        assert_eq!(changed["after"][name], "changed", "{name}");
        if index % 2 == 0 {
            let key = world.document_key(name).await;
            world.documents_equal(&format!("SELECT * FROM {table}"), &key).await;
        }
    }
    // A rename to such a name while running, and a definition that changes under one.
    world.postgres.psql(&format!(
        "ALTER TABLE y RENAME TO {}; ALTER TABLE {} ADD COLUMN \"n\"\"w\" int DEFAULT 3",
        quoted("y\"; --\\"),
        tables[4]
    ));
    world.finding(None, "y\"; --\\ now").await;
    let key = world.document_key(NASTY[4]).await;
    world.documents_equal(&format!("SELECT * FROM {}", tables[4]), &key).await;
    world.all_well().await;
}

/// Documents of tables whose names look alike when put together stay apart.
#[tokio::test(flavor = "multi_thread")]
async fn tables_whose_names_run_into_their_keys_have_documents_of_their_own() {
    let world = World::start(
        "CREATE TABLE a (k text PRIMARY KEY, n int); CREATE TABLE \"a:b\" (k text PRIMARY KEY, n int);
         INSERT INTO a VALUES ('b:1', 1); INSERT INTO \"a:b\" VALUES ('1', 2);",
    )
    .await;
    assert_eq!(keys(&mut world.redis.connection().await, "public.a").await.len(), 2);
    world.postgres.psql("TRUNCATE a");
    world.documents_equal("SELECT * FROM \"a:b\"", "public.a%3Ab:{k}").await;
    world.documents_equal("SELECT * FROM a", "public.a:{k}").await;
}

/// Scenario 57: `a` and `"A"` are two columns.
#[tokio::test(flavor = "multi_thread")]
async fn columns_that_differ_by_case_only_are_kept_apart() {
    let world =
        World::start("CREATE TABLE t (id int PRIMARY KEY, a int, \"A\" int); INSERT INTO t VALUES (1, 1, 2);").await;
    world.postgres.psql("UPDATE t SET a = 10; UPDATE t SET \"A\" = 20; INSERT INTO t VALUES (2, 3, 4)");
    world.t_equals_select().await;
}

/// Scenario 55: 1,600 columns, and a thousand tables each touched once.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_1600_columns_and_a_thousand_tables_are_captured() {
    let columns: Vec<String> = (1..1600).map(|column| format!("c{column} int")).collect();
    let wide = format!(
        "CREATE TABLE wide (id int PRIMARY KEY, {}); INSERT INTO wide (id, c1, c1599) VALUES (1, 1, 1599);",
        columns.join(", ")
    );
    let many = "DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format('CREATE TABLE m%s (id int PRIMARY KEY, n int)', i); END LOOP; END $$;";
    let options = PgOptions { conf: vec!["max_locks_per_transaction = 512".to_owned()], ..PgOptions::default() };
    let mut world = World::start_with(options, &format!("{wide}{many}"), "").await;
    world.postgres.psql(
        "UPDATE wide SET c800 = 800; DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format('INSERT INTO m%s VALUES (1, %s)', i, i); END LOOP; END $$;",
    );
    world.caught_up().await;
    world.documents_equal("SELECT * FROM wide", "public.wide:{id}").await;
    assert_eq!(keys(&mut world.redis.connection().await, "public.m").await.len(), 1000);
    assert_eq!(rows(&world.postgres, "SELECT * FROM m1000", false).await.len(), 1);
}
