//! Reads the fields of one message, each checked against the bytes that are really there.

use super::{DecodeError, Fault};
use crate::event::{Lsn, Timestamp};

/// A cursor over one message. Integers are big-endian, strings end with a zero byte (manual: "Message Data Types").
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// For errors.
    message: &'static str,
    /// How long the message is, its type letter included.
    length: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `rest`, the end of a message of `length` bytes.
    #[inline]
    pub(super) const fn new(message: &'static str, length: usize, rest: &'a [u8]) -> Self {
        Reader { message, length, rest }
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn lsn(&mut self) -> Result<Lsn, DecodeError> {
        self.array().map(|bytes| Lsn::new(u64::from_be_bytes(bytes)))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, DecodeError> {
        self.array().map(|bytes| Timestamp::from_postgres(i64::from_be_bytes(bytes)))
    }

    /// A string without its closing zero byte.
    pub(super) fn str(&mut self) -> Result<&'a str, DecodeError> {
        let end = self.rest.iter().position(|&byte| byte == 0);
        let (text, rest) =
            end.and_then(|end| self.rest.split_at_checked(end)).ok_or_else(|| self.error(Fault::Unterminated))?;
        let text = std::str::from_utf8(text).map_err(|_| self.error(Fault::NotUtf8))?;
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(text)
    }

    /// A length (u32) and that many bytes.
    pub(super) fn counted(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()?;
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (bytes, rest) = split.ok_or_else(|| self.error(Fault::Truncated))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Everything that is left, and where it begins.
    #[inline]
    pub(super) const fn remainder(self) -> (usize, &'a [u8]) {
        (self.at(), self.rest)
    }

    /// Checks that nothing is left.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error(Fault::Trailing)) }
    }

    /// A fault at the place reached.
    #[cold]
    pub(super) const fn error(&self, fault: Fault) -> DecodeError {
        DecodeError { message: self.message, at: self.at(), fault }
    }

    const fn at(&self) -> usize {
        self.length.saturating_sub(self.rest.len())
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.error(Fault::Truncated))?;
        self.rest = rest;
        Ok(*bytes)
    }
}
