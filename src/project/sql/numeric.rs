//! PostgreSQL's `numeric`: digits without limit, and a scale of its own for each value.

use std::cmp::Ordering;
use std::fmt;

use num_bigint::{BigInt, Sign};

use super::types::Type;
use super::value::Fault;

/// A value. Its order is PostgreSQL's: NaN is equal to itself and above all else.
#[derive(Clone, Debug)]
pub(super) enum Numeric {
    /// So many units of ten to the power of minus `scale`; `scale` digits are shown behind the point.
    Finite {
        units: BigInt,
        scale: u32,
    },
    Infinity,
    MinusInfinity,
    NaN,
}

use Numeric::{Finite, Infinity, MinusInfinity, NaN};

/// `NUMERIC_MAX_DISPLAY_SCALE`: a quotient has no more digits behind the point.
const QUOTIENT_SCALE_MAX: i64 = 1000;
/// `NUMERIC_MIN_SIG_DIGITS`: and if it can, so many that count.
const QUOTIENT_DIGITS: i64 = 16;
/// `NUMERIC_DSCALE_MAX`.
const SCALE_MAX: u32 = 0x3FFF;
/// What stands before the point has at most so many digits.
const WHOLE_DIGITS_MAX: usize = 131_072;

impl Numeric {
    pub(super) fn integer(number: i64) -> Self {
        Finite { units: number.into(), scale: 0 }
    }

    /// So many units of ten to the power of minus `scale`.
    pub(super) fn scaled(units: i64, scale: u32) -> Self {
        Finite { units: units.into(), scale }
    }

    /// `None`: the text is not a number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "nan" => return Some(NaN),
            "infinity" | "+infinity" | "inf" | "+inf" => return Some(Infinity),
            "-infinity" | "-inf" => return Some(MinusInfinity),
            _ => {}
        }
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let digits = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = format!("{whole}{fraction}");
        if all_digits.is_empty() || !all_digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut units = BigInt::parse_bytes(all_digits.as_bytes(), 10)?;
        if mantissa.starts_with('-') {
            units = -units;
        }
        let scale = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        if scale.unsigned_abs() > u64::from(SCALE_MAX) {
            return None;
        }
        let zeros = power(u32::try_from(-scale.min(0)).ok()?);
        Some(Finite { units: units * zeros, scale: u32::try_from(scale.max(0)).ok()? })
    }

    /// As the cast from a float of so many reliable digits does it.
    pub(super) fn of_float(number: f64, digits: usize) -> Self {
        match number {
            _ if number.is_nan() => return NaN,
            f64::INFINITY => return Infinity,
            f64::NEG_INFINITY => return MinusInfinity,
            _ => {}
        }
        let text = format!("{number:.0$e}", digits.saturating_sub(1));
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa =
            if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
        Numeric::parse(&format!("{mantissa}e{exponent}")).unwrap_or(NaN)
    }

    pub(super) fn as_float(&self) -> Result<f64, Fault> {
        let text = self.to_string();
        match self {
            NaN => Ok(f64::NAN),
            Infinity => Ok(f64::INFINITY),
            MinusInfinity => Ok(f64::NEG_INFINITY),
            Finite { .. } => super::cast::float(&text, Type::Float8),
        }
    }

    /// The nearest integer; halves go away from zero.
    pub(super) fn as_integer(&self, kind: Type) -> Result<i64, Fault> {
        match self {
            Finite { .. } => {}
            NaN => return Err(Fault::refused("0A000", format!("cannot convert NaN to {kind}"))),
            Infinity | MinusInfinity => {
                return Err(Fault::refused("0A000", format!("cannot convert infinity to {kind}")));
            }
        }
        let Finite { units, .. } = self.rounded(0) else { return Err(Fault::confused()) };
        i64::try_from(units).map_err(|_| Fault::out_of_range(kind))
    }

    /// With so many digits behind the point; halves go away from zero.
    pub(super) fn rounded(&self, to: u32) -> Numeric {
        let Finite { units, scale } = self else { return self.clone() };
        let units = if *scale <= to { units * power(to - scale) } else { round_quotient(units, &power(scale - to)) };
        Finite { units, scale: to }
    }

    /// As `numeric(precision, scale)` takes it.
    pub(super) fn limited(&self, precision: u32, scale: u32) -> Result<Numeric, Fault> {
        let overflow = || Fault::refused("22003", "numeric field overflow");
        match self {
            NaN => Ok(NaN),
            Infinity | MinusInfinity => Err(overflow()),
            Finite { .. } => {
                let rounded = self.rounded(scale);
                let fits = matches!(&rounded, Finite { units, .. } if units.magnitude() < power(precision).magnitude());
                if fits { Ok(rounded) } else { Err(overflow()) }
            }
        }
    }

    pub(super) fn negated(&self) -> Numeric {
        match self {
            Finite { units, scale } => Finite { units: -units, scale: *scale },
            Infinity => MinusInfinity,
            MinusInfinity => Infinity,
            NaN => NaN,
        }
    }

    pub(super) fn plus(&self, other: &Numeric) -> Result<Numeric, Fault> {
        match (self, other) {
            (Finite { units: a, scale: s }, Finite { units: b, scale: t }) => {
                let scale = *s.max(t);
                checked(a * power(scale - s) + b * power(scale - t), scale)
            }
            (NaN, _) | (_, NaN) | (Infinity, MinusInfinity) | (MinusInfinity, Infinity) => Ok(NaN),
            (Infinity, _) | (_, Infinity) => Ok(Infinity),
            (MinusInfinity, _) | (_, MinusInfinity) => Ok(MinusInfinity),
        }
    }

    pub(super) fn times(&self, other: &Numeric) -> Result<Numeric, Fault> {
        if let (Finite { units: a, scale: s }, Finite { units: b, scale: t }) = (self, other) {
            return checked(a * b, s.saturating_add(*t));
        }
        Ok(match (self.signum(), other.signum()) {
            (Some(a), Some(b)) => infinite(a * b),
            _ => NaN,
        })
    }

    pub(super) fn divided_by(&self, other: &Numeric) -> Result<Numeric, Fault> {
        match (self, other) {
            (NaN, _) | (_, NaN) => Ok(NaN),
            (_, Finite { units, .. }) if units.sign() == Sign::NoSign => Err(Fault::division_by_zero()),
            (Finite { units: a, scale: s }, Finite { units: b, scale: t }) => {
                let scale = quotient_scale(self, other);
                // a/10^s ÷ b/10^t, in units of 10^-scale: a × 10^(scale + t - s) ÷ b.
                let shift = i64::from(scale) + i64::from(*t) - i64::from(*s);
                let zeros = power(u32::try_from(shift.unsigned_abs()).unwrap_or(u32::MAX));
                let units = if shift >= 0 { round_quotient(&(a * zeros), b) } else { round_quotient(a, &(b * zeros)) };
                checked(units, scale)
            }
            (Finite { .. }, _) => Ok(Numeric::integer(0)),
            (_, Finite { .. }) => Ok(infinite(self.signum().unwrap_or(0) * other.signum().unwrap_or(0))),
            _ => Ok(NaN),
        }
    }

    pub(super) fn modulo(&self, other: &Numeric) -> Result<Numeric, Fault> {
        match (self, other) {
            (NaN, _) | (_, NaN) => Ok(NaN),
            (_, Finite { units, .. }) if units.sign() == Sign::NoSign => Err(Fault::division_by_zero()),
            (Finite { units: a, scale: s }, Finite { units: b, scale: t }) => {
                let scale = *s.max(t);
                Ok(Finite { units: (a * power(scale - s)) % (b * power(scale - t)), scale })
            }
            (Finite { .. }, _) => Ok(self.clone()),
            _ => Ok(NaN),
        }
    }

    pub(super) fn is_negative(&self) -> bool {
        self.signum() == Some(-1)
    }

    /// `None` for NaN.
    fn signum(&self) -> Option<i8> {
        Some(match self {
            Finite { units, .. } => match units.sign() {
                Sign::Minus => -1,
                Sign::NoSign => 0,
                Sign::Plus => 1,
            },
            Infinity => 1,
            MinusInfinity => -1,
            NaN => return None,
        })
    }
}

/// Zero times infinity is not a number.
fn infinite(sign: i8) -> Numeric {
    match sign {
        0 => NaN,
        1.. => Infinity,
        _ => MinusInfinity,
    }
}

fn checked(units: BigInt, scale: u32) -> Result<Numeric, Fault> {
    let number = Finite { units, scale };
    let number = if scale > SCALE_MAX { number.rounded(SCALE_MAX) } else { number };
    let Finite { units, scale } = &number else { return Ok(number) };
    // Three bits and a third are a digit: only what is near the limit has its digits counted.
    let is_near = units.bits() / 4 > u64::from(*scale).saturating_add(WHOLE_DIGITS_MAX as u64) / 2;
    if is_near && whole_digits(units, *scale) > WHOLE_DIGITS_MAX {
        return Err(Fault::refused("22003", "value overflows numeric format"));
    }
    Ok(number)
}

fn whole_digits(units: &BigInt, scale: u32) -> usize {
    units.magnitude().to_str_radix(10).len().saturating_sub(scale as usize)
}

fn power(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

/// The quotient as an integer; halves go away from zero.
fn round_quotient(dividend: &BigInt, divisor: &BigInt) -> BigInt {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    if rest.magnitude() * 2u8 < *divisor.magnitude() {
        return quotient;
    }
    let is_negative = (dividend.sign() == Sign::Minus) != (divisor.sign() == Sign::Minus);
    if is_negative { quotient - 1 } else { quotient + 1 }
}

/// How many digits behind the point a quotient has (`select_div_scale`): by the first digits to the base of 10000 that PostgreSQL
/// computes with.
fn quotient_scale(dividend: &Numeric, divisor: &Numeric) -> u32 {
    let (Finite { scale: s, .. }, Finite { scale: t, .. }) = (dividend, divisor) else { return 0 };
    let ((weight1, first1), (weight2, first2)) = (leading(dividend), leading(divisor));
    let weight = weight1 - weight2 - i64::from(first1 <= first2);
    let scale = (QUOTIENT_DIGITS - weight * 4).max(i64::from(*s)).max(i64::from(*t)).clamp(0, QUOTIENT_SCALE_MAX);
    u32::try_from(scale).unwrap_or(0)
}

/// The first digit to the base of 10000 that is not zero, and the power of 10000 that it counts.
fn leading(number: &Numeric) -> (i64, i64) {
    let Finite { units, scale } = number else { return (0, 0) };
    if units.sign() == Sign::NoSign {
        return (0, 0);
    }
    let digits = units.magnitude().to_str_radix(10);
    // The first decimal digit counts ten to this power.
    let exponent = i64::try_from(digits.len()).unwrap_or(i64::MAX) - 1 - i64::from(*scale);
    let weight = exponent.div_euclid(4);
    let length = usize::try_from(exponent.rem_euclid(4) + 1).unwrap_or(1);
    let group = digits.bytes().chain(std::iter::repeat(b'0')).take(length);
    (weight, group.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Numeric {}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |number: &Numeric| match number {
            MinusInfinity => 0,
            Finite { .. } => 1,
            Infinity => 2,
            NaN => 3,
        };
        match (self, other) {
            (Finite { units: a, scale: s }, Finite { units: b, scale: t }) => {
                let scale = *s.max(t);
                (a * power(scale - s)).cmp(&(b * power(scale - t)))
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, scale) = match self {
            Finite { units, scale } => (units, *scale as usize),
            Infinity => return f.write_str("Infinity"),
            MinusInfinity => return f.write_str("-Infinity"),
            NaN => return f.write_str("NaN"),
        };
        let digits = format!("{:0>1$}", units.magnitude().to_str_radix(10), scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if units.sign() == Sign::Minus { "-" } else { "" };
        if scale == 0 { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{fraction}") }
    }
}
