//! Keys that were built beside take the place of those that readers have.

use std::collections::HashMap;
use std::time::Duration;

use walbridge::project::mutation::Mutation;
use walbridge::sink::redis::{Form, Options, RedisSink, ValueKind};
use walbridge::sink::{Old, Replaceable, Sink, SinkError};

use super::super::rows::{NULL, checkpoint, put, text};
use super::access::{USER, set_user, url_of};
use super::{apply, get, keys, options, run, start, tell};
use crate::support::Redis;

fn row(id: &str, name: &str) -> Mutation {
    put(1, format!("t:{id}"), [text(id), text(name), NULL])
}

fn json(id: &str, name: &str) -> Option<String> {
    Some(format!(r#"{{"id":{id},"name":"{name}","big":null}}"#))
}

/// A sink beside, with these rows.
async fn beside(options: &Options, at: u64, rows: &[Mutation]) -> RedisSink {
    let mut sink = RedisSink::new(options.beside()).expect("an address");
    assert_eq!(sink.resume().await.expect("a server"), None);
    apply(&mut sink, at, rows).await.expect("applied");
    sink
}

#[tokio::test]
async fn what_differs_is_replaced_with_the_checkpoint_and_all_else_is_left_alone() {
    let server = Redis::start(&[]);
    let mut connection = server.connection().await;
    let form = Form { publish: Some("changed".to_owned()), ..Form::of(ValueKind::Json) };
    let options = Options { form, ..options(&server.url(), ValueKind::Json) };
    let mut live = RedisSink::new(options.clone()).expect("an address");
    live.resume().await.expect("a server");
    apply(&mut live, 1, &["1", "2", "3"].map(|id| row(id, "a"))).await.expect("applied");
    tell(&server, ["SET", "t:2", "spoilt"]).await;
    tell(&server, ["DEL", "t:3"]).await;
    tell(&server, ["SET", "t:99", "too much"]).await;
    tell(&server, ["RPUSH", "t:4", "a list"]).await;
    tell(&server, ["SET", "other:1", "another's"]).await;
    // Of an equal key not even the idle time begins anew.
    tell(&server, ["PEXPIRE", "t:1", "100000000"]).await;
    let mut listening = redis::Client::open(server.url()).expect("a url").get_connection().expect("a connection");
    let mut told = listening.as_pubsub();
    told.subscribe("changed").expect("a channel");
    told.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");

    let mut built = beside(&options, 2, &["1", "2", "3", "4"].map(|id| row(id, "a"))).await;
    assert_eq!(get(&server, "t:2").await.as_deref(), Some("spoilt"), "readers have what they had");
    let by = built.identity().await.expect("a plan");
    live.replace(&by, Old::Dropped).await.expect("replaced");
    for id in ["1", "2", "3", "4"] {
        assert_eq!(get(&server, format!("t:{id}")).await, json(id, "a"));
    }
    let own = ["walbridge:cache:checkpoint", "walbridge:cache:identity"];
    assert_eq!(keys(&server).await, [&["other:1", "t:1", "t:2", "t:3", "t:4"], &own[..]].concat());
    assert!(run::<i64>(&mut connection, "PTTL", "t:1").await > 0, "an equal key is not written");
    let mut changed: Vec<String> =
        (0..4).map(|_| told.get_message().expect("a message").get_payload().expect("a key")).collect();
    changed.sort();
    assert_eq!(changed, ["t:2", "t:3", "t:4", "t:99"]);

    // However often it is ordered, and whoever asks.
    live.replace(&by, Old::Dropped).await.expect("it has been done");
    assert_eq!(live.resume().await.expect("a server"), Some(checkpoint(2)));
    let gone = live.replace("another", Old::Dropped).await;
    assert!(matches!(gone, Err(SinkError::Regressed { .. })), "{gone:?}");
    apply(&mut RedisSink::new(options).expect("an address"), 3, &[]).await.expect_err("it has not resumed");
}

#[tokio::test]
async fn the_keys_of_before_are_kept_behind_another_name() {
    let (server, mut live) = start(ValueKind::Hash).await;
    let options = options(&server.url(), ValueKind::Hash);
    apply(&mut live, 1, &[row("1", "a"), row("2", "old"), row("3", "gone")]).await.expect("applied");
    let mut built = beside(&options, 2, &[row("1", "a"), row("2", "new"), row("4", "come")]).await;
    let by = built.identity().await.expect("a plan");
    live.replace(&by, Old::Kept).await.expect("replaced");
    let kept = |id: &str| format!("walbridge:cache:kept:{by}:t:{id}");
    let mut expected: Vec<String> = ["t:1", "t:2", "t:4"].map(str::to_owned).to_vec();
    expected.extend(["walbridge:cache:checkpoint", "walbridge:cache:identity"].map(str::to_owned));
    expected.extend(["1", "2", "3"].map(kept));
    assert_eq!(keys(&server).await, expected);
    let mut connection = server.connection().await;
    for (key, name) in [(kept("2"), "old"), (kept("3"), "gone"), ("t:2".to_owned(), "new")] {
        let found: HashMap<String, String> = run(&mut connection, "HGETALL", &key).await;
        assert_eq!(found["name"], name, "{key}");
    }
}

#[tokio::test]
async fn fields_and_values_of_others_stay_where_they_are() {
    let (server, mut live) = start(ValueKind::Fields).await;
    let options = options(&server.url(), ValueKind::Fields);
    apply(&mut live, 1, &[row("1", "a"), row("2", "a"), row("3", "a")]).await.expect("applied");
    for id in ["t:1", "t:2", "t:3", "t:9"] {
        tell(&server, ["HSET", id, "visits", "7"]).await;
    }
    tell(&server, ["HSET", "t:1", "name", "spoilt"]).await;
    tell(&server, ["SET", "t:8", "a string"]).await;
    let mut built = RedisSink::new(options.beside()).expect("an address");
    built.resume().await.expect("a server");
    let staged = built.stage(&[row("1", "b"), row("3", "a"), row("8", "a")]).await.expect("staged");
    let refused: Vec<_> = staged.rejected.iter().map(|refused| (&*refused.mutation.key.0, &*refused.reason)).collect();
    assert!(
        matches!(&refused[..], [(b"t:8", reason)] if reason.starts_with("under t:8 there is a string")),
        "{refused:?}"
    );
    built.commit(checkpoint(2)).await.expect("committed");
    let by = built.identity().await.expect("a plan");
    live.replace(&by, Old::Dropped).await.expect("replaced");
    let mut connection = server.connection().await;
    let ours = r#"["id","name"]"#;
    for (key, expected) in [
        ("t:1", vec![("id", "1"), ("name", "b"), ("visits", "7"), ("walbridge:cache", ours)]),
        ("t:2", vec![("visits", "7")]),
        ("t:3", vec![("id", "3"), ("name", "a"), ("visits", "7"), ("walbridge:cache", ours)]),
        ("t:9", vec![("visits", "7")]),
    ] {
        let found: HashMap<String, String> = run(&mut connection, "HGETALL", key).await;
        let expected: HashMap<String, String> =
            expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(found, expected, "{key}");
    }
    assert_eq!(get(&server, "t:8").await.as_deref(), Some("a string"));
}

/// What docs/redis.md asks for is enough.
#[tokio::test]
async fn the_documented_permissions_suffice_for_a_replacement() {
    let server = Redis::start(&[]);
    for (value, more) in [(ValueKind::Json, &[][..]), (ValueKind::Hash, &["+hset", "+hgetall", "+pexpire"])] {
        tell(&server, ["FLUSHALL"]).await;
        set_user(&server, &[&USER[..], &["+copy", "+dump", "+exists", "+llen", "+lrange", "+rpush"], more].concat())
            .await;
        let options = options(&url_of(&server, "hunter2"), value);
        let mut live = RedisSink::new(options.clone()).expect("an address");
        live.resume().await.expect("a server");
        apply(&mut live, 1, &[row("1", "a"), row("2", "a")]).await.expect("applied");
        let mut built = beside(&options, 2, &[row("1", "b")]).await;
        let by = built.identity().await.expect("a plan");
        live.replace(&by, Old::Kept).await.expect("replaced");
        built.remove().await.expect("removed");
        assert_eq!(keys(&server).await.len(), 5, "a row, the checkpoint, the identity, two that are kept");
    }
}

/// Between what was built and its place somebody empties the server, writes the checkpoint, or takes a right away.
#[tokio::test]
async fn a_replacement_that_cannot_be_whole_is_none() {
    let (server, mut live) = start(ValueKind::Json).await;
    let options = options(&server.url(), ValueKind::Json);
    apply(&mut live, 1, &[row("1", "old")]).await.expect("applied");
    let mut built = beside(&options, 2, &[row("1", "new")]).await;
    let by = built.identity().await.expect("a plan");
    // A right that is asked for in the scripts only.
    tell(&server, ["ACL", "SETUSER", "default", "-copy"]).await;
    let denied = live.replace(&by, Old::Dropped).await;
    assert!(matches!(&denied, Err(SinkError::Denied { detail, .. }) if detail.contains("copy")), "{denied:?}");
    tell(&server, ["ACL", "SETUSER", "default", "+@all"]).await;
    // No room for it.
    tell(&server, ["CONFIG", "SET", "maxmemory", "1"]).await;
    let full = live.replace(&by, Old::Dropped).await;
    assert!(matches!(full, Err(SinkError::Throttled { .. })), "{full:?}");
    tell(&server, ["CONFIG", "SET", "maxmemory", "0"]).await;
    // Somebody else writes the sink's checkpoint: what this one left is not what it finds.
    live.resume().await.expect("a checkpoint");
    let moved = "local text = redis.call('GET', KEYS[1]):gsub('\"offset\":%d+', '\"offset\":77') redis.call('SET', KEYS[1], text)";
    tell(&server, ["EVAL", moved, "1", "walbridge:cache:checkpoint"]).await;
    let other = live.replace(&by, Old::Dropped).await;
    assert!(matches!(other, Err(SinkError::Fenced { .. })), "{other:?}");
    assert_eq!(get(&server, "t:1").await, json("1", "old"), "nothing was replaced");
    live.replace(&by, Old::Dropped).await.expect("told again, without a session");
    assert_eq!(get(&server, "t:1").await, json("1", "new"));

    let mut built = beside(&options, 3, &[row("1", "newer")]).await;
    let by = built.identity().await.expect("a plan");
    tell(&server, ["FLUSHALL"]).await;
    let gone = live.replace(&by, Old::Dropped).await;
    assert!(matches!(gone, Err(SinkError::Regressed { .. })), "{gone:?}");
}

/// Thousands of names go in several steps of one transaction, and a listing that shows one twice does no harm.
#[tokio::test]
async fn a_plan_of_thousands_of_names_is_one_transaction() {
    const ROWS: u64 = 5500;
    let (server, mut live) = start(ValueKind::Json).await;
    let options = options(&server.url(), ValueKind::Json);
    let rows =
        |name: &str, ids: std::ops::Range<u64>| -> Vec<Mutation> { ids.map(|id| row(&id.to_string(), name)).collect() };
    apply(&mut live, 1, &rows("old", 0..ROWS)).await.expect("applied");
    let mut built = beside(&options, 2, &rows("new", 500..ROWS + 500)).await;
    let by = built.identity().await.expect("a plan");
    let mut connection = server.connection().await;
    let planned: i64 = run(&mut connection, "LLEN", "walbridge:cache:beside:plan").await;
    assert_eq!(planned, i64::try_from(ROWS + 500).expect("a few"));
    tell(&server, ["RPUSH", "walbridge:cache:beside:plan", "t:7", "t:777", "t:5999"]).await;
    let looks = tokio::spawn(async move {
        loop {
            let (gone, old, new): (bool, String, Option<String>) = redis::pipe()
                .atomic()
                .cmd("EXISTS")
                .arg("t:7")
                .cmd("GET")
                .arg("t:777")
                .cmd("GET")
                .arg("t:5999")
                .query_async(&mut connection)
                .await
                .expect("a look");
            assert_eq!(gone, old.contains("old"));
            assert_eq!(gone, new.is_none());
            if !gone {
                return;
            }
        }
    });
    live.replace(&by, Old::Dropped).await.expect("replaced");
    looks.await.expect("no look in between");
    assert_eq!(keys(&server).await.len() as u64, ROWS + 2);
    assert_eq!(get(&server, "t:600").await, json("600", "new"));
}
