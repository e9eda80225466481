//! Several servers as one: sentinels, and a cluster.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use walbridge::project::mutation::Mutation;
use walbridge::sink::redis::{Options, RedisSink, Server, ValueKind};
use walbridge::sink::{Checkpoint, Sink, SinkError};

use super::super::rows::{NULL, checkpoint, put, text};
use super::{apply, keys, options, run, sink_at, stage};
use crate::support::cluster::Cluster;
use crate::support::sentinel::Sentinels;
use crate::support::{Redis, eventually, ports};

const PATIENCE: Duration = Duration::from_secs(60);

/// Resumes once the servers have settled who is who.
pub(super) async fn resumed(sink: &mut RedisSink) -> Option<Checkpoint> {
    let sink = tokio::sync::Mutex::new(sink);
    eventually(PATIENCE, async || sink.lock().await.resume().await).await
}

/// Applies once it can, from where the servers say: a replica that was just promoted may refuse for a moment.
pub(super) async fn applied(sink: RedisSink, at: u64, mutations: &[Mutation]) -> RedisSink {
    let sink = tokio::sync::Mutex::new(sink);
    eventually(PATIENCE, async || {
        let mut sink = sink.lock().await;
        sink.resume().await?;
        apply(&mut sink, at, mutations).await
    })
    .await;
    sink.into_inner()
}

/// Once the replica has all that its master has, it hears nothing more until it is thawed: its connection is cut, and it cannot make another. A proxy between the two would not do:
/// sentinels tell a replica whose master has another address than they know to go there.
pub(super) async fn cut_off(master: &Redis, replica: &Redis) {
    let mut master = master.connection().await;
    let number = |info: &str, before: &str| -> Option<u64> {
        let (_, rest) = info.split_once(before)?;
        rest.split(|byte: char| !byte.is_ascii_digit()).next()?.parse().ok()
    };
    // `WAIT` would not do: it waits for what its own connection has written, which is nothing.
    eventually(PATIENCE, async || {
        let info: String = run(&mut master.clone(), "INFO", "replication").await;
        let replica =
            info.split_once("slave0:").map(|(_, replica)| replica).filter(|replica| replica.contains("state=online"));
        let acknowledged = replica.and_then(|replica| number(replica, "offset="));
        let end = number(&info, "master_repl_offset:");
        if acknowledged.is_some() && acknowledged >= end { Ok(()) } else { Err(info) }
    })
    .await;
    replica.freeze();
    let _: u64 = run(&mut master, "CLIENT", ("KILL", "TYPE", "replica")).await;
}

/// Scenario 120. The replica that becomes master has not heard of the last transaction: the checkpoint that it tells is as old as its data, and from there
/// the log is applied again.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_behind_is_found_through_sentinels_and_brought_up() {
    let mut master = Redis::start(&[]);
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let sentinels = Sentinels::start(master.port).await;
    let mut sink = sink_at(&sentinels.url(), ValueKind::Json);
    assert_eq!(sink.resume().await.expect("a master"), None);
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    cut_off(&master, &replica).await;
    apply(&mut sink, 2, &[put(2, "t:2", [text("2"), NULL, NULL])]).await.expect("applied");
    master.kill9();
    replica.thaw();
    assert!(matches!(sink.probe().await, Err(SinkError::Unavailable { .. })));
    assert_eq!(resumed(&mut sink).await, Some(checkpoint(1)));
    applied(sink, 2, &[put(2, "t:2", [text("2"), NULL, NULL])]).await;
    assert_eq!(keys(&replica).await, ["t:1", "t:2", "walbridge:cache:checkpoint"]);
}

#[tokio::test]
async fn sentinels_that_know_no_such_master_or_are_not_there_are_told() {
    let server = Redis::start(&[]);
    let nowhere = ports::free();
    let url = format!("redis-sentinel://127.0.0.1:{nowhere},127.0.0.1:{}/0#mymaster", server.port);
    let refused = sink_at(&url, ValueKind::Json).resume().await;
    // What answers there is no sentinel.
    let Err(error @ SinkError::Unusable { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("SENTINEL"), "{error}");
    let refused = sink_at(&format!("redis-sentinel://127.0.0.1:{nowhere}/0#mymaster"), ValueKind::Json).resume().await;
    assert!(matches!(refused, Err(SinkError::Unavailable { .. })), "{refused:?}");
}

pub(super) const REPLICA: usize = 3;

/// A cluster of three masters, and a replica of the one that has the sink's slot.
pub(super) async fn cluster() -> Cluster {
    let arguments = ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"];
    let cluster = Cluster::start("t", 1, &arguments);
    let owner = id(&cluster, cluster.owner).await;
    let replica = cluster.nodes[REPLICA].connection().await;
    eventually(PATIENCE, async || {
        let answer: redis::RedisResult<String> =
            redis::cmd("CLUSTER").arg("REPLICATE").arg(&owner).query_async(&mut replica.clone()).await;
        answer
    })
    .await;
    eventually(PATIENCE, async || {
        let info: String = run(&mut replica.clone(), "INFO", "replication").await;
        if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
    })
    .await;
    cluster
}

pub(super) async fn id(cluster: &Cluster, number: usize) -> String {
    run(&mut cluster.nodes[number].connection().await, "CLUSTER", "MYID").await
}

fn sink_in(cluster: &Cluster) -> RedisSink {
    let tagged = options("redis://replaced", ValueKind::Json);
    RedisSink::new(Options { server: Server::at(cluster.url()), hash_tag: Some("t".to_owned()), ..tagged })
        .expect("a url")
}

pub(super) async fn ask(connection: &mut MultiplexedConnection, arguments: &[&str]) {
    let _answer: redis::Value = run(connection, "CLUSTER", arguments).await;
}

fn row(at: u64, id: u64) -> Mutation {
    put(at, format!("{{t}}:{id}"), [text(&id.to_string()), NULL, NULL])
}

/// Scenario 123: the slot moves while the sink writes. What it had begun is refused, and done where the slot is then.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_follows_its_slot_to_another_node() {
    let cluster = cluster().await;
    let mut sink = sink_in(&cluster);
    assert_eq!(sink.resume().await.expect("a node"), None);
    apply(&mut sink, 1, &(0..50).map(|id| row(1, id)).collect::<Vec<_>>()).await.expect("applied");
    stage(&mut sink, &[row(2, 100)]).await.expect("staged");

    let (from, to) = (cluster.owner, (cluster.owner + 1) % 3);
    let (old, new) = (id(&cluster, from).await, id(&cluster, to).await);
    let (mut source, mut target) = (cluster.nodes[from].connection().await, cluster.nodes[to].connection().await);
    let slot = cluster.slot.to_string();
    ask(&mut target, &["SETSLOT", &slot, "IMPORTING", &old]).await;
    ask(&mut source, &["SETSLOT", &slot, "MIGRATING", &new]).await;
    let moving: Vec<String> = run(&mut source, "CLUSTER", ("GETKEYSINSLOT", &slot, 1000)).await;
    assert_eq!(moving.len(), 51, "rows and checkpoint: {moving:?}");
    let port = cluster.nodes[to].port.to_string();
    for half in moving.chunks(26) {
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(&port).arg("").arg(0).arg(20_000).arg("KEYS").arg(half);
        let _: redis::Value = migrate.query_async(&mut source).await.expect("MIGRATE");
        // Half of the slot is here, half there: a transaction can be at neither.
        let refused = apply(&mut sink, 2, &[row(2, 100)]).await;
        assert!(matches!(refused, Err(SinkError::Unavailable { .. } | SinkError::Regressed { .. })), "{refused:?}");
        let _ = sink.resume().await;
    }
    for connection in [&mut target, &mut source] {
        ask(connection, &["SETSLOT", &slot, "NODE", &new]).await;
    }
    assert_eq!(resumed(&mut sink).await, Some(checkpoint(1)));
    apply(&mut sink, 2, &[row(2, 100)]).await.expect("applied where the slot is now");
    assert_eq!(keys(&cluster.nodes[to]).await.len(), 52);
    assert_eq!(keys(&cluster.nodes[from]).await, [""; 0]);
}

/// Scenario 120, in a cluster: the master of our slot dies with a transaction that its replica has not heard of.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_behind_takes_over_its_masters_slot_and_is_brought_up() {
    let mut cluster = cluster().await;
    let mut sink = sink_in(&cluster);
    sink.resume().await.expect("a node");
    apply(&mut sink, 1, &[row(1, 1)]).await.expect("applied");
    cut_off(&cluster.nodes[cluster.owner], &cluster.nodes[REPLICA]).await;
    apply(&mut sink, 2, &[row(2, 2)]).await.expect("applied");
    let owner = cluster.owner;
    cluster.nodes[owner].kill9();
    cluster.nodes[REPLICA].thaw();
    assert_eq!(resumed(&mut sink).await, Some(checkpoint(1)));
    applied(sink, 2, &[row(2, 2)]).await;
    assert_eq!(keys(&cluster.nodes[REPLICA]).await, ["walbridge:{t}:cache:checkpoint", "{t}:1", "{t}:2"]);
}

/// A node of a cluster under a plain url, and keys in several slots: both are told with what to write.
#[tokio::test]
async fn a_cluster_that_is_not_named_as_one_is_told() {
    let node = Redis::start(&["--cluster-enabled", "yes", "--cluster-port", &ports::free().to_string()]);
    ask(&mut node.connection().await, &["ADDSLOTSRANGE", "0", "16383"]).await;
    let mut sink = sink_at(&node.url(), ValueKind::Json);
    eventually(PATIENCE, async || {
        let info: String = run(&mut node.connection().await, "CLUSTER", "INFO").await;
        if info.contains("cluster_state:ok") { Ok(()) } else { Err(info) }
    })
    .await;
    sink.resume().await.expect("a server");
    let refused =
        apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL]), put(1, "t:2", [text("2"), NULL, NULL])]).await;
    let Err(error @ SinkError::Unusable { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("redis-cluster://"), "{error}");
}
