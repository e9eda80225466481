//! Going on after whatever happened, and refusing to where going on would be a guess.

use std::time::Duration;

use super::{Capture, assert_same, events, replay, selected};
use crate::support::{Direction, PgOptions, Postgres, Proxy, StopMode};
use walbridge::ingest::Source;
use walbridge::status::{Code, State};

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, n int)";

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_moment_loses_nothing_and_doubles_nothing() {
    // `replay` checks that Positions rise strictly: an event twice would be seen.
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(&format!("{SCHEMA}; INSERT INTO t SELECT i, 0 FROM generate_series(1, 3000) i"));
    let directory = tempfile::tempdir().expect("a directory");
    let client = postgres.client().await;
    for round in 0..12 {
        let capture = Capture::start(&postgres.url(), directory.path());
        for n in 0..20 {
            let sql = format!(
                "BEGIN; UPDATE t SET n = {n} WHERE id % 50 = {round}; INSERT INTO t VALUES ({}, {n}); COMMIT",
                10_000 + round * 100 + n
            );
            client.batch_execute(&sql).await.expect("a transaction");
        }
        // Not a wait for luck: each round crashes at another point, whatever that is.
        tokio::time::sleep(Duration::from_millis(round * 17)).await;
        capture.crash().await;
    }
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.caught_up(&postgres).await;
    assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// Scenario 1: the server crashes under writes, again and again; nothing is asked of anybody.
#[tokio::test(flavor = "multi_thread")]
async fn the_servers_crash_is_waited_out() {
    let mut postgres = Postgres::start(PgOptions::default());
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("streaming", |status| status.state == State::Streaming).await;
    for round in 0..3 {
        postgres.psql(&format!(
            "INSERT INTO t SELECT i, {round} FROM generate_series({}, {}) i",
            round * 100 + 1,
            round * 100 + 100
        ));
        postgres.stop(StopMode::Immediate);
        capture
            .until("paused", |status| status.state == State::Paused && status.code == Some(Code::SourceUnreachable))
            .await;
        postgres.start_again();
        capture.until("streaming again", |status| status.state == State::Streaming).await;
    }
    capture.caught_up(&postgres).await;
    assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// Scenario 2.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_inside_a_message_is_taken_up_again() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(SCHEMA);
    let proxy = Proxy::start(postgres.port);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url_through(proxy.port), directory.path());
    capture.until("streaming", |status| status.state == State::Streaming).await;
    for cut in (1..200).step_by(23) {
        proxy.cut_after(Direction::Down, cut);
        postgres.psql(&format!("INSERT INTO t SELECT i, {cut} FROM generate_series({cut}000, {cut}020) i"));
        proxy.heal();
    }
    capture.caught_up(&postgres).await;
    assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id"]).await);
    capture.stop().await;
}

/// Scenarios 5 and 6: the busy one is another database, or another table of this one.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_slot_follows_a_busy_neighbour_without_a_write_to_the_source() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(SCHEMA);
    postgres.psql("CREATE DATABASE neighbour");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("streaming", |status| status.state == State::Streaming).await;
    let mut busy = postgres.psql_command();
    busy.args(["-d", "neighbour", "-c", "CREATE TABLE x AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)"]);
    assert!(busy.output().expect("psql").status.success());
    let target = postgres.end_of_wal();
    capture.until("the slot to follow", |status| status.confirmed_flush_lsn >= target).await;
    postgres
        .psql("CREATE SCHEMA other; CREATE TABLE other.x AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
    let target: walbridge::event::Lsn = postgres.psql("SELECT pg_current_wal_lsn()").trim().parse().expect("an LSN");
    capture.until("the slot to follow", |status| status.confirmed_flush_lsn >= target).await;
    assert_eq!(capture.log.durable().borrow().offset.0, 0, "nothing was captured");
    capture.stop().await;
}

/// Scenario 17; `servers/shutdown.rs` has the rest of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fast_shutdown_of_the_server_is_not_delayed() {
    let mut postgres = Postgres::start(PgOptions::default());
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("streaming", |status| status.state == State::Streaming).await;
    postgres.psql("INSERT INTO t SELECT i, 0 FROM generate_series(1, 5000) i");
    // Fails by itself if the server is still there after its patience.
    postgres.stop(StopMode::Fast);
    postgres.start_again();
    capture.caught_up(&postgres).await;
    assert_eq!(replay(&events(&capture.log).await)["public.t"].len(), 5000);
    capture.stop().await;
}

/// A log with some history, and the server it is from.
async fn with_history() -> (Postgres, tempfile::TempDir) {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(&format!("{SCHEMA}; INSERT INTO t VALUES (1, 1)"));
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.caught_up(&postgres).await;
    capture.stop().await;
    (postgres, directory)
}

/// Scenario 8, the refusal; `history.rs` has the repair.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_dropped_and_made_anew_is_a_gap_and_never_gone_on_from() {
    // PostgreSQL would start from the new slot without a word; what was committed in between is in nobody's log.
    let (postgres, directory) = with_history().await;
    postgres.psql("SELECT pg_drop_replication_slot('walbridge_test'); INSERT INTO t VALUES (2, 2)");
    let halt = Capture::start(&postgres.url(), directory.path()).halted().await;
    assert_eq!(halt.error.code(), Code::SourceSlotMissing, "{halt}");
    assert!(
        !postgres.psql("SELECT slot_name FROM pg_replication_slots").contains("walbridge"),
        "no slot is made to heal"
    );
    postgres.psql("SELECT pg_create_logical_replication_slot('walbridge_test', 'pgoutput')");
    let halt = Capture::start(&postgres.url(), directory.path()).halted().await;
    assert_eq!(halt.error.code(), Code::SourceGap, "{halt}");
}

/// Scenario 13.
#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_behind_the_same_address_is_noticed_before_streaming() {
    let (postgres, directory) = with_history().await;
    drop(postgres);
    let other = Postgres::start(PgOptions { own_initdb: true, ..PgOptions::default() });
    other.psql(&format!("{SCHEMA}; SELECT pg_create_logical_replication_slot('walbridge_test', 'pgoutput')"));
    let halt = Capture::start(&other.url(), directory.path()).halted().await;
    assert_eq!(halt.error.code(), Code::SourceHistoryChanged, "{halt}");
}

/// Scenario 8.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_invalidated_while_we_were_away_halts_and_names_the_place() {
    let postgres = Postgres::start(PgOptions {
        conf: vec![
            "max_slot_wal_keep_size = '1MB'".into(),
            "min_wal_size = '32MB'".into(),
            "max_wal_size = '32MB'".into(),
            "wal_keep_size = 0".into(),
        ],
        ..PgOptions::default()
    });
    postgres.psql(&format!("{SCHEMA}; INSERT INTO t VALUES (1, 1)"));
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.caught_up(&postgres).await;
    capture.stop().await;
    for _ in 0..8 {
        postgres.psql("CREATE TABLE waste AS SELECT repeat('x', 1000) FROM generate_series(1, 20000); DROP TABLE waste; SELECT pg_switch_wal()");
        postgres.psql("CHECKPOINT");
    }
    let lost = postgres.psql("SELECT wal_status FROM pg_replication_slots");
    assert_eq!(lost.trim(), "lost", "the server must have let go of the slot");
    let halt = Capture::start(&postgres.url(), directory.path()).halted().await;
    assert_eq!(halt.error.code(), Code::SourceSlotLost, "{halt}");
}

/// Scenario 7.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_held_by_another_client_is_waited_for_and_taken_over() {
    // As the superuser: setting the role up writes WAL, and the holder would confirm it past the other's log.
    let (postgres, directory) = with_history().await;
    let url = postgres.superuser_url();
    let other_directory = tempfile::tempdir().expect("a directory");
    let holder = Capture::start_with(&url, other_directory.path(), |source| walbridge::ingest::Source {
        snapshot: false,
        ..source
    });
    holder.until("the slot", |status| status.state == State::Streaming).await;
    let capture = Capture::start(&url, directory.path());
    capture.until("waiting", |status| status.code == Some(Code::SourceSlotActive)).await;
    assert_eq!(capture.status().state, State::Paused);
    holder.stop().await;
    capture.until("taking over", |status| status.state == State::Streaming).await;
    capture.stop().await;
}

/// Scenario 4.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_soon_gives_up_silent_clients_keeps_us() {
    let postgres = Postgres::start(PgOptions { conf: vec!["wal_sender_timeout = 2s".into()], ..PgOptions::default() });
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("streaming", |status| status.state == State::Streaming).await;
    // A connection that is cut every two seconds never gets so old.
    crate::support::eventually(super::PATIENCE, || async {
        let old = postgres.psql("SELECT coalesce(max(now() - backend_start) > '6 s', false) FROM pg_stat_replication");
        if old.trim() == "t" { Ok(()) } else { Err(old) }
    })
    .await;
    capture.stop().await;
}

/// Where a copy was to begin, the catalog was asked without a word to the server meanwhile: one that was slow to answer had the
/// stream cut off. Only a table of the catalog that this look needs is locked here.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_does_not_answer_where_a_copy_begins_does_not_cost_the_stream() {
    let postgres = Postgres::start(PgOptions { conf: vec!["wal_sender_timeout = 2s".into()], ..PgOptions::default() });
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    let hour = Duration::from_secs(3600);
    let capture =
        Capture::commanded(&postgres.url(), directory.path(), |source| Source { watch_interval: hour, ..source });
    capture.caught_up(&postgres).await;
    let locker = postgres.client().await;
    locker
        .batch_execute("BEGIN; LOCK TABLE pg_publication_rel IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("the table is locked");
    let walsender = "SELECT min(pid) FROM pg_stat_replication";
    let before = postgres.psql(walsender);
    let asked = capture.copy_again("public.t");
    let held_up = async {
        let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'pg_publication_rel'::regclass";
        crate::support::eventually(super::PATIENCE, || async {
            if postgres.psql(waits) == "t" { Ok(()) } else { Err("nobody waits yet") }
        })
        .await;
        // Three times as long as the server bears silence.
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(postgres.psql(walsender), before, "the stream was cut off");
        locker.batch_execute("ROLLBACK").await.expect("let go");
    };
    let (begun, ()) = tokio::join!(asked, held_up);
    assert_eq!(begun, Ok(vec!["public.t".to_owned()]));
    capture.caught_up(&postgres).await;
    capture.stop().await;
}

/// PostgreSQL 17 has answered a slot's making beside a `TRUNCATE` with an internal error, once, and that was the end, under a
/// code that spoke of the network. Such an error is tried again for a while, and told as what it is. Here the catalog is damaged.
#[tokio::test(flavor = "multi_thread")]
async fn an_internal_error_of_the_server_is_tried_again_and_told_as_what_it_is() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(&format!(
        "{SCHEMA}; CREATE PUBLICATION walbridge_test FOR TABLE t WITH (publish_via_partition_root = true);
         CREATE SCHEMA attic; CREATE TABLE attic.wide (a int, b int, c int CHECK (c > 0));
         UPDATE pg_publication_rel SET prqual = (SELECT conbin FROM pg_constraint WHERE conrelid = 'attic.wide'::regclass)"
    ));
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("the error", |status| status.code == Some(Code::SourceServer)).await;
    let status = capture.status();
    // It is the copy that asks for the filter.
    assert_ne!(status.state, State::Halted);
    assert!(status.message.as_ref().is_some_and(|text| text.contains("XX000")), "{status:?}");
    postgres.psql("UPDATE pg_publication_rel SET prqual = NULL");
    capture.caught_up(&postgres).await;
    capture.stop().await;
}

/// Scenario 3.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_goes_dead_without_a_word_is_noticed_and_replaced() {
    // Half-open: no reset, no end of file, only silence. Others have waited on it for ever, "streaming".
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(SCHEMA);
    let proxy = Proxy::start(postgres.port);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url_through(proxy.port), directory.path());
    capture.until("streaming", |status| status.state == State::Streaming).await;
    proxy.blackhole(Direction::Up);
    proxy.blackhole(Direction::Down);
    capture.until("the silence to be noticed", |status| status.code == Some(Code::SourceUnreachable)).await;
    postgres.psql("INSERT INTO t SELECT i, 0 FROM generate_series(1, 100) i");
    proxy.heal();
    capture.caught_up(&postgres).await;
    assert_eq!(replay(&events(&capture.log).await)["public.t"].len(), 100);
    capture.stop().await;
}
