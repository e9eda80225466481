//! Everything that speaks Kafka, for the log and for the sink.

pub mod format;
