//! The formats of Kafka's records, beside those who made them.

mod debezium;
mod types;
