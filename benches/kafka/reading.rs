//! The way back: what walbridge wrote into a topic, through the deliver loop into a target that does nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use walbridge::log::Log as _;
use walbridge::log::kafka::{Log, Options};

use crate::meter::median;
use crate::replay::{ROUNDS, replay};
use crate::support::Kafka;

const PATIENCE: Duration = Duration::from_secs(60);

/// The median rate of reading the log of this source, which holds so many rows.
pub(super) async fn run(kafka: &Kafka, source: &str, rows: u32) -> f64 {
    let directory = tempfile::Builder::new().prefix("walbridge-reading-").tempdir().expect("a temporary directory");
    let mut speeds = Vec::new();
    for _ in 0..ROUNDS {
        let log = Log::new(options(kafka, source, directory.path()));
        log.open().await.expect("the log is there");
        let durable = log.durable();
        let end = durable.borrow().offset;
        let started = Instant::now();
        timeout(PATIENCE, replay(log, directory.path(), end)).await.expect("it comes to the end");
        speeds.push(f64::from(rows) / started.elapsed().as_secs_f64());
    }
    median(speeds)
}

fn options(kafka: &Kafka, source: &str, directory: &Path) -> Options {
    let text = format!(
        "[sources.{source}]\nurl = \"postgres://nobody@127.0.0.1/none\"\ntables = \"*.*\"\n[log]\nkind = \"kafka\"\npath = \"log\"\nbrokers = \"{}\"\n",
        kafka.brokers()
    );
    let config = walbridge::config::parse(&text, Path::new("bench.toml"), &|_| None).expect("a configuration");
    let settings = config.log.kafka.expect("a log on Kafka");
    Options { source: source.to_owned(), database: "none".to_owned(), directory: directory.to_owned(), settings }
}
