//! Reading little-endian fields off a slice, and writing them.

/// The rest of a slice. Every method returns `None` rather than read beyond the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Input { rest: bytes }
    }

    pub(super) const fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// A length as it is used in memory.
    pub(super) fn len32(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    /// A u16 length and that much UTF-8.
    pub(super) fn string(&mut self) -> Option<&'a str> {
        let len = usize::from(self.u16()?);
        std::str::from_utf8(self.take(len)?).ok()
    }

    /// A u32 length and that many bytes.
    pub(super) fn bytes32(&mut self) -> Option<&'a [u8]> {
        let len = self.len32()?;
        self.take(len)
    }
}

/// A field does not fit its length prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Writes a u16 length and the string. PostgreSQL's names have at most 63 bytes.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) -> Result<(), TooLong> {
    let len = u16::try_from(text.len()).map_err(|_| TooLong)?;
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Writes a u32 length and the bytes.
pub(super) fn put_bytes32(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), TooLong> {
    out.extend_from_slice(&len32(bytes.len())?.to_le_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Writes a u32 length and what `write` writes.
pub(super) fn put_sized(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), TooLong>,
) -> Result<(), TooLong> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let len = len32(out.len() - at - 4)?;
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&len.to_le_bytes());
    }
    Ok(())
}

pub(super) fn len32(len: usize) -> Result<u32, TooLong> {
    u32::try_from(len).map_err(|_| TooLong)
}
