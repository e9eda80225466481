//! Values, and what can go wrong with them.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::numeric::Numeric;
use super::types::Type;
use crate::decode::binary;

/// A value. Of which type it is, is known where it is used.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'r> {
    Null,
    Boolean(bool),
    /// `smallint`, `integer`, `bigint`.
    Integer(i64),
    /// `real`, which is exact in the wider type, and `double precision`.
    Float(f64),
    Numeric(Numeric),
    /// `text`, `uuid` in its canonical form, `jsonb`, and the text of any other type.
    Text(Cow<'r, str>),
    Bytes(Vec<u8>),
    /// Days since 2000-01-01.
    Date(i32),
    /// Microseconds since 2000-01-01, with a time zone or without: it is UTC.
    Moment(i64),
}

/// Why a row has no value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// It needs a column that is not in the event: an unchanged TOAST value.
    Absent,
    /// PostgreSQL would refuse it, too.
    Refused {
        /// The SQLSTATE.
        state: &'static str,
        /// PostgreSQL's words for it.
        message: String,
    },
}

impl Fault {
    pub(super) fn refused(state: &'static str, message: impl Into<String>) -> Self {
        Fault::Refused { state, message: message.into() }
    }

    pub(super) fn out_of_range(kind: Type) -> Self {
        Fault::refused("22003", format!("{kind} out of range"))
    }

    pub(super) fn division_by_zero() -> Self {
        Fault::refused("22012", "division by zero")
    }

    /// A value that is not of the type that it was bound as: a bug, which costs its row and nothing else.
    pub(super) fn confused() -> Self {
        Fault::refused("XX000", "a value is of another type than expected; please report this bug")
    }
}

pub(super) type Evaluated<'r> = Result<Value<'r>, Fault>;

impl<'r> Value<'r> {
    pub(super) fn text(text: impl Into<Cow<'r, str>>) -> Self {
        Value::Text(text.into())
    }

    pub(super) fn into_text(self) -> Result<Cow<'r, str>, Fault> {
        if let Value::Text(text) = self { Ok(text) } else { Err(Fault::confused()) }
    }

    pub(super) fn as_text(&self) -> Result<&str, Fault> {
        if let Value::Text(text) = self { Ok(text) } else { Err(Fault::confused()) }
    }

    pub(super) fn as_integer(&self) -> Result<i64, Fault> {
        if let Value::Integer(number) = self { Ok(*number) } else { Err(Fault::confused()) }
    }

    /// `None` for NULL.
    pub(super) fn as_boolean(&self) -> Result<Option<bool>, Fault> {
        match self {
            Value::Null => Ok(None),
            Value::Boolean(value) => Ok(Some(*value)),
            _ => Err(Fault::confused()),
        }
    }

    /// The value that a column's text stands for.
    pub(super) fn read(kind: Type, text: &'r [u8]) -> Evaluated<'r> {
        let text = std::str::from_utf8(text)
            .map_err(|_| Fault::refused("22021", "invalid byte sequence for encoding \"UTF8\""))?;
        match kind {
            Type::Text | Type::Uuid | Type::Jsonb | Type::Other | Type::Unknown | Type::Any => Ok(Value::text(text)),
            Type::Blank => Ok(Value::text(text.trim_end_matches(' '))),
            Type::Boolean => Ok(Value::Boolean(text == "t")),
            other => super::cast::parse(text, other),
        }
    }

    /// Its text, as the type's output function makes it; `None` for NULL.
    pub(super) fn write(&self, kind: Type) -> Option<Cow<'_, str>> {
        let rendered = |bytes: &[u8]| {
            let mut out = Vec::new();
            // A value out of its type's range does not come out of an operator.
            let _ = binary::render_builtin(kind.oid(), bytes, &mut out);
            Cow::Owned(String::from_utf8(out).unwrap_or_default())
        };
        Some(match self {
            Value::Null => return None,
            Value::Boolean(value) => Cow::Borrowed(if *value { "t" } else { "f" }),
            Value::Integer(number) => Cow::Owned(number.to_string()),
            #[expect(clippy::cast_possible_truncation, reason = "it was made of such a number")]
            Value::Float(number) if kind == Type::Float4 => rendered(&(*number as f32).to_be_bytes()),
            Value::Float(number) => rendered(&number.to_be_bytes()),
            Value::Numeric(number) => Cow::Owned(number.to_string()),
            Value::Text(text) => Cow::Borrowed(text),
            Value::Bytes(bytes) => rendered(bytes),
            Value::Date(days) => rendered(&days.to_be_bytes()),
            Value::Moment(micros) => rendered(&micros.to_be_bytes()),
        })
    }

    /// Of two values of one type, neither NULL. NaN is equal to itself and above all other numbers.
    pub(super) fn compare(&self, other: &Value<'_>) -> Result<Ordering, Fault> {
        Ok(match (self, other) {
            (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
            (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())),
            (Value::Numeric(a), Value::Numeric(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Date(a), Value::Date(b)) => a.cmp(b),
            (Value::Moment(a), Value::Moment(b)) => a.cmp(b),
            _ => return Err(Fault::confused()),
        })
    }
}
