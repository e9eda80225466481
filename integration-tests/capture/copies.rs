//! Copies in the middle of things: begun again, interrupted, of tables that change underneath, held up by what others do.

use std::collections::HashMap;

use super::{Capture, assert_same, events, replay, selected};
use crate::support::proxy::Direction;
use crate::support::{PgOptions, Postgres, Proxy, eventually};
use walbridge::event::{Change, Op};
use walbridge::ingest::Source;
use walbridge::log::embedded::{self, Options};
use walbridge::status::{Code, SourceStatus};

/// One worker, and a budget that leaves time between two chunks.
pub(super) fn slowly(source: Source) -> Source {
    Source { snapshot_workers: 1, snapshot_rate: Some(4 << 20), ..source }
}

/// A table of some chunks.
fn large(postgres: &Postgres, name: &str) {
    postgres.psql(&format!(
        "CREATE TABLE {name} (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, filler text NOT NULL);
         INSERT INTO {name} SELECT i, 0, repeat('x', 1000) FROM generate_series(1, 12000) i; ANALYZE {name}"
    ));
}

/// Large values that an UPDATE leaves alone, and room at the beginning for the versions of rows to come.
const MOVERS: &str = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, big text);
     ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;
     INSERT INTO t SELECT i, 0, repeat(md5(i::text), 100) FROM generate_series(1, 4000) i;
     DELETE FROM t WHERE id <= 800";

fn rows(status: &SourceStatus, table: &str) -> u64 {
    status.tables.get(table).map_or(0, |table| table.rows)
}

fn done(status: &SourceStatus, table: &str) -> bool {
    status.tables.get(table).is_some_and(|table| table.done)
}

/// Scenario 36: a copy on demand while the table is written to and read. The log never empties the table; it tells where the copy
/// begins, and at its end what was not put since is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_copied_again_under_load_ends_equal_and_the_log_tells_where_it_began() {
    let postgres = Postgres::start(PgOptions::default());
    large(&postgres, "t");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::commanded(&postgres.url(), directory.path(), |source| source);
    capture.caught_up(&postgres).await;
    let before = events(&capture.log).await.len();
    let client = postgres.client().await;
    let load = tokio::spawn(async move {
        for n in 0..300 {
            let sql = format!(
                "UPDATE t SET n = n + 1 WHERE id % 97 = {n} % 97; DELETE FROM t WHERE id = {n} * 31; \
                 INSERT INTO t VALUES (20000 + {n}, 0, 'new')"
            );
            client.batch_execute(&sql).await.expect("a write");
        }
    });
    capture.copy_again("public.t").await.expect("begun");
    capture
        .until("the second copy", |status| done(status, "public.t") && status.tables["public.t"].generation == 2)
        .await;
    load.await.expect("the load");
    capture.caught_up(&postgres).await;
    let all = events(&capture.log).await;
    assert_same(&replay(&all), &selected(&postgres, "public.t", &["id"]).await);
    let begun: Vec<usize> = (0..)
        .zip(&all)
        .filter(|(_, event)| matches!(event.change, Change::CopyBegun { .. }))
        .map(|(at, _)| at)
        .collect();
    let since: Vec<_> = all
        .iter()
        .filter_map(|event| match event.change {
            Change::CopyDone { since, .. } => usize::try_from(since.0).ok(),
            _ => None,
        })
        .collect();
    assert_eq!(begun, since, "one copy, which says where it began");
    // How many rows the stream overtakes is the machine's business; that the copy brought some is the test's.
    assert!(begun[0] >= before && all[begun[0]..].iter().any(|event| event.change.op() == Op::Read));
    capture.stop().await;
}

/// Whoever asked for a copy and was told that it has begun need not ask again, whatever happens next; and a copy under way is
/// abandoned for the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_has_begun_is_not_forgotten_by_a_crash_and_may_begin_again_in_the_middle() {
    let postgres = Postgres::start(PgOptions::default());
    large(&postgres, "t");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::commanded(&postgres.url(), directory.path(), slowly);
    capture.until("a chunk", |status| rows(status, "public.t") > 0).await;
    for _ in 0..2 {
        capture.copy_again("public.t").await.expect("begun");
    }
    capture.crash().await;
    // Nobody will tell of this one; the copy must find that it is gone.
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.caught_up(&postgres).await;
    assert_eq!(capture.status().tables["public.t"].generation, 3);
    let all = events(&capture.log).await;
    let begun = all.iter().filter(|event| matches!(event.change, Change::CopyBegun { .. })).count();
    let ended = all.iter().filter(|event| matches!(event.change, Change::CopyDone { .. })).count();
    assert_eq!((begun, ended), (2, 1));
    assert_same(&replay(&all), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// A table is dropped, and another made under its name, in the middle of a further copy and with walbridge down. Nobody is left
/// to end that copy, which would hold the log for ever; and its end must not take the new table's rows with it.
#[tokio::test(flavor = "multi_thread")]
async fn the_copy_of_a_table_that_was_exchanged_while_we_were_away_is_given_up() {
    let postgres = Postgres::start(PgOptions::default());
    large(&postgres, "t");
    large(&postgres, "dropped");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::commanded(&postgres.url(), directory.path(), slowly);
    capture.caught_up(&postgres).await;
    for table in ["public.t", "public.dropped"] {
        capture.copy_again(table).await.expect("begun");
    }
    capture.crash().await;
    postgres.psql("DROP TABLE t; DROP TABLE dropped; CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'new')");
    postgres.psql("ALTER PUBLICATION walbridge_test ADD TABLE t; GRANT SELECT ON t TO PUBLIC");
    let capture = Capture::start(&postgres.url(), directory.path());
    eventually(super::PATIENCE, || async {
        let tables = replay(&events(&capture.log).await);
        let left = |name: &str| tables.get(name).map_or(0, |rows| rows.len());
        match (left("public.t"), left("public.dropped")) {
            (1, 0) => Ok(()),
            left => Err(format!("{left:?}")),
        }
    })
    .await;
    assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
    let (_, _, recovered) = embedded::open(directory.path(), Options::default()).expect("the log opens");
    let unfinished = recovered.snapshots.iter().filter(|snapshot| !snapshot.done);
    assert_eq!(unfinished.count(), 0, "{:?}", recovered.snapshots);
}

/// Scenario 33. The lock is what makes "in the middle" certain.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_no_longer_be_read_waits_while_the_others_and_the_stream_go_on() {
    let postgres = Postgres::start(PgOptions::default());
    large(&postgres, "t");
    postgres.psql("CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u SELECT generate_series(1, 100)");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start_with(&postgres.url(), directory.path(), slowly);
    capture.until("a chunk", |status| rows(status, "public.t") > 0).await;
    postgres.psql("REVOKE SELECT ON t FROM walbridge");
    capture
        .until("the trouble", |status| {
            status.code == Some(Code::SourcePrivilege)
                && status.message.as_ref().is_some_and(|m| m.contains("public.t"))
        })
        .await;
    capture.until("the other table", |status| done(status, "public.u")).await;
    postgres.psql("INSERT INTO u VALUES (101)");
    let end = postgres.end_of_wal();
    capture.until("the stream", |status| status.durable_lsn >= end).await;
    assert!(!done(&capture.status(), "public.t"));
    postgres.psql("GRANT SELECT ON t TO walbridge");
    capture.caught_up(&postgres).await;
    assert_eq!(capture.status().code, None);
    let replayed = replay(&events(&capture.log).await);
    assert_same(&replayed, &selected(&postgres, "public.t", &["id"]).await);
    assert_same(&replayed, &selected(&postgres, "public.u", &["id"]).await);
    capture.stop().await;
}

/// Scenario 34, and renamed and rewritten: what happens to a table in the middle of its copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_dropped_truncated_renamed_or_rewritten_in_the_middle_of_its_copy_ends_as_it_is() {
    let postgres = Postgres::start(PgOptions::default());
    for table in ["dropped", "truncated", "renamed", "rewritten"] {
        large(&postgres, table);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start_with(&postgres.url(), directory.path(), |source| Source {
        snapshot_workers: 4,
        snapshot_rate: Some(8 << 20),
        ..source
    });
    capture.until("a chunk of each", |status| status.tables.values().filter(|table| table.rows > 0).count() >= 1).await;
    postgres.psql(
        "DROP TABLE dropped; TRUNCATE truncated; INSERT INTO truncated VALUES (1, 1, 'new'); \
         ALTER TABLE renamed RENAME TO named_anew; DELETE FROM rewritten WHERE id % 2 = 0",
    );
    postgres.psql("VACUUM FULL rewritten");
    let copied = ["public.dropped", "public.truncated", "public.named_anew", "public.rewritten"];
    capture.until("the copies", |status| copied.iter().all(|table| done(status, table))).await;
    let end = postgres.end_of_wal();
    capture.until("the stream", |status| status.durable_lsn >= end).await;
    // The watcher of definitions tells what is gone.
    eventually(super::PATIENCE, || async {
        match replay(&events(&capture.log).await).get("public.dropped") {
            Some(rows) if !rows.is_empty() => Err(format!("{} rows", rows.len())),
            _ => Ok(()),
        }
    })
    .await;
    let replayed = replay(&events(&capture.log).await);
    assert_same(&replayed, &selected(&postgres, "public.truncated", &["id"]).await);
    assert_same(&replayed, &selected(&postgres, "public.rewritten", &["id"]).await);
    // Rows copied under the old name stay under it in this replay, which goes by names.
    let both =
        ["public.renamed", "public.named_anew"].iter().filter_map(|name| replayed.get(*name)).map(|rows| rows.len());
    assert_eq!(both.sum::<usize>(), 12_000);
    capture.stop().await;
}

/// Scenario 26: the connections are cut after so many bytes, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_connection_breaks_goes_on_with_the_chunk_it_was_at() {
    let postgres = Postgres::start(PgOptions::default());
    large(&postgres, "t");
    let proxy = Proxy::start(postgres.port);
    let directory = tempfile::tempdir().expect("a directory");
    proxy.cut_after(Direction::Down, 200_000);
    let capture = Capture::start(&postgres.url_through(proxy.port), directory.path());
    for bytes in [3_000, 1_000_000, 5_000_000, 9_000_000] {
        let connections = proxy.connections();
        eventually(super::PATIENCE, || async {
            if proxy.connections() > connections { Ok(()) } else { Err("no new connection") }
        })
        .await;
        proxy.cut_after(Direction::Down, bytes);
    }
    proxy.heal();
    capture.caught_up(&postgres).await;
    let all = events(&capture.log).await;
    assert_same(&replay(&all), &selected(&postgres, "public.t", &["id"]).await);
    assert_eq!(all.iter().filter(|event| event.change.op() == Op::Read).count(), 12_000, "nothing is placed twice");
    capture.stop().await;
}

/// An UPDATE sends no TOAST value that it leaves alone, and may move its row from a part of the table that is still to be read
/// into one that has been: the value must reach the log all the same.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_move_into_a_part_that_is_copied_already_reach_the_log_whole() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(MOVERS);
    postgres.psql("VACUUM t");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start_with(&postgres.url(), directory.path(), slowly);
    capture.until("a chunk", |status| rows(status, "public.t") > 0).await;
    let place = "SELECT min((ctid::text::point)[0]) FROM t WHERE id > 3600";
    let before: f64 = postgres.psql(place).parse().expect("a block");
    postgres.psql("UPDATE t SET n = 1 WHERE id > 3600; UPDATE t SET id = id + 10000 WHERE id > 3900; DELETE FROM t WHERE id = 3700");
    let after: f64 = postgres.psql(place).parse().expect("a block");
    assert!(after < before / 2.0, "the rows have moved to the front: {before} to {after}");
    capture.caught_up(&postgres).await;
    assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// Rows that a copy owes are read by their keys, some hundreds at once. Where those held more than one answer may, the same were asked for again and refused again: the copy
/// never ended.
#[tokio::test(flavor = "multi_thread")]
async fn many_large_rows_that_moved_are_read_in_several_answers() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, big text);
         ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT i, 0, repeat(md5(i::text), 625) FROM generate_series(1, 1000) i;
         DELETE FROM t WHERE id <= 400",
    );
    postgres.psql("VACUUM t");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start_with(&postgres.url(), directory.path(), slowly);
    capture.until("a chunk", |status| rows(status, "public.t") > 0).await;
    postgres.psql("UPDATE t SET n = 1 WHERE id > 680");
    assert!(!done(&capture.status(), "public.t"), "the copy is not done yet");
    let moved = "SELECT count(*) FROM t WHERE n > 0 AND (ctid::text::point)[0] < (SELECT max((ctid::text::point)[0]) / 2 FROM t)";
    assert!(postgres.psql(moved).parse::<u32>().expect("a count") > 250, "the rows have moved to the front");
    capture.caught_up(&postgres).await;
    assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// The same over a crash: which rows lacked values was known to the process that died, and rows moved while nobody was there. The
/// log tells it to the next one, so a sink that keeps history has every value too.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_moved_before_and_during_a_restart_in_mid_copy_reach_the_log_whole() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(MOVERS);
    postgres.psql("VACUUM t");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start_with(&postgres.url(), directory.path(), slowly);
    capture.until("a chunk", |status| rows(status, "public.t") > 0).await;
    postgres.psql("UPDATE t SET n = 1 WHERE id > 3700; UPDATE t SET id = id + 10000 WHERE id > 3900");
    let end = postgres.end_of_wal();
    capture.until("the stream", |status| status.durable_lsn >= end).await;
    assert!(!done(&capture.status(), "public.t"), "the copy is not done yet");
    capture.crash().await;
    postgres.psql("UPDATE t SET n = 2 WHERE id BETWEEN 3500 AND 3800; DELETE FROM t WHERE id = 3700");
    let moved = "SELECT count(*) FROM t WHERE n > 0 AND (ctid::text::point)[0] < (SELECT max((ctid::text::point)[0]) / 2 FROM t)";
    assert!(postgres.psql(moved).parse::<u32>().expect("a count") > 400, "the rows have moved to the front");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.caught_up(&postgres).await;
    assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// A commit is decoded as soon as it is flushed, but other sessions see it only when its standby has confirmed: a copy begun after
/// a restart, which remembers nothing of what was decoded before, must not put the older row over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_its_standby_over_a_restart_is_not_overwritten_by_an_older_row() {
    let postgres = Postgres::start(PgOptions::default());
    postgres
        .psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 1000) i");
    let directory = tempfile::tempdir().expect("a directory");
    let without = |source| Source { snapshot: false, ..source };
    let capture = Capture::start_with(&postgres.url(), directory.path(), without);
    capture.until("the stream", |status| status.durable_lsn > walbridge::event::Lsn::ZERO).await;
    postgres.hold_commits().await;
    let client = postgres.client().await;
    let waiting = tokio::spawn(async move { client.batch_execute("UPDATE t SET n = 1 WHERE id = 500").await });
    eventually(super::PATIENCE, || async {
        let decoded = replay(&events(&capture.log).await);
        if decoded.contains_key("public.t") { Ok(()) } else { Err("the commit is not decoded yet") }
    })
    .await;
    capture.crash().await;
    let capture = Capture::start(&postgres.url(), directory.path());
    capture
        .until("the copy to wait", |status| {
            status.message.as_ref().is_some_and(|m| m.contains("waits for transactions"))
        })
        .await;
    assert!(!done(&capture.status(), "public.t"));
    postgres.release_commits();
    waiting.await.expect("no panic").expect("committed");
    capture.caught_up(&postgres).await;
    assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// Scenario 29: what the copy does to the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_holds_no_transaction_for_long_takes_no_strong_lock_and_writes_no_temporary_file() {
    let postgres = Postgres::start(PgOptions::default());
    for table in ["t", "u"] {
        large(&postgres, table);
    }
    postgres.psql("CREATE TABLE parts (id int, part int, filler text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
         INSERT INTO parts SELECT i, 1 + i % 2, repeat('y', 500) FROM generate_series(1, 5000) i");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start_with(&postgres.url(), directory.path(), |source| Source {
        snapshot_rate: Some(16 << 20),
        ..source
    });
    let client = postgres.client().await;
    let ours = "FROM pg_stat_activity WHERE usename = 'walbridge' AND backend_type = 'client backend' AND xact_start IS NOT NULL";
    let transactions = format!("SELECT pid || ' since ' || xact_start {ours}");
    let locks = format!(
        "SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid {ours}) AND locktype = 'relation' AND mode <> 'AccessShareLock'"
    );
    // Of each transaction, how much had been copied when it was first seen, and when it was last seen.
    let mut seen: HashMap<String, (u64, u64)> = HashMap::new();
    let (mut samples, mut writes) = (0, 0);
    while !capture.status().tables.values().all(|table| table.done) || capture.status().tables.is_empty() {
        client.batch_execute("UPDATE t SET n = n + 1 WHERE id = 1").await.expect("a write");
        writes += 1;
        let copied = capture.status().tables.values().map(|table| table.rows).sum();
        for row in client.query(&transactions, &[]).await.expect("a sample") {
            seen.entry(row.get(0)).or_insert((copied, copied)).1 = copied;
        }
        let locks: i64 = client.query_one(&locks, &[]).await.expect("a sample").get(0);
        assert_eq!(locks, 0, "a lock above ACCESS SHARE");
        samples += 1;
    }
    // Not by the clock, which is the machine's: nobody keeps a transaction open while much of the copy goes by.
    let longest = seen.iter().map(|(who, (from, to))| (to - from, who)).max();
    assert!(longest.is_some_and(|(rows, _)| rows < 29_000 / 2), "{longest:?} rows went by in one transaction");
    assert!(samples > 3 && writes > 3, "{samples} samples");
    let temporary = postgres.psql("SELECT sum(temp_files) FROM pg_stat_database");
    assert_eq!(temporary, "0");
    capture.caught_up(&postgres).await;
    let replayed = replay(&events(&capture.log).await);
    assert_same(&replayed, &selected(&postgres, "public.t", &["id"]).await);
    assert_same(&replayed, &selected(&postgres, "public.parts", &["id", "part"]).await);
    capture.stop().await;
}

/// Scenario 38, Materialize's trick: without the right to read, only a restart that does not read again can work.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_after_the_copy_does_not_read_again_and_needs_no_right_to() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.caught_up(&postgres).await;
    capture.stop().await;
    postgres.psql("REVOKE ALL ON t FROM walbridge; REVOKE ALL ON t FROM PUBLIC");
    let url = postgres.url().replacen("walbridge", "reader", 1);
    postgres.psql("CREATE ROLE reader LOGIN REPLICATION; GRANT USAGE ON SCHEMA public TO reader");
    let capture = Capture::start(&url, directory.path());
    postgres.psql("INSERT INTO t VALUES (101)");
    let end = postgres.end_of_wal();
    capture.until("the stream", |status| status.durable_lsn >= end).await;
    assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// Row-level security turned on in the middle hides rows from the copy that the stream would show (scenario 32, late).
#[tokio::test(flavor = "multi_thread")]
async fn row_level_security_that_comes_in_the_middle_holds_the_table_up_until_it_hides_nothing() {
    let postgres = Postgres::start(PgOptions::default());
    large(&postgres, "t");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start_with(&postgres.url(), directory.path(), slowly);
    capture.until("a chunk", |status| rows(status, "public.t") > 0).await;
    postgres.psql("ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    let is_told = |status: &SourceStatus| {
        status.trouble_with.as_deref() == Some("public.t") && status.code == Some(Code::SnapshotPartialView)
    };
    capture.until("the trouble", is_told).await;
    capture
        .until("the finding", |status| {
            status.findings.iter().any(|found| found.code == Some(Code::SnapshotPartialView))
        })
        .await;
    assert!(!done(&capture.status(), "public.t"));
    postgres.psql("ALTER ROLE walbridge BYPASSRLS");
    capture.caught_up(&postgres).await;
    assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// PostgreSQL 15 is what every other test here runs on.
#[tokio::test(flavor = "multi_thread")]
async fn existing_rows_are_copied_from_every_newer_version() {
    for major in [16, 17, 18] {
        let postgres = Postgres::start(PgOptions::of_major(major));
        postgres.psql("CREATE TABLE t (id int PRIMARY KEY, n numeric, at timestamptz); \
             INSERT INTO t SELECT i, i / 7.0, 'epoch'::timestamptz + i * interval '1 h' FROM generate_series(1, 5000) i");
        let directory = tempfile::tempdir().expect("a directory");
        let capture = Capture::commanded(&postgres.url(), directory.path(), |source| source);
        capture.caught_up(&postgres).await;
        capture.copy_again("public.t").await.expect("begun");
        capture
            .until("the second copy", |status| done(status, "public.t") && status.tables["public.t"].generation == 2)
            .await;
        let all = events(&capture.log).await;
        postgres.psql("ALTER ROLE postgres SET TimeZone = 'UTC'");
        assert_same(&replay(&all), &selected(&postgres, "public.t", &["id"]).await);
        let copied = all.iter().filter(|event| event.change.op() == Op::Read).count();
        assert_eq!(copied, 10_000, "{major}: twice, and nothing else");
        capture.stop().await;
    }
}
