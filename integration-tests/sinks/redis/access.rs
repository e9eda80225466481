//! Permissions, memory and addresses.

use walbridge::sink::redis::ValueKind;
use walbridge::sink::{Sink, SinkError};

use super::super::rows::{NULL, checkpoint, delete, put, text};
use super::{apply, get, keys, sink, sink_at, stage, start, tell, told};
use crate::support::Redis;

/// The permissions that the sink's documentation asks for.
pub(super) const USER: [&str; 15] = [
    "on",
    ">hunter2",
    "~t:*",
    "~walbridge:cache:*",
    "+get",
    "+set",
    "+mset",
    "+unlink",
    "+scan",
    "+watch",
    "+multi",
    "+exec",
    "+discard",
    "+eval",
    "+auth",
];

pub(super) async fn set_user(server: &Redis, rules: &[&str]) {
    let mut connection = server.connection().await;
    let _ok: String =
        redis::cmd("ACL").arg("SETUSER").arg("wb").arg(rules).query_async(&mut connection).await.expect("a user");
}

pub(super) fn url_of(server: &Redis, password: &str) -> String {
    format!("redis://wb:{password}@127.0.0.1:{}", server.port)
}

#[tokio::test]
async fn the_documented_permissions_suffice() {
    let server = Redis::start(&[]);
    set_user(&server, &USER).await;
    let mut json = sink_at(&url_of(&server, "hunter2"), ValueKind::Json);
    json.resume().await.expect("a server");
    let large = "x".repeat(100_000);
    let rows: Vec<_> = (0..60).map(|n| put(1, format!("t:{n}"), [text("1"), NULL, text(&large)])).collect();
    apply(&mut json, 1, &rows).await.expect("applied");
    json.rehearse(&[b"t:0".to_vec()]).await.expect("nothing is missing");
    let foreign = json.rehearse(&[b"u:0".to_vec()]).await;
    assert!(matches!(foreign, Err(SinkError::Denied { .. })), "{foreign:?}");
    assert_eq!(json.resume().await.expect("a server"), Some(checkpoint(1)));
    apply(&mut json, 2, &[super::super::rows::clear(2)]).await.expect("cleared");
    json.probe().await.expect("probed");
    set_user(&server, &["+hset", "+hgetall", "+pexpire"]).await;
    let mut hash = sink_at(&url_of(&server, "hunter2"), ValueKind::Hash);
    hash.resume().await.expect("a server");
    apply(&mut hash, 3, &[put(3, "t:1", [text("1"), NULL, text("a")])]).await.expect("applied");
    apply(&mut hash, 4, &[put(4, "t:1", [text("1"), NULL, super::super::rows::UNCHANGED])]).await.expect("merged");
}

#[tokio::test]
async fn wrong_credentials_are_told_without_the_password() {
    let server = Redis::start(&["--requirepass", "correct horse"]);
    for (url, secret) in [
        (url_of(&server, "hunter2"), "hunter2"),
        (format!("redis://:hunter2@127.0.0.1:{}", server.port), "hunter2"),
        (server.url(), "correct horse"),
    ] {
        let refused = sink_at(&url, ValueKind::Json).resume().await;
        let Err(error @ SinkError::Auth { .. }) = refused else { panic!("{refused:?}") };
        assert!(!error.to_string().contains(secret) && !error.to_string().contains("wb"), "{error}");
    }
    let right = format!("redis://:correct%20horse@127.0.0.1:{}/3", server.port);
    sink_at(&right, ValueKind::Json).resume().await.expect("the right password");
}

/// Commands inside a script are not checked when it is queued. Without a rehearsal on the guard, the documents would be
/// removed and then not written.
#[tokio::test]
async fn a_missing_permission_is_found_before_anything_is_touched() {
    let (json, hash) = (ValueKind::Json, ValueKind::Hash);
    for (kind, missing) in [(json, "-set"), (json, "-mset"), (hash, "-hset"), (hash, "-unlink")] {
        let server = Redis::start(&[]);
        tell(&server, ["SET", "t:1", "before"]).await;
        set_user(&server, &USER).await;
        set_user(&server, &["+hset", "+hgetall", "+pexpire", missing]).await;
        let mut sink = sink_at(&url_of(&server, "hunter2"), kind);
        sink.resume().await.expect("a server");
        let rehearsed = sink.rehearse(&[b"t:0".to_vec()]).await;
        assert!(matches!(rehearsed, Err(SinkError::Denied { .. })), "{missing}: {rehearsed:?}");
        sink.resume().await.expect("a server");
        let rows: Vec<_> = (1..10).map(|n| put(1, format!("t:{n}"), [text("1"), NULL, NULL])).collect();
        let refused = apply(&mut sink, 1, &rows).await;
        assert!(matches!(refused, Err(SinkError::Denied { .. })), "{missing}: {refused:?}");
        assert_eq!(get(&server, "t:1").await.as_deref(), Some("before"), "{missing}");
    }
}

#[tokio::test]
async fn keys_without_permission_are_found_before_anything_is_touched() {
    let server = Redis::start(&[]);
    set_user(&server, &USER).await;
    let mut sink = sink_at(&url_of(&server, "hunter2"), ValueKind::Json);
    sink.resume().await.expect("a server");
    let rows = [put(1, "t:1", [text("1"), NULL, NULL]), put(1, "u:1", [text("1"), NULL, NULL])];
    let refused = apply(&mut sink, 1, &rows).await;
    assert!(matches!(refused, Err(SinkError::Denied { .. })), "{refused:?}");
    assert_eq!(keys(&server).await, [""; 0]);
}

/// `EXEC` has no rollback. Here a command that was queued with permission fails inside it, because the permission was taken
/// away in between: what was written stays, so the checkpoint must not pass it.
#[tokio::test]
async fn a_command_that_fails_inside_exec_keeps_the_checkpoint_back() {
    // `MSET` is followed by parts that could go on as if it had not failed.
    for (kind, right) in [(ValueKind::Hash, "hset"), (ValueKind::Json, "mset")] {
        let server = Redis::start(&[]);
        set_user(&server, &USER).await;
        set_user(&server, &["+hset", "+hgetall", "+pexpire"]).await;
        let mut sink = sink_at(&url_of(&server, "hunter2"), kind);
        sink.resume().await.expect("a server");
        apply(&mut sink, 1, &[]).await.expect("applied");
        let large = "x".repeat(100_000);
        let mut rows: Vec<_> = (0..60).map(|n| put(2, format!("t:{n}"), [text("1"), NULL, text(&large)])).collect();
        rows.push(delete(2, "t:59"));
        stage(&mut sink, &rows[..42]).await.expect("staged, and sent");
        set_user(&server, &[&format!("-{right}")]).await;
        // What is queued now needs no such right.
        stage(&mut sink, &[delete(2, "t:1")]).await.expect("staged");
        let refused = sink.commit(checkpoint(2)).await;
        let Err(SinkError::Denied { detail, .. }) = &refused else { panic!("{right}: {refused:?}") };
        assert!(detail.starts_with("EXEC: NOPERM"), "it was to fail inside, not before: {detail}");
        assert_eq!(told(&server).await, Some(checkpoint(1)), "{right}");
        set_user(&server, &[&format!("+{right}")]).await;
        assert_eq!(sink.resume().await.expect("a server"), Some(checkpoint(1)));
        apply(&mut sink, 2, &rows).await.expect("applied");
        assert_eq!(keys(&server).await.len(), 60);
    }
}

/// The same with the permission for some of the keys, which Redis tells with another code inside a script.
#[tokio::test]
async fn a_script_that_fails_inside_exec_keeps_the_checkpoint_back() {
    let server = Redis::start(&[]);
    set_user(&server, &USER).await;
    let mut sink = sink_at(&url_of(&server, "hunter2"), ValueKind::Json);
    sink.resume().await.expect("a server");
    apply(&mut sink, 1, &[]).await.expect("applied");
    let large = "x".repeat(100_000);
    let rows: Vec<_> = (0..60).map(|n| put(2, format!("t:{n}"), [text("1"), NULL, text(&large)])).collect();
    // Just enough, so that nothing is left to be queued, and refused, with the commit.
    stage(&mut sink, &rows[..42]).await.expect("staged, and sent");
    set_user(&server, &["resetkeys", "~walbridge:cache:*"]).await;
    let failed = sink.commit(checkpoint(2)).await;
    assert!(matches!(failed, Err(SinkError::Unavailable { .. } | SinkError::Denied { .. })), "{failed:?}");
    assert_eq!(told(&server).await, Some(checkpoint(1)));
    sink.resume().await.expect("a server");
    let refused = apply(&mut sink, 2, &rows).await;
    assert!(matches!(refused, Err(SinkError::Denied { .. })), "the next attempt tells why: {refused:?}");
    set_user(&server, &["~t:*"]).await;
    sink.resume().await.expect("a server");
    apply(&mut sink, 2, &rows).await.expect("applied");
    assert_eq!(keys(&server).await.len(), 61);
}

#[tokio::test]
async fn a_full_memory_is_waited_for_and_nothing_is_skipped() {
    let server = Redis::start(&["--maxmemory", "12mb", "--maxmemory-policy", "noeviction"]);
    let mut sink = sink(&server, ValueKind::Json);
    sink.resume().await.expect("a server");
    apply(&mut sink, 1, &[put(1, "t:old", [text("1"), NULL, NULL])]).await.expect("applied");
    let large = "x".repeat(100_000);
    let batch = |at: u64| -> Vec<_> {
        (0..30).map(|n| put(at, format!("t:{at}:{n}"), [text("1"), NULL, text(&large)])).collect()
    };
    let (mut at, mut refused) = (1, None);
    while refused.is_none() {
        at += 1;
        assert!(at < 50, "memory was to run out");
        let mut rows = batch(at);
        rows.push(delete(at, "t:old"));
        refused = apply(&mut sink, at, &rows).await.err();
    }
    assert!(matches!(refused, Some(SinkError::Throttled { .. })), "{refused:?}");
    assert_eq!(sink.resume().await.expect("a server"), Some(checkpoint(at - 1)));
    assert_eq!(get(&server, format!("t:{at}:0")).await, None, "all or nothing");
    tell(&server, ["CONFIG", "SET", "maxmemory", "100mb"]).await;
    apply(&mut sink, at, &batch(at)).await.expect("applied");
    assert!(get(&server, format!("t:{at}:29")).await.is_some());
}

#[tokio::test]
async fn a_transaction_too_large_for_the_memory_leaves_nothing() {
    let server = Redis::start(&["--maxmemory", "12mb", "--maxmemory-policy", "noeviction"]);
    let mut sink = sink(&server, ValueKind::Json);
    sink.resume().await.expect("a server");
    let large = "x".repeat(100_000);
    let rows: Vec<_> = (0..300).map(|n| put(1, format!("t:{n}"), [text("1"), NULL, text(&large)])).collect();
    let refused = apply(&mut sink, 1, &rows).await;
    assert!(matches!(refused, Err(SinkError::Throttled { .. })), "{refused:?}");
    assert_eq!(keys(&server).await, [""; 0]);
}

#[tokio::test]
async fn too_many_clients_is_no_reason_to_stop() {
    let server = Redis::start(&["--requirepass", "hunter2", "--maxclients", "1"]);
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port);
    let mut first = sink_at(&url, ValueKind::Json);
    first.resume().await.expect("the only client");
    let refused = sink_at(&url, ValueKind::Json).resume().await;
    assert!(matches!(refused, Err(SinkError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test]
async fn databases_and_unix_sockets_are_addresses_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("redis.sock");
    let server = Redis::start(&["--unixsocket", socket.to_str().expect("UTF-8")]);
    let mut by_socket = sink_at(&format!("redis+unix://{}?db=2", socket.display()), ValueKind::Json);
    by_socket.resume().await.expect("a server");
    apply(&mut by_socket, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    assert_eq!(keys(&server).await, [""; 0], "database 0");
    let mut by_port = sink_at(&format!("{}/2", server.url()), ValueKind::Json);
    assert_eq!(by_port.resume().await.expect("a server"), Some(checkpoint(1)));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for() {
    let (mut server, _sink) = start(ValueKind::Json).await;
    server.stop();
    assert!(matches!(sink(&server, ValueKind::Json).resume().await, Err(SinkError::Unavailable { .. })));
}
