//! Values from PostgreSQL's text, or straight from its binary form.

use super::super::kind::{Kind, is_plain_text};
use super::super::moment::{self, DATE_FUTURE, DATE_PAST, DAY, DAYS_TO_2000, Moment};
use super::super::number;
use super::{Put, Type};
use crate::decode::array::{self, Part};
use crate::decode::binary::render_builtin;

/// How far a value was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The text can be told from what was written.
    Exactly,
    /// It cannot.
    Roughly,
    /// Nothing was written that counts: the type has no value for it.
    Not,
}

impl Told {
    const fn exactly_if(exact: bool) -> Told {
        if exact { Told::Exactly } else { Told::Roughly }
    }
}

/// Writes a value from its text.
pub(super) fn from_text<P: Put>(of: &Type, text: &[u8], out: &mut Vec<u8>) -> Told {
    let told = match of {
        Type::Text(_) => return words::<P>(text, out),
        Type::Boolean => bit::<P>(text, *b"tf", out),
        Type::Bit => bit::<P>(text, *b"10", out),
        Type::Int | Type::Long => {
            number::integer(text).filter(|value| *of == Type::Long || is_int(*value)).map(|value| {
                P::integer(value, out);
                Told::Exactly
            })
        }
        Type::Float => parse::<f32>(text).map(|value| {
            P::float(value, out);
            Told::exactly_if(is_rendered_as(700, &value.to_be_bytes(), text))
        }),
        Type::Double => parse::<f64>(text).map(|value| {
            P::double(value, out);
            Told::exactly_if(is_rendered_as(701, &value.to_be_bytes(), text))
        }),
        Type::Decimal { scale, .. } => (number::scale(text) == Some(*scale)).then(|| {
            P::decimal(text, out);
            Told::Exactly
        }),
        Type::Money => money::<P>(text, out),
        Type::Bytes => bytea::<P>(text, out),
        Type::Date => moment::date(text).map(|date| put_date::<P>(date, out)),
        Type::Time => moment::time_of_day(text).filter(|(_, rest)| rest.is_empty()).map(|(micros, _)| {
            P::integer(micros, out);
            Told::Exactly
        }),
        Type::Timestamp => moment::timestamp(text, b"").map(|moment| put_micros::<P>(moment, out)),
        Type::TimestampTz => moment::timestamp(text, b"+00").map(|moment| put_micros::<P>(moment, out)),
        Type::Array(element, delimiter) => array::<P>(element, *delimiter, text, out),
    };
    told.unwrap_or(Told::Not)
}

/// Writes a value from its binary form; `None` if that must be rendered as text first.
pub(super) fn from_binary<P: Put>(
    of: &Type,
    kind: &Kind,
    type_oid: u32,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Option<Told> {
    let four = || bytes.try_into().ok().map(i32::from_be_bytes);
    let eight = || bytes.try_into().ok().map(i64::from_be_bytes);
    match of {
        Type::Text(_) if is_plain_text(kind, type_oid) => return Some(words::<P>(bytes, out)),
        Type::Boolean => P::boolean(*bytes.first()? != 0, out),
        Type::Int | Type::Long => P::integer(
            match bytes.len() {
                2 => i64::from(i16::from_be_bytes(bytes.try_into().ok()?)),
                4 if type_oid == 26 => i64::from(four()?.cast_unsigned()),
                4 => i64::from(four()?),
                _ => eight()?,
            },
            out,
        ),
        Type::Float => P::float(f32::from_be_bytes(bytes.try_into().ok()?), out),
        // A domain over `real` has four: as a double it would have more digits.
        Type::Double => P::double(f64::from_be_bytes(bytes.try_into().ok()?), out),
        Type::Bytes => P::bytes(bytes, out),
        Type::Date => {
            let date = match four()? {
                i32::MAX => Moment::Future,
                i32::MIN => Moment::Past,
                days => Moment::At(i64::from(days) + DAYS_TO_2000, 0),
            };
            return Some(put_date::<P>(date, out));
        }
        Type::Time => P::integer(eight()?, out),
        Type::Timestamp | Type::TimestampTz => {
            let moment = match eight()? {
                i64::MAX => Moment::Future,
                i64::MIN => Moment::Past,
                micros => Moment::At(micros.div_euclid(DAY) + DAYS_TO_2000, micros.rem_euclid(DAY)),
            };
            return Some(put_micros::<P>(moment, out));
        }
        Type::Text(_) | Type::Bit | Type::Decimal { .. } | Type::Money | Type::Array(..) => return None,
    }
    Some(Told::Exactly)
}

/// A string; a byte that is not part of UTF-8 (only an `SQL_ASCII` database has such) becomes the four characters `\x80`.
fn words<P: Put>(text: &[u8], out: &mut Vec<u8>) -> Told {
    if std::str::from_utf8(text).is_ok() {
        P::bytes(text, out);
        return Told::Exactly;
    }
    let mut shown = String::new();
    for chunk in text.utf8_chunks() {
        shown.push_str(chunk.valid());
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    P::bytes(shown.as_bytes(), out);
    Told::Roughly
}

fn bit<P: Put>(text: &[u8], [yes, no]: [u8; 2], out: &mut Vec<u8>) -> Option<Told> {
    let [letter] = text else { return None };
    let value = *letter == yes;
    (value || *letter == no).then(|| {
        P::boolean(value, out);
        Told::Exactly
    })
}

fn is_int(value: i64) -> bool {
    i32::try_from(value).is_ok()
}

/// `NaN`, `Infinity` and `-Infinity` too.
fn parse<F: std::str::FromStr>(text: &[u8]) -> Option<F> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether PostgreSQL's text of this binary form is that one.
fn is_rendered_as(type_oid: u32, bytes: &[u8], text: &[u8]) -> bool {
    let mut rendered = Vec::with_capacity(text.len());
    render_builtin(type_oid, bytes, &mut rendered).is_some() && rendered == text
}

/// `-$1,234.56` (the sessions pin `lc_monetary`) in cents.
fn money<P: Put>(text: &[u8], out: &mut Vec<u8>) -> Option<Told> {
    let plain: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'$' | b',')).collect();
    (number::scale(&plain) == Some(2)).then(|| {
        P::decimal(&plain, out);
        let cents = number::integer(&plain.iter().copied().filter(|byte| *byte != b'.').collect::<Vec<u8>>());
        Told::exactly_if(cents.is_some_and(|cents| is_rendered_as(790, &cents.to_be_bytes(), text)))
    })
}

/// `\xdeadbeef`
fn bytea<P: Put>(text: &[u8], out: &mut Vec<u8>) -> Option<Told> {
    let digits = text.strip_prefix(b"\\x")?;
    let nibble = |digit: u8| (digit as char).to_digit(16).and_then(|nibble| u8::try_from(nibble).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect();
    let bytes = bytes.filter(|_| rest.is_empty())?;
    P::bytes(&bytes, out);
    Some(Told::exactly_if(!digits.iter().any(u8::is_ascii_uppercase)))
}

/// Days since 1970; infinity as the connector has it, beyond PostgreSQL's own first and last days.
fn put_date<P: Put>(date: Moment, out: &mut Vec<u8>) -> Told {
    let days = match date {
        Moment::Future => DATE_FUTURE,
        Moment::Past => DATE_PAST,
        Moment::At(days, _) => days,
    };
    P::integer(days, out);
    Told::Exactly
}

/// Microseconds since 1970; infinity as the last and the first that there are. PostgreSQL's last thirty years do not fit.
fn put_micros<P: Put>(moment: Moment, out: &mut Vec<u8>) -> Told {
    let micros = match moment {
        Moment::Future => Some(i64::MAX),
        Moment::Past => Some(i64::MIN),
        Moment::At(days, micros) => days.checked_mul(DAY).and_then(|day| day.checked_add(micros)),
    };
    P::integer(micros.unwrap_or(i64::MAX), out);
    Told::exactly_if(micros.is_some())
}

/// The elements in their order, as `unnest` gives them; how many dimensions there were, and their bounds, are lost.
fn array<P: Put>(element: &Type, delimiter: u8, text: &[u8], out: &mut Vec<u8>) -> Option<Told> {
    let (text, mut exact) = match text.first() {
        Some(b'[') => {
            let equals = text.iter().position(|&byte| byte == b'=')?;
            (text.get(equals.checked_add(1)?..)?, false)
        }
        _ => (text, true),
    };
    let (start, mut count, mut opened) = (out.len(), 0_usize, 0_usize);
    array::walk(delimiter, text, &mut |part| match part {
        Part::Open => opened = opened.saturating_add(1),
        Part::Close | Part::Next => {}
        Part::Null => {
            count = count.saturating_add(1);
            P::null_element(out);
        }
        Part::Value(text) => {
            count = count.saturating_add(1);
            let start = out.len();
            let opened = P::open_element(element, out);
            let told = from_text::<P>(element, text, out);
            if told == Told::Not {
                out.truncate(start);
                P::null_element(out);
            } else {
                P::close_element(opened, out);
            }
            exact &= told == Told::Exactly;
        }
    })?;
    P::array(start, count, out);
    Some(Told::exactly_if(exact && opened == 1))
}
