//! SIGKILL at random moments, and two that write the same log.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Stage;
use super::transactions::prove_transactions;
use crate::support::process::{self, Signal};
use crate::support::{Kafka, Postgres, Walbridge};

pub(super) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Counts rows up, several in a transaction, until told to stop; now and then a transaction of many rows.
pub(super) struct Counter(std::sync::Arc<std::sync::atomic::AtomicBool>, tokio::task::JoinHandle<u64>);

impl Counter {
    pub(super) async fn start(postgres: &Postgres) -> Counter {
        let client = postgres.client().await;
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = stop.clone();
        let task = tokio::spawn(async move {
            let mut done = 0;
            while !told.load(std::sync::atomic::Ordering::Relaxed) {
                let id = done % 10 + 1;
                let many = if done % 50 == 49 { 1000 } else { 1 };
                let sql = format!(
                    "BEGIN; UPDATE t SET n = n + 1 WHERE id IN ({id}, {}); DELETE FROM t WHERE id > 1000;
                     INSERT INTO t SELECT 1000 + i, 0, repeat('x', 200) FROM generate_series(1, {many}) i; COMMIT",
                    (id + 3) % 10 + 1
                );
                client.batch_execute(&sql).await.expect("the writer writes");
                // A pace at which there is something to write all the time, and not much left at the end.
                tokio::time::sleep(Duration::from_millis(5)).await;
                done += 1;
            }
            done
        });
        Counter(stop, task)
    }

    /// How many transactions there were.
    pub(super) async fn stop(self) -> u64 {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        self.1.await.expect("the writer ended well")
    }
}

/// Scenarios 103 and 114, walbridge's side. Whatever moment it is killed at, every change is there once and in order.
/// `KILLS=200` makes a long run of it; `SEED=n` repeats the schedule.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_read_once_and_in_order_after_sigkills_at_random_moments() {
    let (kills, seed) = (setting("KILLS", 6), setting("SEED", u64::from(std::process::id())));
    println!("KILLS={kills} SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let kafka = Kafka::shared();
    let mut stage = Stage::set(&kafka, "transaction_metadata = true\ntopics = { partitions = 4 }");
    // On a loaded machine the kills could otherwise all come before the slot is there.
    stage.caught_up().await;
    let counter = Counter::start(&stage.postgres).await;
    for kill in 1..=kills {
        // Not a wait for something: the moment is the test.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
        let ended = stage.walbridge.ended();
        assert!(ended.is_none(), "before kill {kill} it ended by itself, {ended:?}:\n{}", stage.walbridge.log());
        stage.walbridge.sigkill();
        stage.walbridge.start_again();
    }
    let written = counter.stop().await;
    stage.caught_up().await;
    let records = stage.proven(&kafka);
    println!("{written} transactions, {} records", records.len());
    assert_eq!(prove_transactions(&records, &stage.source) as u64, written);
    assert!(written > 0);
    assert_eq!(stage.walbridge.sigterm(), Some(0), "{}", stage.walbridge.log());
}

/// The same where records are delivered at least once: every change is there, those that are there twice under numbers that say so,
/// and a reader that heeds the numbers ends with the same rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_read_at_least_once_after_sigkills_where_that_was_asked_for() {
    let seed = setting("SEED", u64::from(std::process::id()));
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let kafka = Kafka::shared();
    let sink = "[sinks.history]\nkind = \"file\"\npath = \"history.jsonl\"\nfrom = \"public.*\"";
    let mut stage = Stage::set(&kafka, &format!("delivery = \"at_least_once\"\ntopics = {{ partitions = 2 }}\n{sink}"));
    let counter = Counter::start(&stage.postgres).await;
    for _ in 0..setting("KILLS", 4) {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
        stage.walbridge.sigkill();
        stage.walbridge.start_again();
    }
    counter.stop().await;
    stage.caught_up().await;
    let rows = stage.postgres.psql("SELECT id, n FROM t WHERE id <= 10 ORDER BY id");
    let topic = stage.topic("t");
    let mut last = std::collections::BTreeMap::new();
    for record in kafka.read_settled(&topic).iter().filter(|record| record.value.is_some()) {
        let after = &record.json()["after"];
        last.insert(after["id"].as_i64(), after["n"].as_i64());
    }
    let found: Vec<String> =
        (1..=10).map(|id| format!("{id}|{}", last.get(&Some(id)).copied().flatten().unwrap_or(-1))).collect();
    assert_eq!(found, rows.lines().collect::<Vec<_>>(), "the last record of each key is its row");
    // The sink's reader takes every event once, and in order: each key counts up by ones.
    let history = std::fs::read_to_string(stage.walbridge.directory().join("history.jsonl")).expect("the sink's file");
    let mut counts = std::collections::BTreeMap::new();
    for line in history.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let (id, n) = (event["after"]["id"].as_i64(), event["after"]["n"].as_i64());
        if let (Some(id), Some(n)) = (id.filter(|&id| id <= 10), n) {
            let before = counts.insert(id, n);
            assert!(before.is_none_or(|before| before + 1 == n || event["op"] == "read"), "key {id}: {before:?}, {n}");
        }
    }
    let counted: Vec<String> = counts.into_iter().map(|(id, n)| format!("{id}|{n}")).collect();
    assert_eq!(counted, rows.lines().collect::<Vec<_>>());
}

/// A transaction that is larger than what is sent at once, cut off by SIGKILL again and again while it is being sent: what was
/// sent of it is not seen twice, that it begins is told once, and its end counts all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_is_there_once_however_often_its_sending_is_cut_off() {
    let seed = setting("SEED", u64::from(std::process::id()));
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let kafka = Kafka::shared();
    let mut stage = Stage::set(&kafka, "transaction_metadata = true\ntopics = { partitions = 2 }");
    stage.caught_up().await;
    stage.postgres.psql(
        "INSERT INTO t SELECT 1000 + i, 0, repeat('x', 600) FROM generate_series(1, 40000) i; UPDATE t SET n = n + 1",
    );
    for _ in 0..setting("KILLS", 3) {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1200))).await;
        stage.walbridge.sigkill();
        stage.walbridge.start_again();
    }
    stage.caught_up().await;
    let records = stage.proven(&kafka);
    assert_eq!(prove_transactions(&records, &stage.source), 2);
}

/// Scenario 111. A walbridge that was frozen wakes up, and another has gone on with its log meanwhile: it writes nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_is_fenced_and_says_so() {
    let kafka = Kafka::shared();
    let mut stage = Stage::set(&kafka, "");
    stage.caught_up().await;
    let zombie = stage.walbridge.pid().expect("it runs");
    process::signal(zombie, Signal::STOP);
    stage.postgres.psql("UPDATE t SET n = n + 1");
    // The server lets go of the frozen one's slot.
    stage.postgres.psql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active");
    let config = std::fs::read_to_string(stage.walbridge.config_path()).unwrap();
    let mut second = Walbridge::start(config.split("[admin]").next().expect("all before it"));
    crate::pipeline::caught_up(&mut second, &stage.postgres).await;
    stage.postgres.psql("UPDATE t SET n = n + 1");
    crate::pipeline::caught_up(&mut second, &stage.postgres).await;
    assert_eq!(second.sigterm(), Some(0), "{}", second.log());
    // The slot is free now: only the fence keeps the first from it.
    process::signal(zombie, Signal::CONT);
    stage.postgres.psql("UPDATE t SET n = n + 1");
    let status = stage.await_code("halted", "kafka.fenced").await;
    assert!(status["message"].as_str().is_some_and(|message| message.contains("Stop one of the two")), "{status}");
    assert_eq!(stage.walbridge.sigterm(), Some(3));
    stage.walbridge.start_again();
    stage.caught_up().await;
    stage.proven(&kafka);
}

/// A second walbridge with the same configuration is a standby: it waits for the slot, does not fence the first, and takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_waits_and_takes_over_without_disturbing_the_first() {
    let kafka = Kafka::shared();
    let mut stage = Stage::set(&kafka, "");
    stage.caught_up().await;
    let config = std::fs::read_to_string(stage.walbridge.config_path()).unwrap();
    let mut second = Walbridge::start(config.split("[admin]").next().expect("all before it"));
    let source = stage.source.clone();
    second.wait_for(super::PATIENCE, |status| status["sources"][&source]["code"] == "source.slot_active").await;
    stage.postgres.psql("UPDATE t SET n = n + 1");
    stage.caught_up().await;
    stage.walbridge.sigkill();
    stage.postgres.psql("UPDATE t SET n = n + 1");
    second.wait_for(super::PATIENCE, |status| status["sources"][&source]["state"] == "streaming").await;
    crate::pipeline::caught_up(&mut second, &stage.postgres).await;
    stage.proven(&kafka);
}
