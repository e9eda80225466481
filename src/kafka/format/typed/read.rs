//! Values back into PostgreSQL's text: the inverse of [`super::write`], for what that calls exact.

use super::super::exact::{Exact, Side};
use super::super::moment::{DATE_FUTURE, DATE_PAST, DAY, DAYS_TO_2000};
use super::super::{FormatError, number};
use super::Type;
use crate::decode::array::put_element;
use crate::decode::binary::render_builtin;
use crate::event::{Cell, Row, RowBuilder};

/// A value as it was read from a record.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::kafka::format) enum Value<'a> {
    Boolean(bool),
    Integer(i64),
    Float(f32),
    Double(f64),
    Bytes(&'a [u8]),
    /// A decimal as its text.
    Digits(&'a [u8]),
    /// `None`: an element that is NULL.
    Array(Vec<Option<Value<'a>>>),
}

/// A row of values, `None` for NULL, with the cells that the header tells of.
pub(in crate::kafka::format) fn row(
    types: &[Type],
    values: &[Option<Value<'_>>],
    side: Side,
    exact: &Exact<'_>,
) -> Result<Row, FormatError> {
    let (mut builder, mut buffer) = (RowBuilder::default(), Vec::new());
    for (index, (of, value)) in types.iter().zip(values).enumerate() {
        builder.push(match (exact.cells.get(&(side, index)), value) {
            (Some(Some(text)), _) => Cell::Text(text),
            (Some(None), _) => Cell::Unchanged,
            (None, None) => Cell::Null,
            (None, Some(value)) => {
                buffer.clear();
                text(of, value, &mut buffer)
                    .ok_or(FormatError::Record("the value of a column is not one of its type"))?;
                Cell::Text(&buffer)
            }
        });
    }
    Ok(builder.finish())
}

/// Appends the text of a value; `None` if it is not one of the type.
fn text(of: &Type, value: &Value<'_>, out: &mut Vec<u8>) -> Option<()> {
    match (of, value) {
        (Type::Text(_), Value::Bytes(text)) => out.extend_from_slice(text),
        (Type::Boolean, Value::Boolean(value)) => out.push(if *value { b't' } else { b'f' }),
        (Type::Bit, Value::Boolean(value)) => out.push(if *value { b'1' } else { b'0' }),
        (Type::Int | Type::Long, Value::Integer(value)) => number::push_integer(*value, out),
        (Type::Float, Value::Float(value)) => render_builtin(700, &value.to_be_bytes(), out)?,
        (Type::Double, Value::Double(value)) => render_builtin(701, &value.to_be_bytes(), out)?,
        (Type::Decimal { scale, .. }, Value::Bytes(unscaled)) => {
            out.extend_from_slice(&number::decimal(unscaled, *scale));
        }
        (Type::Money, Value::Bytes(unscaled)) => {
            let cents = number::integer(&number::decimal(unscaled, 0))?;
            render_builtin(790, &cents.to_be_bytes(), out)?;
        }
        (Type::Money, Value::Digits(digits)) => {
            let cents: Vec<u8> = digits.iter().copied().filter(|byte| *byte != b'.').collect();
            render_builtin(790, &number::integer(&cents)?.to_be_bytes(), out)?;
        }
        (Type::Bytes, Value::Bytes(bytes)) => render_builtin(17, bytes, out)?,
        (Type::Date, Value::Integer(days)) => {
            let days = match *days {
                DATE_FUTURE => i32::MAX,
                DATE_PAST => i32::MIN,
                days => i32::try_from(days.checked_sub(DAYS_TO_2000)?).ok()?,
            };
            render_builtin(1082, &days.to_be_bytes(), out)?;
        }
        (Type::Time, Value::Integer(micros)) => render_builtin(1083, &micros.to_be_bytes(), out)?,
        (Type::Timestamp, Value::Integer(micros)) => render_builtin(1114, &since_2000(*micros)?.to_be_bytes(), out)?,
        (Type::TimestampTz, Value::Integer(micros)) => render_builtin(1184, &since_2000(*micros)?.to_be_bytes(), out)?,
        (Type::Array(element, delimiter), Value::Array(values)) => array(element, *delimiter, values, out)?,
        _ => return None,
    }
    Some(())
}

/// PostgreSQL's microseconds, which both infinities keep.
fn since_2000(since_1970: i64) -> Option<i64> {
    match since_1970 {
        i64::MAX | i64::MIN => Some(since_1970),
        micros => micros.checked_sub(DAYS_TO_2000 * DAY),
    }
}

fn array(element: &Type, delimiter: u8, values: &[Option<Value<'_>>], out: &mut Vec<u8>) -> Option<()> {
    out.push(b'{');
    let mut one = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(delimiter);
        }
        let Some(value) = value else {
            out.extend_from_slice(b"NULL");
            continue;
        };
        one.clear();
        text(element, value, &mut one)?;
        put_element(&one, delimiter, out);
    }
    out.push(b'}');
    Some(())
}
