//! The same backlog into the embedded log and into Kafka, in turn, with both ways of delivery; and how long a commit takes to a
//! `read_committed` consumer at 1,000 single-row commits a second.
//!
//! One broker on the same machine, which takes its share of the CPU: the client's CPU is told apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::backlog::{Backlog, Workload, server};
use crate::drain::{Drained, Drainer, drop_slot, line, walbridge_into};
use crate::latency::{Seen, load, marks, millis, now, report};
use crate::meter::{median, setting};
use crate::support::{Kafka, Postgres, Walbridge, eventually_sync};

/// Prints its figures, one a line.
pub(crate) fn run() {
    let kafka = Kafka::start_with(&[("log.segment.bytes", "1073741824"), ("num.network.threads", "2")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let lines = runtime.block_on(drains(&kafka));
    for delivery in ["exactly_once", "at_least_once"] {
        report(&format!("kafka {delivery}"), latency(&kafka, delivery));
    }
    lines.iter().for_each(|line| println!("{line}"));
}

async fn drains(kafka: &Kafka) -> Vec<String> {
    let (rows, rounds) = (setting("BENCH_ROWS", 1_000_000), setting("BENCH_ROUNDS", 3));
    let postgres = server();
    let client = postgres.client().await;
    let backlog = Backlog::make(&postgres, Workload::Batches, rows);
    let mut drains = Vec::new();
    for round in 1..=rounds {
        let mut turns = [Drainer::WalbridgeTcp, Drainer::WalbridgeKafka, Drainer::WalbridgeKafkaLeast];
        if round % 2 == 0 {
            turns.reverse();
        }
        for drainer in turns {
            let slot = format!("kafka_{}", drains.len());
            backlog.slot(&postgres, &slot);
            let drained = walbridge_into(&postgres, &client, &backlog, drainer, &slot, &log(kafka, drainer)).await.0;
            drop_slot(&client, &slot).await;
            println!("{}", line(backlog.workload, round, &drained));
            drains.push(drained);
        }
    }
    let of = |drainer: Drainer, figure: &dyn Fn(&Drained) -> f64| {
        median(drains.iter().filter(|drained| drained.drainer == drainer).map(figure))
    };
    let embedded = of(Drainer::WalbridgeTcp, &Drained::rows_per_second);
    let ways = [("exactly_once", Drainer::WalbridgeKafka), ("at_least_once", Drainer::WalbridgeKafkaLeast)];
    let told = ways.iter().flat_map(|(name, drainer)| {
        let rate = of(*drainer, &Drained::rows_per_second);
        let cpu = of(*drainer, &|drained| drained.per_million(drained.client.cpu_seconds));
        [
            format!("kafka {name} rows per second {rate:.0}"),
            format!("kafka {name} of embedded {:.3}", rate / embedded),
            format!("kafka {name} cpu seconds per million {cpu:.2}"),
        ]
    });
    told.collect()
}

fn log(kafka: &Kafka, drainer: Drainer) -> String {
    let delivery = match drainer {
        Drainer::WalbridgeKafka => "exactly_once",
        Drainer::WalbridgeKafkaLeast => "at_least_once",
        _ => return "kind = \"embedded\"".to_owned(),
    };
    format!("kind = \"kafka\"\nbrokers = \"{}\"\ndelivery = \"{delivery}\"", kafka.brokers())
}

fn latency(kafka: &Kafka, delivery: &str) -> Vec<f64> {
    let postgres = server();
    postgres.psql(
        "CREATE TABLE latency (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k int NOT NULL, v text NOT NULL); \
         INSERT INTO latency (k, v) VALUES (0, '')",
    );
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
        if seen == 1 { Ok(()) } else { Err(format!("{seen} rows\n{}", walbridge.log())) }
    });
    let stop = Arc::new(AtomicBool::new(false));
    let reader = watch(kafka, &topic, Arc::clone(&stop));
    let since = load(&postgres, setting("BENCH_LATENCY_SECONDS", 15));
    stop.store(true, Ordering::Relaxed);
    let seen = reader.join().expect("the reader ends");
    drop_source(walbridge, &postgres);
    seen.into_iter().filter(|&(made, _)| made >= since).map(|(made, seen)| millis(made, seen)).collect()
}

fn drop_source(walbridge: Walbridge, postgres: &Postgres) {
    drop(walbridge);
    postgres.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
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
