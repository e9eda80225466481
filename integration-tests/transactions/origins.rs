//! Where a transaction was made: told with its events, or a reason to leave it out.

use walbridge::event::{Cell, Change, Event};
use walbridge::ingest::Source;
use walbridge::status::State;

use super::streaming;
use crate::capture::{Capture, events};
use crate::support::Postgres;

/// Each event's first column and origin.
fn told(events: &[Event]) -> Vec<(String, Option<&str>)> {
    events.iter().map(|event| (named(event), event.transaction.origin.as_deref())).collect()
}

fn named(event: &Event) -> String {
    match &event.change {
        Change::Insert { new, .. } => match new.cell(0) {
            Some(Cell::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            other => panic!("a key cell is {other:?}"),
        },
        Change::Message { prefix, .. } => prefix.clone(),
        other => panic!("{other:?}"),
    }
}

fn foreign(sql: &str) -> String {
    format!(
        "SELECT pg_replication_origin_session_setup('elsewhere');
         BEGIN; SELECT pg_replication_origin_xact_setup('0/1', now()); {sql}; COMMIT"
    )
}

async fn origins(major: u32) {
    let postgres = Postgres::start(streaming(major));
    postgres.psql("CREATE TABLE t (id text PRIMARY KEY, s text); SELECT pg_replication_origin_create('elsewhere')");
    let directory = tempfile::tempdir().expect("a directory");
    let many =
        |name: &str| format!("INSERT INTO t SELECT '{name}' || i, repeat('s', 200) FROM generate_series(1, 1000) i");
    let write = |name: &str| {
        postgres.psql(&foreign(&format!("INSERT INTO t VALUES ('{name}1')")));
        postgres.psql(&format!("INSERT INTO t VALUES ('{name}2')"));
        postgres.psql(&foreign(&many(&format!("{name}3."))));
        postgres.psql(&many(&format!("{name}4.")));
        postgres.psql(&foreign(&format!("SELECT pg_logical_emit_message(true, '{name}5', '')")));
        postgres.psql(&format!("INSERT INTO t VALUES ('{name}6')"));
    };
    let capture = Capture::start(&postgres.url(), directory.path());
    capture.until("streaming", |status| status.state == State::Streaming).await;
    write("a");
    capture.caught_up(&postgres).await;
    let all = events(&capture.log).await;
    for (what, origin) in told(&all) {
        let wanted = what.starts_with(['a']) && matches!(what.as_bytes()[1], b'1' | b'3' | b'5');
        assert_eq!(origin, wanted.then_some("elsewhere"), "{what}");
    }
    assert_eq!(all.len(), 2004);
    capture.stop().await;
    let home_only = |source| Source { foreign: false, ..source };
    let capture = Capture::start_with(&postgres.url(), directory.path(), home_only);
    write("b");
    postgres.psql(&foreign("INSERT INTO t VALUES ('last')"));
    // A filter must not hold the slot back.
    capture.caught_up(&postgres).await;
    capture.until("the slot to follow", |status| status.confirmed_flush_lsn >= status.durable_lsn).await;
    let events = events(&capture.log).await;
    let new = told(&events[all.len()..]);
    assert!(new.iter().all(|(what, origin)| origin.is_none() && matches!(what.as_bytes()[1], b'2' | b'4' | b'6')));
    assert_eq!(new.len(), 1002);
    capture.stop().await;
}

/// Scenario 19, where walbridge itself leaves them out.
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_told_of_its_own_transactions_only_and_can_be_left_out_on_15() {
    origins(15).await;
}

/// Scenario 19, where the server does.
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_told_of_its_own_transactions_only_and_can_be_left_out_on_16() {
    origins(16).await;
}
