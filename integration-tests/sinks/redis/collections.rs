//! Rows as members of sets, lists and sorted sets.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use redis::aio::MultiplexedConnection;
use walbridge::project::mutation::Mutation;
use walbridge::sink::redis::{DocumentKeys, Form, Options, RedisSink, ValueKind};
use walbridge::sink::{Sink, Staged};

use super::super::rows::{NULL, checkpoint, clear, delete, put, table, text};
use super::{apply, keys, options, run, stage, tell, told};
use crate::support::Redis;

const KINDS: [ValueKind; 3] = [ValueKind::Set, ValueKind::List, ValueKind::SortedSet];

/// The row of this id in the collection `t:KEY`, with its id as its score.
fn name(key: u8, id: u32) -> String {
    format!("t:{key}\u{1f}{id}")
}

fn row(at: u64, key: u8, id: u32) -> Mutation {
    put(at, name(key, id), [text(&id.to_string()), NULL, NULL])
}

fn form(value: ValueKind) -> Form {
    Form { score: (value == ValueKind::SortedSet).then(|| "id".to_owned()), ..Form::of(value) }
}

fn sink(server: &Redis, form: Form) -> RedisSink {
    let matches = |name: &[u8]| name.starts_with(b"t:") && name.contains(&0x1f);
    let keys_of = std::sync::Arc::new(move |_: &_| DocumentKeys {
        glob: b"t:*\x1f*".to_vec(),
        matches: std::sync::Arc::new(matches),
        all: true,
    });
    RedisSink::new(Options { form, keys_of, ..options(&server.url(), ValueKind::Json) }).expect("a url")
}

async fn start(value: ValueKind) -> (Redis, RedisSink) {
    let server = Redis::start(&[]);
    let mut sink = sink(&server, form(value));
    assert_eq!(sink.resume().await.expect("a server"), None);
    (server, sink)
}

/// Its members in order.
async fn members(connection: &mut MultiplexedConnection, value: ValueKind, key: &str) -> Vec<String> {
    match value {
        ValueKind::List => run(connection, "LRANGE", (key, 0, -1)).await,
        ValueKind::SortedSet => run(connection, "ZRANGE", (key, 0, -1)).await,
        _ => {
            let found: BTreeSet<String> = run(connection, "SMEMBERS", key).await;
            found.into_iter().collect()
        }
    }
}

#[tokio::test]
async fn a_row_is_a_member_and_leaves_where_it_was() {
    for value in KINDS {
        let (server, mut sink) = start(value).await;
        let mut connection = server.connection().await;
        apply(&mut sink, 1, &[row(1, 1, 10), row(1, 1, 11), row(1, 2, 20)]).await.expect("applied");
        let expected = if value == ValueKind::List { ["11", "10"] } else { ["10", "11"] };
        assert_eq!(members(&mut connection, value, "t:1").await, expected, "{value:?}");
        // It changes its collection, as a delete and a put; another is deleted.
        let moves = [delete(2, name(1, 10)), row(2, 2, 10), delete(2, name(2, 20)), delete(2, name(3, 1))];
        apply(&mut sink, 2, &moves).await.expect("applied");
        assert_eq!(members(&mut connection, value, "t:1").await, ["11"], "{value:?}");
        assert_eq!(members(&mut connection, value, "t:2").await, ["10"], "{value:?}");
        apply(&mut sink, 3, &[delete(3, name(2, 10)), delete(3, name(1, 11))]).await.expect("applied");
        assert_eq!(keys(&server).await, ["walbridge:cache:checkpoint"], "{value:?}: an empty collection is none");
    }
}

/// Scenario 117: what was applied comes again when the checkpoint is lost, and with it comes what was applied before.
#[tokio::test]
async fn applying_everything_again_ends_the_same() {
    for value in KINDS {
        let (server, mut sink) = start(value).await;
        let mut connection = server.connection().await;
        let all = [row(1, 1, 10), row(2, 1, 11), delete(3, name(1, 10)), row(4, 1, 12), row(5, 1, 11)];
        apply(&mut sink, 5, &all).await.expect("applied");
        let once = members(&mut connection, value, "t:1").await;
        tell(&server, ["DEL", "walbridge:cache:checkpoint"]).await;
        assert_eq!(sink.resume().await.expect("a server"), None);
        apply(&mut sink, 5, &all).await.expect("applied again");
        assert_eq!(members(&mut connection, value, "t:1").await, once, "{value:?}");
        assert_eq!(told(&server).await, Some(checkpoint(5)));
    }
}

#[tokio::test]
async fn members_are_listed_and_read_back_and_truncated() {
    for value in KINDS {
        let (server, mut sink) = start(value).await;
        // More than a page of keys, and of members of one.
        let mut rows: Vec<Mutation> = (0..2500).map(|id| row(1, 0, id)).collect();
        rows.extend((0..1500).map(|id| put(1, format!("t:k{id}\u{1f}{id}"), [text("7"), NULL, NULL])));
        apply(&mut sink, 1, &rows).await.expect("applied");
        tell(&server, ["SET", "t:foreign", "a string"]).await;
        let (mut found, mut from) = (BTreeSet::new(), None);
        loop {
            let page = sink.keys(&table(), from).await.expect("a page");
            found.extend(page.keys.into_iter().map(|key| key.0));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let expected: BTreeSet<_> = rows.iter().map(|mutation| mutation.key.0.clone()).collect();
        assert_eq!(found, expected, "{value:?}");
        let asked = [row(1, 0, 7).key, row(1, 9, 7).key];
        let read = sink.read(&asked).await.expect("an answer");
        let score = if value == ValueKind::SortedSet { "7" } else { "true" };
        assert_eq!(read[0].as_ref().map(|image| image.text()), Some(score), "{value:?}");
        assert_eq!(read[1], None);
        stage(&mut sink, &[row(2, 3, 1)]).await.expect("staged");
        apply(&mut sink, 2, &[clear(2), row(2, 4, 1)]).await.expect("cleared");
        assert_eq!(keys(&server).await, ["t:4", "t:foreign", "walbridge:cache:checkpoint"], "{value:?}");
    }
}

/// Inside `EXEC` the command would fail, with the whole transaction, for ever. So the row that it is of is set aside, and the others go on.
#[tokio::test]
async fn a_key_of_another_type_is_refused_to_its_rows_alone() {
    for value in KINDS {
        let (server, mut sink) = start(value).await;
        tell(&server, ["SET", "t:1", "somebody else's"]).await;
        let rows = [
            row(1, 1, 10),
            row(1, 2, 20),
            delete(1, name(1, 11)),
            put(1, "t:3\u{1f}a\u{1f}b", [text("1"), NULL, NULL]),
        ];
        let Staged { rejected, incomplete, rest } = sink.stage(&rows).await.expect("staged");
        assert_eq!((incomplete.len(), rest), (0, None));
        let refused: Vec<_> = rejected.iter().map(|rejection| rejection.mutation.key.clone()).collect();
        assert_eq!(refused, [rows[0].key.clone(), rows[3].key.clone()], "{value:?}");
        assert!(rejected[0].reason.contains("under t:1 there is a string"), "{}", rejected[0].reason);
        // As the loop does with what was refused.
        stage(&mut sink, &[delete(1, name(1, 10)), delete(1, "t:3\u{1f}a\u{1f}b")]).await.expect("staged");
        sink.commit(checkpoint(1)).await.expect("committed");
        assert_eq!(keys(&server).await, ["t:1", "t:2", "walbridge:cache:checkpoint"], "{value:?}");
    }
}

/// It may come to be between the look and the transaction: nothing is skipped, and the next attempt sees it.
#[tokio::test]
async fn a_key_that_becomes_another_type_meanwhile_fails_the_transaction_once() {
    let (server, mut sink) = start(ValueKind::Set).await;
    apply(&mut sink, 1, &[]).await.expect("applied");
    stage(&mut sink, &[row(2, 1, 10), row(2, 2, 20)]).await.expect("staged");
    tell(&server, ["SET", "t:1", "somebody else's"]).await;
    let failed = sink.commit(checkpoint(2)).await;
    assert!(matches!(failed, Err(walbridge::sink::SinkError::Unavailable { .. })), "{failed:?}");
    assert_eq!(sink.resume().await.expect("a server"), Some(checkpoint(1)));
    let staged = sink.stage(&[row(2, 1, 10), row(2, 2, 20)]).await.expect("staged");
    assert_eq!(staged.rejected.len(), 1);
    sink.commit(checkpoint(2)).await.expect("committed");
}

#[tokio::test]
async fn a_row_without_a_score_is_refused() {
    let (_server, mut sink) = start(ValueKind::SortedSet).await;
    let staged = sink.stage(&[put(1, name(1, 1), [NULL, NULL, NULL])]).await.expect("staged");
    assert!(staged.rejected[0].reason.contains("id IS NOT NULL"), "{}", staged.rejected[0].reason);
}

#[tokio::test]
async fn lists_and_sorted_sets_keep_the_newest_or_highest() {
    for value in [ValueKind::List, ValueKind::SortedSet] {
        let server = Redis::start(&[]);
        let mut sink = sink(&server, Form { entries_max: Some(3), ..form(value) });
        sink.resume().await.expect("a server");
        apply(&mut sink, 1, &(1..=5).map(|id| row(1, 1, id)).collect::<Vec<_>>()).await.expect("applied");
        let kept = members(&mut server.connection().await, value, "t:1").await;
        assert_eq!(kept, if value == ValueKind::List { ["5", "4", "3"] } else { ["3", "4", "5"] });
    }
}

/// What docs/redis.md says that a user needs suffices, and without any one of it the rehearsal says so.
#[tokio::test]
async fn the_documented_permissions_suffice_and_none_is_too_many() {
    const ALL: &str = "+get +set +unlink +scan +watch +multi +exec +discard +eval +type";
    for (value, own) in [
        (ValueKind::Set, "+sadd +srem +sismember +sscan"),
        (ValueKind::Fields, "+hset +hget +hdel +hgetall"),
        (ValueKind::List, "+lpush +lrem +lpos +lrange +ltrim"),
        (ValueKind::SortedSet, "+zadd +zrem +zscore +zscan +zremrangebyrank"),
    ] {
        let server = Redis::start(&[]);
        let rules = format!("on >hunter2 ~t:* ~walbridge:cache:* {ALL} {own}");
        let set_user = async |rules: &str| {
            let mut connection = server.connection().await;
            let rules: Vec<&str> = rules.split(' ').collect();
            let _ok: String = redis::cmd("ACL")
                .arg("SETUSER")
                .arg("wb")
                .arg(&rules)
                .query_async(&mut connection)
                .await
                .expect("a user");
        };
        set_user(&rules).await;
        let matches = |name: &[u8]| name.starts_with(b"t:");
        let keys_of = std::sync::Arc::new(move |_: &_| DocumentKeys {
            glob: b"t:*\x1f*".to_vec(),
            matches: std::sync::Arc::new(matches),
            all: true,
        });
        let url = format!("redis://wb:hunter2@127.0.0.1:{}", server.port);
        let mut sink =
            RedisSink::new(Options { form: form(value), keys_of, ..options(&url, ValueKind::Json) }).expect("a url");
        let samples = [name(0, 0).into_bytes()];
        sink.rehearse(&samples).await.expect("all of it is allowed");
        sink.resume().await.expect("a server");
        apply(&mut sink, 1, &[row(1, 1, 1), row(1, 1, 2), delete(1, name(1, 2))]).await.expect("applied");
        sink.keys(&table(), None).await.expect("listed");
        sink.read(&[row(1, 1, 1).key]).await.expect("read");
        apply(&mut sink, 2, &[clear(2)]).await.expect("cleared");
        for right in own.split(' ').chain(["+type", "+eval", "+scan", "+unlink"]) {
            let taken = right.replace('+', "-");
            set_user(&taken).await;
            let refused = sink.rehearse(&samples).await;
            assert!(
                matches!(refused, Err(walbridge::sink::SinkError::Denied { .. })),
                "{value:?} {taken}: {refused:?}"
            );
            set_user(right).await;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u32),
    Delete(u8, u32),
    Commit,
    /// The connection is lost, or the process.
    Resume,
}

/// Whatever is put, moved, taken away and lost between commits: a set holds what a set holds.
#[tokio::test]
async fn random_steps_end_like_the_model() {
    let step = prop_oneof![
        5 => (0..3u8, 0..6u32).prop_map(|(key, id)| Step::Put(key, id)),
        3 => (0..3u8, 0..6u32).prop_map(|(key, id)| Step::Delete(key, id)),
        2 => Just(Step::Commit),
        1 => Just(Step::Resume),
    ];
    let steps = prop::collection::vec(step, 1..40);
    let mut runner = TestRunner::deterministic();
    for value in KINDS {
        let (server, mut sink) = start(value).await;
        let mut connection = server.connection().await;
        for _ in 0..25 {
            let steps = steps.new_tree(&mut runner).expect("steps").current();
            tell(&server, ["FLUSHALL"]).await;
            sink.resume().await.expect("a server");
            let (mut committed, mut now, mut at) = (BTreeSet::new(), BTreeSet::new(), 1);
            for step in steps.iter().chain([&Step::Commit]) {
                match *step {
                    Step::Put(key, id) => {
                        stage(&mut sink, &[row(at, key, id)]).await.expect("staged");
                        now.insert((key, id));
                    }
                    Step::Delete(key, id) => {
                        stage(&mut sink, &[delete(at, name(key, id))]).await.expect("staged");
                        now.remove(&(key, id));
                    }
                    Step::Commit => {
                        sink.commit(checkpoint(at)).await.expect("committed");
                        committed.clone_from(&now);
                        at += 1;
                    }
                    Step::Resume => {
                        sink.resume().await.expect("a server");
                        now.clone_from(&committed);
                    }
                }
            }
            for key in 0..3u8 {
                let found: BTreeSet<String> =
                    members(&mut connection, value, &format!("t:{key}")).await.into_iter().collect();
                let expected = committed.iter().filter(|(of, _)| *of == key).map(|(_, id)| id.to_string()).collect();
                assert_eq!(found, expected, "{value:?} {steps:?}");
            }
        }
    }
}
