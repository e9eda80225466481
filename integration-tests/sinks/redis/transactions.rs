//! All of a transaction or nothing, whoever looks and whatever fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use walbridge::sink::redis::{Options, RedisSink, ValueKind};
use walbridge::sink::{Sink, SinkError};

use super::super::rows::{NULL, checkpoint, delete, put, text};
use super::{apply, get, keys, options, sink, sink_at, stage, start, tell, told};
use crate::support::{Direction, Proxy, Redis, eventually};

/// More than is held back at once.
fn many(at: u64) -> Vec<walbridge::project::mutation::Mutation> {
    let large = "x".repeat(100_000);
    (0..150).map(|n| put(at, format!("t:{n}"), [text("1"), NULL, text(&large)])).collect()
}

#[tokio::test]
async fn what_was_only_staged_is_gone_after_resume() {
    let (server, mut sink) = start(ValueKind::Json).await;
    for rows in [vec![put(1, "t:1", [text("1"), NULL, NULL])], many(1)] {
        stage(&mut sink, &rows).await.expect("staged");
        assert_eq!(sink.resume().await.expect("a server"), None);
        sink.commit(checkpoint(0)).await.expect("committed");
        assert_eq!(keys(&server).await, ["walbridge:cache:checkpoint"]);
        tell(&server, ["FLUSHALL"]).await;
        assert_eq!(sink.resume().await.expect("a server"), None);
    }
}

/// Two accounts; every transaction moves money. With `ballast`, transactions are so large that they are sent in parts.
async fn money_is_never_seen_in_two_places(kind: ValueKind, transfers: u64, ballast: usize) {
    let (server, mut sink) = start(kind).await;
    let account = |at: u64, name: &str, amount: u64| put(at, name, [text("1"), text(&amount.to_string()), NULL]);
    apply(&mut sink, 1, &[account(1, "t:1", 1000), account(1, "t:2", 1000)]).await.expect("applied");
    let ended = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_sums(server.connection().await, kind, Arc::clone(&ended)));
    let large = "x".repeat(100_000);
    for at in 2..2 + transfers {
        stage(&mut sink, &[account(at, "t:1", 1000 - at)]).await.expect("staged");
        for n in 0..ballast {
            stage(&mut sink, &[put(at, format!("t:ballast{n}"), [NULL, text(&large), NULL])]).await.expect("staged");
        }
        apply(&mut sink, at, &[account(at, "t:2", 1000 + at)]).await.expect("applied");
    }
    ended.store(true, Ordering::SeqCst);
    let looks = reader.await.expect("the sum is always the same");
    assert!(looks > transfers, "{looks} looks at {transfers} transfers");
}

async fn read_sums(mut connection: redis::aio::MultiplexedConnection, kind: ValueKind, ended: Arc<AtomicBool>) -> u64 {
    let mut looks = 0;
    while !ended.load(Ordering::SeqCst) {
        let mut both = redis::pipe();
        both.atomic();
        for key in ["t:1", "t:2"] {
            if kind == ValueKind::Hash {
                both.cmd("HGET").arg(key).arg("name")
            } else {
                both.cmd("GET").arg(key)
            };
        }
        let values: Vec<String> = both.query_async(&mut connection).await.expect("two accounts");
        let amount = |value: &String| -> u64 {
            let digits = value.split("\"name\":\"").last().and_then(|rest| rest.split('"').next()).unwrap_or(value);
            digits.parse().unwrap_or_else(|_| panic!("{value}"))
        };
        let sum: u64 = values.iter().map(amount).sum();
        assert_eq!(sum, 2000, "{values:?}");
        looks += 1;
    }
    looks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_half_a_transaction() {
    money_is_never_seen_in_two_places(ValueKind::Json, 500, 0).await;
    money_is_never_seen_in_two_places(ValueKind::Hash, 200, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_half_a_transaction_that_is_sent_in_parts() {
    money_is_never_seen_in_two_places(ValueKind::Json, 4, 100).await;
}

#[tokio::test]
async fn a_large_transaction_is_sent_in_parts_and_whole_at_the_end() {
    let server = Redis::start(&[]);
    let proxy = Proxy::start(server.port);
    let mut sink = sink_at(&format!("redis://127.0.0.1:{}", proxy.port), ValueKind::Json);
    sink.resume().await.expect("a server");
    stage(&mut sink, &many(1)).await.expect("staged");
    let sent = proxy.bytes(Direction::Up);
    assert!(sent > 8 << 20, "only {sent} bytes had gone out");
    assert_eq!(keys(&server).await, [""; 0]);
    apply(&mut sink, 1, &[delete(1, "t:0")]).await.expect("committed");
    assert_eq!(keys(&server).await.len(), 150, "149 rows and the checkpoint");
    assert_eq!(told(&server).await, Some(checkpoint(1)));
}

/// The server did it and the answer got lost: reading the checkpoint again tells so.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_found_done() {
    let server = Redis::start(&[]);
    let proxy = Proxy::start(server.port);
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let response_timeout = Duration::from_millis(500);
    let mut sink = RedisSink::new(Options { response_timeout, ..options(&url, ValueKind::Json) }).expect("a url");
    sink.resume().await.expect("a server");
    let rows = [put(1, "t:1", [text("1"), NULL, NULL])];
    stage(&mut sink, &rows).await.expect("staged");
    proxy.swallow(Direction::Down);
    let lost = sink.commit(checkpoint(1)).await;
    assert!(matches!(lost, Err(SinkError::Unavailable { .. })), "{lost:?}");
    assert!(matches!(sink.commit(checkpoint(1)).await, Err(SinkError::Unavailable { .. })), "only resume mends it");
    proxy.heal();
    assert_eq!(sink.resume().await.expect("a server"), Some(checkpoint(1)));
    apply(&mut sink, 2, &rows).await.expect("applied again");
    assert_eq!(get(&server, "t:1").await.as_deref(), Some(r#"{"id":1,"name":null,"big":null}"#));
}

#[tokio::test]
async fn a_connection_cut_anywhere_in_a_commit_leaves_all_or_nothing() {
    let server = Redis::start(&[]);
    let proxy = Proxy::start(server.port);
    let mut sink = sink_at(&format!("redis://127.0.0.1:{}", proxy.port), ValueKind::Json);
    for at in 1..40 {
        let found = sink.resume().await.expect("a server").map_or(0, |found| found.offset.0);
        let value = at.to_string();
        let rows = [put(at, "t:1", [text("1"), text(&value), NULL]), put(at, "t:2", [text("2"), text(&value), NULL])];
        stage(&mut sink, &rows).await.expect("staged");
        proxy.cut_after(Direction::Up, at * 70);
        let outcome = sink.commit(checkpoint(at)).await;
        proxy.heal();
        let now = told(&server).await.map_or(0, |found| found.offset.0);
        assert!(now == at || (now == found && outcome.is_err()), "{found} -> {now}, {outcome:?}");
        let expected = (now > 0).then(|| format!(r#"{{"id":1,"name":"{now}","big":null}}"#));
        assert_eq!(get(&server, "t:1").await, expected);
        assert_eq!(get(&server, "t:2").await.is_some(), now > 0);
    }
}

/// A process that was thought dead wakes up and goes on writing.
#[tokio::test]
async fn a_second_writer_is_fenced() {
    let (server, mut zombie) = start(ValueKind::Json).await;
    apply(&mut zombie, 1, &[put(1, "t:1", [text("1"), text("zombie 1"), NULL])]).await.expect("applied");
    stage(&mut zombie, &[put(2, "t:1", [text("1"), text("zombie 2"), NULL])]).await.expect("staged");
    let mut successor = sink(&server, ValueKind::Json);
    assert_eq!(successor.resume().await.expect("a server"), Some(checkpoint(1)));
    apply(&mut successor, 3, &[put(3, "t:1", [text("1"), text("successor"), NULL])]).await.expect("applied");
    let fenced = zombie.commit(checkpoint(2)).await;
    assert!(matches!(fenced, Err(SinkError::Fenced { .. })), "{fenced:?}");
    assert_eq!(get(&server, "t:1").await.as_deref(), Some(r#"{"id":1,"name":"successor","big":null}"#));
    apply(&mut successor, 4, &[]).await.expect("the successor is not disturbed");
}

#[tokio::test]
async fn the_checkpoint_of_another_log_is_told_and_not_overwritten_in_passing() {
    let (server, mut first) = start(ValueKind::Json).await;
    let foreign = walbridge::sink::Checkpoint { log: walbridge::log::LogId(99), ..checkpoint(7) };
    first.commit(foreign).await.expect("committed");
    let mut second = sink(&server, ValueKind::Json);
    assert_eq!(second.resume().await.expect("a server"), Some(foreign));
    second.probe().await.expect("unmoved");
    first.commit(checkpoint(1)).await.expect("committed");
    assert!(matches!(second.probe().await, Err(SinkError::Fenced { .. })));
}

#[tokio::test]
async fn a_value_in_the_checkpoints_place_that_is_none_stops_the_sink() {
    let server = Redis::start(&[]);
    tell(&server, ["SET", "walbridge:cache:checkpoint", "hello"]).await;
    let found = sink(&server, ValueKind::Json).resume().await;
    assert!(matches!(found, Err(SinkError::Unusable { .. })), "{found:?}");
    tell(&server, ["DEL", "walbridge:cache:checkpoint"]).await;
    tell(&server, ["LPUSH", "walbridge:cache:checkpoint", "hello"]).await;
    let found = sink(&server, ValueKind::Json).resume().await;
    assert!(matches!(found, Err(SinkError::Unusable { .. })), "{found:?}");
}

#[tokio::test]
async fn a_frozen_server_is_unavailable_until_it_thaws() {
    let server = Redis::start(&[]);
    let response_timeout = Duration::from_millis(300);
    let options = Options { response_timeout, ..options(&server.url(), ValueKind::Json) };
    let mut sink = RedisSink::new(options).expect("a url");
    sink.resume().await.expect("a server");
    server.freeze();
    stage(&mut sink, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("staged");
    let frozen = sink.commit(checkpoint(1)).await;
    assert!(matches!(frozen, Err(SinkError::Unavailable { .. })), "{frozen:?}");
    server.thaw();
    // What was sent to the frozen server may take effect when it thaws.
    let mut found =
        eventually(Duration::from_secs(10), async || sink_at(&server.url(), ValueKind::Json).resume().await).await;
    found = found.filter(|found| *found == checkpoint(1));
    let resumed = sink.resume().await.expect("a server");
    assert!(resumed == found || resumed == Some(checkpoint(1)), "{resumed:?}");
    apply(&mut sink, 2, &[put(2, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
}
