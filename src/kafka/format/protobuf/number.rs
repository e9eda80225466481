//! Fields' numbers, and what stands in front of a field.

use std::ops::RangeInclusive;

use super::super::number::push_varint;

/// The largest number of a field.
pub(super) const MAX: u32 = (1 << 29) - 1;
/// Numbers that are Protobuf's own.
pub(super) const RESERVED: RangeInclusive<u32> = 19_000..=19_999;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Varint = 0,
    Eight = 1,
    /// With its length in front.
    Bytes = 2,
    Four = 5,
}

/// What stands in front of a field.
pub(super) const fn tag(number: u32, wire: Wire) -> u64 {
    (number as u64) << 3 | wire as u64
}

/// Appends it.
#[inline]
pub(super) fn put_tag(number: u32, wire: Wire, out: &mut Vec<u8>) {
    push_varint(tag(number, wire), out);
}
