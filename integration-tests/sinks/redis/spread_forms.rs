//! Over many slots: all forms, what a node refuses, and what a user may do.

use walbridge::project::key::MEMBER;
use walbridge::sink::redis::{Form, Options, RedisSink, Server, ValueKind};
use walbridge::sink::{Sink, SinkError};

use super::super::rows::{NULL, checkpoint, clear, delete, key, put, text};
use super::apply;
use super::spread::{notes, options_in, rows, start};
use crate::support::cluster::{self, Cluster};

#[tokio::test(flavor = "multi_thread")]
async fn every_form_is_written_to_its_keys_slot_and_read_back() {
    let cluster = Cluster::start("t", 0, &[]);
    for kind in [ValueKind::Hash, ValueKind::Fields, ValueKind::Set, ValueKind::List, ValueKind::SortedSet] {
        let form = Form { score: Some("id".to_owned()), ..Form::of(kind) };
        let name = format!("{kind:?}");
        let mut sink = RedisSink::new(Options { name, form, ..options_in(&cluster, kind) }).expect("a url");
        sink.resume().await.expect("a cluster");
        let named = |id: u64| match kind.is_collection() {
            true => format!("{kind:?}:{}{}{id}", id % 10, char::from(MEMBER)),
            false => format!("{kind:?}:{id}"),
        };
        let put = |at, id: u64| put(at, named(id), [text(&id.to_string()), text("a"), NULL]);
        apply(&mut sink, 1, &(0..100).map(|id| put(1, id)).collect::<Vec<_>>()).await.expect("applied");
        apply(&mut sink, 2, &(0..50).map(|id| delete(2, named(id))).collect::<Vec<_>>()).await.expect("applied");
        let keys: Vec<_> = (0..100).map(|id| key(named(id))).collect();
        let found = sink.read(&keys).await.expect("an answer");
        assert!(found.iter().take(50).all(Option::is_none), "{kind:?}: {found:?}");
        assert!(found.iter().skip(50).all(Option::is_some), "{kind:?}: {found:?}");
        assert_eq!(sink.resume().await.expect("a cluster"), Some(checkpoint(2)));
    }
}

/// One node has no room, or forgets the script: the others have their part by then, and it gets its own when it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_refuses_is_waited_for_while_the_others_have_their_part() {
    let (cluster, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &rows(1, 0..60, "1")).await.expect("applied");
    let () = cluster::ask(&cluster.nodes[1], "CONFIG", ("SET", "maxmemory", 1));
    let refused = apply(&mut sink, 2, &rows(2, 0..60, "2")).await;
    assert!(matches!(refused, Err(SinkError::Throttled { .. })), "{refused:?}");
    assert!(notes(&cluster, &[1]).await.values().all(|note| note == "1"));
    let still = sink.resume().await;
    assert!(matches!(still, Err(SinkError::Throttled { .. })), "{still:?}");
    let () = cluster::ask(&cluster.nodes[1], "CONFIG", ("SET", "maxmemory", 0));
    assert_eq!(sink.resume().await.expect("a cluster"), Some(checkpoint(1)));
    apply(&mut sink, 2, &rows(2, 0..60, "2")).await.expect("applied");
    let () = cluster::ask(&cluster.nodes[2], "SCRIPT", "FLUSH");
    let refused = apply(&mut sink, 3, &rows(3, 0..60, "3")).await;
    assert!(matches!(refused, Err(SinkError::Unavailable { .. })), "{refused:?}");
    assert_eq!(sink.resume().await.expect("a cluster"), Some(checkpoint(2)));
    apply(&mut sink, 3, &rows(3, 0..60, "3")).await.expect("applied");
    assert!(notes(&cluster, &[0, 1, 2]).await.values().all(|note| note == "3"));
}

/// The permissions that the sink's documentation asks for.
const USER: [&str; 16] = [
    "on",
    ">hunter2",
    "~t:*",
    "~walbridge:*:cache:*",
    "+auth",
    "+get",
    "+set",
    "+unlink",
    "+scan",
    "+multi",
    "+discard",
    "+evalsha",
    "+script|load",
    "+cluster|slots",
    "+cluster|nodes",
    "resetchannels",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_suffice_and_one_that_is_missing_is_told() {
    let cluster = Cluster::start("t", 0, &[]);
    let as_user = |rules: &[&str]| {
        for node in &cluster.nodes {
            let () = cluster::ask(node, "ACL", [&["SETUSER", "wb", "reset"], rules].concat());
        }
        let url = cluster.url().replace("://", "://wb:hunter2@");
        RedisSink::new(Options { server: Server::at(url), ..options_in(&cluster, ValueKind::Json) }).expect("a url")
    };
    let mut sink = as_user(&USER);
    sink.resume().await.expect("a cluster");
    apply(&mut sink, 1, &rows(1, 0..30, "one")).await.expect("applied");
    apply(&mut sink, 2, &[clear(2)]).await.expect("cleared");
    sink.rehearse(&[b"t:0".to_vec()]).await.expect("nothing is missing");
    let foreign = sink.rehearse(&[b"u:0".to_vec()]).await;
    assert!(matches!(foreign, Err(SinkError::Denied { .. })), "{foreign:?}");
    for missing in ["+set", "+unlink", "+evalsha", "+script|load", "+cluster|slots", "~walbridge:*:cache:*"] {
        let rules: Vec<&str> = USER.into_iter().filter(|rule| *rule != missing).collect();
        let refused = as_user(&rules).resume().await;
        assert!(matches!(refused, Err(SinkError::Denied { .. })), "{missing}: {refused:?}");
    }
}
