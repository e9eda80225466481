//! The formats of Kafka's records, beside those who made them.

mod avro;
mod debezium;
mod types;
