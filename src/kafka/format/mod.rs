//! What a change looks like in Kafka: `event` in, records out, and back.
//!
//! Pure: no Kafka client, no I/O, no clock. An encoder is made once for each version of a table and writes rows straight from
//! PostgreSQL's bytes, text or binary, into [`Records`], one reused buffer. What a format cannot carry exactly goes into one
//! header ([`EXACT_HEADER`]) for just the columns concerned, so that decoding gives the change that was encoded, to the byte of
//! each value's text.

mod any;
pub mod avro;
mod cloudevents;
pub mod debezium;
mod envelope;
mod exact;
pub mod flat;
pub(crate) mod kind;
pub(crate) mod moment;
mod name;
pub(crate) mod number;
pub mod protobuf;
mod quote;
mod records;
mod schemas;
mod trace;
mod typed;
mod unit;

pub use any::{Decoder, Encoder, Format};
pub use exact::HEADER as EXACT_HEADER;
pub(crate) use number::push_unsigned;
pub use records::{Header, Record, Records};
pub use schemas::{Language, Schema, SchemaIds, Schemas};
pub use unit::Unit;

use crate::decode::{DecodeError, base64};
use crate::event::Change;

/// What all records of a source have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What records look like.
    pub format: Format,
    /// The source's name in the records: the topics' prefix.
    pub name: String,
    /// The database.
    pub database: String,
    /// A delete is followed by a record without a value, so that compaction forgets the key.
    pub tombstones: bool,
    /// Records tell of the transactions: each its place in its own, where the format has room for it, and those of a topic how each
    /// begins and ends.
    pub transactions: bool,
    /// Every record has the headers of CloudEvents.
    pub cloudevents: bool,
}

/// What a record turns out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A change.
    Change(Change),
    /// A tombstone, or the delete in front of a record that tells the whole: a row that got another key.
    Companion,
}

/// A record that is not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The value is not what the format has.
    #[error("a record is not a change in this format ({0}): was it written by something else than walbridge?")]
    Record(&'static str),
    /// The value is not JSON.
    #[error("a record's value is not JSON: was it written by something else than walbridge?")]
    Json(#[from] serde_json::Error),
    /// A row is not one of the relation.
    #[error(transparent)]
    Row(#[from] DecodeError),
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
