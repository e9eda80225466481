//! The read buffer: bytes from the socket, cut into messages where they lie.

use super::error::PostgresError;

/// Grows only as bytes arrive, never by what a message claims of its length.
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// Large enough that a busy walsender is read in few system calls, small beside the memory budget.
const RESTING_BYTES: usize = 256 * 1024;
/// PostgreSQL's own limit for a message is 1 GiB; some room for headers.
const MESSAGE_BYTES_MAX: usize = (1 << 30) + (1 << 16);
/// Tag and length.
const HEADER_BYTES: usize = 5;

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        ReadBuffer { bytes: vec![0; RESTING_BYTES], start: 0, end: 0 }
    }

    /// The first whole message's tag and total length, if it is all here.
    #[inline]
    pub(crate) fn message(&self) -> Result<Option<(u8, usize)>, PostgresError> {
        let unread = self.unread();
        let Some((&[tag, a, b, c, d], _)) = unread.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(PostgresError::Protocol(format!("a message of type {tag:#04x} claims {length} bytes")));
        }
        let total = length + 1;
        Ok((unread.len() >= total).then_some((tag, total)))
    }

    /// The body of the message of `total` bytes at the front.
    #[inline]
    pub(crate) fn body(&self, total: usize) -> &[u8] {
        self.unread().get(HEADER_BYTES..total).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    /// Room to read into: never empty. What is unread is moved to the front when the room gets short.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > RESTING_BYTES {
                self.bytes.truncate(RESTING_BYTES);
                self.bytes.shrink_to_fit();
            }
        } else if self.bytes.len() - self.end < self.bytes.len() / 4 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end > self.bytes.len() / 2 {
                self.bytes.resize(self.bytes.len() * 2, 0);
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    pub(crate) fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.bytes.len());
    }

    fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("small");
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        let large = vec![7; 3 * RESTING_BYTES];
        let bytes = [message(b'a', b"one"), message(b'b', b""), message(b'c', &large), message(b'd', b"two")].concat();
        for step in [1000, 4096, usize::MAX] {
            let mut buffer = ReadBuffer::new();
            let (mut rest, mut seen) = (&bytes[..], Vec::new());
            loop {
                while let Some((tag, total)) = buffer.message().expect("sound") {
                    seen.push((tag, buffer.body(total).len()));
                    buffer.consume(total);
                }
                if rest.is_empty() {
                    break;
                }
                let space = buffer.space();
                let count = rest.len().min(step).min(space.len());
                assert!(count > 0);
                space[..count].copy_from_slice(&rest[..count]);
                buffer.filled(count);
                rest = &rest[count..];
            }
            assert_eq!(seen, [(b'a', 3), (b'b', 0), (b'c', large.len()), (b'd', 3)], "step {step}");
            buffer.space();
            assert_eq!(buffer.bytes.len(), RESTING_BYTES, "a large message's memory is given back");
        }
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        for length in [0u32, 3, u32::MAX, 1 << 31] {
            let mut buffer = ReadBuffer::new();
            buffer.space()[..5].copy_from_slice(&[&[b'd'][..], &length.to_be_bytes()].concat());
            buffer.filled(5);
            assert!(buffer.message().is_err(), "{length}");
            assert_eq!(buffer.bytes.len(), RESTING_BYTES);
        }
    }
}
