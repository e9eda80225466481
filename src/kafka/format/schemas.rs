//! The schemas of a version of a table, for a registry.
//!
//! In front of each key and value stands which schema it is of (Confluent's wire format): a zero and the registry's number for it in
//! four bytes. Encoders do not know the number; whoever sends fills it in ([`super::Records::stamp`]).

/// A registry's language for schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Avro.
    Avro,
}

impl Language {
    /// The registry's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Language::Avro => "AVRO",
        }
    }
}

/// What the records of a topic are of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schemas {
    /// How both are written.
    pub language: Language,
    /// The keys'; `None`: there are none.
    pub key: Option<String>,
    /// The values'.
    pub value: String,
}

/// A registry's numbers for [`Schemas`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchemaIds {
    /// The key's.
    pub key: u32,
    /// The value's.
    pub value: u32,
}

/// In front of every key and value: what it is, and room for the number.
pub(super) const PREFIX: [u8; 5] = [0; 5];

/// What follows the number; `None` if the bytes are not in this wire format.
pub(super) fn strip(bytes: &[u8]) -> Option<&[u8]> {
    bytes.split_first_chunk::<{ PREFIX.len() }>().filter(|(prefix, _)| prefix.first() == Some(&0)).map(|(_, rest)| rest)
}
