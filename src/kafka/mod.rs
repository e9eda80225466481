//! Everything that speaks Kafka, for the log and for the sink.

#[cfg(feature = "kafka")]
pub mod admin;
#[cfg(feature = "kafka")]
pub mod consumer;
pub mod error;
#[cfg(feature = "kafka")]
pub mod fetch;
pub mod format;
pub mod headers;
#[cfg(feature = "kafka")]
mod native;
pub mod partition;
#[cfg(feature = "kafka")]
pub mod place;
#[cfg(feature = "kafka")]
pub mod producer;
pub mod registry;
#[cfg(feature = "kafka")]
pub mod rights;
pub mod settings;
pub mod tables;
#[cfg(feature = "kafka")]
mod token;
pub mod topic;
pub mod unit;

pub use self::error::KafkaError;
pub use self::settings::Settings;
