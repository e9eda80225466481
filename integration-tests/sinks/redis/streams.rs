//! Changes as entries of streams; keys that are published; times to expire.

use std::time::{Duration, SystemTime};

use walbridge::event::{Change, Event, Relation, TableName, Timestamp, Transaction};
use walbridge::project::mutation::{Effect, Mutation};
use walbridge::sink::redis::{Form, Options, RedisSink, ValueKind};
use walbridge::sink::{Sink, SinkError};

use super::super::rows::{NULL, checkpoint, delete, key, position, put, relation, text};
use super::{apply, keys, options, run, stage, tell, told};
use crate::support::Redis;

fn sink_of(server: &Redis, form: Form) -> RedisSink {
    RedisSink::new(Options { form, ..options(&server.url(), ValueKind::Json) }).expect("a url")
}

pub(super) fn form() -> Form {
    Form { stream: Some(("changes:{table}".to_owned(), "shop".to_owned())), ..Form::of(ValueKind::Stream) }
}

fn change(at: u64, id: &str) -> Mutation {
    change_of("t", at, id, &format!("public.t:{id}"))
}

/// The same of any table, and under any name.
pub(super) fn change_of(table: &str, at: u64, id: &str, name: &str) -> Mutation {
    let relation =
        Relation { name: TableName { schema: "public".to_owned(), table: table.to_owned() }, ..(*relation()).clone() };
    let mut row = walbridge::event::RowBuilder::default();
    [text(id), NULL, NULL].iter().for_each(|&cell| row.push(cell));
    let change = Change::Insert { relation: std::sync::Arc::new(relation), new: row.finish() };
    let transaction = Transaction {
        epoch: position(at).epoch,
        xid: 1,
        commit_lsn: position(at).commit_lsn,
        commit_time: Timestamp::from_unix_micros(0),
        first_ordinal: 0,
        origin: None,
    };
    let event = Event { transaction: std::sync::Arc::new(transaction), ordinal: position(at).ordinal, change };
    Mutation { key: key(name), position: position(at), effect: Effect::Append(event) }
}

/// The ids in the entries, in order.
async fn entries(server: &Redis) -> Vec<String> {
    type Entry = (String, std::collections::HashMap<String, String>);
    let found: Vec<Entry> = run(&mut server.connection().await, "XRANGE", ("changes:public.t", "-", "+")).await;
    let id = |(_, fields): &Entry| {
        let event: serde_json::Value = serde_json::from_str(&fields["event"]).expect("a line of JSON");
        assert_eq!(event["source"], "shop");
        event["after"]["id"].to_string()
    };
    found.iter().map(id).collect()
}

#[tokio::test]
async fn each_change_is_an_entry_once_whatever_comes_again() {
    let server = Redis::start(&[]);
    let mut sink = sink_of(&server, form());
    assert_eq!(sink.resume().await.expect("a server"), None);
    let all: Vec<_> = (1..=4).map(|at| change(at, &at.to_string())).collect();
    apply(&mut sink, 2, &all[..2]).await.expect("applied");
    stage(&mut sink, &all[2..]).await.expect("staged");
    assert_eq!(sink.resume().await.expect("a server"), Some(checkpoint(2)));
    apply(&mut sink, 4, &all[2..]).await.expect("applied");
    assert_eq!(entries(&server).await, ["1", "2", "3", "4"]);
    // The checkpoint was evicted, or removed: the log comes again from its beginning.
    tell(&server, ["DEL", "walbridge:cache:checkpoint"]).await;
    assert_eq!(sink.resume().await.expect("a server"), None);
    apply(&mut sink, 4, &all).await.expect("applied again");
    assert_eq!(entries(&server).await, ["1", "2", "3", "4"]);
    // Also where the last entries have been taken out since.
    tell(&server, ["XTRIM", "changes:public.t", "MAXLEN", "0"]).await;
    tell(&server, ["DEL", "walbridge:cache:checkpoint"]).await;
    sink.resume().await.expect("a server");
    apply(&mut sink, 5, &[all, vec![change(5, "5")]].concat()).await.expect("applied again");
    assert_eq!(entries(&server).await, ["5"]);
    assert_eq!(told(&server).await, Some(checkpoint(5)));
}

#[tokio::test]
async fn what_is_delivered_after_its_time_follows_the_last_entry_and_hides_none_to_come() {
    let server = Redis::start(&[]);
    let mut sink = sink_of(&server, form());
    sink.resume().await.expect("a server");
    apply(&mut sink, 3, &[change(1, "1"), change(3, "3")]).await.expect("applied");
    apply(&mut sink, 3, &[change(2, "2").late()]).await.expect("a retry");
    apply(&mut sink, 4, &[change(4, "4")]).await.expect("applied");
    assert_eq!(entries(&server).await, ["1", "3", "2", "4"]);
}

#[tokio::test]
async fn a_stream_stops_behind_what_it_refuses_and_keeps_its_most() {
    let server = Redis::start(&[]);
    tell(&server, ["SET", "changes:public.t", "somebody else's"]).await;
    let mut sink = sink_of(&server, Form { entries_max: Some(2), ..form() });
    sink.resume().await.expect("a server");
    let all: Vec<_> = (1..=4).map(|at| change(at, &at.to_string())).collect();
    let staged = sink.stage(&all).await.expect("staged");
    assert_eq!((staged.rejected.len(), staged.rest), (1, Some(1)));
    tell(&server, ["DEL", "changes:public.t"]).await;
    apply(&mut sink, 4, &all[1..]).await.expect("applied");
    assert_eq!(entries(&server).await, ["3", "4"]);
    let document = sink.stage(&[put(5, "t:1", [text("1"), NULL, NULL])]).await.expect("staged");
    assert_eq!(document.rejected.len(), 1, "no document in a stream");
}

#[tokio::test]
async fn changed_keys_are_published_with_the_transaction() {
    let server = Redis::start(&[]);
    let client = redis::Client::open(server.url()).expect("a url");
    let mut connection = client.get_connection().expect("a server");
    connection.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    let mut listener = connection.as_pubsub();
    listener.subscribe("changes").expect("subscribed");
    let mut sink = sink_of(&server, Form { publish: Some("changes".to_owned()), ..Form::of(ValueKind::Json) });
    sink.resume().await.expect("a server");
    // One by one, and so many that they are set together.
    let mut rows = vec![put(1, "t:1", [text("1"), NULL, NULL]), delete(1, "t:2")];
    rows.extend((3..10).map(|id| put(1, format!("t:{id}"), [text("1"), NULL, NULL])));
    stage(&mut sink, &rows).await.expect("staged");
    sink.commit(checkpoint(1)).await.expect("committed");
    for key in (1..10).map(|id| format!("t:{id}")) {
        let message = listener.get_message().expect("a message");
        assert_eq!(message.get_payload::<String>().expect("text"), key);
    }
    assert_eq!(told(&server).await, Some(checkpoint(1)));
    // Published inside a script it would fail only when half of the transaction stands.
    tell(&server, ["ACL", "SETUSER", "wb", "on", ">hunter2", "~*", "+@all", "resetchannels"]).await;
    let url = format!("redis://wb:hunter2@127.0.0.1:{}", server.port);
    let form = Form { publish: Some("changes".to_owned()), ..Form::of(ValueKind::Json) };
    let refused = RedisSink::new(Options { form, ..options(&url, ValueKind::Json) }).expect("a url").resume().await;
    assert!(matches!(refused, Err(SinkError::Denied { .. })), "{refused:?}");
}

/// Scenario 126: the time is the row's own, so a change that comes again does not bring back what has expired.
#[tokio::test]
async fn a_key_expires_when_its_row_says() {
    for kind in [ValueKind::Json, ValueKind::Hash] {
        let server = Redis::start(&[]);
        let mut sink = sink_of(&server, Form { ttl_column: Some("name".to_owned()), ..Form::of(kind) });
        sink.resume().await.expect("a server");
        let row = |at, id: &str, until: Option<&str>| {
            let mut mutation = put(at, format!("t:{id}"), [text(id), until.map_or(NULL, text), NULL]);
            if let Effect::Put { document, .. } = &mut mutation.effect {
                let mut relation = (*document.relation).clone();
                relation.columns[1].shape = walbridge::event::Shape::Scalar(walbridge::event::Scalar::TimestampTz);
                document.relation = std::sync::Arc::new(relation);
            }
            mutation
        };
        let rows = [
            row(1, "1", Some("2100-01-01 00:00:00+00")),
            row(1, "2", Some("2020-01-01 00:00:00+00")),
            row(1, "3", None),
            row(1, "4", Some("infinity")),
        ];
        apply(&mut sink, 1, &rows).await.expect("applied");
        assert_eq!(keys(&server).await, ["t:1", "t:3", "t:4", "walbridge:cache:checkpoint"], "{kind:?}");
        let mut connection = server.connection().await;
        let left: i64 = run(&mut connection, "PTTL", "t:1").await;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
        let until = i128::from(left) + i128::try_from(now).expect("a number");
        assert!((until - 4_102_444_800_000).abs() < 60_000, "{until}");
        for key in ["t:3", "t:4"] {
            assert_eq!(run::<i64>(&mut connection, "PTTL", key).await, -1);
        }
        let strange = sink.stage(&[row(2, "5", Some("soon"))]).await.expect("staged");
        assert!(strange.rejected[0].reason.contains("ttl_column"), "{}", strange.rejected[0].reason);
    }
}
