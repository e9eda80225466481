//! Transactions that are streamed while in progress: interleaved, rolled back in part and whole, with changed definitions,
//! and interrupted.

use walbridge::status::State;

use super::{streaming, told, waiting_files, witness, witnessed};
use crate::capture::{Capture, PATIENCE, assert_same, events, replay, selected};
use crate::support::{Postgres, eventually};

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, n int, s text)";

fn insert(from: i32, upto: i32) -> String {
    format!("INSERT INTO t SELECT i, 0, repeat('s', 100) FROM generate_series({from}, {upto}) i")
}

async fn streaming_capture(postgres: &Postgres, directory: &std::path::Path) -> Capture {
    let capture = Capture::start(&postgres.url(), directory);
    capture.until("streaming", |status| status.state == State::Streaming).await;
    capture
}

/// Waits until so many transactions wait on disk.
async fn until_waiting(directory: &std::path::Path, count: usize) {
    eventually(PATIENCE, || async {
        let files = waiting_files(directory);
        if files.len() == count { Ok(()) } else { Err(format!("{files:?}, {count} wanted")) }
    })
    .await;
}

/// Scenario 76. The changes of both arrive in turns and the commits in the other order; a reader that goes by arrival would
/// mix them, or have the one that committed last first.
async fn in_commit_order(major: u32) {
    let postgres = Postgres::start(streaming(major));
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = streaming_capture(&postgres, directory.path()).await;
    witness(&postgres);
    let (first, second) = (postgres.client().await, postgres.client().await);
    first.batch_execute("BEGIN").await.expect("begun");
    second.batch_execute("BEGIN").await.expect("begun");
    for round in 0..6 {
        first.batch_execute(&insert(round * 1000, round * 1000 + 900)).await.expect("rows");
        second.batch_execute(&insert(100_000 + round * 1000, 100_000 + round * 1000 + 900)).await.expect("rows");
        postgres.psql(&insert(-round - 1, -round - 1));
    }
    second.batch_execute("UPDATE t SET n = 1 WHERE id % 7 = 0 AND id >= 100000; COMMIT").await.expect("committed");
    first.batch_execute("DELETE FROM t WHERE id % 3 = 0 AND id BETWEEN 0 AND 99999; COMMIT").await.expect("committed");
    capture.caught_up(&postgres).await;
    let found = told(&events(&capture.log).await);
    let wanted = witnessed(&postgres);
    assert!(wanted.len() > 10_000, "{}", wanted.len());
    assert!(found == wanted, "the log tells another story than test_decoding");
    assert_eq!(waiting_files(directory.path()), Vec::<String>::new());
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interleaved_transactions_stand_in_commit_order_as_another_plugin_tells_them() {
    in_commit_order(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interleaved_transactions_stand_in_commit_order_on_the_newest_server_too() {
    in_commit_order(18).await;
}

/// Scenario 77. 100,000 rows that never were must leave nothing in the log and nothing on disk, and must not keep the slot.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_that_is_rolled_back_leaves_no_trace() {
    let postgres = Postgres::start(streaming(0));
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = streaming_capture(&postgres, directory.path()).await;
    let client = postgres.client().await;
    client.batch_execute(&format!("BEGIN; {}", insert(1, 100_000))).await.expect("rows");
    until_waiting(directory.path(), 1).await;
    client.batch_execute("ROLLBACK").await.expect("rolled back");
    until_waiting(directory.path(), 0).await;
    postgres.psql(&insert(-1, -1));
    capture.caught_up(&postgres).await;
    assert_eq!(events(&capture.log).await.len(), 1, "the row after it");
    capture.until("the slot to follow", |status| status.confirmed_flush_lsn >= status.durable_lsn).await;
    capture.stop().await;
}

/// Scenarios 77 and 82. Rolled-back savepoints, nested, released and reused, between rows that stay; PL/pgSQL's exception
/// blocks are savepoints too. PostgreSQL has sent their rows by the time it knows.
#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_savepoints_of_a_streamed_transaction_are_absent() {
    let postgres = Postgres::start(streaming(0));
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = streaming_capture(&postgres, directory.path()).await;
    witness(&postgres);
    let [a, b, c, d, e, f, g] = [0, 1, 2, 3, 4, 5, 6].map(|part| insert(part * 10_000, part * 10_000 + 2_000));
    postgres.psql(&format!(
        "BEGIN; {a};
         SAVEPOINT one; {b}; SAVEPOINT two; {c}; RELEASE two; UPDATE t SET n = 2 WHERE id < 100; ROLLBACK TO one;
         SAVEPOINT three; {d}; RELEASE three;
         SAVEPOINT four; {b}; SAVEPOINT five; {e}; ROLLBACK TO five; {f}; RELEASE four;
         DO $$ BEGIN FOR i IN 1..200 LOOP
             BEGIN
                 INSERT INTO t SELECT 90000 + i * 20 + j, i, repeat('x', 200) FROM generate_series(1, 10) j;
                 IF i % 2 = 0 THEN RAISE EXCEPTION 'no'; END IF;
             EXCEPTION WHEN raise_exception THEN NULL; END;
         END LOOP; END $$;
         {g}; COMMIT"
    ));
    capture.caught_up(&postgres).await;
    let events = events(&capture.log).await;
    let (found, wanted) = (told(&events), witnessed(&postgres));
    assert!(found == wanted, "{} events, test_decoding tells {}", found.len(), wanted.len());
    assert_same(&replay(&events), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// A transaction that changes a table and goes on, and one that does so and is rolled back while others use the table as it was.
/// Rows must be read with the version they were written with, and a version that never was must not be left in use. The
/// domain and the whole-row identity need the catalog in the middle of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_altered_inside_a_streamed_transaction_is_read_as_it_was_at_each_row() {
    let postgres = Postgres::start(streaming(0));
    postgres.psql(&format!(
        "{SCHEMA}; CREATE DOMAIN amount AS numeric CHECK (VALUE >= 0);
         CREATE TABLE whole (id int PRIMARY KEY, a amount, s text); ALTER TABLE whole REPLICA IDENTITY FULL"
    ));
    let directory = tempfile::tempdir().expect("a directory");
    let capture = streaming_capture(&postgres, directory.path()).await;
    let client = postgres.client().await;
    client
        .batch_execute(&format!(
            "BEGIN; {}; ALTER TABLE t ADD COLUMN never int; {}; SAVEPOINT s; ALTER TABLE t RENAME COLUMN n TO wrong; {}",
            insert(1, 9_000),
            "INSERT INTO t SELECT i, 1, repeat('a', 100), i FROM generate_series(9001, 11000) i",
            "INSERT INTO t SELECT i, 1, repeat('a', 100), i FROM generate_series(11001, 13000) i"
        ))
        .await
        .expect("altered");
    until_waiting(directory.path(), 1).await;
    client.batch_execute("ROLLBACK").await.expect("rolled back");
    postgres.psql(&insert(1, 3));
    client
        .batch_execute(&format!(
            "BEGIN; {}; ALTER TABLE t ADD COLUMN more amount; {}; SAVEPOINT s; ALTER TABLE t RENAME COLUMN n TO m; {}; ROLLBACK TO s; {};
             INSERT INTO whole SELECT i, i, repeat('w', 100) FROM generate_series(1, 2000) i;
             UPDATE whole SET a = a + 1 WHERE id > 1000; COMMIT",
            insert(10_000, 12_000),
            "INSERT INTO t SELECT i, 1, repeat('a', 100), i FROM generate_series(20000, 22000) i",
            "INSERT INTO t SELECT i, 1, repeat('a', 100), i FROM generate_series(30000, 32000) i",
            "INSERT INTO t SELECT i, 1, repeat('a', 100), i FROM generate_series(40000, 42000) i",
        ))
        .await
        .expect("altered");
    postgres.psql("INSERT INTO t VALUES (-1, -1, 'after', 7)");
    capture.caught_up(&postgres).await;
    let mut tables = replay(&events(&capture.log).await);
    // Rows of before have no such column; SELECT says NULL.
    for row in tables.get_mut("public.t").expect("the table").values_mut() {
        row.entry("more".to_owned()).or_default();
    }
    assert_same(&tables, &selected(&postgres, "public.t", &["id"]).await);
    assert_same(&tables, &selected(&postgres, "public.whole", &["id"]).await);
    capture.stop().await;
}

/// The server sends what was in progress again from its beginning, and what was committed may come again too. Nothing may be
/// missing and nothing doubled (`replay` checks that Positions rise), wherever in a block or a commit it was cut off.
#[tokio::test(flavor = "multi_thread")]
async fn crashes_while_transactions_are_streamed_lose_nothing_and_double_nothing() {
    let postgres = Postgres::start(streaming(0));
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    streaming_capture(&postgres, directory.path()).await.crash().await;
    witness(&postgres);
    let (long, client) = (postgres.client().await, postgres.client().await);
    long.batch_execute("BEGIN").await.expect("begun");
    for round in 0..8 {
        let capture = Capture::start(&postgres.url(), directory.path());
        long.batch_execute(&insert(round * 1000, round * 1000 + 500)).await.expect("rows");
        let base = 100_000 + round * 10_000;
        let end = if round % 3 == 2 { "ROLLBACK" } else { "COMMIT" };
        let sql = format!(
            "BEGIN; {}; SAVEPOINT s; {}; ROLLBACK TO s; {end}",
            insert(base, base + 3000),
            insert(base + 5000, base + 6000)
        );
        client.batch_execute(&sql).await.expect("a transaction");
        // Not a wait for luck: each round crashes at another point, whatever that is.
        tokio::time::sleep(std::time::Duration::from_millis(u64::try_from(round).unwrap_or(0) * 23)).await;
        capture.crash().await;
    }
    long.batch_execute("COMMIT").await.expect("committed");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.caught_up(&postgres).await;
    let events = events(&capture.log).await;
    assert!(told(&events) == witnessed(&postgres), "the log tells another story than test_decoding");
    assert_same(&replay(&events), &selected(&postgres, "public.t", &["id"]).await);
    assert_eq!(waiting_files(directory.path()), Vec::<String>::new());
    capture.stop().await;
}
