//! Integers, and decimals as unscaled two's complement, which is how Java and Avro hold them.

/// Appends a signed integer's digits.
pub(super) fn push_integer(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    push_unsigned(value.unsigned_abs(), out);
}

/// Appends an unsigned integer's digits.
pub(crate) fn push_unsigned(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut used = 0_usize;
    for slot in digits.iter_mut().rev() {
        let digit = (value % 10) as u8;
        *slot = b'0' + digit;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

/// Appends an unsigned integer as LEB128: seven bits a byte, the lowest first.
#[inline]
pub(super) fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
    out.push(value as u8);
}

/// Takes such an integer from the front; `None` if the bytes end before it does.
#[inline]
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The integer that the text is, all of it.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value = 0_i64;
    for &byte in digits {
        let digit = i64::from(Some(byte).filter(u8::is_ascii_digit)? - b'0');
        value = value.checked_mul(10)?;
        value = if negative { value.checked_sub(digit)? } else { value.checked_add(digit)? };
    }
    Some(value)
}

/// A decimal's digits behind the point, as its text has them; `None` if it is no finite decimal.
pub(crate) fn scale(text: &[u8]) -> Option<usize> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, fraction) = match digits.iter().position(|&byte| byte == b'.') {
        Some(point) => (digits.get(..point)?, digits.get(point.checked_add(1)?..)?),
        None => (digits, &[][..]),
    };
    let numeric = !whole.is_empty() && whole.iter().chain(fraction).all(u8::is_ascii_digit);
    numeric.then_some(fraction.len())
}

/// Gives `then` the digits of a finite decimal, its point left out, as a big-endian integer in two's complement of as few bytes
/// as hold it.
pub(crate) fn unscaled<R>(text: &[u8], then: impl FnOnce(&[u8]) -> R) -> R {
    let negative = text.first() == Some(&b'-');
    let digits = || text.iter().filter(|byte| byte.is_ascii_digit());
    if text.len() <= 18 {
        let value = digits().fold(0_i64, |value, &digit| value * 10 + i64::from(digit - b'0'));
        return then(minimal(&(if negative { -value } else { value }).to_be_bytes()));
    }
    // The magnitude in limbs of 32 bits, the lowest first; nine digits at a time.
    let mut limbs: Vec<u32> = Vec::new();
    let all: Vec<u8> = digits().copied().collect();
    let (first, rest) = all.split_at_checked(all.len() % 9).unwrap_or_default();
    for group in std::iter::once(first).chain(rest.chunks(9)).filter(|group| !group.is_empty()) {
        let (factor, value) = group
            .iter()
            .fold((1_u64, 0_u64), |(factor, value), digit| (factor * 10, value * 10 + u64::from(digit - b'0')));
        multiply_add(&mut limbs, factor, value);
    }
    let mut bytes: Vec<u8> = std::iter::once(0).chain(limbs.iter().rev().flat_map(|limb| limb.to_be_bytes())).collect();
    if negative {
        negate(&mut bytes);
    }
    then(minimal(&bytes))
}

/// `limbs` × `factor` + `carry`, both below 2^32.
fn multiply_add(limbs: &mut Vec<u32>, factor: u64, mut carry: u64) {
    for limb in &mut *limbs {
        let product = u64::from(*limb) * factor + carry;
        #[expect(clippy::cast_possible_truncation, reason = "the low half")]
        let low = product as u32;
        *limb = low;
        carry = product >> 32;
    }
    if let Some(carry) = u32::try_from(carry).ok().filter(|&carry| carry > 0) {
        limbs.push(carry);
    }
}

/// Two's complement of a big-endian number.
fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        let (negated, overflow) = (!*byte).overflowing_add(u8::from(carry));
        *byte = negated;
        carry = overflow;
    }
}

/// A big-endian number in two's complement without the leading bytes that only repeat its sign.
pub(super) fn minimal(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes {
        let repeats = match rest.first() {
            Some(next) => (*first == 0 && *next < 0x80) || (*first == 0xFF && *next >= 0x80),
            None => false,
        };
        if !repeats {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// The text of a decimal: `bytes` in two's complement, divided by ten to the power of `scale`.
pub(super) fn decimal(bytes: &[u8], scale: usize) -> Vec<u8> {
    let negative = bytes.first().is_some_and(|&byte| byte >= 0x80);
    let mut magnitude = bytes.to_vec();
    if negative {
        magnitude.insert(0, 0xFF);
        negate(&mut magnitude);
    }
    let digits = digits_of(magnitude);
    let padded = digits.len().max(scale.saturating_add(1));
    let mut text = Vec::with_capacity(padded.saturating_add(2));
    if negative {
        text.push(b'-');
    }
    text.extend(std::iter::repeat_n(b'0', padded.saturating_sub(digits.len())));
    text.extend_from_slice(&digits);
    if scale > 0 {
        text.insert(text.len().saturating_sub(scale), b'.');
    }
    text
}

/// The decimal digits of a big-endian magnitude.
fn digits_of(magnitude: Vec<u8>) -> Vec<u8> {
    const GROUP: u64 = 1_000_000_000;
    let padding = magnitude.len().wrapping_neg() % 4;
    let bytes: Vec<u8> = std::iter::repeat_n(0, padding).chain(magnitude).collect();
    let (words, _) = bytes.as_chunks::<4>();
    let mut limbs: Vec<u32> = words.iter().map(|word| u32::from_be_bytes(*word)).collect();
    let mut reversed = Vec::new();
    let mut start = 0_usize;
    while let Some(rest) = limbs.get_mut(start..).filter(|rest| !rest.is_empty()) {
        let mut remainder = 0_u64;
        for limb in rest {
            let value = remainder << 32 | u64::from(*limb);
            *limb = u32::try_from(value / GROUP).unwrap_or(0);
            remainder = value % GROUP;
        }
        for _ in 0..9 {
            reversed.push(b'0' + u8::try_from(remainder % 10).unwrap_or(0));
            remainder /= 10;
        }
        start += limbs.get(start..).unwrap_or_default().iter().take_while(|limb| **limb == 0).count();
    }
    while reversed.len() > 1 && reversed.last() == Some(&b'0') {
        reversed.pop();
    }
    reversed.reverse();
    reversed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        unscaled(text.as_bytes(), <[u8]>::to_vec)
    }

    #[test]
    fn decimals_are_as_few_bytes_as_java_has_them() {
        assert_eq!(bytes("0"), [0]);
        assert_eq!(bytes("127"), [127]);
        assert_eq!(bytes("128"), [0, 128]);
        assert_eq!(bytes("-128"), [128]);
        assert_eq!(bytes("-129"), [255, 127]);
        assert_eq!(bytes("1.5000"), 15000_i16.to_be_bytes());
        assert_eq!((scale(b"-1.50"), scale(b"7"), scale(b"NaN"), scale(b"")), (Some(2), Some(0), None, None));
        let long = "-340282366920938463463374607431768211456";
        assert_eq!(bytes(long)[..2], [255, 0]);
        assert_eq!(decimal(&bytes(long), 0), long.as_bytes());
    }

    proptest! {
        #[test]
        fn every_decimal_comes_back(text in "-?(0|[1-9][0-9]{0,90})(\\.[0-9]{1,30})?") {
            prop_assume!(text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) || !text.starts_with('-'));
            let scale = scale(text.as_bytes()).expect("a decimal");
            let found = decimal(&bytes(&text), scale);
            prop_assert_eq!(String::from_utf8_lossy(&found), text);
        }

        #[test]
        fn integers_come_back(value: i64) {
            let mut out = Vec::new();
            push_integer(value, &mut out);
            prop_assert_eq!(String::from_utf8_lossy(&out), value.to_string());
            prop_assert_eq!(integer(&out), Some(value));
        }
    }
}
