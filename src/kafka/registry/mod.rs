//! A schema registry (Confluent's, or another that speaks its REST API): it numbers schemas, and says which may follow which.
//!
//! Two subjects for each topic, `{topic}-key` and `{topic}-value` (`TopicNameStrategy`). Asked when a version of a table is first
//! written, and never for a record: the numbers are kept.

#[cfg(feature = "kafka")]
mod client;
#[cfg(feature = "kafka")]
mod http;
mod settings;

#[cfg(feature = "kafka")]
pub use self::client::Registry;
pub use self::settings::Settings;
