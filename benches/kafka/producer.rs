//! librdkafka alone: the records that walbridge wrote, written again as fast as it goes, in transactions of a tenth of a second. It is what a
//! bridge into Kafka cannot be cheaper than with this client. A process of its own, so that CPU and memory are its own.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::drains::{Taken, rate};
use crate::meter::Meter;
use crate::support::Kafka;
use crate::support::process;

/// The word by which `main` knows that it is such a process.
pub(crate) const WORD: &str = "kafka-producer";
/// So many different records are written in turn.
const SAMPLES: usize = 5_000;
const TRANSACTION: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(30);

struct Sample {
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
}

/// Starts the process and reads what it says.
pub(super) fn run(kafka: &Kafka, from: &str, to: &str, rows: u32) -> Taken {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([WORD, &kafka.brokers(), from, to, &rows.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
    let output = process::spawn(&mut command).wait_with_output().expect("the producer runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut figures = said.split_whitespace().map(|figure| figure.parse::<f64>().expect("a figure"));
    let mut next = || figures.next().expect("three figures");
    Taken { rows_per_second: next(), cpu: next(), peak_mib: next(), ..Taken::default() }
}

/// The process.
pub(crate) fn child(arguments: &[String]) {
    let [brokers, from, to, rows] = arguments else { unreachable!("{WORD} BROKERS FROM TO ROWS") };
    let rows: u32 = rows.parse().expect("how many rows");
    let samples = samples(brokers, from);
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("transactional.id", to)
        .set("linger.ms", "5")
        .set("batch.size", "1000000");
    config.set("partitioner", "murmur2_random").set("delivery.report.only.error", "true");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer");
    producer.init_transactions(ANSWER).expect("transactions");
    let mut meter = Meter::default();
    meter.read(std::process::id());
    let (before, started) = (meter.cpu_seconds, Instant::now());
    producer.begin_transaction().expect("a transaction");
    let mut since = Instant::now();
    for sample in samples.iter().cycle().take(rows as usize) {
        if since.elapsed() >= TRANSACTION {
            producer.commit_transaction(ANSWER).expect("committed");
            producer.begin_transaction().expect("a transaction");
            since = Instant::now();
        }
        send(&producer, to, sample);
    }
    producer.commit_transaction(ANSWER).expect("committed");
    let rows_per_second = rate(rows, started);
    meter.read(std::process::id());
    println!("{rows_per_second} {} {}", (meter.cpu_seconds - before) * 1e6 / f64::from(rows), meter.peak_mib);
}

fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, sample: &Sample) {
    let headers = OwnedHeaders::new_with_capacity(sample.headers.len());
    let headers =
        sample.headers.iter().fold(headers, |all, (key, value)| all.insert(Header { key, value: Some(value) }));
    let mut record = BaseRecord::to(topic).key(&sample.key).payload(&sample.value).headers(headers);
    while let Err((error, back)) = producer.send(record) {
        let full = error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull);
        assert!(full, "{error}");
        std::thread::sleep(Duration::from_millis(1));
        record = back;
    }
}

fn samples(brokers: &str, topic: &str) -> Vec<Sample> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "bench").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
    consumer.assign(&assigned).expect("assigned");
    let mut samples = Vec::new();
    let started = Instant::now();
    while samples.len() < SAMPLES {
        assert!(started.elapsed() < ANSWER, "{topic} is not read");
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let message = message.expect("a record");
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        samples.push(Sample {
            key: message.key().unwrap_or_default().to_vec(),
            value: message.payload().unwrap_or_default().to_vec(),
            headers: headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect(),
        });
    }
    samples
}
