//! `inet`, `cidr`, `macaddr` and `macaddr8`.

use std::io::Write as _;

use super::input::Input;
use super::words::hex_byte;

/// `network_out`: a `cidr` always tells its bits, an `inet` only where they are not all.
pub(super) fn inet(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    let (family, bits, is_cidr, length) = (input.u8()?, input.u8()?, input.u8()? != 0, input.u8()?);
    let all_bits = match (family, length) {
        (2, 4) => {
            version_4(input.array()?, out);
            32
        }
        (3, 16) => {
            version_6(input.array()?, out);
            128
        }
        _ => return None,
    };
    if is_cidr || bits != all_bits {
        let _ = write!(out, "/{bits}");
    }
    Some(())
}

fn version_4([a, b, c, d]: [u8; 4], out: &mut Vec<u8>) {
    let _ = write!(out, "{a}.{b}.{c}.{d}");
}

/// The first longest run of zero words is `::`. What begins with six zero words, or five and `ffff`, ends as version 4 does,
/// except for `::` and `::1` and their like (`inet_cidr_ntop_ipv6`).
fn version_6(bytes: [u8; 16], out: &mut Vec<u8>) {
    let (pairs, _) = bytes.as_chunks::<2>();
    let words: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    let (start, length) = longest_run_of_zeros(&words);
    let word = |index: usize| words.get(index).copied();
    let ends_as_version_4 = start == 0
        && match length {
            6 => true,
            7 => word(7) != Some(1),
            5 => word(5) == Some(0xFFFF),
            _ => false,
        };
    for (index, word) in words.iter().enumerate() {
        if (start..start + length).contains(&index) {
            if index == start {
                out.push(b':');
            }
            continue;
        }
        if index > 0 {
            out.push(b':');
        }
        if index == 6 && ends_as_version_4 {
            if let Some(last) = bytes.last_chunk::<4>() {
                version_4(*last, out);
            }
            return;
        }
        let _ = write!(out, "{word:x}");
    }
    if length > 0 && start + length == words.len() {
        out.push(b':');
    }
}

/// Where it starts and how long it is; a single zero is no run.
fn longest_run_of_zeros(words: &[u16]) -> (usize, usize) {
    let (mut best, mut at) = ((0, 0), 0);
    for run in words.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
        if run.first() == Some(&0) && run.len() > best.1.max(1) {
            best = (at, run.len());
        }
        at += run.len();
    }
    best
}

/// `macaddr_out` and `macaddr8_out`, by the length.
pub(super) fn macaddr(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    for (index, &byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push(b':');
        }
        hex_byte(byte, out);
    }
    matches!(bytes.len(), 6 | 8).then_some(())
}
