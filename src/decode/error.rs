//! What can be wrong with bytes that should be the protocol.

use crate::status::{Code, Disposition};

/// Bytes that are not what the protocol says. The stream cannot be followed past them: skipping one message would
/// lose a change, so there is nothing to try again and nothing to set aside. The text names the cause only, because
/// the same bytes may have come from a server ([`DecodeError::remedy`]) or from a damaged log, which calls for
/// something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} is malformed at byte {at}: {fault}")]
pub struct DecodeError {
    /// What was being read, in the words of the PostgreSQL manual: `Insert`, `Relation`, `TupleData`…
    pub message: &'static str,
    /// Byte in the message, counted from its type letter; in a stored change, from the letter of its first tuple.
    pub at: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end inside a field.
    #[error("the bytes end inside a field")]
    Truncated,
    /// Bytes follow the last field.
    #[error("bytes follow the last field")]
    Trailing,
    /// A string without its closing zero byte.
    #[error("a string has no end")]
    Unterminated,
    /// A string that is not UTF-8, which our session asks for.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// A letter or number that the protocol does not have in this place.
    #[error("0x{0:02X} is not known here")]
    Unknown(u8),
    /// A tuple with more or fewer columns than its relation.
    #[error("a tuple of {found} columns where the relation has {expected}")]
    Columns {
        /// The relation's.
        expected: usize,
        /// The tuple's.
        found: usize,
    },
    /// An operation that has no tuples was to be read as one that has.
    #[error("a logical message is not a change of a row")]
    NotAChange,
    /// A value in binary form that is not one of its type.
    #[error("a value that is not in the binary form of type {type_oid}")]
    BinaryValue {
        /// The column's type.
        type_oid: u32,
    },
}

impl DecodeError {
    /// The public code.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::SourceProtocol
    }

    /// It stops: going on would be a guess.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        Disposition::Stop
    }

    /// What to do if a server sent it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        "Connect walbridge to PostgreSQL directly, without a pooler or proxy that may alter the stream; if it already is, \
         report this together with the server's version"
    }

    /// The same fault, found while reading a part of `message` that begins at byte `start` of it.
    #[must_use]
    pub(crate) const fn inside(self, message: &'static str, start: usize) -> Self {
        DecodeError { message, at: self.at.saturating_add(start), fault: self.fault }
    }
}
