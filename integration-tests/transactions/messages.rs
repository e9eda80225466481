//! Logical messages, `pg_logical_emit_message`, as events: the outbox pattern without an outbox table.

use std::sync::Arc;

use walbridge::event::{Cell, Change, Event};
use walbridge::ingest::Source;
use walbridge::status::State;

use crate::capture::{Capture, events};
use crate::support::{PgOptions, Postgres};

/// Each event: `message PREFIX CONTENT` or `insert ID`, with its transaction (0 for none) and its ordinal.
fn told(events: &[Event]) -> Vec<String> {
    let one = |event: &Event| match &event.change {
        Change::Message { prefix, content } => format!("message {prefix} {}", String::from_utf8_lossy(content)),
        Change::Insert { new, .. } => match new.cell(0) {
            Some(Cell::Text(text)) => format!("insert {}", String::from_utf8_lossy(text)),
            other => panic!("a key cell is {other:?}"),
        },
        other => panic!("{other:?}"),
    };
    events.iter().map(one).collect()
}

fn lone(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.transaction.xid == 0).collect()
}

/// Scenario 14. Transactional ones stand in their transaction at their place and are gone with it; the others stand for
/// themselves, at once, even if what emitted them is rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn messages_stand_where_they_were_emitted() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TABLE t (id text PRIMARY KEY)");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("streaming", |status| status.state == State::Streaming).await;
    postgres.psql("SELECT pg_logical_emit_message(false, 'lone', 'one')");
    postgres.psql(
        "BEGIN; INSERT INTO t VALUES ('a'); SELECT pg_logical_emit_message(true, 'inside', 'two');
         SELECT pg_logical_emit_message(false, 'lone', 'three'); INSERT INTO t VALUES ('b'); COMMIT",
    );
    postgres.psql(
        "BEGIN; SELECT pg_logical_emit_message(true, 'inside', 'never'); SELECT pg_logical_emit_message(false, 'lone', 'four'); ROLLBACK;
         BEGIN; SELECT pg_logical_emit_message(true, 'only', ''); COMMIT;
         SELECT pg_logical_emit_message(false, 'walbridge', 'ours'); SELECT pg_logical_emit_message(false, 'lone', '\\x00ff'::bytea)",
    );
    // The commit's record begins where the message's ends: it is none of the transactions that are there already.
    postgres.psql("BEGIN; INSERT INTO t VALUES ('c'); SELECT pg_logical_emit_message(false, 'lone', 'last'); COMMIT");
    capture.until("all events", |status| status.events >= 10).await;
    let events = events(&capture.log).await;
    let found = told(&events);
    assert_eq!(
        found,
        [
            "message lone one",
            "message lone three",
            "insert a",
            "message inside two",
            "insert b",
            "message lone four",
            "message only ",
            "message lone \u{0}\u{fffd}",
            "message lone last",
            "insert c",
        ]
    );
    assert_eq!(lone(&events).len(), 5);
    assert!(events.windows(2).all(|pair| pair[0].position() < pair[1].position()), "in one order with the rest");
    let ordinals: Vec<u64> = events.iter().map(|event| event.ordinal).collect();
    assert_eq!(ordinals, [0, 0, 0, 1, 2, 0, 0, 0, 0, 0]);
    capture.stop().await;
}

/// Scenario 14. After a reconnect PostgreSQL sends again what was not confirmed, messages too; and a message's LSN lies anywhere
/// between the commits'. Crashed at other moments each time, every message must be there once.
#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_or_doubled_over_crashes() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TABLE t (id text PRIMARY KEY)");
    let directory = tempfile::tempdir().expect("a directory");
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("streaming", |status| status.state == State::Streaming).await;
    capture.crash().await;
    let client = postgres.client().await;
    let (mut lone_wanted, mut inside_wanted) = (Vec::new(), Vec::new());
    for round in 0..10 {
        let capture = Capture::start(&postgres.url(), directory.path());
        for n in 0..12 {
            let name = format!("{round}.{n}");
            let sql = format!(
                "SELECT pg_logical_emit_message(false, 'lone', '{name}a');
                 BEGIN; INSERT INTO t VALUES ('{name}'); SELECT pg_logical_emit_message(false, 'lone', '{name}b');
                 SELECT pg_logical_emit_message(true, 'inside', '{name}'); COMMIT"
            );
            client.batch_execute(&sql).await.expect("a transaction");
            lone_wanted.extend([format!("message lone {name}a"), format!("message lone {name}b")]);
            inside_wanted.push(format!("message inside {name}"));
        }
        // Not a wait for luck: each round crashes at another point, whatever that is.
        tokio::time::sleep(std::time::Duration::from_millis(round * 19)).await;
        capture.crash().await;
    }
    // The last thing there is: nothing behind it would bring it along.
    postgres.psql("SELECT pg_logical_emit_message(false, 'lone', 'last')");
    lone_wanted.push("message lone last".to_owned());
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("the last", |status| status.events > 10 * 12 * 4).await;
    let found = told(&events(&capture.log).await);
    let of = |start: &str| found.iter().filter(|event| event.starts_with(start)).cloned().collect::<Vec<_>>();
    assert_eq!(of("message lone"), lone_wanted);
    assert_eq!(of("message inside"), inside_wanted);
    assert_eq!(of("insert").len(), 120);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_messages_asked_for_become_events() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TABLE t (id text PRIMARY KEY)");
    let directory = tempfile::tempdir().expect("a directory");
    let some = |source| Source { messages: Some(Arc::new(|prefix: &str| prefix.starts_with("audit"))), ..source };
    let capture = Capture::start_with(&postgres.url(), directory.path(), some);
    capture.until("streaming", |status| status.state == State::Streaming).await;
    let emit = "SELECT pg_logical_emit_message(true, 'audit.login', '1'), pg_logical_emit_message(false, 'other', '2'), \
                pg_logical_emit_message(false, 'audit', '3'), pg_logical_emit_message(true, 'other', '4')";
    postgres.psql(emit);
    capture.caught_up(&postgres).await;
    assert_eq!(told(&events(&capture.log).await), ["message audit 3", "message audit.login 1"]);
    capture.stop().await;
    let none = |source| Source { messages: None, ..source };
    let capture = Capture::start_with(&postgres.url(), directory.path(), none);
    postgres.psql(emit);
    capture.caught_up(&postgres).await;
    assert_eq!(events(&capture.log).await.len(), 2, "none more");
    capture.stop().await;
}
