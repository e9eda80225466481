//! The schemas of a version of a table, for a registry.
//!
//! In front of each key and value stands which schema it is of (Confluent's wire format): a zero and the registry's number for it in
//! four bytes, and in Protobuf which of the schema's messages. Encoders do not know the number; whoever sends fills it in ([`super::Records::stamp`]).

use super::protobuf;

/// A registry's language for schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Avro.
    Avro,
    /// Protobuf.
    Protobuf,
}

impl Language {
    /// The registry's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Language::Avro => "AVRO",
            Language::Protobuf => "PROTOBUF",
        }
    }
}

/// What the records of a topic are of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schemas {
    /// How both are written.
    pub language: Language,
    /// The keys'; `None`: there are none.
    pub key: Option<Schema>,
    /// The values'.
    pub value: Schema,
}

/// A schema, as far as it is known without asking a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Schema {
    /// The same whatever was before it.
    Fixed(String),
    /// One of Protobuf's, which keeps the fields of the version before.
    Protobuf(protobuf::File),
}

impl Schema {
    /// Whether its text depends on that of the version before.
    #[must_use]
    pub const fn follows(&self) -> bool {
        matches!(self, Schema::Protobuf(_))
    }

    /// Its text. `latest`: that of the version before, if there is one.
    #[must_use]
    pub fn text(&self, latest: Option<&str>) -> String {
        match self {
            Schema::Fixed(text) => text.clone(),
            Schema::Protobuf(file) => file.text(latest),
        }
    }
}

/// A registry's numbers for [`Schemas`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchemaIds {
    /// The key's.
    pub key: u32,
    /// The value's.
    pub value: u32,
}

/// In front of every key and value in Avro: what it is, and room for the number.
pub(super) const PREFIX: [u8; 5] = [0; 5];

/// What follows the number; `None` if the bytes are not in this wire format.
pub(super) fn strip(bytes: &[u8]) -> Option<&[u8]> {
    bytes.split_first_chunk::<{ PREFIX.len() }>().filter(|(prefix, _)| prefix.first() == Some(&0)).map(|(_, rest)| rest)
}
