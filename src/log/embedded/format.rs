//! The fixed parts of the format: file names, a segment's first bytes, a frame's header (docs/log-format.md).

use crate::log::input::Input;

/// The format this version writes; it reads this one and older ones.
pub(super) const FORMAT: u16 = 2;
/// A segment's first bytes: magic, format, complement, zero.
pub(super) const SEGMENT_HEADER_LEN: usize = 16;
/// A frame's header.
pub(super) const FRAME_HEADER_LEN: usize = 44;
/// What ends the name of a segment.
pub(super) const SEGMENT_SUFFIX: &str = ".wlog";
/// What ends the name of a segment being made.
pub(super) const UNFINISHED_SUFFIX: &str = ".wlog.new";
/// The file whose lock makes a process the writer.
pub(super) const LOCK_NAME: &str = "LOCK";

/// The directory for what the writer's owner keeps beside the log.
pub(super) const SPILL_NAME: &str = "spill";

const MAGIC: &[u8; 8] = b"walbrlog";

/// The frame defines relations.
pub(super) const DEFINES_RELATIONS: u8 = 1;
/// The frame begins inside a unit.
pub(super) const BEGINS_INSIDE: u8 = 2;
/// The frame ends inside a unit.
pub(super) const ENDS_INSIDE: u8 = 4;

/// The name of a segment.
pub(super) fn segment_name(sequence: u64, base: u64) -> String {
    format!("{sequence:010}-{base:020}{SEGMENT_SUFFIX}")
}

/// Sequence and base offset of a segment's name; `None` for any other name.
pub(super) fn parse_segment_name(name: &str) -> Option<(u64, u64)> {
    let (sequence, base) = name.strip_suffix(SEGMENT_SUFFIX)?.split_once('-')?;
    let (sequence, base) = (sequence.parse().ok()?, base.parse().ok()?);
    (segment_name(sequence, base) == name).then_some((sequence, base))
}

/// A segment's first bytes.
pub(super) fn segment_header() -> [u8; SEGMENT_HEADER_LEN] {
    let mut bytes = [0; SEGMENT_HEADER_LEN];
    let (magic, rest) = bytes.split_at_mut(8);
    magic.copy_from_slice(MAGIC);
    let (format, rest) = rest.split_at_mut(2);
    format.copy_from_slice(&FORMAT.to_le_bytes());
    let (complement, _) = rest.split_at_mut(2);
    complement.copy_from_slice(&(!FORMAT).to_le_bytes());
    bytes
}

/// What a segment's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentHeader {
    /// A format we read.
    Ours(u16),
    /// A format of a newer version.
    Newer(u16),
    /// Not a segment.
    Damaged,
}

/// Reads a segment's first bytes.
pub(super) fn parse_segment_header(bytes: &[u8]) -> SegmentHeader {
    let mut input = Input::new(bytes);
    let magic = input.take(MAGIC.len());
    let (Some(format), Some(complement)) = (input.u16(), input.u16()) else { return SegmentHeader::Damaged };
    match format {
        _ if magic != Some(MAGIC) || format != !complement => SegmentHeader::Damaged,
        1..=FORMAT if input.u32() == Some(0) => SegmentHeader::Ours(format),
        0..=FORMAT => SegmentHeader::Damaged,
        newer => SegmentHeader::Newer(newer),
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// What a segment must be told before its first record.
    Preamble = 1,
    /// Records.
    Records = 2,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// CRC-32C of the frame after this field.
    pub(super) crc: u32,
    /// Bytes after the header.
    pub(super) len: u32,
    /// `crc` of the frame before.
    pub(super) previous: u32,
    /// What it holds.
    pub(super) kind: FrameKind,
    /// [`DEFINES_RELATIONS`] and so on.
    pub(super) flags: u8,
    /// Log byte of the frame.
    pub(super) at: u64,
    /// Log byte before which everything was fsynced when this was written.
    pub(super) synced: u64,
    /// Offset of its first event.
    pub(super) offset: u64,
    /// How many events.
    pub(super) events: u32,
}

impl Header {
    /// Whether all flags of `wanted` are set.
    pub(super) const fn has(&self, wanted: u8) -> bool {
        self.flags & wanted == wanted
    }

    /// Bytes of the whole frame.
    pub(super) const fn frame_len(&self) -> u64 {
        FRAME_HEADER_LEN as u64 + self.len as u64
    }

    /// The header's bytes, `crc` as it stands.
    pub(super) fn encode(&self) -> [u8; FRAME_HEADER_LEN] {
        let mut bytes = [0; FRAME_HEADER_LEN];
        let mut rest = bytes.as_mut_slice();
        let mut put = |value: &[u8]| {
            if let Some((head, tail)) = std::mem::take(&mut rest).split_at_mut_checked(value.len()) {
                head.copy_from_slice(value);
                rest = tail;
            }
        };
        put(&self.crc.to_le_bytes());
        put(&self.len.to_le_bytes());
        put(&self.previous.to_le_bytes());
        put(&[self.kind as u8, self.flags, 0, 0]);
        put(&self.at.to_le_bytes());
        put(&self.synced.to_le_bytes());
        put(&self.offset.to_le_bytes());
        put(&self.events.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if it cannot be one. The checksum is another matter.
    pub(super) fn parse(bytes: &[u8]) -> Option<Header> {
        let mut input = Input::new(bytes);
        let (crc, len, previous) = (input.u32()?, input.u32()?, input.u32()?);
        let kind = match input.u8()? {
            1 => FrameKind::Preamble,
            2 => FrameKind::Records,
            _ => return None,
        };
        let flags = input.u8().filter(|flags| flags & !(DEFINES_RELATIONS | BEGINS_INSIDE | ENDS_INSIDE) == 0)?;
        input.u16().filter(|&zero| zero == 0)?;
        let (at, synced, offset, events) = (input.u64()?, input.u64()?, input.u64()?, input.u32()?);
        Some(Header { crc, len, previous, kind, flags, at, synced, offset, events })
    }
}

/// The checksum of a frame, given all of it.
pub(super) fn frame_crc(frame: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(frame.get(4..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let header = Header {
            crc: 0xDEAD_BEEF,
            len: 7,
            previous: 3,
            kind: FrameKind::Records,
            flags: BEGINS_INSIDE | ENDS_INSIDE,
            at: u64::MAX,
            synced: 5,
            offset: 1 << 40,
            events: 9,
        };
        assert_eq!(Header::parse(&header.encode()), Some(header));
        assert_eq!(Header::parse(&header.encode()[..FRAME_HEADER_LEN - 1]), None);
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        assert_eq!(frame_crc(b"....123456789"), 0xE306_9283, "the check value of CRC-32C");
    }

    #[test]
    fn only_the_exact_name_is_a_segment() {
        assert_eq!(parse_segment_name(&segment_name(3, 4)), Some((3, 4)));
        for name in ["3-4.wlog", "0000000003-00000000000000000004.wlog.new", "0000000003-+0000000000000000004.wlog"] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_flipped_bit_in_the_format_is_damage_and_not_a_newer_format() {
        let good = segment_header();
        assert_eq!(parse_segment_header(&good), SegmentHeader::Ours(FORMAT));
        for bit in 0..128 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_segment_header(&bad), SegmentHeader::Damaged, "bit {bit}");
        }
        let mut newer = good;
        for format in [FORMAT + 1, FORMAT - 1] {
            newer[8..10].copy_from_slice(&format.to_le_bytes());
            newer[10..12].copy_from_slice(&(!format).to_le_bytes());
            let newer = parse_segment_header(&newer);
            let expected = if format > FORMAT { SegmentHeader::Newer(format) } else { SegmentHeader::Ours(format) };
            assert_eq!(newer, expected);
        }
    }
}
