//! A Redis that loses data loses the checkpoint with it, and says so.

use std::time::Duration;

use walbridge::sink::redis::ValueKind;
use walbridge::sink::{Sink, SinkError};

use super::super::rows::{NULL, checkpoint, put, text};
use super::{apply, get, keys, run, sink, sink_at, stage, start, tell};
use crate::support::{Direction, Proxy, Redis, eventually};

#[tokio::test]
async fn flushall_is_noticed_by_the_next_commit_and_by_the_probe() {
    let (server, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    sink.probe().await.expect("all is well");
    stage(&mut sink, &[put(2, "t:2", [text("2"), NULL, NULL])]).await.expect("staged");
    tell(&server, ["FLUSHALL"]).await;
    let lost = sink.commit(checkpoint(2)).await;
    assert!(matches!(lost, Err(SinkError::Regressed { .. })), "{lost:?}");
    assert_eq!(keys(&server).await, [""; 0], "nothing is written over a gap");
    assert_eq!(sink.resume().await.expect("a server"), None);
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    tell(&server, ["FLUSHALL"]).await;
    assert!(matches!(sink.probe().await, Err(SinkError::Regressed { .. })));
}

#[tokio::test]
async fn flushall_between_the_parts_of_a_transaction_undoes_it() {
    let (server, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &[]).await.expect("applied");
    let large = "x".repeat(100_000);
    let rows: Vec<_> = (0..100).map(|n| put(2, format!("t:{n}"), [text("1"), NULL, text(&large)])).collect();
    stage(&mut sink, &rows).await.expect("staged");
    tell(&server, ["FLUSHALL"]).await;
    assert!(matches!(sink.probe().await, Err(SinkError::Regressed { .. })));
    sink.resume().await.expect("a server");
    assert_eq!(keys(&server).await, [""; 0]);
}

#[tokio::test]
async fn flushall_while_away_leaves_no_checkpoint() {
    let (server, mut first) = start(ValueKind::Json).await;
    apply(&mut first, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    drop(first);
    tell(&server, ["FLUSHALL"]).await;
    assert_eq!(sink(&server, ValueKind::Json).resume().await.expect("a server"), None);
}

#[tokio::test]
async fn a_killed_server_without_persistence_comes_back_without_a_checkpoint() {
    let (mut server, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    server.kill9();
    let gone = sink.probe().await;
    assert!(matches!(gone, Err(SinkError::Unavailable { .. })), "{gone:?}");
    assert!(matches!(sink.resume().await, Err(SinkError::Unavailable { .. })));
    server.start_again();
    assert_eq!(sink.resume().await.expect("a server"), None);
}

#[tokio::test]
async fn a_killed_server_with_persistence_comes_back_with_data_and_checkpoint() {
    let mut server = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut sink = sink(&server, ValueKind::Hash);
    assert_eq!(sink.resume().await.expect("a server"), None);
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    stage(&mut sink, &[put(2, "t:2", [text("2"), NULL, NULL])]).await.expect("staged");
    server.kill9();
    assert!(matches!(sink.commit(checkpoint(2)).await, Err(SinkError::Unavailable { .. })));
    server.start_again();
    assert_eq!(sink.resume().await.expect("a server"), Some(checkpoint(1)));
    assert_eq!(keys(&server).await, ["t:1", "walbridge:cache:checkpoint"]);
    apply(&mut sink, 2, &[put(2, "t:2", [text("2"), NULL, NULL])]).await.expect("applied");
}

/// Replication is asynchronous: a replica that takes over may be behind. The proxy stands for the name that moves to it.
#[tokio::test]
async fn after_failover_to_a_replica_that_was_behind_the_lost_part_is_written_again() {
    let master = Redis::start(&[]);
    let link = Proxy::start(master.port);
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &link.port.to_string()]);
    let name = Proxy::start(master.port);
    let mut sink = sink_at(&format!("redis://127.0.0.1:{}", name.port), ValueKind::Json);
    assert_eq!(sink.resume().await.expect("a server"), None);
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    eventually(Duration::from_secs(20), async || get(&replica, "t:1").await.ok_or("not replicated")).await;
    link.blackhole(Direction::Down);
    apply(&mut sink, 2, &[put(2, "t:2", [text("2"), NULL, NULL])]).await.expect("applied");
    link.refuse();
    tell(&replica, ["REPLICAOF", "NO", "ONE"]).await;
    name.retarget(replica.port);
    name.reset();
    assert!(matches!(sink.probe().await, Err(SinkError::Unavailable { .. })));
    assert_eq!(sink.resume().await.expect("a server"), Some(checkpoint(1)));
    apply(&mut sink, 2, &[put(2, "t:2", [text("2"), NULL, NULL])]).await.expect("applied again");
    assert_eq!(keys(&replica).await, ["t:1", "t:2", "walbridge:cache:checkpoint"]);
}

#[tokio::test]
async fn a_replica_is_waited_for_and_takes_writes_once_it_is_master() {
    let master = Redis::start(&[]);
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let mut sink = sink(&replica, ValueKind::Json);
    sink.resume().await.expect("a server");
    let rows = [put(1, "t:1", [text("1"), NULL, NULL])];
    let refused = apply(&mut sink, 1, &rows).await;
    assert!(matches!(refused, Err(SinkError::Throttled { .. })), "{refused:?}");
    tell(&replica, ["REPLICAOF", "NO", "ONE"]).await;
    sink.resume().await.expect("a server");
    apply(&mut sink, 1, &rows).await.expect("applied");
}

/// A `maxmemory-policy` of the `allkeys` sort takes the checkpoint like any other key: all that the log has is applied again.
#[tokio::test]
async fn a_checkpoint_that_was_evicted_is_noticed() {
    let server = Redis::start(&["--maxmemory", "6mb", "--maxmemory-policy", "allkeys-random"]);
    let mut sink = sink(&server, ValueKind::Json);
    sink.resume().await.expect("a server");
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    let mut connection = server.connection().await;
    let mut fills = 0..20_000;
    while run::<u8>(&mut connection, "EXISTS", "walbridge:cache:checkpoint").await == 1 {
        let mut pipeline = redis::pipe();
        for _ in 0..100 {
            let n = fills.next().expect("it is evicted sooner or later");
            pipeline.cmd("SET").arg(format!("other:{n}")).arg("x".repeat(10_000)).ignore();
        }
        let () = pipeline.query_async(&mut connection).await.expect("room is made");
    }
    let lost = sink.probe().await;
    assert!(matches!(lost, Err(SinkError::Regressed { .. })), "{lost:?}");
    assert_eq!(sink.resume().await.expect("a server"), None);
}

/// Scenario 121: a script that does not end, of somebody else.
#[tokio::test]
async fn a_server_that_is_busy_is_waited_for() {
    let (server, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &[]).await.expect("applied");
    tell(&server, ["CONFIG", "SET", "busy-reply-threshold", "50"]).await;
    let (mut caller, mut onlooker) = (server.connection().await, server.connection().await);
    let endless = tokio::spawn(async move {
        let outcome: redis::RedisResult<()> =
            redis::cmd("EVAL").arg("while true do end").arg(0).query_async(&mut caller).await;
        outcome
    });
    eventually(Duration::from_secs(20), async || {
        let answer: redis::RedisResult<String> = redis::cmd("PING").query_async(&mut onlooker.clone()).await;
        answer.err().filter(|error| error.code() == Some("BUSY")).ok_or("not busy yet")
    })
    .await;
    let rows = [put(2, "t:1", [text("1"), NULL, NULL])];
    let busy = apply(&mut sink, 2, &rows).await;
    assert!(matches!(busy, Err(SinkError::Unavailable { .. })), "{busy:?}");
    let _: redis::Value = run(&mut onlooker, "SCRIPT", "KILL").await;
    endless.await.expect("a task").expect_err("it was killed");
    assert_eq!(sink.resume().await.expect("a server"), Some(checkpoint(1)));
    apply(&mut sink, 2, &rows).await.expect("applied");
}

/// Scenario 121: it reads its data from the disk.
#[tokio::test]
async fn a_server_that_loads_is_waited_for() {
    let server = Redis::start(&["--enable-debug-command", "yes"]);
    let mut sink = sink(&server, ValueKind::Json);
    sink.resume().await.expect("a server");
    let rows: Vec<_> = (0..200).map(|n| put(1, format!("t:{n}"), [text("1"), NULL, text(&"x".repeat(2000))])).collect();
    apply(&mut sink, 1, &rows).await.expect("applied");
    // 200 keys at 20 ms each.
    tell(&server, ["CONFIG", "SET", "key-load-delay", "20000"]).await;
    tell(&server, ["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]).await;
    let (mut caller, onlooker) = (server.connection().await, server.connection().await);
    let reload = tokio::spawn(async move {
        let outcome: redis::RedisResult<()> = redis::cmd("DEBUG").arg("RELOAD").query_async(&mut caller).await;
        outcome
    });
    eventually(Duration::from_secs(20), async || {
        let answer: redis::RedisResult<String> = redis::cmd("GET").arg("t:1").query_async(&mut onlooker.clone()).await;
        answer.err().filter(|error| error.code() == Some("LOADING")).ok_or("not loading yet")
    })
    .await;
    let loading = sink.probe().await;
    assert!(matches!(loading, Err(SinkError::Unavailable { .. })), "{loading:?}");
    reload.await.expect("a task").expect("reloaded");
    assert_eq!(sink.resume().await.expect("a server"), Some(checkpoint(1)));
    apply(&mut sink, 2, &[put(2, "t:1", [text("2"), NULL, NULL])]).await.expect("applied");
}
