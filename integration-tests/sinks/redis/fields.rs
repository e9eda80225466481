//! Rows as fields of hashes in which others have fields too.

use std::collections::HashMap;

use walbridge::sink::redis::{Options, RedisSink, ValueKind};
use walbridge::sink::{Sink, Staged};

use super::super::rows::{NULL, clear, delete, put, text};
use super::{apply, keys, options, run, start, tell};
use crate::support::Redis;

async fn hash(server: &Redis, key: &str) -> HashMap<String, String> {
    run(&mut server.connection().await, "HGETALL", key).await
}

fn of(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn the_fields_of_others_stay_whatever_a_row_does() {
    let (server, mut sink) = start(ValueKind::Fields).await;
    tell(&server, ["HSET", "t:1", "visits", "7"]).await;
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), text("a"), text("b")])]).await.expect("applied");
    let ours = r#"["id","name","big"]"#;
    let expected = of(&[("visits", "7"), ("id", "1"), ("name", "a"), ("big", "b"), ("walbridge:cache", ours)]);
    assert_eq!(hash(&server, "t:1").await, expected);
    // One becomes NULL; and what the application does in between stands.
    tell(&server, ["HINCRBY", "t:1", "visits", "1"]).await;
    apply(&mut sink, 2, &[put(2, "t:1", [text("1"), NULL, text("c")])]).await.expect("applied");
    let expected = of(&[("visits", "8"), ("id", "1"), ("big", "c"), ("walbridge:cache", r#"["id","big"]"#)]);
    assert_eq!(hash(&server, "t:1").await, expected);
    // A row goes, and comes back, in one batch and in two.
    apply(&mut sink, 3, &[delete(3, "t:1"), put(3, "t:2", [text("2"), NULL, NULL])]).await.expect("applied");
    assert_eq!(hash(&server, "t:1").await, of(&[("visits", "8")]));
    apply(&mut sink, 4, &[delete(4, "t:2"), delete(4, "t:3")]).await.expect("applied");
    assert_eq!(keys(&server).await, ["t:1", "walbridge:cache:checkpoint"], "a hash goes with its last field");
}

#[tokio::test]
async fn a_truncate_takes_our_fields_and_no_other_hash() {
    let (server, mut sink) = start(ValueKind::Fields).await;
    tell(&server, ["HSET", "t:1", "visits", "7"]).await;
    tell(&server, ["HSET", "t:9", "visits", "9"]).await;
    tell(&server, ["SET", "t:8", "a string"]).await;
    let rows = [1, 2].map(|id| put(1, format!("t:{id}"), [text("1"), NULL, NULL]));
    apply(&mut sink, 1, &rows).await.expect("applied");
    apply(&mut sink, 2, &[clear(2), put(2, "t:3", [text("3"), NULL, NULL])]).await.expect("truncated");
    assert_eq!(keys(&server).await, ["t:1", "t:3", "t:8", "t:9", "walbridge:cache:checkpoint"]);
    assert_eq!(hash(&server, "t:1").await, of(&[("visits", "7")]));
}

#[tokio::test]
async fn two_sinks_bring_their_columns_into_one_hash() {
    let (server, mut one) = start(ValueKind::Fields).await;
    let other = Options { name: "other".to_owned(), ..options(&server.url(), ValueKind::Fields) };
    let mut other = RedisSink::new(other).expect("an address");
    other.resume().await.expect("a server");
    apply(&mut one, 1, &[put(1, "t:1", [NULL, text("a"), NULL])]).await.expect("applied");
    apply(&mut other, 1, &[put(1, "t:1", [text("1"), NULL, text("b")])]).await.expect("applied");
    apply(&mut one, 2, &[delete(2, "t:1")]).await.expect("applied");
    let expected = of(&[("id", "1"), ("big", "b"), ("walbridge:other", r#"["id","big"]"#)]);
    assert_eq!(hash(&server, "t:1").await, expected);
}

/// What `verify` is told.
#[tokio::test]
async fn only_our_fields_are_read_back_and_one_that_was_changed_or_removed_is_seen() {
    let (server, mut sink) = start(ValueKind::Fields).await;
    tell(&server, ["HSET", "t:1", "visits", "7"]).await;
    tell(&server, ["HSET", "t:2", "visits", "7"]).await;
    let row = put(1, "t:1", [text("1"), text("a"), NULL]);
    apply(&mut sink, 1, std::slice::from_ref(&row)).await.expect("applied");
    let asked = [row.key.clone(), put(1, "t:2", [NULL, NULL, NULL]).key];
    let walbridge::project::mutation::Effect::Put { document, .. } = &row.effect else { unreachable!("it is a put") };
    let expected = (sink.imager())(document).expect("an image");
    let read = sink.read(&asked).await.expect("read");
    assert_eq!(read, [Some(expected.clone()), None]);
    tell(&server, ["HSET", "t:1", "name", "b"]).await;
    assert_ne!(sink.read(&asked).await.expect("read")[0].as_ref(), Some(&expected));
    tell(&server, ["HSET", "t:1", "name", "a"]).await;
    tell(&server, ["HDEL", "t:1", "id"]).await;
    assert_ne!(sink.read(&asked).await.expect("read")[0].as_ref(), Some(&expected));
    // Whoever spoils the list of our fields does not stop us.
    tell(&server, ["HSET", "t:1", "walbridge:cache", "no list"]).await;
    assert_eq!(sink.read(&asked).await.expect("read")[0], None);
    apply(&mut sink, 2, &[put(2, "t:1", [text("1"), text("a"), NULL])]).await.expect("applied");
    assert_eq!(sink.read(&asked).await.expect("read")[0].as_ref(), Some(&expected));
}

#[tokio::test]
async fn what_is_no_hash_is_another_s() {
    let (server, mut sink) = start(ValueKind::Fields).await;
    tell(&server, ["SET", "t:1", "a string"]).await;
    let rows = [put(1, "t:1", [text("1"), NULL, NULL]), put(1, "t:2", [text("2"), NULL, NULL]), delete(1, "t:1")];
    let staged: Staged = sink.stage(&rows[..2]).await.expect("staged");
    assert_eq!(staged.rejected.len(), 1);
    assert!(staged.rejected[0].reason.contains("there is a string of somebody else"), "{}", staged.rejected[0].reason);
    apply(&mut sink, 1, &rows[2..]).await.expect("applied");
    assert_eq!(super::get(&server, "t:1").await.as_deref(), Some("a string"));
    assert_eq!(hash(&server, "t:2").await.len(), 2);
}
