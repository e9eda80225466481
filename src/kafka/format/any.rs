//! Whichever format was chosen: one encoder and one decoder to those who do not care.

use std::sync::Arc;

use super::envelope::NEW_KEY_HEADER;
use super::schemas::{Language, Schemas};
use super::unit::MESSAGES;
use super::{Decoded, FormatError, Records, Settings, Unit, avro, debezium, flat, protobuf};
use crate::decode::DecodeError;
use crate::event::{Change, Op, Relation};

/// A format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Debezium's envelope in JSON without schemas.
    #[default]
    Debezium,
    /// The same with decimals in digits, as the connector's `decimal.handling.mode = string` has them.
    DebeziumPlain,
    /// The row in JSON, and beside its columns what happened.
    Json,
    /// Debezium's envelope in Avro, its schemas in a registry.
    Avro,
    /// Debezium's envelope in Protobuf, its schemas in a registry.
    Protobuf,
}

/// Writes changes of one version of a table.
#[derive(Debug)]
#[expect(missing_docs, reason = "each variant is its format")]
pub enum Encoder {
    Debezium(debezium::Encoder),
    Flat(flat::Encoder),
    Avro(avro::Encoder),
    Protobuf(protobuf::Encoder),
}

/// Reads changes of one version of a table.
#[derive(Debug)]
#[expect(missing_docs, reason = "each variant is its format")]
pub enum Decoder {
    Debezium(debezium::Decoder),
    Flat(flat::Decoder),
    Avro(avro::Decoder),
    Protobuf(protobuf::Decoder),
}

impl Format {
    /// What its schemas in a registry are written in, if it has such.
    #[must_use]
    pub const fn language(self) -> Option<Language> {
        match self {
            Format::Avro => Some(Language::Avro),
            Format::Protobuf => Some(Language::Protobuf),
            Format::Debezium | Format::DebeziumPlain | Format::Json => None,
        }
    }

    /// Its name: the word for it in the configuration, and what that is told beside it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Format::Debezium => "debezium",
            Format::DebeziumPlain => "debezium, decimals in digits",
            Format::Json => "json",
            Format::Avro => "avro",
            Format::Protobuf => "protobuf",
        }
    }

    /// The media type of values.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Format::Debezium | Format::DebeziumPlain | Format::Json => "application/json",
            Format::Avro => "application/avro",
            Format::Protobuf => "application/protobuf",
        }
    }

    /// Whether records are of schemas that a registry has.
    #[must_use]
    pub const fn has_schemas(self) -> bool {
        self.language().is_some()
    }

    /// The schemas of this version of a table, whose records are in this topic.
    #[must_use]
    pub fn schemas(self, relation: &Relation, topic: &str) -> Option<Schemas> {
        match self {
            Format::Debezium | Format::DebeziumPlain | Format::Json => None,
            Format::Avro => Some(avro::of_table(relation, topic)),
            Format::Protobuf => Some(protobuf::of_table(relation, topic)),
        }
    }

    /// The schemas of logical messages.
    #[must_use]
    pub fn message_schemas(self) -> Option<Schemas> {
        match self {
            Format::Debezium | Format::DebeziumPlain | Format::Json => None,
            Format::Avro => Some(avro::of_messages()),
            Format::Protobuf => Some(protobuf::of_messages()),
        }
    }

    /// An encoder for this version of a table.
    #[must_use]
    pub fn encoder(self, relation: &Arc<Relation>, settings: &Settings) -> Encoder {
        match self {
            Format::Debezium | Format::DebeziumPlain => Encoder::Debezium(debezium::encoder(relation, settings)),
            Format::Json => Encoder::Flat(flat::Encoder::json(relation, settings)),
            Format::Avro => Encoder::Avro(avro::encoder(relation, settings)),
            Format::Protobuf => Encoder::Protobuf(protobuf::encoder(relation, settings)),
        }
    }

    /// A decoder for this version of a table.
    #[must_use]
    pub fn decoder(self, relation: &Arc<Relation>) -> Decoder {
        match self {
            Format::Debezium | Format::DebeziumPlain => Decoder::Debezium(debezium::decoder(relation, self)),
            Format::Json => Decoder::Flat(flat::Decoder::json(relation)),
            Format::Avro => Decoder::Avro(avro::decoder(relation)),
            Format::Protobuf => Decoder::Protobuf(protobuf::decoder(relation)),
        }
    }

    /// Adds the record of a logical message.
    pub fn message(self, unit: &mut Unit, ordinal: u64, prefix: &str, content: &[u8], out: &mut Records) {
        unit.heed(prefix, content);
        match self {
            Format::Debezium | Format::DebeziumPlain => unit.message(ordinal, prefix, content, out),
            Format::Json => {
                unit.count(MESSAGES);
                flat::message_json(unit, ordinal, prefix, content, out);
            }
            Format::Avro => avro::message(unit, ordinal, prefix, content, out),
            Format::Protobuf => protobuf::message(unit, ordinal, prefix, content, out),
        }
    }

    /// The message in a record's value.
    ///
    /// # Errors
    /// It is none.
    pub fn decode_message(self, value: &[u8]) -> Result<Change, FormatError> {
        match self {
            Format::Debezium | Format::DebeziumPlain => debezium::decode_message(value),
            Format::Json => flat::decode_message_json(value),
            Format::Avro => avro::decode_message(value),
            Format::Protobuf => protobuf::decode_message(value),
        }
    }
}

impl Encoder {
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
            Encoder::Avro(encoder) => encoder.change(unit, ordinal, op, body, out),
            Encoder::Protobuf(encoder) => encoder.change(unit, ordinal, op, body, out),
        }
    }
}

impl Decoder {
    /// Reads a record. `header` looks one up by its name.
    ///
    /// # Errors
    /// It is not a record that the encoder for this version of the table made.
    pub fn decode<'h>(
        &self,
        value: Option<&[u8]>,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Result<Decoded, FormatError> {
        match self {
            Decoder::Debezium(decoder) => decoder.decode(value, header),
            Decoder::Flat(decoder) => decoder.decode(value, header),
            Decoder::Avro(decoder) => decoder.decode(value, header),
            Decoder::Protobuf(decoder) => decoder.decode(value, header),
        }
    }

    /// The same for whoever sees only the records of some keys: the delete in front of a row that got another key is a delete.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_alone<'h>(
        &self,
        value: Option<&[u8]>,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Result<Decoded, FormatError> {
        let hidden = [NEW_KEY_HEADER, flat::NEW_KEY_HEADER];
        self.decode(value, |name| if hidden.contains(&name) { None } else { header(name) })
    }
}
