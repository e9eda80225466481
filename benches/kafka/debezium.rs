//! Debezium on the same backlog, tuned: its batches, its queue and its producer's settings are what drained fastest of those tried, the
//! messages those of its JSON converter without schemas.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio_postgres::Client;

use super::drains::{Taken, rate};
use crate::backlog::Backlog;
use crate::drain::active;
use crate::meter::Meter;
use crate::support::debezium::Debezium;
use crate::support::{Kafka, Postgres};

/// What it is started with, beside what connects it.
pub(super) const TUNED: [(&str, &str); 9] = [
    ("publication.autocreate.mode", "disabled"),
    ("snapshot.mode", "no_data"),
    ("max.batch.size", "16384"),
    ("max.queue.size", "65536"),
    ("poll.interval.ms", "5"),
    ("producer.override.acks", "all"),
    ("producer.override.linger.ms", "5"),
    ("producer.override.batch.size", "262144"),
    ("producer.override.buffer.memory", "134217728"),
];
const PATIENCE: Duration = Duration::from_secs(300);

/// From the moment at which its slot is active until all rows are in the topic; the start of its Java is outside, its CPU too.
pub(super) async fn run(
    kafka: &Kafka,
    postgres: &Postgres,
    client: &Client,
    backlog: &Backlog,
    name: &str,
    topic: &str,
) -> Taken {
    let publication = [("publication.name", backlog.workload.name())];
    let settings = [TUNED.as_slice(), publication.as_slice()].concat();
    let consumer: BaseConsumer = kafka.client_config().create().expect("a consumer");
    let debezium = Debezium::in_service(postgres, kafka, name, &settings);
    let pid = debezium.pid().expect("Debezium runs");
    let walsender_pid = active(client, name).await;
    let (started, mut meter, mut walsender) = (Instant::now(), Meter::default(), Meter::default());
    meter.read(pid);
    let before = meter.cpu_seconds;
    loop {
        meter.read(pid);
        walsender.read(walsender_pid);
        let end = consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)).map_or(0, |(_, end)| end);
        if end >= i64::from(backlog.rows) {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "Debezium is stuck at {end}:\n{}", debezium.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rows_per_second = rate(backlog.rows, started);
    meter.read(pid);
    let per_million = |seconds: f64| seconds * 1e6 / f64::from(backlog.rows);
    Taken {
        rows_per_second,
        cpu: per_million(meter.cpu_seconds - before),
        walsender: per_million(walsender.cpu_seconds),
        broker: 0.0,
        peak_mib: meter.peak_mib,
    }
}
