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
