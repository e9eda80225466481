//! Brokers that die, freeze, or are too few.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::kills::Counter;
use super::{PATIENCE, Stage};
use crate::support::process::{self, Signal};
use crate::support::proxy::Direction;
use crate::support::{Kafka, eventually};

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

/// Scenario 102 with brokers that hang instead of dying: connections stay open and nothing answers. It was to be noticed all the same, nothing to be
/// confirmed meanwhile, and everything to be there once they answer again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_is_noticed_and_nothing_is_confirmed_until_it_answers() {
    let kafka = Kafka::start();
    let mut stage = Stage::set(&kafka, "topics = { partitions = 2 }");
    stage.caught_up().await;
    kafka.freeze(0);
    stage.postgres.psql("UPDATE t SET n = n + 1");
    let end = stage.postgres.end_of_wal();
    stage.await_code("paused", "kafka.unavailable").await;
    let confirmed =
        stage.postgres.psql("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'kafka_test'");
    let confirmed: walbridge::event::Lsn = confirmed.trim().parse().expect("an LSN");
    assert!(confirmed < end, "{confirmed} of {end} is confirmed");
    kafka.thaw(0);
    stage.postgres.psql("UPDATE t SET n = n + 1");
    stage.caught_up().await;
    stage.proven(&kafka);
}

/// Scenario 110. While walbridge stood still the cluster forgot its producer (`transactional.id.expiration.ms`): the next write is refused for
/// good, whatever that producer does. It was to be replaced by another, which goes on from what is durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_the_cluster_has_forgotten_is_replaced() {
    let kafka = Kafka::start_with(&[
        ("transactional.id.expiration.ms", "6000"),
        ("transaction.remove.expired.transaction.cleanup.interval.ms", "200"),
        ("producer.id.expiration.ms", "6000"),
        ("producer.id.expiration.check.interval.ms", "200"),
    ]);
    for delivery in ["exactly_once", "at_least_once"] {
        let mut stage = Stage::set(&kafka, &format!("delivery = \"{delivery}\"\ntopics = {{ partitions = 2 }}"));
        stage.caught_up().await;
        let pid = stage.walbridge.pid().expect("it runs");
        process::signal(pid, Signal::STOP);
        // Time has to pass: more than the cluster remembers.
        tokio::time::sleep(Duration::from_secs(8)).await;
        process::signal(pid, Signal::CONT);
        stage.postgres.psql("UPDATE t SET n = n + 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (2, 0, 'again')");
        stage.caught_up().await;
        let forgotten = stage.walbridge.log().contains("paused; trying again");
        assert!(forgotten, "{delivery}: the cluster was to refuse the old one\n{}", stage.walbridge.log());
        if delivery == "exactly_once" {
            stage.proven(&kafka);
        } else {
            // Here numbers are passed over at each start.
            let records = kafka.read_settled(&stage.topic("t"));
            let rows = stage.postgres.psql("SELECT id, n FROM t ORDER BY id");
            let last = records.iter().filter_map(|record| {
                let after = record.json()["after"].clone();
                Some((after["id"].as_i64()?, after["n"].as_i64()?))
            });
            let last: std::collections::BTreeMap<_, _> = last.collect();
            assert_eq!(last, rows.lines().map(super::pair).collect());
        }
    }
}

/// Whether a request ends a transaction (`EndTxn`: the kind stands behind the length).
fn ends_transaction(request: &[u8]) -> bool {
    request.get(4..6) == Some(&[0, 26])
}

/// Scenario 112. The end of a transaction is on its way for longer than anybody waits, and arrives when the next transactions are being written:
/// of Kafka's protocol it is known that such a one can end a transaction that is not its own. Then the coordinator is slow. No transaction was
/// to be torn, none to come twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_transaction_that_arrives_late_ends_no_other() {
    let (kafka, proxy) = Kafka::proxied();
    let mut stage = Stage::prepare(&kafka, "topics = { partitions = 3 }");
    let text = std::fs::read_to_string(stage.walbridge.config_path()).expect("the configuration");
    stage.walbridge.configure(&text.replace(&kafka.brokers(), &format!("127.0.0.1:{}", proxy.port)));
    stage.walbridge.start_again();
    stage.caught_up().await;
    let counter = Counter::start(&stage.postgres).await;
    let (held, arrived) = (AtomicBool::new(false), Arc::new((Mutex::new(false), Condvar::new())));
    let late = Arc::clone(&arrived);
    proxy.before_requests(Some(Arc::new(move |request| {
        if ends_transaction(request) && !held.swap(true, Ordering::SeqCst) {
            let released = late.0.lock().expect("not poisoned");
            let wait = late.1.wait_timeout_while(released, PATIENCE, |released| !*released);
            drop(wait.expect("not poisoned"));
        }
    })));
    stage.await_code("paused", "kafka.unavailable").await;
    let source = stage.source.clone();
    let events = |status: &serde_json::Value| status["sources"][&source]["events"].as_u64().unwrap_or(0);
    for round in 0..3 {
        let before = events(&stage.walbridge.status().await);
        stage.walbridge.wait_for(PATIENCE, |status| events(status) > before + 100).await;
        if round == 0 {
            *arrived.0.lock().expect("not poisoned") = true;
            arrived.1.notify_all();
        } else {
            proxy.delay(Direction::Down, Duration::from_millis(150));
        }
    }
    proxy.heal();
    proxy.before_requests(None);
    counter.stop().await;
    stage.caught_up().await;
    stage.proven(&kafka);
    eventually(PATIENCE, || async { if proxy.held() == 0 { Ok(()) } else { Err("something is still held") } }).await;
}
