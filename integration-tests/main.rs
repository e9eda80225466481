//! Every integration test, in one binary: real PostgreSQL, real Redis, and the `walbridge` binary itself.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says that something is wrong by panicking, in its helper functions too"
)]

mod admin;
mod capture;
mod checker;
mod cli;
mod config_errors;
mod config_examples;
mod config_secrets;
mod contract;
mod decode_golden;
mod decode_values;
mod doctor;
mod event_store;
mod history;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_formats;
mod log_recovery;
mod log_retention;
#[path = "../demo/network/mod.rs"]
#[allow(dead_code, reason = "the demo uses the rest")]
mod network;
mod pipeline;
mod pipeline_kill;
mod pipeline_life;
#[cfg(feature = "search")]
mod rebuild;
mod replay;
mod schema;
mod servers;
mod setup;
mod shaping;
mod shop;
mod sinks;
mod sinks_exec;
mod sinks_file;
mod sinks_opensearch;
mod sinks_postgres;
mod sinks_postgres_rebuild;
mod sinks_redis_rebuild;
mod sinks_rows;
mod sinks_store;
#[cfg(feature = "search")]
mod sinks_tantivy;
mod sinks_webhook;
mod support;
mod support_servers;
mod tidy;
mod transactions;
mod values;
mod verify;
