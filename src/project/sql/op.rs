//! Operators and functions that are NULL if any of their arguments is.

use std::cmp::Ordering;

use md5::{Digest as _, Md5};

use super::arithmetic::{self, Arithmetic};
use super::cast::Cast;
use super::moment::{self, Unit};
use super::types::Type;
use super::value::{Evaluated, Fault, Value};
use super::{json, like, text};

/// One of them, with what is known of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Compare(Comparison),
    Arithmetic(Arithmetic, Type),
    Negate(Type),
    Absolute(Type),
    Cast(Cast),
    /// Dates and times of two types, made comparable.
    Widen,
    /// `date + integer`; `back`: `date - integer`.
    PlusDays {
        back: bool,
    },
    DaysBetween,
    /// `||` of two texts.
    Join,
    Not,
    Like {
        negated: bool,
        /// `ILIKE`; and if so, of ASCII letters only.
        folded: Option<bool>,
        escape: Option<char>,
    },
    Case {
        upper: bool,
        ascii: bool,
    },
    Length,
    Bytes,
    Left,
    Right,
    Substring,
    Replace,
    SplitPart,
    Position,
    StartsWith,
    Trim {
        start: bool,
        end: bool,
    },
    Truncate(Unit),
    Extract(Unit),
    Json {
        as_text: bool,
    },
    Md5,
    /// `encode(…, 'hex')`
    Hex,
}

/// Of two values of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(super) const fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }

    /// Whether it asks for more than whether two values are the same.
    pub(super) const fn orders(self) -> bool {
        !matches!(self, Comparison::Equal | Comparison::NotEqual)
    }
}

impl Op {
    /// Of arguments of which none is NULL.
    pub(super) fn apply<'r>(self, mut arguments: Vec<Value<'r>>) -> Evaluated<'r> {
        let mut next = || if arguments.is_empty() { Err(Fault::confused()) } else { Ok(arguments.remove(0)) };
        let first = next()?;
        match self {
            Op::Compare(comparison) => Ok(Value::Boolean(comparison.holds(first.compare(&next()?)?))),
            Op::Arithmetic(operator, kind) => arithmetic::apply(operator, kind, first, next()?),
            Op::Negate(kind) => arithmetic::negate(kind, first),
            Op::Absolute(kind) => arithmetic::absolute(kind, first),
            Op::Cast(cast) => cast.apply(first),
            Op::Widen => moment::widen(first).map(Value::Moment),
            Op::PlusDays { back } => {
                let days = next()?.as_integer()?;
                moment::plus_days(&first, if back { -days } else { days })
            }
            Op::DaysBetween => moment::days_between(&first, &next()?),
            Op::Not => Ok(first.as_boolean()?.map_or(Value::Null, |value| Value::Boolean(!value))),
            Op::Truncate(unit) => moment::truncate(unit, &first),
            Op::Extract(unit) => moment::extract(unit, &first),
            Op::Json { as_text } => match next()? {
                Value::Integer(index) => json::get(first.as_text()?, json::Step::Index(index), as_text),
                key => json::get(first.as_text()?, json::Step::Key(key.as_text()?), as_text),
            },
            Op::Hex => match first {
                Value::Bytes(bytes) => Ok(Value::text(hex(&bytes))),
                _ => Err(Fault::confused()),
            },
            Op::Join
            | Op::Like { .. }
            | Op::Case { .. }
            | Op::Length
            | Op::Bytes
            | Op::Left
            | Op::Right
            | Op::Substring
            | Op::Replace
            | Op::SplitPart
            | Op::Position
            | Op::StartsWith
            | Op::Trim { .. }
            | Op::Md5 => self.of_text(first, &arguments),
        }
    }

    fn of_text<'r>(self, first: Value<'r>, rest: &[Value<'r>]) -> Evaluated<'r> {
        let argument = |index: usize| rest.get(index).ok_or_else(Fault::confused);
        let words = |index: usize| argument(index)?.as_text();
        let number = |index: usize| argument(index)?.as_integer();
        let text = first.into_text()?;
        match self {
            Op::Join => Ok(Value::text(format!("{text}{}", words(0)?))),
            Op::Like { negated, folded, escape } => {
                let found = match folded {
                    None => like::matches(&text, words(0)?, escape)?,
                    Some(ascii) => {
                        let fold = |text: &str| text::change_case(text, false, ascii);
                        like::matches(&fold(&text), &fold(words(0)?), escape)?
                    }
                };
                Ok(Value::Boolean(found != negated))
            }
            Op::Case { upper, ascii } => Ok(Value::text(text::change_case(&text, upper, ascii))),
            Op::Length => Ok(Value::Integer(text::length(&text))),
            Op::Bytes => Ok(Value::Integer(i64::try_from(text.len()).unwrap_or(i64::MAX))),
            Op::Left => Ok(Value::text(text::left(&text, number(0)?))),
            Op::Right => Ok(Value::text(text::right(&text, number(0)?))),
            Op::Substring => text::substring(&text, number(0)?, rest.get(1).map(Value::as_integer).transpose()?),
            Op::Replace => Ok(Value::text(text::replace(&text, words(0)?, words(1)?))),
            Op::SplitPart => text::split_part(&text, words(0)?, number(1)?),
            Op::Position => Ok(Value::Integer(text::position(&text, words(0)?))),
            Op::StartsWith => Ok(Value::Boolean(text.starts_with(words(0)?))),
            Op::Trim { start, end } => {
                let set = if rest.is_empty() { " " } else { words(0)? };
                Ok(Value::Text(text::trim(text, set, start, end)))
            }
            Op::Md5 => Ok(Value::text(hex(&Md5::digest(text.as_bytes())))),
            _ => Err(Fault::confused()),
        }
    }
}

/// Lower-case digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
