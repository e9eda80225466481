//! Identifiers, bits, snapshots and text-search vectors.

use super::input::Input;
use super::number::padded;

/// `byteaout` with `bytea_output` at `hex`.
pub(super) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().saturating_mul(2).saturating_add(2));
    out.extend_from_slice(b"\\x");
    bytes.iter().for_each(|&byte| hex_byte(byte, out));
}

pub(super) fn hex_byte(byte: u8, out: &mut Vec<u8>) {
    const fn digit(nibble: u8) -> u8 {
        nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
    }
    out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
}

/// `uuid_out`.
pub(super) fn uuid(bytes: [u8; 16], out: &mut Vec<u8>) {
    for (index, &byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        hex_byte(byte, out);
    }
}

/// `pg_lsn_out`.
pub(super) fn lsn(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{:X}/{:X}", value >> 32, value & 0xFFFF_FFFF).as_bytes());
}

/// `tidout`: block and place in it.
pub(super) fn tuple_id(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'(');
    padded(u64::from(input.u32()?), 1, out);
    out.push(b',');
    padded(u64::from(input.u16()?), 1, out);
    out.push(b')');
    Some(())
}

/// `pg_snapshot_out`: `xmin:xmax:` and the transactions in progress.
pub(super) fn snapshot(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    let count = input.count(8)?;
    for _ in 0..2 {
        padded(input.u64()?, 1, out);
        out.push(b':');
    }
    for index in 0..count {
        if index > 0 {
            out.push(b',');
        }
        padded(input.u64()?, 1, out);
    }
    Some(())
}

/// `bit_out` and `varbit_out`: how many bits, and the bytes they are in.
pub(super) fn bits(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    let count = usize::try_from(input.i32()?).ok()?;
    let bytes = input.bytes(count.div_ceil(8))?;
    let digit = |index: usize| bytes.get(index / 8).map(|byte| b'0' + (byte >> (7 - index % 8) & 1));
    out.extend((0..count).map_while(digit));
    Some(())
}

/// `tsvectorout`: quoted lexemes, each with its positions and their weights.
pub(super) fn text_search(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    let count = input.count(3)?;
    for index in 0..count {
        if index > 0 {
            out.push(b' ');
        }
        out.push(b'\'');
        for &byte in input.terminated()? {
            if matches!(byte, b'\'' | b'\\') {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(b'\'');
        for place in 0..input.u16()? {
            out.push(if place == 0 { b':' } else { b',' });
            let position = input.u16()?;
            padded(u64::from(position & 0x3FFF), 1, out);
            let weight: &[u8] = match position >> 14 {
                3 => b"A",
                2 => b"B",
                1 => b"C",
                _ => b"",
            };
            out.extend_from_slice(weight);
        }
    }
    Some(())
}
