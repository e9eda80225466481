//! A column's value as Debezium's JSON converter writes it, with the connector's default modes, straight into a buffer.
//!
//! Every writer answers whether the value can be told from what it wrote, to the byte of PostgreSQL's text. If not, the text
//! goes into the record's header ([`super::super::exact`]). Text that is not what its type's should be is written as a string.

use super::super::kind::Kind;
use super::super::moment::{self, DATE_FUTURE, DATE_PAST, DAY, Moment, SECOND};
use super::super::{base64, number};
use super::{array, geometry};
use crate::decode::json::write_string;

/// What the PostgreSQL driver of Java makes of `infinity` as milliseconds: beyond PostgreSQL's own last and first days.
pub(super) const MILLIS_FUTURE: i64 = 9_223_372_036_825_200_000;
pub(super) const MILLIS_PAST: i64 = -9_223_372_036_832_400_000;

/// A twelfth of 365.25 days: a month, in microseconds.
const MONTH: i64 = 2_629_800 * SECOND;

/// Writes a value from its text.
pub(super) fn write(kind: &Kind, text: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let written = match kind {
        Kind::Text | Kind::Json => return write_string(text, out),
        Kind::Boolean => boolean(text, out),
        Kind::Integer => number::integer(text).map(|_| {
            out.extend_from_slice(text);
            true
        }),
        Kind::Float => Some(float(text, out)),
        Kind::Numeric => return numeric(text, out),
        Kind::Decimal { scale, .. } => return decimal(text, *scale, out),
        Kind::Money => money(text, out),
        Kind::PlainMoney => digits_of_money(text).map(|digits| write_string(&digits, out)),
        Kind::Bytea => bytea(text, out),
        Kind::Date => moment::date(text).map(|date| put_date(date, out)),
        Kind::TimeMillis | Kind::TimeMicros => time(kind, text, out),
        Kind::TimeTz => timetz(text, out),
        Kind::TimestampMillis => moment::timestamp(text, b"").map(|moment| put_millis(moment, out)),
        Kind::TimestampMicros => moment::timestamp(text, b"").map(|moment| put_micros(moment, out)),
        Kind::TimestampTz(digits) => timestamptz(text, *digits, out),
        Kind::Interval => interval(text, out),
        Kind::Bit => bit(text, out),
        Kind::Bits(width) => bits(text, out).map(|_| text.len() == *width),
        Kind::VarBits => bits(text, out),
        Kind::Point | Kind::Segment | Kind::Box | Kind::Path | Kind::Polygon | Kind::Circle | Kind::Line => {
            geometry::write(kind, text, out)
        }
        Kind::Array(element, delimiter) => array::write(element, *delimiter, text, out),
    };
    written.unwrap_or_else(|| {
        out.truncate(start);
        write_string(text, out);
        false
    })
}

fn boolean(text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    match text {
        b"t" => put_boolean(true, out),
        b"f" => put_boolean(false, out),
        _ => return None,
    }
    Some(true)
}

pub(super) fn put_boolean(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// PostgreSQL's own shortest text, with a point or an exponent in every number, as Java has it: readers without a schema
/// would take it for an integer.
pub(super) fn float(text: &[u8], out: &mut Vec<u8>) -> bool {
    if !text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'+' | b'-')) {
        return write_string(text, out);
    }
    out.extend_from_slice(text);
    if !text.iter().any(|byte| matches!(byte, b'.' | b'e')) {
        out.extend_from_slice(b".0");
    }
    true
}

/// `{"scale":1,"value":"fQ=="}`, without zeros at the end; null for what is no number, as Java's decimals have no such.
fn numeric(text: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(scale) = number::scale(text) else {
        out.extend_from_slice(b"null");
        return false;
    };
    let zeros = text.iter().rev().take(scale).take_while(|&&byte| byte == b'0').count();
    let digits = text.len().saturating_sub(zeros);
    out.extend_from_slice(b"{\"scale\":");
    number::push_unsigned(scale.saturating_sub(zeros) as u64, out);
    out.extend_from_slice(b",\"value\":\"");
    number::unscaled(text.get(..digits).unwrap_or(text), |bytes| base64::encode(bytes, out));
    out.extend_from_slice(b"\"}");
    zeros == 0
}

/// The unscaled digits in base64; the scale is the column's.
fn decimal(text: &[u8], scale: usize, out: &mut Vec<u8>) -> bool {
    if number::scale(text) != Some(scale) {
        out.extend_from_slice(b"null");
        return false;
    }
    out.push(b'"');
    number::unscaled(text, |bytes| base64::encode(bytes, out));
    out.push(b'"');
    true
}

/// `-$1,234.56` (the sessions pin `lc_monetary`), as a decimal of scale 2.
fn money(text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    let digits = digits_of_money(text)?;
    out.push(b'"');
    number::unscaled(&digits, |bytes| base64::encode(bytes, out));
    out.push(b'"');
    Some(true)
}

/// `-1234.56`
fn digits_of_money(text: &[u8]) -> Option<Vec<u8>> {
    text.strip_prefix(b"-").unwrap_or(text).strip_prefix(b"$")?;
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'$' | b',')).collect();
    (number::scale(&digits) == Some(2)).then_some(digits)
}

/// `\xdeadbeef` in base64.
fn bytea(text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    let digits = text.strip_prefix(b"\\x")?;
    out.push(b'"');
    for group in digits.chunks(6) {
        let mut bytes = [0_u8; 3];
        for (byte, pair) in bytes.iter_mut().zip(group.chunks(2)) {
            let [high, low] = pair else { return None };
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        base64::encode(bytes.get(..group.len() / 2)?, out);
    }
    out.push(b'"');
    Some(true)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Days since 1970.
pub(super) fn put_date(date: Moment, out: &mut Vec<u8>) -> bool {
    let days = match date {
        Moment::Future => DATE_FUTURE,
        Moment::Past => DATE_PAST,
        Moment::At(days, _) => days,
    };
    number::push_integer(days, out);
    true
}

/// Milliseconds since 1970.
pub(super) fn put_millis(moment: Moment, out: &mut Vec<u8>) -> bool {
    let (millis, exact) = match moment {
        Moment::Future => (MILLIS_FUTURE, true),
        Moment::Past => (MILLIS_PAST, true),
        // PostgreSQL's last day is far from the end of 64 bits of milliseconds.
        Moment::At(days, micros) => (days * (DAY / 1000) + micros.div_euclid(1000), micros % 1000 == 0),
    };
    number::push_integer(millis, out);
    exact
}

/// Microseconds since 1970. PostgreSQL's last thirty years do not fit; they are told as the last moment that does.
pub(super) fn put_micros(moment: Moment, out: &mut Vec<u8>) -> bool {
    let micros = match moment {
        Moment::Future => Some(i64::MAX),
        Moment::Past => Some(i64::MIN),
        Moment::At(days, micros) => days.checked_mul(DAY).and_then(|day| day.checked_add(micros)),
    };
    number::push_integer(micros.unwrap_or(i64::MAX), out);
    micros.is_some()
}

fn time(kind: &Kind, text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    let (micros, rest) = moment::time_of_day(text)?;
    rest.is_empty().then(|| put_time(kind, micros, out))
}

pub(super) fn put_time(kind: &Kind, micros: i64, out: &mut Vec<u8>) -> bool {
    if *kind == Kind::TimeMicros {
        number::push_integer(micros, out);
        return true;
    }
    number::push_integer(micros / 1000, out);
    micros % 1000 == 0
}

/// `10:00:00.5+02` in UTC: `"08:00:00.5Z"`. The zone is lost.
fn timetz(text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    let (micros, zone) = moment::time_of_day(text)?;
    out.push(b'"');
    if zone == b"+00" {
        out.extend_from_slice(text.strip_suffix(b"+00")?);
    } else {
        let utc = (micros - moment::zone(zone)? * SECOND).rem_euclid(DAY);
        let clock = utc / SECOND;
        for (part, sign) in [(clock / 3600, b':'), (clock / 60 % 60, b':'), (clock % 60, b'.')] {
            out.extend_from_slice(format!("{part:02}").as_bytes());
            out.push(sign);
        }
        out.extend_from_slice(format!("{:06}", utc % SECOND).as_bytes());
        while out.last() == Some(&b'0') {
            out.pop();
        }
        if out.last() == Some(&b'.') {
            out.pop();
        }
    }
    out.extend_from_slice(b"Z\"");
    Some(zone == b"+00")
}

/// ISO 8601 in UTC with all the digits that the column has. Years are astronomical.
fn timestamptz(text: &[u8], digits: usize, out: &mut Vec<u8>) -> Option<bool> {
    if matches!(text, b"infinity" | b"-infinity") {
        return Some(write_string(text, out));
    }
    let (text, before_christ) = text.strip_suffix(b" BC").map_or((text, false), |text| (text, true));
    let text = text.strip_suffix(b"+00")?;
    let (year, rest) = text.split_at_checked(text.iter().position(|&byte| byte == b'-')?)?;
    let ([b'-', _, _, b'-', _, _, b' '], time) = rest.split_first_chunk::<7>()? else { return None };
    let ((_, b""), (clock, fraction)) = (moment::time_of_day(time)?, time.split_at_checked(8)?) else { return None };
    out.push(b'"');
    if before_christ {
        let year = number::integer(year)?;
        out.extend_from_slice(format!("{:01$}", 1 - year, if year == 1 { 4 } else { 5 }).as_bytes());
    } else {
        if year.len() > 4 {
            out.push(b'+');
        }
        out.extend_from_slice(year);
    }
    out.extend_from_slice(rest.get(..6)?);
    out.push(b'T');
    out.extend_from_slice(clock);
    let given = fraction.get(1..).unwrap_or_default();
    if digits > 0 {
        out.push(b'.');
        out.extend(given.iter().chain([b'0'; 6].iter()).take(digits));
    }
    out.extend_from_slice(b"Z\"");
    Some(given.len() <= digits)
}

/// Microseconds, a month counted as a twelfth of a year of 365.25 days. Only a time of less than a day can be told from that.
fn interval(text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    let mut micros = 0_i128;
    let mut words = text.split(|&byte| byte == b' ').peekable();
    let mut units = false;
    while let Some(word) = words.next() {
        let (negative, digits) = match word.split_first()? {
            (b'-', digits) => (true, digits),
            (b'+', digits) => (false, digits),
            _ => (false, word),
        };
        let sign = if negative { -1 } else { 1 };
        if let Some(colon) = digits.iter().position(|&byte| byte == b':') {
            let (hours, rest) = digits.split_at_checked(colon)?;
            let [b':', m1, m2, b':', s1, s2, fraction @ ..] = rest else { return None };
            let [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9'] = [*m1, *m2, *s1, *s2] else { return None };
            let pair = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
            let (fraction, b"") = moment::fraction(fraction)? else { return None };
            let seconds = i128::from(number::integer(hours)?) * 3600 + i128::from(pair(m1, m2) * 60 + pair(s1, s2));
            micros += sign * (seconds * i128::from(SECOND) + i128::from(fraction));
            continue;
        }
        let unit = match words.next()? {
            b"year" | b"years" => MONTH * 12,
            b"mon" | b"mons" => MONTH,
            b"day" | b"days" => DAY,
            _ => return None,
        };
        units = true;
        micros += sign * i128::from(number::integer(digits)?) * i128::from(unit);
    }
    let fits = i64::try_from(micros);
    number::push_integer(fits.unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX }), out);
    Some(!units && fits.is_ok())
}

fn bit(text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    match text {
        b"1" => put_boolean(true, out),
        b"0" => put_boolean(false, out),
        _ => return None,
    }
    Some(true)
}

/// The bits in bytes, the last bit the lowest, the lowest byte first, without empty bytes at the end. How many bits there were
/// is lost if the first is 0.
fn bits(text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    text.iter().all(|byte| matches!(byte, b'0' | b'1')).then_some(())?;
    let ones = text.iter().position(|&byte| byte == b'1').and_then(|first| text.get(first..)).unwrap_or_default();
    let bytes: Vec<u8> = ones.rchunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | (bit & 1))).collect();
    out.push(b'"');
    base64::encode(&bytes, out);
    out.push(b'"');
    Some(ones.len() == text.len())
}
