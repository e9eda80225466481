//! Values back into PostgreSQL's text: the inverse of [`super::value`], for what that calls exact.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::kind::Kind;
use super::super::moment::{DATE_FUTURE, DATE_PAST, DAY, DAYS_TO_2000};
use super::super::quote::elements;
use super::super::{base64, number};
use super::{geometry, value};
use crate::decode::binary::render_builtin;

/// A string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

#[derive(serde::Deserialize)]
struct Numeric<'a> {
    scale: usize,
    value: &'a str,
}

#[derive(serde::Deserialize)]
struct Point<'a> {
    #[serde(borrow)]
    x: &'a RawValue,
    #[serde(borrow)]
    y: &'a RawValue,
}

#[derive(serde::Deserialize)]
struct Circle<'a> {
    #[serde(borrow)]
    center: Point<'a>,
    #[serde(borrow)]
    radius: &'a RawValue,
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    a: &'a RawValue,
    #[serde(borrow)]
    b: &'a RawValue,
    #[serde(borrow)]
    c: &'a RawValue,
}

#[derive(serde::Deserialize)]
struct Shape<'a> {
    wkb: &'a str,
    #[serde(borrow)]
    extensions: Extensions<'a>,
}

#[derive(serde::Deserialize)]
struct Extensions<'a> {
    #[serde(default)]
    closed: Option<&'a str>,
}

/// Appends the text of a JSON value; `None` if it is not one of the kind.
pub(super) fn value(kind: &Kind, json: &str, out: &mut Vec<u8>) -> Option<()> {
    match kind {
        Kind::Text | Kind::Json => out.extend_from_slice(parsed::<Text<'_>>(json)?.0.as_bytes()),
        Kind::Boolean => out.push(if parsed(json)? { b't' } else { b'f' }),
        Kind::Bit => out.push(if parsed(json)? { b'1' } else { b'0' }),
        Kind::Integer => {
            number::integer(json.as_bytes())?;
            out.extend_from_slice(json.as_bytes());
        }
        Kind::Float => float(json, out)?,
        Kind::Numeric => {
            let Numeric { scale, value } = parsed(json)?;
            out.extend_from_slice(&number::decimal(&base64::decode(value.as_bytes())?, scale));
        }
        Kind::Decimal { scale, .. } => out.extend_from_slice(&number::decimal(&bytes(json)?, *scale)),
        Kind::Money => money(&number::decimal(&bytes(json)?, 0), out)?,
        Kind::PlainMoney => money(parsed::<&str>(json)?.replace('.', "").as_bytes(), out)?,
        Kind::Bytea => render_builtin(17, &bytes(json)?, out)?,
        Kind::Date => {
            let days = match integer(json)? {
                DATE_FUTURE => i32::MAX,
                DATE_PAST => i32::MIN,
                days => i32::try_from(days.checked_sub(DAYS_TO_2000)?).ok()?,
            };
            render_builtin(1082, &days.to_be_bytes(), out)?;
        }
        Kind::TimeMicros => render_builtin(1083, &integer(json)?.to_be_bytes(), out)?,
        Kind::TimeMillis => render_builtin(1083, &integer(json)?.checked_mul(1000)?.to_be_bytes(), out)?,
        Kind::TimeTz => {
            out.extend_from_slice(parsed::<&str>(json)?.strip_suffix('Z')?.as_bytes());
            out.extend_from_slice(b"+00");
        }
        Kind::TimestampMicros | Kind::TimestampMillis => {
            let micros = since_2000(kind, integer(json)?)?;
            render_builtin(1114, &micros.to_be_bytes(), out)?;
        }
        Kind::TimestampTz(_) => timestamptz(parsed(json)?, out)?,
        Kind::Interval => {
            let interval = [&integer(json)?.to_be_bytes()[..], &[0; 8]].concat();
            render_builtin(1186, &interval, out)?;
        }
        Kind::Bits(width) => bits(&bytes(json)?, *width, out),
        Kind::VarBits => bits(&bytes(json)?, 0, out),
        Kind::Point => point(&parsed(json)?, out)?,
        Kind::Circle => {
            let Circle { center, radius } = parsed(json)?;
            out.push(b'<');
            point(&center, out)?;
            out.push(b',');
            float(radius.get(), out)?;
            out.push(b'>');
        }
        Kind::Line => {
            let Line { a, b, c } = parsed(json)?;
            for (number, before) in [a, b, c].iter().zip(*b"{,,") {
                out.push(before);
                float(number.get(), out)?;
            }
            out.push(b'}');
        }
        Kind::Segment => shape(kind, 601, json, out)?,
        Kind::Path => shape(kind, 602, json, out)?,
        Kind::Box => shape(kind, 603, json, out)?,
        Kind::Polygon => shape(kind, 604, json, out)?,
        Kind::Array(element, delimiter) => elements(*delimiter, json, out, &|json, out| value(element, json, out))?,
    }
    Some(())
}

fn parsed<'a, T: serde::Deserialize<'a>>(json: &'a str) -> Option<T> {
    serde_json::from_str(json).ok()
}

fn integer(json: &str) -> Option<i64> {
    number::integer(json.as_bytes())
}

fn money(cents: &[u8], out: &mut Vec<u8>) -> Option<()> {
    render_builtin(790, &number::integer(cents)?.to_be_bytes(), out)
}

/// The bytes of a string in base64.
fn bytes(json: &str) -> Option<Vec<u8>> {
    base64::decode(json.strip_prefix('"')?.strip_suffix('"')?.as_bytes())
}

/// PostgreSQL's own text: without the point that every number is given.
fn float(json: &str, out: &mut Vec<u8>) -> Option<()> {
    let text = match json.strip_prefix('"') {
        Some(word) => word.strip_suffix('"')?,
        None => json.strip_suffix(".0").unwrap_or(json),
    };
    out.extend_from_slice(text.as_bytes());
    Some(())
}

/// PostgreSQL's microseconds since 2000.
fn since_2000(kind: &Kind, since_1970: i64) -> Option<i64> {
    const TO_2000: i64 = DAYS_TO_2000 * DAY;
    match (kind, since_1970) {
        (Kind::TimestampMillis, value::MILLIS_FUTURE) | (Kind::TimestampMicros, i64::MAX) => Some(i64::MAX),
        (Kind::TimestampMillis, value::MILLIS_PAST) | (Kind::TimestampMicros, i64::MIN) => Some(i64::MIN),
        (Kind::TimestampMillis, millis) => millis.checked_sub(TO_2000 / 1000)?.checked_mul(1000),
        (_, micros) => micros.checked_sub(TO_2000),
    }
}

/// `-0043-03-15T12:00:00.500000Z` as `0044-03-15 12:00:00.5+00 BC`.
fn timestamptz(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let Some((date, time)) = text.split_once('T') else {
        out.extend_from_slice(text.as_bytes());
        return Some(());
    };
    let (year, month_day) = date.split_at_checked(date.len().checked_sub(6)?)?;
    let astronomical = number::integer(year.strip_prefix('+').unwrap_or(year).as_bytes())?;
    if astronomical <= 0 {
        out.extend_from_slice(format!("{:04}", 1 - astronomical).as_bytes());
    } else {
        out.extend_from_slice(year.strip_prefix('+').unwrap_or(year).as_bytes());
    }
    out.extend_from_slice(month_day.as_bytes());
    out.push(b' ');
    let time = time.strip_suffix('Z')?;
    let time = if time.contains('.') { time.trim_end_matches('0').trim_end_matches('.') } else { time };
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(if astronomical <= 0 { b"+00 BC" } else { b"+00" });
    Some(())
}

/// Bits from their bytes, the lowest first, with zeros in front up to the width.
fn bits(bytes: &[u8], width: usize, out: &mut Vec<u8>) {
    let bit = |index: usize| bytes.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
    let used = (0..bytes.len().saturating_mul(8)).rev().find(|&index| bit(index)).map_or(0, |last| last + 1);
    out.extend((0..width.max(used)).rev().map(|index| if bit(index) { b'1' } else { b'0' }));
}

fn point(point: &Point<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'(');
    float(point.x.get(), out)?;
    out.push(b',');
    float(point.y.get(), out)?;
    out.push(b')');
    Some(())
}

fn shape(kind: &Kind, type_oid: u32, json: &str, out: &mut Vec<u8>) -> Option<()> {
    let Shape { wkb, extensions } = parsed(json)?;
    let binary = geometry::read(kind, &base64::decode(wkb.as_bytes())?, extensions.closed == Some("true"))?;
    render_builtin(type_oid, &binary, out)
}
