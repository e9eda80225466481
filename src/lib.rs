//! walbridge: PostgreSQL's write-ahead log into one durable log, and from it caches and search indexes.
//!
//! The folders are the stages, and their order is the data's path: `capture` → `decode` → `event` → `log` → `project` →
//! `sink`. ARCHITECTURE.md has the map, the invariants and the reasons.

pub mod admin;
pub mod bridge;
pub mod capture;
pub mod cli;
pub mod config;
pub mod dead_letter;
pub mod decode;
pub mod deliver;
pub mod event;
pub mod http;
pub mod ingest;
pub mod kafka;
pub mod log;
pub mod postgres;
pub mod project;
pub mod retry;
pub mod sink;
pub mod status;
pub mod verify;
