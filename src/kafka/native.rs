//! The one thing of librdkafka's that its Rust crate has no form of: to wait, with nothing lingering meanwhile, until all is written.
//!
//! The crate's own `flush` asks without waiting, again and again: between two questions batches gather as if nobody waited, and each question
//! wakes every thread of the client.

#![expect(unsafe_code, reason = "a call of librdkafka's that the crate leaves out")]

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings::rd_kafka_flush;
use rdkafka::client::Client;
use rdkafka::types::RDKafkaRespErr;

/// Whether everything that the producer has taken is written, or given up, within this time. While it waits, nothing waits for a batch to
/// fill. What was given up is told by delivery reports: another thread must be polling for them.
pub(super) fn flush<C: ClientContext>(producer: &Client<C>, patience: Duration) -> bool {
    let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle lives as long as `producer`, and librdkafka lets every thread call this. On a client that is no producer it
    // returns an error. It touches no memory of ours.
    let code = unsafe { rd_kafka_flush(producer.native_ptr(), millis) };
    code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}
