//! From a filled log into Redis, beside `redis-benchmark` with as many commands to a round trip and values as large, in turns on one server; and over all
//! slots of a cluster of three.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use walbridge::config::BatchLimits;
use walbridge::event::{Offset, TableName};
use walbridge::log::embedded;
use walbridge::sink::redis::{DocumentKeys, Form, Options, RESPONSE_TIMEOUT, RedisSink, Server, ValueKind};

use crate::meter::{median, setting};
use crate::replay;
use crate::support::Redis;
use crate::support::cluster::Cluster;

/// Commands to a round trip: as many as `batch.rows` of a sink is unless it is set.
const BATCH: u32 = 10_000;

/// Prints its figures, one a line.
pub(crate) fn run() {
    let (rows, rounds) = (setting("BENCH_ROWS", 1_000_000), setting("BENCH_ROUNDS", replay::ROUNDS));
    let directory = tempfile::Builder::new().prefix("walbridge-redis-").tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let redis = Redis::start(&[]);
    let (mut writer, log, _) = embedded::open(directory.path(), embedded::Options::default()).expect("a new log");
    let text = "0123456789abcdef".repeat(6);
    runtime.block_on(replay::fill(&mut writer, rows, |_| text.clone()));
    let stays = Form::of(ValueKind::Json);
    let expires = Form { ttl: Some(Duration::from_secs(86_400)), ..stays.clone() };
    for (name, form) in [("", stays.clone()), (" with a ttl", expires)] {
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let path = directory.path().join(format!("round-{round}{name}"));
            let (rate, value) = runtime.block_on(async {
                flush(&redis).await;
                let started = Instant::now();
                deliver(redis.url(), log.clone(), &path, form.clone(), rows).await;
                let rate = f64::from(rows) / started.elapsed().as_secs_f64();
                let value = value_bytes(&redis, rows).await;
                flush(&redis).await;
                (rate, value)
            });
            let other = benchmark(redis.port, rows, value, &[]);
            ours.push(rate);
            theirs.push(other);
            ratios.push(rate / other);
        }
        tell(name, ours, theirs, ratios);
    }
    drop(redis);
    let cluster = Cluster::start("t", 0, &[]);
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let path = directory.path().join(format!("round-{round} in a cluster"));
        let (rate, value) = runtime.block_on(async {
            let started = Instant::now();
            deliver(cluster.url(), log.clone(), &path, stays.clone(), rows).await;
            let rate = f64::from(rows) / started.elapsed().as_secs_f64();
            let mut value = 0;
            for node in &cluster.nodes {
                let found: u32 = redis::cmd("STRLEN")
                    .arg("public.narrow:1")
                    .query_async(&mut node.connection().await)
                    .await
                    .unwrap_or(0);
                value = value.max(found);
                flush(node).await;
            }
            (rate, value)
        });
        let other = benchmark(cluster.nodes.first().map_or(0, |node| node.port), rows, value, &["--cluster"]);
        runtime.block_on(async {
            for node in &cluster.nodes {
                flush(node).await;
            }
        });
        ours.push(rate);
        theirs.push(other);
        ratios.push(rate / other);
    }
    tell(" in a cluster", ours, theirs, ratios);
}

fn tell(name: &str, ours: Vec<f64>, theirs: Vec<f64>, ratios: Vec<f64>) {
    println!("redis{name} walbridge rows/s {:.0}", median(ours));
    println!("redis{name} redis-benchmark sets/s {:.0}", median(theirs));
    println!("redis{name} ratio {:.2}", median(ratios));
}

/// Of one of the rows, once all are there.
async fn value_bytes(redis: &Redis, rows: u32) -> u32 {
    let mut connection = redis.connection().await;
    let kept: u32 = redis::cmd("DBSIZE").query_async(&mut connection).await.expect("DBSIZE");
    assert_eq!(kept, rows + 1, "all rows, and the checkpoint");
    redis::cmd("STRLEN").arg("public.narrow:1").query_async(&mut connection).await.expect("STRLEN")
}

async fn flush(redis: &Redis) {
    let mut connection = redis.connection().await;
    let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.expect("FLUSHALL");
}

/// `SET`s of different keys on one connection, so many a second.
fn benchmark(port: u16, sets: u32, value_bytes: u32, more: &[&str]) -> f64 {
    let output = Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-c", "1", "-P", &BATCH.to_string(), "-n", &sets.to_string()])
        .args(["-r", &sets.to_string(), "-d", &value_bytes.to_string(), "-t", "set", "--csv"])
        .args(more)
        .output()
        .expect("redis-benchmark");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = text.lines().find_map(|line| line.strip_prefix("\"SET\",\"")?.split('"').next()?.parse().ok());
    rate.expect("redis-benchmark tells a rate")
}

async fn deliver(url: String, log: embedded::Log, directory: &Path, form: Form, rows: u32) {
    let keys_of =
        |_: &TableName| DocumentKeys { glob: b"public.narrow:*".to_vec(), matches: Arc::new(|_| true), all: true };
    let options = Options {
        name: "bench".to_owned(),
        server: Server::at(url),
        form,
        hash_tag: None,
        keys_of: Arc::new(keys_of),
        tables: Arc::new(Vec::new),
        is_beside: false,
        response_timeout: RESPONSE_TIMEOUT,
    };
    let sink = RedisSink::new(options).expect("an address");
    replay::deliver(log, directory, Offset(u64::from(rows)), sink, BatchLimits::DEFAULT).await;
}
