//! The log on Kafka: what a `read_committed` consumer finds in the topics, whatever became of walbridge or the brokers.

mod access;
mod consumers;
mod faults;
mod kills;
mod parked;
pub(crate) mod protobuf;
mod reading;
mod records;
mod replay;
mod same_state;
pub(crate) mod schemas;
mod sharing;
mod sink;
mod topics;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::pipeline::caught_up;
use crate::support::kafka::Record;
use crate::support::{Kafka, PgOptions, Postgres, Walbridge};

const PATIENCE: Duration = Duration::from_secs(90);

/// A source, and the walbridge that feeds its topics. Each has a name of its own, for the broker may be another test's too.
struct Stage {
    postgres: Postgres,
    walbridge: Walbridge,
    source: String,
}

impl Stage {
    /// With a table `t` of keys whose `n` counts up; `log` is added to the log's configuration.
    fn set(kafka: &Kafka, log: &str) -> Stage {
        let mut stage = Stage::prepare(kafka, log);
        stage.walbridge.start_again();
        stage
    }

    /// The same, not started yet.
    fn prepare(kafka: &Kafka, log: &str) -> Stage {
        let postgres = Postgres::start(PgOptions::default());
        postgres.psql(
            "CREATE TABLE t (id int PRIMARY KEY, n bigint NOT NULL, v text);
             INSERT INTO t SELECT i, 0, 'row ' || i FROM generate_series(1, 10) i",
        );
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let source = format!("s{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let walbridge = Walbridge::configured(&configuration(&postgres, &kafka.brokers(), &source, log));
        Stage { postgres, walbridge, source }
    }

    /// Writes another configuration for the next start.
    fn configure(&mut self, kafka: &Kafka, log: &str) {
        self.walbridge.configure(&configuration(&self.postgres, &kafka.brokers(), &self.source, log));
    }

    fn topic(&self, table: &str) -> String {
        format!("{}.public.{table}", self.source)
    }

    /// Waits until everything that was committed is in the topics. One that waits for Kafka may have nothing to catch up with yet.
    async fn caught_up(&mut self) {
        let source = self.source.clone();
        self.walbridge.wait_for(PATIENCE, |status| status["sources"][&source]["state"] == "streaming").await;
        caught_up(&mut self.walbridge, &self.postgres).await;
    }

    /// Waits until the source is in this state with this code.
    async fn await_code(&mut self, state: &str, code: &str) -> serde_json::Value {
        let source = self.source.clone();
        let wanted = move |status: &serde_json::Value| {
            let status = &status["sources"][&source];
            status["state"] == state && status["code"] == code
        };
        let status = self.walbridge.wait_for(PATIENCE, wanted).await;
        status["sources"][&self.source].clone()
    }

    /// Everything that is in the topics of the source, checked for what must always hold, and compared with `t`.
    fn proven(&self, kafka: &Kafka) -> Vec<Record> {
        let records = self.all(kafka);
        prove_numbers(&records);
        let topic = self.topic("t");
        let ours: Vec<&Record> = records.iter().filter(|record| record.topic == topic).collect();
        let rows = self.postgres.psql("SELECT id, n FROM t ORDER BY id");
        let expected: BTreeMap<i64, i64> = rows.lines().map(pair).collect();
        let found = counted(&ours);
        assert_eq!(
            found,
            expected,
            "the last value of each key, of {} records\n{}",
            records.len(),
            self.walbridge.log()
        );
        records
    }

    /// All records of the source's topics.
    fn all(&self, kafka: &Kafka) -> Vec<Record> {
        let topics = kafka.topics();
        let ours = topics.iter().filter(|topic| topic.starts_with(&format!("{}.", self.source)));
        ours.flat_map(|topic| kafka.read_settled(topic)).collect()
    }
}

fn configuration(postgres: &Postgres, brokers: &str, source: &str, log: &str) -> String {
    format!(
        "[sources.{source}]\nurl = \"{}\"\ntables = [\"public.*\"]\nslot = \"kafka_test\"\n\
         [log]\nkind = \"kafka\"\npath = \"log\"\nbrokers = \"{brokers}\"\n{log}\n",
        postgres.url()
    )
}

fn pair(line: &str) -> (i64, i64) {
    let (id, n) = line.split_once('|').expect("two columns");
    (id.parse().expect("a number"), n.parse().expect("a number"))
}

fn offset(record: &Record) -> Option<u64> {
    record.header("walbridge.offset").map(|offset| offset.parse().expect("a number"))
}

/// Events are numbered without a gap, each once, and in each partition in order.
fn prove_numbers(records: &[Record]) {
    let mut events: BTreeMap<u64, BTreeSet<(String, String)>> = BTreeMap::new();
    let mut last: BTreeMap<(&str, i32), (u64, u32)> = BTreeMap::new();
    for record in records {
        let Some(offset) = offset(record) else { continue };
        let position = record.header("walbridge.position").expect("a position");
        events.entry(offset).or_default().insert((record.topic.clone(), position));
        let (before, same) = last.entry((&record.topic, record.partition)).or_default();
        assert!(offset >= *before, "event {offset} behind {before} in {} {}", record.topic, record.partition);
        // A changed key makes three records.
        *same = if offset == *before { *same + 1 } else { 1 };
        assert!(*same <= 3, "event {offset} is there twice in {}", record.topic);
        *before = offset;
    }
    for (event, is) in events.values().enumerate() {
        assert_eq!(is.len(), 1, "event {event} is in two places: {is:?}");
    }
    let expected: Vec<u64> = (0..events.len() as u64).collect();
    assert_eq!(events.into_keys().collect::<Vec<_>>(), expected, "the numbers are dense");
}

/// The last `n` of each key that is there, each having counted up by ones from where it began.
fn counted(records: &[&Record]) -> BTreeMap<i64, i64> {
    let mut last = BTreeMap::new();
    for record in records {
        let value = record.json();
        let Some(id) = value["after"]["id"].as_i64() else {
            let id =
                serde_json::from_slice::<serde_json::Value>(record.key.as_deref().unwrap_or(b"{}")).expect("a key");
            last.remove(&id["id"].as_i64().unwrap_or_default());
            continue;
        };
        let n = value["after"]["n"].as_i64().expect("a number");
        if let Some(before) = last.insert(id, n).filter(|_| value["op"] == "u") {
            assert_eq!(n, before + 1, "key {id} in {} {}", record.topic, record.partition);
        }
    }
    last
}
