//! The copy of existing rows, with the stream running beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Capture, assert_same, events, replay, selected};
use crate::support::{PgOptions, Postgres};
use walbridge::event::Op;

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, big text);
     ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;";

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_under_full_write_load_ends_equal_to_select() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(SCHEMA);
    postgres.psql("INSERT INTO t SELECT i, 0, CASE WHEN i % 50 = 0 THEN repeat(md5(i::text), 100) END FROM generate_series(1, 40000) i");
    let directory = tempfile::tempdir().expect("a directory");
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for seed in 0..2 {
        writers.push(tokio::spawn(write(postgres.client().await, seed, stop.clone())));
    }
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("the snapshot", |status| status.tables.values().any(|table| table.done)).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a writer");
    }
    capture.caught_up(&postgres).await;
    let events = events(&capture.log).await;
    assert!(events.iter().any(|event| event.change.op() == Op::Read));
    assert!(events.iter().any(|event| event.change.op() == Op::Update));
    assert_same(&replay(&events), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// Every kind of statement, until told to stop.
async fn write(client: tokio_postgres::Client, seed: u64, stop: Arc<AtomicBool>) {
    let mut n = seed * 1_000_003;
    while !stop.load(Ordering::Relaxed) {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = (n >> 33) % 45_000;
        let sql = match (n >> 20) % 6 {
            0 => format!("DELETE FROM t WHERE id = {id}"),
            1 => format!("INSERT INTO t VALUES ({id}, {}, 'new') ON CONFLICT (id) DO UPDATE SET n = t.n + 1", n % 100),
            2 => format!("UPDATE t SET big = repeat(md5('{n}'), 90), n = n + 1 WHERE id = {id}"),
            3 => format!(
                "UPDATE t SET id = {} WHERE id = {id} AND NOT EXISTS (SELECT FROM t WHERE id = {})",
                50_000 + id,
                50_000 + id
            ),
            _ => format!("UPDATE t SET n = n + 1 WHERE id = {id}"),
        };
        // A deadlock or a unique violation between the writers is theirs, not ours.
        let _ = client.batch_execute(&sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_costs_a_chunk_and_what_is_done_is_not_read_again() {
    let postgres = Postgres::start(PgOptions::default());
    postgres
        .psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 60000) i");
    let directory = tempfile::tempdir().expect("a directory");
    let mut seen = 0;
    for _ in 0..5 {
        let capture = Capture::start(&postgres.url(), directory.path());
        let before = seen;
        capture
            .until("another chunk", |status| status.tables.values().any(|table| table.rows > before || table.done))
            .await;
        seen = capture.status().tables.values().map(|table| table.rows).sum();
        // Rows deleted between two attempts must be gone in the end, although an attempt had copied them.
        postgres.psql(&format!("DELETE FROM t WHERE id = {}", seen / 2));
        capture.crash().await;
    }
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.caught_up(&postgres).await;
    let all = events(&capture.log).await;
    let reads = all.iter().filter(|event| event.change.op() == Op::Read).count();
    assert!(reads < 60_000 + 5 * 20_000, "{reads} rows were read for a table of 60000");
    assert_same(&replay(&all), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;

    // Materialize's trick: without the right to read, only a restart that does not read again can work.
    postgres.psql("REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM walbridge");
    let capture = Capture::start_with(&postgres.url(), directory.path(), |source| walbridge::ingest::Source {
        snapshot: false,
        ..source
    });
    postgres.psql("INSERT INTO t VALUES (70000, 1)");
    let end = postgres.end_of_wal();
    capture.until("the stream", |status| status.durable_lsn >= end).await;
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_order_are_paged_without_a_gap() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(
        "CREATE EXTENSION citext;
         CREATE TABLE a (k text COLLATE \"C\" PRIMARY KEY); INSERT INTO a SELECT md5(i::text) FROM generate_series(1, 2500) i;
         CREATE TABLE b (k citext PRIMARY KEY);
         INSERT INTO b SELECT CASE WHEN i % 2 = 0 THEN upper(md5(i::text)) ELSE md5(i::text) END FROM generate_series(1, 2500) i;
         CREATE TABLE c (x int, y text, PRIMARY KEY (x, y)); INSERT INTO c SELECT i / 100 - 10, 'it''s ' || i FROM generate_series(1, 2500) i;
         CREATE TABLE d (k float8 PRIMARY KEY);
         INSERT INTO d SELECT i - 1250.5 FROM generate_series(1, 2500) i; INSERT INTO d VALUES ('NaN'), ('Infinity'), ('-Infinity');
         CREATE TABLE e (k timestamptz PRIMARY KEY); INSERT INTO e SELECT now() + i * interval '1 s' FROM generate_series(1, 2500) i;
         INSERT INTO e VALUES ('infinity'), ('-infinity'), ('4713-01-01 BC');
         CREATE TABLE f (k uuid PRIMARY KEY, z citext); INSERT INTO f SELECT gen_random_uuid() FROM generate_series(1, 2500) i;
         CREATE TABLE g (x citext, y int, PRIMARY KEY (x, y)); INSERT INTO g SELECT CASE WHEN i % 3 = 0 THEN 'A' ELSE 'b' END || i / 50, i FROM generate_series(1, 2500) i;
         CREATE TABLE \"Nasty \"\"Name\" (\"Key \\ 'x'\" int PRIMARY KEY); INSERT INTO \"Nasty \"\"Name\" SELECT generate_series(1, 2500);",
    );
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.caught_up(&postgres).await;
    let replayed = replay(&events(&capture.log).await);
    for (table, key) in
        [("a", &["k"][..]), ("b", &["k"]), ("c", &["x", "y"]), ("d", &["k"]), ("f", &["k"]), ("g", &["x", "y"])]
    {
        assert_same(&replayed, &selected(&postgres, &format!("public.{table}"), key).await);
    }
    assert_eq!(replayed["public.e"].len(), 2503);
    assert_eq!(replayed["public.Nasty \"Name"].len(), 2500);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_followed_are_refused_with_the_list_and_nothing_is_left_behind() {
    use walbridge::status::Code;
    let cases = [
        ("CREATE TABLE nokey (n int)", Code::SourceIdentity, "public.nokey"),
        ("CREATE UNLOGGED TABLE u (id int PRIMARY KEY)", Code::SourcePublication, "public.u"),
        ("SELECT 1", Code::SourcePublication, "no table"),
    ];
    for (sql, code, named) in cases {
        let postgres = Postgres::start(PgOptions::default());
        postgres.psql(sql);
        let directory = tempfile::tempdir().expect("a directory");
        let halt = Capture::start(&postgres.superuser_url(), directory.path()).halted().await;
        assert_eq!(halt.error.code(), code, "{halt}");
        assert!(halt.to_string().contains(named) && halt.is_setup(), "{halt}");
        let left =
            postgres.psql("SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_publication)");
        assert_eq!(left.trim(), "0", "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_level_security_that_hides_rows_is_refused() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE ROLE unaware LOGIN REPLICATION; GRANT ALL ON ALL TABLES IN SCHEMA public TO unaware;",
    );
    let url = postgres.superuser_url().replace("postgres://postgres@", "postgres://unaware@");
    let directory = tempfile::tempdir().expect("a directory");
    let halt = Capture::start(&url, directory.path()).halted().await;
    assert_eq!(halt.error.code(), walbridge::status::Code::SnapshotPartialView, "{halt}");
}

/// Scenario 12.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_open_since_before_keeps_the_slot_waiting_and_is_named() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY)");
    let client = postgres.client().await;
    client.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.expect("open");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture
        .until("the waiting to be told", |status| status.message.as_deref().is_some_and(|m| m.contains("pid ")))
        .await;
    client.batch_execute("COMMIT").await.expect("closed");
    capture.caught_up(&postgres).await;
    assert_eq!(replay(&events(&capture.log).await)["public.t"].len(), 1);
    capture.stop().await;
}
