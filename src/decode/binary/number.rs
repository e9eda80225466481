//! Integers, floats and `numeric` in PostgreSQL's text.

use std::io::Write as _;

use super::input::Input;

/// `int2out`, `int4out`, `int8out`: the width is the value's own.
pub(super) fn integer(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut input = Input::new(bytes);
    let value = match bytes.len() {
        2 => i64::from(input.i16()?),
        4 => i64::from(input.i32()?),
        8 => input.i64()?,
        _ => return None,
    };
    if value < 0 {
        out.push(b'-');
    }
    padded(value.unsigned_abs(), 1, out);
    Some(())
}

/// `oidout`, `xidout`, `cidout`, `xid8out`.
pub(super) fn unsigned(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut input = Input::new(bytes);
    let value = match bytes.len() {
        4 => u64::from(input.u32()?),
        8 => input.u64()?,
        _ => return None,
    };
    padded(value, 1, out);
    Some(())
}

/// Decimal digits, at least `width` of them.
pub(super) fn padded(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        if value == 0 && used >= width {
            break;
        }
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        used += 1;
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// `float4out` or `float8out`, by the width.
pub(super) fn float(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match bytes.len() {
        4 => float4(f32::from_bits(Input::new(bytes).u32()?), out),
        8 => float8(Input::new(bytes).f64()?, out),
        _ => return None,
    }
    Some(())
}

/// What the shortest form needs to know of a width.
struct Width {
    /// Numbers from ten to this power on have an exponent.
    exponent_from: i32,
    /// Digits that always suffice.
    digits_max: usize,
}

const FLOAT4: Width = Width { exponent_from: 6, digits_max: 9 };
const FLOAT8: Width = Width { exponent_from: 15, digits_max: 17 };

pub(super) fn float8(value: f64, out: &mut Vec<u8>) {
    if special(value, out) {
        return;
    }
    let (mantissa, exponent) = parts(value.to_bits(), 52, 1075);
    let reads_back = |text: &str| text.parse::<f64>().is_ok_and(|parsed| parsed.to_bits() == value.to_bits());
    let digits =
        shortest(&FLOAT8, format!("{value:e}"), mantissa, exponent, |digits| format!("{value:.digits$e}"), reads_back);
    put_decimal(&FLOAT8, &digits, out);
}

fn float4(value: f32, out: &mut Vec<u8>) {
    if special(f64::from(value), out) {
        return;
    }
    let (mantissa, exponent) = parts(u64::from(value.to_bits()), 23, 150);
    let reads_back = |text: &str| text.parse::<f32>().is_ok_and(|parsed| parsed.to_bits() == value.to_bits());
    let digits =
        shortest(&FLOAT4, format!("{value:e}"), mantissa, exponent, |digits| format!("{value:.digits$e}"), reads_back);
    put_decimal(&FLOAT4, &digits, out);
}

fn special(value: f64, out: &mut Vec<u8>) -> bool {
    let text: &[u8] = match value {
        _ if value.is_nan() => b"NaN",
        f64::INFINITY => b"Infinity",
        f64::NEG_INFINITY => b"-Infinity",
        _ if value == 0.0 => {
            if value.is_sign_negative() {
                b"-0"
            } else {
                b"0"
            }
        }
        _ => return false,
    };
    out.extend_from_slice(text);
    true
}

/// Mantissa and power of two of a finite float's bits.
const fn parts(bits: u64, mantissa_bits: u32, bias: i32) -> (u64, i32) {
    let fraction = bits & ((1 << mantissa_bits) - 1);
    let field = (bits >> mantissa_bits) & ((1 << (if mantissa_bits == 52 { 11 } else { 8 })) - 1);
    #[expect(clippy::cast_possible_truncation, reason = "eleven bits at most")]
    let exponent = field as i32 - bias;
    if field == 0 { (fraction, exponent + 1) } else { (fraction | 1 << mantissa_bits, exponent) }
}

/// The shortest digits that read back as the number, as `d.ddde±x`. Rust's are PostgreSQL's (`d2s.c`) but for two cases. Rust's
/// may lie halfway to the neighbouring number, and be read back by the rule that a tie goes to the even one; PostgreSQL takes
/// more digits then. And where the number itself lies halfway between two decimals PostgreSQL takes the even one.
fn shortest(
    width: &Width,
    rusts: String,
    mantissa: u64,
    exponent: i32,
    rounded: impl Fn(usize) -> String,
    reads_back: impl Fn(&str) -> bool,
) -> String {
    let used = rusts.bytes().take_while(|&byte| byte != b'e').filter(u8::is_ascii_digit).count();
    if is_halfway(&rusts, mantissa, exponent) {
        let longer = (used..width.digits_max).map(rounded);
        return longer
            .into_iter()
            .find(|text| reads_back(text) && !is_halfway(text, mantissa, exponent))
            .unwrap_or(rusts);
    }
    // So few places behind the point are all there can be.
    let zeros = mantissa.trailing_zeros();
    let places = exponent.saturating_add_unsigned(zeros);
    if (-FIVES_MAX..0).contains(&places) && used >= width.digits_max - 1 {
        let exact = rounded(used);
        let is_exact = odd_times_power(&exact) == Some((u128::from(mantissa >> zeros), places));
        if is_exact && let Some((digits, power)) = split(&exact).filter(|(digits, _)| digits % 10 == 5) {
            let even = digits / 10 + digits / 10 % 2;
            let sign = if exact.starts_with('-') { "-" } else { "" };
            let even = scientific(sign, even, power + 1);
            // Below a power of two numbers lie twice as dense, and one of the two decimals may be a neighbour's.
            return if reads_back(&even) && !is_halfway(&even, mantissa, exponent) { even } else { rusts };
        }
    }
    rusts
}

/// `digits` × 10^`power` as `d.ddde±x`.
fn scientific(sign: &str, digits: u64, power: i32) -> String {
    let digits = digits.to_string();
    let (first, rest) = digits.split_at(1);
    let exponent = power.saturating_add(i32::try_from(rest.len()).unwrap_or(0));
    format!("{sign}{first}.{rest}e{exponent}")
}

/// Whether a decimal lies exactly between `mantissa` × 2^`exponent` and a neighbour of it.
fn is_halfway(decimal: &str, mantissa: u64, exponent: i32) -> bool {
    let Some((odd, twos)) = odd_times_power(decimal) else { return false };
    // Halfway up: (2m + 1) × 2^(e - 1); down: (2m - 1) × 2^(e - 1), or below a power of two, where numbers lie twice as dense,
    // (4m - 1) × 2^(e - 2).
    let doubled = u128::from(mantissa) * 2;
    (twos == exponent - 1 && (odd == doubled + 1 || odd + 1 == doubled))
        || (twos == exponent - 2 && mantissa.is_power_of_two() && odd + 1 == doubled * 2)
}

/// 5 to this power is about as large as a mantissa and one bit: no decimal of interest has more of them.
const FIVES_MAX: i32 = 27;

/// A decimal as an odd number times a power of two, if it is one.
fn odd_times_power(decimal: &str) -> Option<(u128, i32)> {
    let (digits, power) = split(decimal).filter(|(digits, power)| *digits > 0 && power.abs() <= FIVES_MAX)?;
    let fives = 5_u128.pow(power.unsigned_abs());
    // A factor of 5 in the denominator must divide the digits.
    let product = match power {
        0.. => u128::from(digits).checked_mul(fives)?,
        _ => (u128::from(digits) % fives == 0).then_some(u128::from(digits) / fives)?,
    };
    let twos = product.trailing_zeros();
    Some((product >> twos, power.saturating_add_unsigned(twos)))
}

/// The digits of `d.ddde±x` as an integer, and the power of ten that goes with it.
fn split(decimal: &str) -> Option<(u64, i32)> {
    let (digits, exponent) = decimal.trim_start_matches('-').split_once('e')?;
    let fraction = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let value = digits
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0_u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit & 15)));
    Some((value, exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction).ok()?)?))
}

/// Rust's `d.ddde±x` as PostgreSQL lays it out: with an exponent of at least two digits where it is below -4 or large.
fn put_decimal(width: &Width, text: &str, out: &mut Vec<u8>) {
    let (text, negative) = text.strip_prefix('-').map_or((text, false), |text| (text, true));
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    if negative {
        out.push(b'-');
    }
    if !(-4..width.exponent_from).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{trimmed}e{sign}{:02}", exponent.unsigned_abs());
        return;
    }
    let mut digits = trimmed.bytes().filter(u8::is_ascii_digit).peekable();
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend((1..exponent.unsigned_abs()).map(|_| b'0'));
        out.extend(digits);
        return;
    }
    (0..=exponent).for_each(|_| out.push(digits.next().unwrap_or(b'0')));
    if digits.peek().is_some() {
        out.push(b'.');
        out.extend(digits);
    }
}

/// `numeric_out`: digits to the base of 10000, the first of which stands for 10000^weight.
pub(super) fn numeric(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    const NEGATIVE: u16 = 0x4000;
    let (count, weight) = (input.u16()?, input.i16()?);
    let (sign, scale) = (input.u16()?, usize::from(input.u16()?));
    let special: &[u8] = match sign {
        0 | NEGATIVE => b"",
        0xC000 => b"NaN",
        0xD000 => b"Infinity",
        0xF000 => b"-Infinity",
        _ => return None,
    };
    let groups = input.bytes(usize::from(count).checked_mul(2)?)?;
    if !special.is_empty() {
        out.extend_from_slice(special);
        return Some(());
    }
    let (groups, _) = groups.as_chunks::<2>();
    let group = |place: i32| {
        let index = i32::from(weight).checked_sub(place).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| groups.get(index)).map_or(0, |group| u64::from(u16::from_be_bytes(*group)))
    };
    if sign == NEGATIVE {
        out.push(b'-');
    }
    let first = i32::from(weight).max(0);
    padded(group(first), 1, out);
    (0..first).rev().for_each(|place| padded(group(place), 4, out));
    if scale > 0 {
        out.push(b'.');
        let end = out.len().checked_add(scale)?;
        let mut place = -1;
        while out.len() < end {
            padded(group(place), 4, out);
            place -= 1;
        }
        out.truncate(end);
    }
    Some(())
}
