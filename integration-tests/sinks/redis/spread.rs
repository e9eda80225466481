//! A sink's keys over many slots of a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use walbridge::event::{Offset, Span};
use walbridge::log::LogId;
use walbridge::project::mutation::Mutation;
use walbridge::sink::redis::{Options, RedisSink, Server, ValueKind};
use walbridge::sink::{Checkpoint, Sink, SinkError};

use super::super::rows::{NULL, UNCHANGED, checkpoint, clear, moved, put, text};
use super::nodes::{REPLICA, applied, ask, cluster, cut_off, id, resumed};
use super::{apply, options, run, stage};
use crate::support::cluster::{self, Cluster};
use crate::support::{Direction, Proxy, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn options_in(cluster: &Cluster, value: ValueKind) -> Options {
    Options { server: Server::at(cluster.url()), ..options("redis://replaced", value) }
}

fn sink_in(cluster: &Cluster, value: ValueKind) -> RedisSink {
    RedisSink::new(options_in(cluster, value)).expect("a url")
}

/// Three masters, and a sink that has resumed from their emptiness.
pub(super) async fn start(value: ValueKind) -> (Cluster, RedisSink) {
    let cluster = Cluster::start("t", 0, &[]);
    let mut sink = sink_in(&cluster, value);
    assert_eq!(sink.resume().await.expect("a cluster"), None);
    (cluster, sink)
}

pub(super) fn rows(at: u64, ids: impl Iterator<Item = u64>, note: &str) -> Vec<Mutation> {
    ids.map(|id| put(at, format!("t:{id}"), [text(&id.to_string()), text(note), NULL])).collect()
}

/// The number of the master that has a key.
fn owner(cluster: &Cluster, key: &str) -> usize {
    let slot: usize = cluster::ask(&cluster.nodes[0], "CLUSTER", ("KEYSLOT", key));
    slot / 5461
}

/// The documents on some nodes, by their keys, as the JSON that they are.
async fn documents(cluster: &Cluster, nodes: &[usize]) -> BTreeMap<String, serde_json::Value> {
    let mut found = BTreeMap::new();
    for &node in nodes {
        let mut connection = cluster.nodes[node].connection().await;
        let keys: Vec<String> = run(&mut connection, "KEYS", "t:*").await;
        for key in keys {
            let document: String = run(&mut connection, "GET", &key).await;
            found.insert(key, serde_json::from_str(&document).expect("JSON"));
        }
    }
    found
}

pub(super) async fn notes(cluster: &Cluster, nodes: &[usize]) -> BTreeMap<String, String> {
    let documents = documents(cluster, nodes).await;
    documents.into_iter().map(|(key, row)| (key, row["name"].as_str().unwrap_or_default().to_owned())).collect()
}

/// All of the keys that the sink lists.
async fn listed(sink: &mut RedisSink) -> Result<Vec<String>, SinkError> {
    let (mut from, mut found) = (None, Vec::new());
    loop {
        let page = sink.keys(&super::super::rows::table(), from).await?;
        found.extend(page.keys.iter().map(ToString::to_string));
        from = page.next;
        if from.is_none() {
            found.sort();
            found.dedup();
            return Ok(found);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_lie_on_all_nodes_are_listed_and_leave_with_their_table() {
    let (cluster, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &rows(1, 0..3000, "a")).await.expect("applied");
    for node in 0..3 {
        let here = notes(&cluster, &[node]).await.len();
        assert!((500..2000).contains(&here), "{here} of 3000 are on node {node}");
    }
    assert_eq!(listed(&mut sink).await.expect("keys").len(), 3000);
    assert_eq!(sink_in(&cluster, ValueKind::Json).resume().await.expect("a cluster"), Some(checkpoint(1)));
    apply(&mut sink, 2, &[clear(2), put(2, "t:7", [text("7"), text("new"), NULL])]).await.expect("applied");
    assert_eq!(notes(&cluster, &[0, 1, 2]).await, [("t:7".to_owned(), "new".to_owned())].into());
}

/// Scenario 120 where only some of the keys fall back: the master of a third of them dies with a transaction that its replica has not heard of. All of that
/// transaction comes again; the slots that have it do not take it twice.
#[tokio::test(flavor = "multi_thread")]
async fn the_part_that_fell_back_with_its_master_is_brought_up_and_no_other_goes_back() {
    let mut cluster = cluster().await;
    let mut sink = sink_in(&cluster, ValueKind::Json);
    sink.resume().await.expect("a cluster");
    apply(&mut sink, 1, &rows(1, 0..100, "first")).await.expect("applied");
    cut_off(&cluster.nodes[cluster.owner], &cluster.nodes[REPLICA]).await;
    apply(&mut sink, 2, &rows(2, 0..200, "second")).await.expect("applied");
    let fallen = cluster.owner;
    cluster.nodes[fallen].kill9();
    cluster.nodes[REPLICA].thaw();
    assert_eq!(resumed(&mut sink).await, Some(checkpoint(1)));
    let mut sink = applied(sink, 2, &rows(2, 0..200, "again")).await;
    let healthy: Vec<usize> = (0..3).filter(|&node| node != fallen).collect();
    let (kept, brought) = (notes(&cluster, &healthy).await, notes(&cluster, &[REPLICA]).await);
    assert_eq!(kept.len() + brought.len(), 200);
    assert!(kept.values().all(|note| note == "second"), "{kept:?}");
    assert!(brought.values().all(|note| note == "again"), "{brought:?}");
    assert_eq!(resumed(&mut sink).await, Some(checkpoint(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_emptied_is_noticed_and_all_is_written_again() {
    for idle in [true, false] {
        let (cluster, mut sink) = start(ValueKind::Json).await;
        apply(&mut sink, 1, &rows(1, 0..100, "one")).await.expect("applied");
        apply(&mut sink, 2, &rows(2, 50..150, "two")).await.expect("applied");
        let () = cluster::ask(&cluster.nodes[1], "FLUSHALL", "SYNC");
        let noticed = match idle {
            true => sink.probe().await,
            false => apply(&mut sink, 3, &rows(3, 0..1, "three")).await,
        };
        assert!(matches!(noticed, Err(SinkError::Regressed { .. })), "{noticed:?}");
        assert_eq!(sink.resume().await.expect("a cluster"), None);
        // From the beginning, and cut short in between: what was written anew is as old as what was written.
        apply(&mut sink, 1, &rows(1, 0..100, "one")).await.expect("applied");
        assert_eq!(sink.resume().await.expect("a cluster"), Some(checkpoint(1)));
        apply(&mut sink, 2, &rows(2, 50..150, "two")).await.expect("applied");
        let found = notes(&cluster, &[0, 1, 2]).await;
        let expected = (0..150).map(|id| (format!("t:{id}"), if id < 50 { "one" } else { "two" }.to_owned()));
        assert_eq!(found, expected.collect());
    }
}

/// A daemon that was cut off, and believed dead, comes back when another has gone on.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_believed_dead_changes_nothing() {
    let (cluster, mut first) = start(ValueKind::Json).await;
    apply(&mut first, 1, &rows(1, 0..30, "one")).await.expect("applied");
    stage(&mut first, &rows(2, 0..30, "late")).await.expect("staged");
    let mut second = sink_in(&cluster, ValueKind::Json);
    assert_eq!(second.resume().await.expect("a cluster"), Some(checkpoint(1)));
    apply(&mut second, 2, &rows(2, 0..30, "two")).await.expect("applied");
    apply(&mut second, 3, &rows(3, 0..30, "three")).await.expect("applied");
    let refused = first.commit(checkpoint(2)).await;
    assert!(matches!(refused, Err(SinkError::Fenced { .. })), "{refused:?}");
    assert!(notes(&cluster, &[0, 1, 2]).await.values().all(|note| note == "three"));
    second.probe().await.expect("nothing was touched");
}

/// One of the copies of the checkpoint, with its key.
async fn copy(cluster: &Cluster) -> (String, String) {
    let mut node = cluster.nodes[2].connection().await;
    let copies: Vec<String> = run(&mut node, "KEYS", "walbridge:*:checkpoint").await;
    let text = run(&mut node, "GET", &copies[0]).await;
    (copies[0].clone(), text)
}

/// As if the crash had come before this copy was written.
async fn put_back(cluster: &Cluster, before: &(String, String)) {
    let () = run(&mut cluster.nodes[2].connection().await, "SET", before).await;
}

/// A slot was looked up for what goes to none or to another than its row's key. Where that one was ahead, a TRUNCATE or a stream's entry was taken for old.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_to_other_slots_is_not_old_because_one_is_ahead() {
    let (cluster, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &rows(1, 0..60, "1")).await.expect("applied");
    let before = copy(&cluster).await;
    // The slot of no key at all.
    let mut node = cluster.nodes[0].connection().await;
    let mut ask = redis::pipe();
    (0..100_000).for_each(|id| _ = ask.cmd("CLUSTER").arg("KEYSLOT").arg(format!("t:{id}")));
    let slots: Vec<u16> = ask.query_async(&mut node).await.expect("slots");
    let first = slots.iter().position(|slot| *slot == 0).expect("one of so many");
    let ahead = put(3, format!("t:{first}"), [text("1"), text("3"), NULL]);
    apply(&mut sink, 3, std::slice::from_ref(&ahead)).await.expect("applied");
    put_back(&cluster, &before).await;
    assert_eq!(sink.resume().await.expect("a cluster"), Some(checkpoint(1)));
    apply(&mut sink, 3, &[clear(2), ahead]).await.expect("applied");
    assert_eq!(notes(&cluster, &[0, 1, 2]).await, [(format!("t:{first}"), "3".to_owned())].into());

    let options =
        Options { name: "changes".to_owned(), form: super::streams::form(), ..options_in(&cluster, ValueKind::Json) };
    let mut sink = RedisSink::new(options).expect("a url");
    sink.resume().await.expect("a cluster");
    let of_other = |at| super::streams::change_of("u", at, "1", "changes:public.t");
    let ours = |at| super::streams::change_of("t", at, "1", "changes:public.u");
    apply(&mut sink, 1, &[ours(1), of_other(1)]).await.expect("applied");
    let copies: Vec<String> = run(&mut node, "KEYS", "walbridge:*:changes:checkpoint").await;
    let text: String = run(&mut node, "GET", &copies[0]).await;
    apply(&mut sink, 3, &[of_other(3)]).await.expect("applied");
    let () = run(&mut node, "SET", (&copies[0], text)).await;
    assert_eq!(sink.resume().await.expect("a cluster"), Some(checkpoint(1)));
    apply(&mut sink, 3, &[ours(2), of_other(3)]).await.expect("applied");
    for stream in ["changes:public.t", "changes:public.u"] {
        let mut node = cluster.nodes[owner(&cluster, stream)].connection().await;
        let length: u64 = run(&mut node, "XLEN", stream).await;
        assert_eq!(length, 2, "{stream}");
    }
}

/// A crash after the slots were written, and before all copies of the checkpoint were.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_ahead_of_the_checkpoint_takes_nothing_twice() {
    let (cluster, mut sink) = start(ValueKind::Json).await;
    let whole = |at, id: &str, name: &str| put(at, id, [text("1"), text(name), text("large")]);
    apply(&mut sink, 1, &[whole(1, "t:1", "one"), whole(1, "t:2", "one")]).await.expect("applied");
    let before = copy(&cluster).await;
    // The row of t:1 becomes t:3, and t:2's takes its name.
    let [gone, three] = moved(2, "t:1", "t:3", [text("1"), text("two"), UNCHANGED]);
    let [left, one] = moved(3, "t:2", "t:1", [text("2"), text("two"), UNCHANGED]);
    apply(&mut sink, 2, &[gone.clone(), three.clone()]).await.expect("applied");
    apply(&mut sink, 3, &[left, one]).await.expect("applied");
    put_back(&cluster, &before).await;
    assert_eq!(sink.resume().await.expect("a cluster"), Some(checkpoint(1)));
    let now = documents(&cluster, &[0, 1, 2]).await;
    let staged = sink.stage(&[gone, three, whole(2, "t:4", "again")]).await.expect("staged");
    assert!(staged.rejected.is_empty() && staged.incomplete.is_empty(), "{staged:?}");
    // To a slot that has not had it t:1 is no help: it is the other row by now.
    let [_, five] = moved(2, "t:1", "t:5", [text("1"), text("two"), UNCHANGED]);
    assert_eq!(sink.stage(&[five]).await.expect("staged").incomplete, [0]);
    sink.commit(checkpoint(2)).await.expect("committed");
    let mut after = documents(&cluster, &[0, 1, 2]).await;
    assert!(after.remove("t:4").is_some());
    assert_eq!(after, now);
    assert_eq!(sink.resume().await.expect("a cluster"), Some(checkpoint(2)));
}

/// Scenario 123: a slot moves while the sink writes and lists.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_is_waited_for_and_found_again() {
    let cluster = cluster().await;
    let mut sink = sink_in(&cluster, ValueKind::Json);
    sink.resume().await.expect("a cluster");
    let keys: Vec<String> = (0..50).map(|id| format!("t:{id}")).collect();
    apply(&mut sink, 1, &rows(1, 0..50, "one")).await.expect("applied");
    let slot: u16 = cluster::ask(&cluster.nodes[0], "CLUSTER", ("KEYSLOT", "t:7"));
    let from = owner(&cluster, "t:7");
    let to = (from + 1) % 3;
    let (old, new) = (id(&cluster, from).await, id(&cluster, to).await);
    let (mut source, mut target) = (cluster.nodes[from].connection().await, cluster.nodes[to].connection().await);
    let slot = slot.to_string();
    ask(&mut target, &["SETSLOT", &slot, "IMPORTING", &old]).await;
    ask(&mut source, &["SETSLOT", &slot, "MIGRATING", &new]).await;
    let moving: Vec<String> = run(&mut source, "CLUSTER", ("GETKEYSINSLOT", &slot, 1000)).await;
    assert_eq!(moving.len(), 2, "a row and a version: {moving:?}");
    for key in &moving {
        let refused = listed(&mut sink).await;
        assert!(matches!(refused, Err(SinkError::Unavailable { .. })), "{refused:?}");
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(cluster.nodes[to].port).arg(key).arg(0).arg(20_000);
        let _: redis::Value = migrate.query_async(&mut source).await.expect("MIGRATE");
        let _ = sink.resume().await;
        let refused = apply(&mut sink, 2, &rows(2, 7..8, "two")).await;
        assert!(matches!(refused, Err(SinkError::Unavailable { .. })), "{refused:?}");
        let _ = sink.resume().await;
    }
    for connection in [&mut target, &mut source] {
        ask(connection, &["SETSLOT", &slot, "NODE", &new]).await;
    }
    let mut sink = applied(sink, 2, &rows(2, 0..50, "two")).await;
    let sink = tokio::sync::Mutex::new(&mut sink);
    let found = eventually(PATIENCE, async || {
        let mut sink = sink.lock().await;
        sink.resume().await?;
        listed(&mut sink).await
    });
    assert_eq!(found.await.len(), keys.len());
    assert!(notes(&cluster, &[0, 1, 2]).await.values().all(|note| note == "two"));
    assert_eq!(notes(&cluster, &[to]).await.get("t:7").map(String::as_str), Some("two"));
}

/// Answers of each node are lost in turn: to what changes rows, and to what changes checkpoints. Nobody knows then what was done.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_change_nothing() {
    let cluster = Cluster::start("t", 0, &[]);
    let proxies: Vec<Proxy> = cluster.nodes.iter().map(|node| Proxy::start(node.port)).collect();
    for (node, proxy) in cluster.nodes.iter().zip(&proxies) {
        let () = cluster::ask(node, "CONFIG", ("SET", "cluster-announce-port", proxy.port));
    }
    let options = options_in(&cluster, ValueKind::Json);
    let mut sink = RedisSink::new(Options { response_timeout: Duration::from_millis(500), ..options }).expect("a url");
    eventually(PATIENCE, async || {
        let told: Vec<redis::Value> = cluster::ask(&cluster.nodes[0], "CLUSTER", "SLOTS");
        let told = format!("{told:?}");
        let all = proxies.iter().all(|proxy| told.contains(&proxy.port.to_string()));
        if all { Ok(()) } else { Err(told) }
    })
    .await;
    sink = applied(sink, 1, &rows(1, 0..60, "1")).await;
    for at in 2..14 {
        let proxy = &proxies[usize::try_from(at % 3).expect("small")];
        let change = rows(at, at..at + 60, &at.to_string());
        stage(&mut sink, &change).await.expect("staged");
        proxy.swallow(Direction::Down);
        let lost = sink.commit(checkpoint(at)).await;
        assert!(matches!(lost, Err(SinkError::Unavailable { .. })), "{lost:?}");
        proxy.heal();
        let told = resumed(&mut sink).await;
        assert!(told == Some(checkpoint(at - 1)) || told == Some(checkpoint(at)), "{told:?}");
        sink = applied(sink, at, &change).await;
        let found = notes(&cluster, &[0, 1, 2]).await;
        let expected = (0..at + 60).map(|id| (format!("t:{id}"), if id < at { id.max(1) } else { at }.to_string()));
        assert_eq!(found, expected.collect(), "after {at}");
    }
}

/// So many of these are more than is held.
const MANY: std::ops::Range<u64> = 0..120;

fn large(at: u64, ids: std::ops::Range<u64>) -> Vec<Mutation> {
    let big = "x".repeat(100_000);
    ids.map(|id| put(at, format!("t:{id}"), [text(&id.to_string()), text(&at.to_string()), text(&big)])).collect()
}

/// The versions of all slots that have one.
async fn versions(cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    for node in &cluster.nodes {
        let mut connection = node.connection().await;
        let keys: Vec<String> = run(&mut connection, "KEYS", "walbridge:*:slot").await;
        for key in keys {
            found.push(run(&mut connection, "GET", key).await);
        }
    }
    found
}

/// More than is held is sent ahead of its commit. After a crash it comes again, and what stands there is of no certain age.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_ahead_of_a_commit_comes_again() {
    let (cluster, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &large(1, 0..2)).await.expect("applied");
    stage(&mut sink, &large(3, MANY)).await.expect("staged");
    assert!(documents(&cluster, &[0, 1, 2]).await.len() > 40, "some were sent");
    assert_eq!(sink.resume().await.expect("a cluster"), Some(checkpoint(1)));
    let [_, moved] = moved(3, "t:0", "t:500", [text("500"), text("n"), UNCHANGED]);
    assert_eq!(sink.stage(std::slice::from_ref(&moved)).await.expect("staged").incomplete, [0]);
    // It still is when part of it has come again.
    apply(&mut sink, 2, &rows(2, 0..1, "2")).await.expect("applied");
    assert_eq!(sink.resume().await.expect("a cluster"), Some(checkpoint(2)));
    assert_eq!(sink.stage(&[moved]).await.expect("staged").incomplete, [0]);
    stage(&mut sink, &large(3, MANY)).await.expect("staged");
    sink.commit(checkpoint(3)).await.expect("committed");
    assert!(notes(&cluster, &[0, 1, 2]).await.values().all(|note| note == "3"));
    let versions = versions(&cluster).await;
    let complete = r#""upto":{"epoch":1,"commit_lsn":"0/3","ordinal":0}}"#;
    assert!(versions.len() > 100 && versions.iter().all(|version| version.ends_with(complete)), "{versions:?}");
    // A TRUNCATE takes what was sent in its own transaction, too.
    stage(&mut sink, &large(4, MANY)).await.expect("staged");
    stage(&mut sink, &[clear(4), put(4, "t:900", [text("900"), NULL, text("")])]).await.expect("staged");
    sink.commit(checkpoint(4)).await.expect("committed");
    assert_eq!(notes(&cluster, &[0, 1, 2]).await.into_keys().collect::<Vec<_>>(), ["t:900"]);
    assert_eq!(sink.resume().await.expect("a cluster"), Some(checkpoint(4)));
}

/// Two at once send ahead of the same commit: a slot that the other has sent to is none that anybody may go on with.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_send_ahead_of_one_commit_only_one_goes_on() {
    let (cluster, mut first) = start(ValueKind::Json).await;
    apply(&mut first, 1, &rows(1, 0..1, "1")).await.expect("applied");
    stage(&mut first, &large(2, MANY)).await.expect("staged");
    let mut second = sink_in(&cluster, ValueKind::Json);
    second.resume().await.expect("a cluster");
    stage(&mut second, &large(2, MANY)).await.expect("staged");
    let refused = stage(&mut first, &large(3, MANY)).await;
    assert!(matches!(refused, Err(SinkError::Regressed { .. })), "{refused:?}");
    // What it had sent by then is the other's to write over: which may find that out only now.
    applied(second, 2, &large(2, MANY)).await;
    assert!(notes(&cluster, &[0, 1, 2]).await.values().all(|note| note == "2"));
}

/// What a slot has counts for nothing where it is to be written again: by an operator's order, or because the target is filled from another log.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_and_another_log_write_to_slots_that_are_further() {
    let (cluster, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &rows(1, 0..50, "1")).await.expect("applied");
    apply(&mut sink, 9, &rows(9, 0..50, "9")).await.expect("applied");
    let () = cluster::ask(&cluster.nodes[owner(&cluster, "t:7")], "DEL", "t:7");
    let events = Span { from: Offset(0), until: Offset(9) };
    let from_start = Checkpoint { offset: Offset(0), position: None, replay: Some(events), ..checkpoint(9) };
    sink.commit(from_start).await.expect("moved back");
    for at in [1, 9] {
        assert!(sink.resume().await.expect("a cluster").is_some());
        stage(&mut sink, &rows(at, 0..50, &at.to_string())).await.expect("staged");
        sink.commit(Checkpoint { replay: Some(events).filter(|_| at < 9), ..checkpoint(at) }).await.expect("committed");
        let found = notes(&cluster, &[0, 1, 2]).await;
        assert!(found.len() == 50 && found.values().all(|note| *note == at.to_string()), "{found:?}");
    }
    // Somebody removed the checkpoints, and walbridge began a new log.
    for node in &cluster.nodes {
        let mut connection = node.connection().await;
        let copies: Vec<String> = run(&mut connection, "KEYS", "walbridge:*:checkpoint").await;
        for copy in copies {
            let () = run(&mut connection, "DEL", copy).await;
        }
    }
    assert_eq!(sink.resume().await.expect("a cluster"), None);
    let of_other = |at| Checkpoint { log: LogId(2), ..checkpoint(at) };
    for (at, ids) in [(3, 0..40), (4, 0..50)] {
        stage(&mut sink, &rows(at, ids, &at.to_string())).await.expect("staged");
        sink.commit(of_other(at)).await.expect("committed");
        assert_eq!(sink.resume().await.expect("a cluster"), Some(of_other(at)));
    }
    assert!(notes(&cluster, &[0, 1, 2]).await.values().all(|note| note == "4"));
}
