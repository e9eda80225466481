//! What SQL can do inside one transaction, compared with `SELECT` and with what another plugin tells.

use std::collections::BTreeMap;

use walbridge::event::{Cell, Change, Event};
use walbridge::status::State;

use super::{told, witness, witnessed};
use crate::capture::{Capture, assert_same, events, replay, selected};
use crate::support::{PgOptions, Postgres};

/// A capture on `schema`, and another plugin beside it; everything `sql` does; then the events.
async fn run(schema: &str, sql: &str) -> (Postgres, Vec<Event>) {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(schema);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("streaming", |status| status.state == State::Streaming).await;
    witness(&postgres);
    postgres.psql(sql);
    capture.caught_up(&postgres).await;
    let events = events(&capture.log).await;
    capture.stop().await;
    (postgres, events)
}

/// Scenario 73.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_updates_of_one_row_in_one_transaction_are_all_there_in_order() {
    let (_postgres, events) = run(
        "CREATE TABLE t (id int PRIMARY KEY, n int)",
        "DO $$ BEGIN INSERT INTO t VALUES (1, 0); FOR i IN 1..1000 LOOP UPDATE t SET n = i WHERE id = 1; END LOOP; END $$",
    )
    .await;
    assert_eq!(events.len(), 1001);
    for (place, event) in (0_u64..).zip(&events) {
        let (Change::Insert { new, .. } | Change::Update { new, .. }) = &event.change else { panic!("{event:?}") };
        assert_eq!(event.ordinal, place);
        assert_eq!(new.cell(1), Some(Cell::Text(place.to_string().as_bytes())));
        assert_eq!(event.transaction, events[0].transaction);
    }
}

/// Scenario 81. Each statement changes rows that it does not name, or by another verb than its own.
#[tokio::test(flavor = "multi_thread")]
async fn upserts_merges_cascades_triggers_and_rules_arrive_as_what_they_did() {
    let (postgres, events) = run(
        "CREATE TABLE t (id int PRIMARY KEY, n int);
         CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE TABLE copied (id int PRIMARY KEY, n int);
         CREATE TABLE ruled (id int PRIMARY KEY, n int);
         CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO copied VALUES (NEW.id, NEW.n) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n; NEW.n := NEW.n + 1; RETURN NEW; END $$;
         CREATE TRIGGER copy BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION copy();
         CREATE RULE instead AS ON DELETE TO ruled DO INSTEAD UPDATE ruled SET n = -1 WHERE id = OLD.id;",
        "INSERT INTO t SELECT i, 0 FROM generate_series(1, 20) i;
         INSERT INTO child SELECT i, i FROM generate_series(1, 20) i;
         INSERT INTO t VALUES (1, 5), (21, 5) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n;
         INSERT INTO t VALUES (2, 5), (22, 5) ON CONFLICT DO NOTHING;
         MERGE INTO t USING (VALUES (3, 9), (4, 10), (23, 11)) AS s(id, n) ON t.id = s.id
             WHEN MATCHED AND s.n = 9 THEN DELETE WHEN MATCHED THEN UPDATE SET n = s.n WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.n);
         DELETE FROM t WHERE id IN (5, 6);
         UPDATE t SET id = id + 1000 WHERE id = 7;
         INSERT INTO ruled VALUES (1, 1), (2, 2); DELETE FROM ruled WHERE id = 1;
         BEGIN; TRUNCATE t CASCADE; INSERT INTO t VALUES (1, 1); COMMIT",
    )
    .await;
    let tables = replay(&events);
    for table in ["public.t", "public.child", "public.copied", "public.ruled"] {
        assert_same(&tables, &selected(&postgres, table, &["id"]).await);
    }
    // A truncate of several tables is one line there and an event for each table here.
    let changes =
        |story: &[String]| story.iter().filter(|line| !line.contains("truncate")).cloned().collect::<Vec<_>>();
    assert_eq!(changes(&told(&events)), changes(&witnessed(&postgres)));
}

/// Scenario 82. The server drops what was rolled back before it is sent; it must be absent here too.
#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_parts_of_small_transactions_are_absent() {
    let (postgres, events) = run(
        "CREATE TABLE t (id int PRIMARY KEY, n int)",
        "BEGIN; INSERT INTO t VALUES (1, 0); SAVEPOINT a; INSERT INTO t VALUES (2, 0); SAVEPOINT b; UPDATE t SET n = 1;
         ROLLBACK TO b; INSERT INTO t VALUES (3, 0); RELEASE a; SAVEPOINT c; DELETE FROM t; ROLLBACK TO c; COMMIT;
         DO $$ BEGIN
             FOR i IN 10..20 LOOP
                 BEGIN INSERT INTO t VALUES (i, 0); IF i % 2 = 0 THEN INSERT INTO t VALUES (1, 1); END IF;
                 EXCEPTION WHEN unique_violation THEN UPDATE t SET n = n + 1 WHERE id = 1; END;
             END LOOP;
         END $$;
         BEGIN; INSERT INTO t VALUES (99, 0); ROLLBACK",
    )
    .await;
    assert_eq!(told(&events), witnessed(&postgres));
    assert_same(&replay(&events), &selected(&postgres, "public.t", &["id"]).await);
}

/// Scenarios 79 and 80. Keys that are taken by other rows in the course of one statement, and rows that move between
/// partitions: a delete here and an insert there, each in its place.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_move_within_a_statement_and_between_partitions_end_where_select_says() {
    let (postgres, events) = run(
        "CREATE TABLE t (id int PRIMARY KEY, uid int UNIQUE);
         CREATE TABLE parts (id int, uid int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (1000);
         CREATE TABLE high PARTITION OF parts FOR VALUES FROM (1000) TO (100000)",
        "INSERT INTO t SELECT i, i FROM generate_series(2000, 1, -1) i;
         UPDATE t SET id = id + 1;
         INSERT INTO parts SELECT i, i FROM generate_series(1, 300) i;
         BEGIN; UPDATE parts SET id = id + 1000 WHERE id <= 100; UPDATE parts SET id = id - 500 WHERE id > 1050; COMMIT",
    )
    .await;
    let tables = replay(&events);
    for table in ["public.t", "public.parts"] {
        assert_same(&tables, &selected(&postgres, table, &["id"]).await);
    }
    // A moved row is a delete and an insert in one transaction, which its `uid` pairs.
    let moved = events.iter().filter(|event| matches!(event.change, Change::Delete { .. })).count();
    assert_eq!(moved, 150, "100 up, 50 of them down again");
}

/// Scenario 72. Whoever reads whole transactions sees the same sum at the end of each.
#[tokio::test(flavor = "multi_thread")]
async fn the_sum_of_all_accounts_is_the_same_after_every_transaction() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TABLE acct (id int PRIMARY KEY, balance int); INSERT INTO acct SELECT i, 100 FROM generate_series(1, 20) i");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.caught_up(&postgres).await;
    let transfers = |seed: i32| {
        (0..150).fold(String::new(), |sql, n| {
            let (from, to, amount) = (1 + (n * 7 + seed) % 20, 1 + (n * 11 + seed * 3) % 20, n % 13);
            // In the order of their ids, so that no two wait for each other.
            let (first, second) = (from.min(to), from.max(to));
            let sign = if from == first { -amount } else { amount };
            sql + &format!("BEGIN; UPDATE acct SET balance = balance + {sign} WHERE id = {first}; UPDATE acct SET balance = balance - {sign} WHERE id = {second}; COMMIT;")
        })
    };
    let clients = [postgres.client().await, postgres.client().await, postgres.client().await];
    let work = (1..).zip(&clients).map(|(seed, client)| {
        let sql = transfers(seed);
        async move { client.batch_execute(&sql).await }
    });
    for outcome in futures(work).await {
        outcome.expect("transfers");
    }
    capture.caught_up(&postgres).await;
    let events = events(&capture.log).await;
    capture.stop().await;
    let (mut balances, mut sums) = (BTreeMap::new(), 0);
    for transaction in events
        .chunk_by(|a, b| a.transaction.commit_lsn == b.transaction.commit_lsn && a.transaction.xid == b.transaction.xid)
    {
        for event in transaction {
            let (Change::Read { row, .. } | Change::Update { new: row, .. }) = &event.change else {
                panic!("{event:?}")
            };
            let number = |index| match row.cell(index) {
                Some(Cell::Text(text)) => std::str::from_utf8(text).expect("text").parse::<i32>().expect("a number"),
                other => panic!("{other:?}"),
            };
            balances.insert(number(0), number(1));
        }
        if balances.len() == 20 {
            assert_eq!(balances.values().sum::<i32>(), 2000, "after {}", transaction[0].position());
            sums += 1;
        }
    }
    assert!(sums > 400, "{sums}");
}

/// Waits for all of them, at the same time.
async fn futures<T>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut work: Vec<_> = work.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = work.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (work, done) in work.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(outcome) = work.as_mut().poll(context) {
                *done = Some(outcome);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
