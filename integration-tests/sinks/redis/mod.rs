//! The Redis sink against a real server.

mod access;
mod across;
mod collections;
mod documents;
mod fields;
mod loss;
mod nodes;
mod replaced;
mod spread;
mod spread_forms;
mod streams;
mod timeline;
mod tls;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, ToRedisArgs};
use walbridge::project::mutation::Mutation;
use walbridge::sink::redis::{DocumentKeys, Form, Options, RedisSink, Server, ValueKind};
use walbridge::sink::{Checkpoint, Sink, SinkError};

use super::rows::checkpoint;
use crate::support::Redis;

/// Keys are `t:` and an id of digits.
fn options(url: &str, value: ValueKind) -> Options {
    let matches = |key: &[u8]| key.strip_prefix(b"t:").is_some_and(|id| id.iter().all(u8::is_ascii_digit));
    Options {
        name: "cache".to_owned(),
        server: Server::at(url),
        form: Form::of(value),
        hash_tag: None,
        keys_of: Arc::new(move |_| DocumentKeys { glob: b"t:*".to_vec(), matches: Arc::new(matches), all: true }),
        tables: Arc::new(|| vec![super::rows::table()]),
        is_beside: false,
        response_timeout: Duration::from_secs(20),
    }
}

fn sink_at(url: &str, value: ValueKind) -> RedisSink {
    RedisSink::new(options(url, value)).expect("an address")
}

fn sink(server: &Redis, value: ValueKind) -> RedisSink {
    sink_at(&server.url(), value)
}

/// A new server and a sink that has resumed from its emptiness.
async fn start(value: ValueKind) -> (Redis, RedisSink) {
    let server = Redis::start(&[]);
    let mut sink = sink(&server, value);
    assert_eq!(sink.resume().await.expect("a server"), None);
    (server, sink)
}

/// Stages without any rest, and commits.
async fn apply(sink: &mut RedisSink, at: u64, mutations: &[Mutation]) -> Result<(), SinkError> {
    stage(sink, mutations).await?;
    sink.commit(checkpoint(at)).await
}

async fn stage(sink: &mut RedisSink, mutations: &[Mutation]) -> Result<(), SinkError> {
    let staged = sink.stage(mutations).await?;
    assert!(staged.rejected.is_empty() && staged.incomplete.is_empty(), "{staged:?}");
    Ok(())
}

async fn run<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &str,
    arguments: impl ToRedisArgs,
) -> T {
    redis::cmd(command).arg(arguments).query_async(connection).await.expect(command)
}

/// The string under a key.
async fn get(server: &Redis, key: impl ToRedisArgs) -> Option<String> {
    run(&mut server.connection().await, "GET", key).await
}

/// The checkpoint as a new process would read it.
async fn told(server: &Redis) -> Option<Checkpoint> {
    sink(server, ValueKind::Json).resume().await.expect("a checkpoint or none")
}

async fn keys(server: &Redis) -> Vec<String> {
    let mut keys: Vec<String> = run(&mut server.connection().await, "KEYS", "*").await;
    keys.sort();
    keys
}

/// Writes from outside, as `redis-cli` would.
async fn tell<const N: usize>(server: &Redis, command: [&str; N]) {
    let (name, arguments) = command.split_first().expect("a command");
    let _answer: redis::Value = run(&mut server.connection().await, name, arguments).await;
}
