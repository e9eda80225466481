//! The drains, in turn, from the same slot of the same server. Topics are made beforehand, with one partition.

use std::time::Instant;

use crate::backlog::{Backlog, Workload, server};
use crate::drain::{Drainer, drop_slot, walbridge_into};
use crate::meter::{cpu_seconds, median, setting};
use crate::support::{Kafka, Postgres};

use super::{debezium, producer, reading};

/// Who takes the backlog, and to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Embedded,
    ExactlyOnce,
    AtLeastOnce,
    /// No database: the records that walbridge wrote, again.
    Producer,
    Debezium,
}

impl Way {
    const ALL: [Way; 5] = [Way::Embedded, Way::ExactlyOnce, Way::AtLeastOnce, Way::Producer, Way::Debezium];

    const fn name(self) -> &'static str {
        match self {
            Way::Embedded => "walbridge, embedded log",
            Way::ExactlyOnce => "walbridge, exactly once",
            Way::AtLeastOnce => "walbridge, at least once",
            Way::Producer => "librdkafka alone",
            Way::Debezium => "Debezium",
        }
    }
}

/// What one took, CPU seconds per million rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub(super) rows_per_second: f64,
    pub(super) cpu: f64,
    pub(super) walsender: f64,
    pub(super) broker: f64,
    pub(super) peak_mib: f64,
}

/// What all turns share.
struct Bench<'a> {
    kafka: &'a Kafka,
    postgres: Postgres,
    client: tokio_postgres::Client,
    backlog: Backlog,
    turns: u32,
    /// A topic that walbridge has written.
    written: Option<String>,
}

/// The medians and their ratios, one a line; the turns are printed as they come.
pub(super) async fn run(kafka: &Kafka) -> Vec<String> {
    let (rows, rounds) = (setting("BENCH_ROWS", 1_000_000), setting("BENCH_ROUNDS", 3));
    let postgres = server();
    let client = postgres.client().await;
    let backlog = Backlog::make(&postgres, Workload::Batches, rows);
    let mut bench = Bench { kafka, postgres, client, backlog, turns: 0, written: None };
    let mut all = Vec::new();
    for round in 1..=rounds {
        let mut turns: Vec<Way> = Way::ALL.into_iter().filter(|way| is_wanted(*way)).collect();
        if round % 2 == 0 {
            turns.reverse();
        }
        for way in turns {
            let taken = bench.turn(way).await;
            println!("kafka round {round}: {}", line(way, &taken));
            all.push((way, taken));
        }
    }
    let mut lines = summary(&all);
    if let Some(source) = bench.written.as_ref().and_then(|topic| topic.split('.').next()) {
        lines.push(format!("kafka read back, null sink: rows/s {:.0}", reading::run(kafka, source, rows).await));
    }
    lines
}

/// `BENCH_WAYS` chooses by the first letters: `walbridge, exactly;Debezium`.
fn is_wanted(way: Way) -> bool {
    std::env::var("BENCH_WAYS").map_or(true, |wanted| wanted.split(';').any(|start| way.name().starts_with(start)))
}

impl Bench<'_> {
    async fn turn(&mut self, way: Way) -> Taken {
        self.turns += 1;
        let name = format!("kafka_{}", self.turns);
        let broker = self.kafka.pid(0).expect("the broker runs");
        let before = cpu_seconds(broker).unwrap_or_default();
        let mut taken = match way {
            Way::Embedded => self.walbridge(Drainer::WalbridgeTcp, &name, "kind = \"embedded\"").await,
            Way::ExactlyOnce => self.kafka_log(Drainer::WalbridgeKafka, &name, "exactly_once").await,
            Way::AtLeastOnce => self.kafka_log(Drainer::WalbridgeKafkaLeast, &name, "at_least_once").await,
            Way::Producer => {
                let from = self.written.as_ref().expect("walbridge comes before the bare producer");
                let to = self.topic(&name).await;
                producer::run(self.kafka, from, &to, self.backlog.rows)
            }
            Way::Debezium => {
                let topic = self.topic(&name).await;
                self.backlog.slot(&self.postgres, &name);
                let taken = debezium::run(self.kafka, &self.postgres, &self.client, &self.backlog, &name, &topic).await;
                drop_slot(&self.client, &name).await;
                taken
            }
        };
        let after = cpu_seconds(broker).unwrap_or_default();
        taken.broker = (after - before) * 1e6 / f64::from(self.backlog.rows);
        self.forget(way, &name).await;
        taken
    }

    async fn topic(&self, name: &str) -> String {
        let topic = format!("{name}.public.{}", self.backlog.workload.name());
        self.kafka.create_topic(&topic, 1, &[]).await;
        topic
    }

    async fn kafka_log(&mut self, drainer: Drainer, name: &str, delivery: &str) -> Taken {
        self.topic(name).await;
        let log = format!("kind = \"kafka\"\nbrokers = \"{}\"\ndelivery = \"{delivery}\"", self.kafka.brokers());
        self.walbridge(drainer, name, &log).await
    }

    async fn walbridge(&mut self, drainer: Drainer, name: &str, log: &str) -> Taken {
        self.backlog.slot(&self.postgres, name);
        let drained = walbridge_into(&self.postgres, &self.client, &self.backlog, drainer, name, log).await.0;
        drop_slot(&self.client, name).await;
        Taken {
            rows_per_second: drained.rows_per_second(),
            cpu: drained.per_million(drained.client.cpu_seconds),
            walsender: drained.per_million(drained.walsender.cpu_seconds),
            broker: 0.0,
            peak_mib: drained.client.peak_mib,
        }
    }

    /// What was written goes, so that disks stay empty: but the last that walbridge wrote.
    async fn forget(&mut self, way: Way, name: &str) {
        let topic = format!("{name}.public.{}", self.backlog.workload.name());
        let gone = match way {
            Way::Embedded => None,
            Way::ExactlyOnce | Way::AtLeastOnce => self.written.replace(topic),
            Way::Producer | Way::Debezium => Some(topic),
        };
        if let Some(topic) = gone {
            self.kafka.delete_topic(&topic).await;
        }
    }
}

fn line(way: Way, taken: &Taken) -> String {
    format!(
        "{:<24} {:>9.0} rows/s  cpu {:.2} s per million, walsender {:.2}, broker {:.2}  peak {:.0} MiB",
        way.name(),
        taken.rows_per_second,
        taken.cpu,
        taken.walsender,
        taken.broker,
        taken.peak_mib,
    )
}

fn summary(all: &[(Way, Taken)]) -> Vec<String> {
    let of = |way: Way, figure: fn(&Taken) -> f64| {
        let mine: Vec<f64> = all.iter().filter(|(who, _)| *who == way).map(|(_, taken)| figure(taken)).collect();
        (!mine.is_empty()).then(|| median(mine))
    };
    let mut lines = Vec::new();
    let figures: [(&str, fn(&Taken) -> f64); 5] = [
        ("rows/s", |taken| taken.rows_per_second),
        ("cpu seconds per million", |taken| taken.cpu),
        ("walsender cpu seconds per million", |taken| taken.walsender),
        ("broker cpu seconds per million", |taken| taken.broker),
        ("peak MiB", |taken| taken.peak_mib),
    ];
    for way in Way::ALL {
        for (name, figure) in figures {
            lines.extend(of(way, figure).map(|value| format!("kafka {}: {name} {value:.2}", way.name())));
        }
    }
    for way in [Way::ExactlyOnce, Way::AtLeastOnce] {
        for other in [Way::Embedded, Way::Producer, Way::Debezium] {
            for (name, figure) in [figures[0], figures[1], figures[4]] {
                if let (Some(mine), Some(theirs)) = (of(way, figure), of(other, figure)) {
                    lines.push(format!("kafka {} of {}: {name} {:.3}", way.name(), other.name(), mine / theirs));
                }
            }
        }
    }
    lines
}

/// Since when something runs, for rates.
pub(super) fn rate(rows: u32, since: Instant) -> f64 {
    f64::from(rows) / since.elapsed().as_secs_f64()
}
