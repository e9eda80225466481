//! `PREPARE TRANSACTION`: events at the commit, whenever that is and whatever ends in between.

use walbridge::ingest::Source;
use walbridge::status::{Code, State};

use super::{streaming, told, waiting_files, witness, witnessed};
use crate::capture::{Capture, assert_same, events, replay, selected};
use crate::support::{Postgres, StopMode};

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, s text)";

fn insert(from: i32, upto: i32) -> String {
    format!("INSERT INTO t SELECT i, repeat('s', 150) FROM generate_series({from}, {upto}) i")
}

fn prepare(sql: &str, gid: &str) -> String {
    format!("BEGIN; {sql}; PREPARE TRANSACTION '{gid}'")
}

fn two_phase(source: Source) -> Source {
    Source { two_phase: true, ..source }
}

async fn start(postgres: &Postgres, directory: &std::path::Path) -> Capture {
    let capture = Capture::start_with(&postgres.url(), directory, two_phase);
    capture.until("streaming", |status| status.state == State::Streaming).await;
    capture
}

/// The log has what test_decoding tells and the table holds, the slot follows, and nothing is left waiting.
async fn ends_as_witnessed(capture: Capture, postgres: &Postgres, directory: &std::path::Path) {
    capture.caught_up(postgres).await;
    let events = events(&capture.log).await;
    assert!(told(&events) == witnessed(postgres), "the log tells another story than test_decoding");
    assert_same(&replay(&events), &selected(postgres, "public.t", &["id"]).await);
    // A commit that left no event is only confirmed with the next progress.
    capture.until("the slot to follow", |status| status.confirmed_flush_lsn >= status.durable_lsn).await;
    assert_eq!(waiting_files(directory), Vec::<String>::new());
    capture.stop().await;
}

/// Small ones, large ones that were streamed before, rolled-back ones, and others between: all at their commit's place.
async fn at_their_commits(major: u32) {
    let postgres = Postgres::start(streaming(major));
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = start(&postgres, directory.path()).await;
    witness(&postgres);
    postgres.psql(&prepare(&insert(1, 10), "small"));
    postgres.psql(&prepare(
        &format!("{}; SAVEPOINT s; {}; ROLLBACK TO s; {}", insert(1000, 4000), insert(5000, 7000), insert(8000, 9000)),
        "large",
    ));
    postgres.psql(&prepare(&insert(20_000, 20_010), "never"));
    postgres.psql(&prepare("SELECT 1", "empty"));
    postgres.psql(&insert(-5, -1));
    capture.caught_up(&postgres).await;
    assert_eq!(events(&capture.log).await.len(), 5, "nothing of the prepared ones yet");
    postgres.psql("COMMIT PREPARED 'large'");
    postgres.psql("ROLLBACK PREPARED 'never'");
    postgres.psql("COMMIT PREPARED 'empty'");
    postgres.psql(&insert(-10, -6));
    postgres.psql("COMMIT PREPARED 'small'");
    ends_as_witnessed(capture, &postgres, directory.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_become_events_when_they_are_committed() {
    at_their_commits(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_become_events_when_they_are_committed_on_the_newest_server_too() {
    at_their_commits(18).await;
}

/// The server sends a prepared transaction's changes once. It is confirmed past them, then everything ends: walbridge by SIGKILL's
/// likes, PostgreSQL too. The changes must be there when the commit comes, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_outlives_crashes_of_both_sides() {
    let mut postgres = Postgres::start(streaming(0));
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = start(&postgres, directory.path()).await;
    witness(&postgres);
    postgres.psql(&prepare(&insert(1, 3000), "one"));
    postgres.psql(&prepare(&insert(5000, 5010), "two"));
    postgres.psql(&prepare(&insert(6000, 6010), "never"));
    postgres.psql(&insert(-1, -1));
    let end = postgres.end_of_wal();
    capture.until("all of it to be confirmed", |status| status.confirmed_flush_lsn >= end).await;
    capture.crash().await;
    assert_eq!(waiting_files(directory.path()).len(), 3);
    postgres.stop(StopMode::Immediate);
    postgres.start_again();
    let capture = start(&postgres, directory.path()).await;
    postgres.psql(&insert(-2, -2));
    capture.caught_up(&postgres).await;
    capture.crash().await;
    postgres.psql("COMMIT PREPARED 'one'");
    postgres.psql("ROLLBACK PREPARED 'never'");
    // Each crash at another moment of the commit's way into the log.
    for round in 0..6 {
        let capture = Capture::start_with(&postgres.url(), directory.path(), two_phase);
        tokio::time::sleep(std::time::Duration::from_millis(round * 15)).await;
        capture.crash().await;
    }
    let capture = start(&postgres, directory.path()).await;
    postgres.psql("COMMIT PREPARED 'two'");
    ends_as_witnessed(capture, &postgres, directory.path()).await;
}

/// Not asked for, prepared transactions are sent when they are committed, and nothing is kept. Asked for later, the slot is told
/// to, and what was prepared before is sent with its commit.
#[tokio::test(flavor = "multi_thread")]
async fn two_phase_can_be_turned_on_while_transactions_are_prepared() {
    let postgres = Postgres::start(streaming(0));
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("streaming", |status| status.state == State::Streaming).await;
    witness(&postgres);
    postgres.psql(&prepare(&insert(1, 10), "one"));
    postgres.psql(&prepare(&insert(1000, 4000), "two"));
    postgres.psql("COMMIT PREPARED 'one'");
    capture.caught_up(&postgres).await;
    assert_eq!(events(&capture.log).await.len(), 10);
    capture.stop().await;
    let capture = start(&postgres, directory.path()).await;
    postgres.psql(&prepare(&insert(5000, 5010), "three"));
    postgres.psql(&insert(-1, -1));
    postgres.psql("COMMIT PREPARED 'two'");
    postgres.psql("COMMIT PREPARED 'three'");
    capture.caught_up(&postgres).await;
    let events = events(&capture.log).await;
    assert!(told(&events) == witnessed(&postgres), "the log tells another story than test_decoding");
    capture.stop().await;
}

/// The only copy of a prepared transaction's changes is in the log's directory. Somebody clears it out: to go on at the commit would
/// be to lose them without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_whose_changes_are_gone_halts_the_source() {
    let postgres = Postgres::start(streaming(0));
    postgres.psql(SCHEMA);
    let directory = tempfile::tempdir().expect("a directory");
    let capture = start(&postgres, directory.path()).await;
    postgres.psql(&prepare(&insert(1, 10), "gone"));
    postgres.psql(&insert(-1, -1));
    let end = postgres.end_of_wal();
    capture.until("all of it to be confirmed", |status| status.confirmed_flush_lsn >= end).await;
    capture.stop().await;
    std::fs::remove_dir_all(directory.path().join("spill")).expect("removed");
    let capture = start(&postgres, directory.path()).await;
    postgres.psql("COMMIT PREPARED 'gone'");
    let halt = capture.halted().await;
    assert_eq!(halt.error.code(), Code::SourceGap, "{halt}");
    assert!(halt.to_string().contains("\"gone\""), "{halt}");
}
