//! Whichever format was chosen: one encoder and one decoder to those who do not care.

use std::sync::Arc;

use super::{Decoded, FormatError, Records, Settings, Unit, debezium, flat};
use crate::decode::DecodeError;
use crate::event::{Change, Op, Relation};

/// A format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Debezium's envelope in JSON without schemas.
    #[default]
    Debezium,
    /// The row in JSON, and beside its columns what happened.
    Json,
}

/// Writes changes of one version of a table.
#[derive(Debug)]
#[expect(missing_docs, reason = "each variant is its format")]
pub enum Encoder {
    Debezium(debezium::Encoder),
    Flat(flat::Encoder),
}

/// Reads changes of one version of a table, each in the format that it is in: a log's may have been chosen anew.
#[derive(Debug)]
pub struct Decoder {
    debezium: debezium::Decoder,
    flat: flat::Decoder,
}

/// The message in a record's value, in whichever format.
///
/// # Errors
/// It is none.
pub fn decode_message(value: &[u8]) -> Result<Change, FormatError> {
    if flat::is_json(value) { flat::decode_message_json(value) } else { debezium::decode_message(value) }
}

impl Encoder {
    /// An encoder for this version of the table.
    #[must_use]
    pub fn new(relation: &Arc<Relation>, settings: &Settings) -> Self {
        match settings.format {
            Format::Debezium => Encoder::Debezium(debezium::Encoder::new(relation, settings)),
            Format::Json => Encoder::Flat(flat::Encoder::json(relation, settings)),
        }
    }

    /// The version of the table.
    #[inline]
    #[must_use]
    pub fn relation(&self) -> &Arc<Relation> {
        match self {
            Encoder::Debezium(encoder) => encoder.relation(),
            Encoder::Flat(encoder) => encoder.relation(),
        }
    }

    /// Adds the records of a change. `body` as in [`crate::log::Entry::Change`].
    ///
    /// # Errors
    /// The body is not one of this operation, or its rows are not of this relation.
    #[inline]
    pub fn change(
        &self,
        unit: &mut Unit,
        ordinal: u64,
        op: Op,
        body: &[u8],
        out: &mut Records,
    ) -> Result<(), DecodeError> {
        match self {
            Encoder::Debezium(encoder) => encoder.change(unit, ordinal, op, body, out),
            Encoder::Flat(encoder) => encoder.change(unit, ordinal, op, body, out),
        }
    }
}

impl Decoder {
    /// A decoder for this version of the table.
    #[must_use]
    pub fn new(relation: &Arc<Relation>) -> Self {
        Decoder { debezium: debezium::Decoder::new(relation), flat: flat::Decoder::json(relation) }
    }

    /// Reads a record. `header` looks one up by its name.
    ///
    /// # Errors
    /// It is not a record that the encoder for this version of the table made.
    pub fn decode<'h>(
        &self,
        value: Option<&[u8]>,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Result<Decoded, FormatError> {
        match value {
            None => Ok(Decoded::Companion),
            Some(value) if flat::is_json(value) => self.flat.decode(Some(value), header),
            Some(value) => self.debezium.decode(Some(value), header),
        }
    }
}
