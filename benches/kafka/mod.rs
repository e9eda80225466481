//! Kafka: one backlog into the embedded log and into Kafka, with both ways of delivery, beside Debezium and beside a bare producer of
//! the same records; then reading it back; then how long a commit takes to a `read_committed` consumer.
//!
//! One broker on the same machine, in a Java as it is in service; it takes its share of the CPU, and is told apart.

mod debezium;
mod drains;
mod latency;
pub(crate) mod producer;
mod reading;

use crate::support::Kafka;

/// Prints its figures, one a line.
pub(crate) fn run() {
    let kafka = Kafka::in_service(&[
        ("log.segment.bytes", "1073741824"),
        ("num.network.threads", "3"),
        ("num.io.threads", "8"),
    ]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let lines = runtime.block_on(drains::run(&kafka));
    lines.iter().for_each(|line| println!("{line}"));
    runtime.block_on(latency::run(&kafka));
}
