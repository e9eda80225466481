//! Brokers that die, freeze, or are too few.

use std::time::Duration;

use super::Stage;
use super::kills::Counter;
use crate::support::Kafka;

/// Scenarios 102, 103 and 104. Of three brokers the leaders are killed one after the other under load; then too few are left, and then
/// none: nothing is confirmed that is not written, and everything is there once when they are back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_brokers_die_under_load() {
    let mut kafka = Kafka::three();
    let mut stage = Stage::set(&kafka, "topics = { partitions = 3, replication = 3 }");
    stage.caught_up().await;
    let counter = Counter::start(&stage.postgres).await;
    let topic = stage.topic("t");
    for partition in 0..2 {
        let leader = kafka.leader(&topic, partition).expect("a leader");
        kafka.kill9(leader);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        kafka.start_again(leader);
        crate::support::eventually_sync(super::PATIENCE, || kafka.leader(&topic, partition).ok_or("no leader"));
    }
    kafka.kill9(0);
    kafka.kill9(1);
    let paused = stage.await_code("paused", "kafka.unavailable").await;
    let confirmed = |stage: &Stage| {
        stage.postgres.psql("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'kafka_test'")
    };
    let before = confirmed(&stage);
    counter.stop().await;
    kafka.kill9(2);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(confirmed(&stage), before, "nothing is confirmed while nothing is written: {paused}");
    kafka.start_all_again();
    stage.caught_up().await;
    stage.proven(&kafka);
}
