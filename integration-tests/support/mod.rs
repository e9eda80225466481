//! Real servers, each with its own port and directory, started and ended by the test that needs them.
//!
//! Nothing here is shared between tests and nothing is skipped: a missing server program fails loudly and names `make setup`.
//! Every server is ended by its own process id when its handle is dropped. The demo and the benches use these modules
//! too (through `#[path]`), so they hold no test-only code; each of the three uses another part of them.
#![allow(dead_code, reason = "the tests, the demo and the benches each use a part")]

pub(crate) mod cluster;
#[cfg(feature = "kafka")]
pub(crate) mod connect;
#[cfg(feature = "kafka")]
pub(crate) mod debezium;
pub(crate) mod equal;
#[cfg(feature = "kafka")]
pub(crate) mod flink;
pub(crate) mod gate;
#[cfg(feature = "kafka")]
pub(crate) mod java;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
pub(crate) mod opensearch;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod redis;
#[cfg(feature = "kafka")]
pub(crate) mod registry;
pub(crate) mod sentinel;
pub(crate) mod store;
pub(crate) mod wait;
pub(crate) mod walbridge;

#[cfg(feature = "kafka")]
#[allow(unused_imports, reason = "the tests, the demo and the benches each use a part")]
pub(crate) use kafka::Kafka;
#[cfg(feature = "kafka")]
#[allow(unused_imports, reason = "the tests, the demo and the benches each use a part")]
pub(crate) use registry::Registry;
#[allow(unused_imports, reason = "the tests, the demo and the benches each use a part")]
pub(crate) use {
    gate::Gate,
    opensearch::OpenSearch,
    postgres::{Auth, PgOptions, Postgres, StopMode},
    proxy::{Direction, Proxy},
    receiver::Receiver,
    redis::Redis,
    wait::{eventually, eventually_sync},
    walbridge::Walbridge,
};
