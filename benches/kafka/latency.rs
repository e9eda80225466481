//! From `clock_timestamp()` inside an INSERT to a `read_committed` consumer's sight, at 1,000 single-row commits a second: walbridge in both ways of
//! delivery, Debezium, and `pg_recvlogical` writing to a pipe, which is the floor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::debezium::TUNED;
use crate::backlog::server;
use crate::drain::active;
use crate::latency::{Seen, load, marks, millis, now, report, through_pipe};
use crate::meter::setting;
use crate::support::debezium::Debezium;
use crate::support::{Kafka, Postgres, Walbridge, eventually_sync};

/// Prints its figures, one a line.
pub(super) async fn run(kafka: &Kafka) {
    let seconds = setting("BENCH_LATENCY_SECONDS", 15);
    if seconds == 0 {
        return;
    }
    let postgres = server();
    postgres.psql(
        "CREATE TABLE latency (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k int NOT NULL, v text NOT NULL); \
         CREATE PUBLICATION latency FOR TABLE latency",
    );
    report("pg_recvlogical", through_pipe(&postgres, seconds));
    for delivery in ["exactly_once", "at_least_once"] {
        postgres.psql("TRUNCATE latency; INSERT INTO latency (k, v) VALUES (0, '')");
        report(&format!("kafka {delivery}"), walbridge(kafka, &postgres, delivery, seconds));
    }
    postgres.psql("TRUNCATE latency");
    report("debezium", debezium(kafka, &postgres, seconds).await);
}

fn walbridge(kafka: &Kafka, postgres: &Postgres, delivery: &str, seconds: u32) -> Vec<f64> {
    let source = format!("latency-{}", delivery.replace('_', "-"));
    let walbridge = Walbridge::start(&format!(
        "[sources.{source}]\nurl = \"{}\"\ntables = [\"public.latency\"]\n\n[log]\nkind = \"kafka\"\npath = \"log\"\n\
         brokers = \"{}\"\ndelivery = \"{delivery}\"\n",
        postgres.url(),
        kafka.brokers()
    ));
    let topic = format!("{source}.public.latency");
    eventually_sync(Duration::from_secs(60), || {
        let seen = if kafka.partitions(&topic) == 0 { 0 } else { kafka.read(&topic).len() };
        if seen > 0 { Ok(()) } else { Err(format!("no row\n{}", walbridge.log())) }
    });
    let seen = watched(kafka, postgres, &topic, seconds);
    drop(walbridge);
    postgres.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    seen
}

async fn debezium(kafka: &Kafka, postgres: &Postgres, seconds: u32) -> Vec<f64> {
    let topic = "latency_debezium.public.latency";
    kafka.create_topic(topic, 1, &[]).await;
    let settings = [TUNED.as_slice(), [("publication.name", "latency")].as_slice()].concat();
    postgres.psql("SELECT pg_create_logical_replication_slot('latency_debezium', 'pgoutput')");
    let debezium = Debezium::in_service(postgres, kafka, "latency_debezium", &settings);
    active(&postgres.client().await, "latency_debezium").await;
    let seen = watched(kafka, postgres, topic, seconds);
    drop(debezium);
    seen
}

/// The load, and when its rows came into the topic.
fn watched(kafka: &Kafka, postgres: &Postgres, topic: &str, seconds: u32) -> Vec<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let reader = watch(kafka, topic, Arc::clone(&stop));
    let since = load(postgres, seconds);
    stop.store(true, Ordering::Relaxed);
    let seen = reader.join().expect("the reader ends");
    seen.into_iter().filter(|&(made, _)| made >= since).map(|(made, seen)| millis(made, seen)).collect()
}

/// Notes when each row's time came.
fn watch(kafka: &Kafka, topic: &str, stop: Arc<AtomicBool>) -> thread::JoinHandle<Seen> {
    let mut config = kafka.client_config();
    config.set("group.id", "bench").set("isolation.level", "read_committed").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
    consumer.assign(&assigned).expect("assigned");
    thread::spawn(move || {
        let mut seen = Seen::new();
        while !stop.load(Ordering::Relaxed) {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) {
                let at = now();
                marks(message.payload().unwrap_or_default(), b"T=", b';', |mark| seen.push((mark, at)));
            }
        }
        seen
    })
}
