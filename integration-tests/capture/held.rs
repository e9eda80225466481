//! The copy beside a stream that is faster than it: a chunk that was read before what the stream tells comes after it, and somebody
//! writes between every two steps of the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::{Capture, PATIENCE, assert_same, events, replay, selected};
use crate::support::proxy::Direction;
use crate::support::{PgOptions, Postgres, Proxy, eventually};
use walbridge::event::{Cell, Change, Event, Op, Row};
use walbridge::ingest::Source;

/// The operations on the rows of this key, in the log's order.
fn operations(events: &[Event], id: i32) -> Vec<Op> {
    let id = id.to_string();
    let is = |row: &Row| row.cell(0) == Some(Cell::Text(id.as_bytes()));
    let of = |event: &&Event| match &event.change {
        Change::Insert { new, .. } | Change::Read { row: new, .. } | Change::Update { new, .. } => is(new),
        Change::Delete { old, .. } => is(old.row()),
        _ => false,
    };
    events.iter().filter(of).map(|event| event.change.op()).collect()
}

/// What is done while the rows of a chunk are on their way.
const MEANWHILE: &str = "UPDATE t SET n = 1 WHERE id BETWEEN 1 AND 50; DELETE FROM t WHERE id BETWEEN 51 AND 60;
    UPDATE t SET id = id + 5000 WHERE id BETWEEN 61 AND 70; DELETE FROM t WHERE id = 1000;
    INSERT INTO t VALUES (2000, 0, 'short-lived'); DELETE FROM t WHERE id = 2000;
    DELETE FROM t WHERE id = 71; INSERT INTO t VALUES (71, 7, 'another')";

/// Scenarios 23 and 25. A chunk's transaction has taken its snapshot and sent its rows, and the network keeps them. Meanwhile the
/// stream brings what became of them: rows of changed, deleted and moved keys are stale when they come.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_chunk_that_the_stream_has_overtaken_are_dropped() {
    let postgres = Arc::new(Postgres::start(PgOptions::default()));
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT i, 0, repeat(md5(i::text), 100) FROM generate_series(1, 100) i",
    );
    let proxy = Arc::new(Proxy::start(postgres.port));
    let (writer, network, held) = (postgres.clone(), proxy.clone(), Arc::new(AtomicI32::new(0)));
    let holds = held.clone();
    proxy.before_requests(Some(Arc::new(move |request| {
        let is = |word: &str| request.windows(word.len()).any(|part| part == word.as_bytes());
        if is("COPY (") && holds.fetch_add(1, Ordering::SeqCst) == 0 {
            // Behind the opening of the window, and seen by the snapshot that this request takes.
            writer.psql("INSERT INTO t VALUES (1000, 0, 'new'), (1001, 0, 'new')");
            network.blackhole_queries(Direction::Down);
        }
    })));
    let directory = tempfile::tempdir().expect("a directory");
    let url = postgres.url_through(proxy.port);
    let capture = Capture::start_with(&url, directory.path(), |source| Source { snapshot_workers: 1, ..source });
    let sent = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%COPY (%' AND usename = 'walbridge' \
                AND (state <> 'active' OR wait_event = 'ClientWrite')";
    eventually(PATIENCE, || async { if postgres.psql(sent) == "1" { Ok(()) } else { Err("no chunk is on its way") } })
        .await;
    postgres.psql(MEANWHILE);
    let end = postgres.end_of_wal();
    capture.until("the stream to overtake the chunk", |status| status.received_lsn >= end).await;
    assert_eq!(held.load(Ordering::SeqCst), 1, "one chunk, which is on its way");
    proxy.before_requests(None);
    proxy.heal();
    capture.caught_up(&postgres).await;
    let all = events(&capture.log).await;
    assert_same(&replay(&all), &selected(&postgres, "public.t", &["id"]).await);
    // A history has both events of a row that came and went, and nothing of it behind them.
    assert_eq!(operations(&all, 1000), [Op::Insert, Op::Delete]);
    assert_eq!(operations(&all, 2000), [Op::Insert, Op::Delete]);
    assert_eq!(operations(&all, 51), [Op::Delete]);
    assert_eq!(operations(&all, 71), [Op::Delete, Op::Insert]);
    assert_eq!(operations(&all, 100), [Op::Read], "what nobody touched is the chunk's");
    capture.stop().await;
}

/// Scenario 35. Before each request that the start makes of the server, a row comes, one changes and one goes: whoever read rows
/// before the place from which he streams would miss some of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_between_any_two_steps_of_the_start_is_not_missed() {
    let postgres = Arc::new(Postgres::start(PgOptions::default()));
    postgres
        .psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 3000) i");
    let proxy = Proxy::start(postgres.port);
    let writes = Arc::new(AtomicI32::new(0));
    let (writer, count) = (postgres.clone(), writes.clone());
    proxy.before_requests(Some(Arc::new(move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        writer.psql(&format!(
            "INSERT INTO t VALUES ({}, 0); UPDATE t SET n = n + 1 WHERE id IN ({n}, {}); DELETE FROM t WHERE id = {}",
            10_000 + n,
            1_000 + n,
            2_000 + n
        ));
    })));
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url_through(proxy.port), directory.path());
    capture
        .until("the copy", |status| !status.tables.is_empty() && status.tables.values().all(|table| table.done))
        .await;
    proxy.before_requests(None);
    capture.caught_up(&postgres).await;
    let writes = writes.load(Ordering::SeqCst);
    assert!(writes > 20, "{writes} requests");
    assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}
