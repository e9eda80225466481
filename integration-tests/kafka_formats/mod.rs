//! The formats of Kafka's records, beside those who made them.

mod avro;
mod debezium;
mod protobuf;
mod select;
mod types;
