//! Literals and casts.

use std::ops::Range;

use sqlparser::ast::{
    CastKind, CharacterLength, DataType, ExactNumberInfo, Expr, TimezoneInfo, TypedString, Value as Literal,
};

use super::{Binder, Bound};
use crate::project::sql::cast::Cast;
use crate::project::sql::evaluate::Node;
use crate::project::sql::numeric::Numeric;
use crate::project::sql::op::Op;
use crate::project::sql::place::Mistake;
use crate::project::sql::types::Type;
use crate::project::sql::value::Value;

impl Binder<'_> {
    pub(super) fn literal(&self, literal: &Literal, at: Range<usize>) -> Result<Bound, Mistake> {
        let (value, kind) = match literal {
            Literal::Null => (Value::Null, Type::Unknown),
            Literal::Boolean(value) => (Value::Boolean(*value), Type::Boolean),
            Literal::SingleQuotedString(text) | Literal::EscapedStringLiteral(text) => {
                (Value::text(text.clone()), Type::Unknown)
            }
            Literal::DollarQuotedString(text) => (Value::text(text.value.clone()), Type::Unknown),
            Literal::Number(digits, _) => number(digits).ok_or_else(|| self.unknown(at.clone(), "this number"))?,
            other => return Err(self.unknown(at, &format!("the literal {other}"))),
        };
        Ok(Bound::new(Node::Constant(value), kind, at))
    }

    /// `date '2026-11-24'`
    pub(super) fn typed_string(&mut self, typed: &TypedString, at: Range<usize>) -> Result<Bound, Mistake> {
        let text = self.literal(&typed.value.value, at.clone())?;
        self.cast_bound(text, &typed.data_type, at)
    }

    pub(super) fn cast(
        &mut self,
        kind: &CastKind,
        expr: &Expr,
        data_type: &DataType,
        at: Range<usize>,
    ) -> Result<Bound, Mistake> {
        if !matches!(kind, CastKind::Cast | CastKind::DoubleColon) {
            return Err(self.unknown(at, "this cast"));
        }
        let inner = self.bind(expr)?;
        self.cast_bound(inner, data_type, at)
    }

    fn cast_bound(&self, inner: Bound, data_type: &DataType, at: Range<usize>) -> Result<Bound, Mistake> {
        let Some((to, limit, length)) = meant(data_type) else {
            return Err(self.unknown(at, &format!("the type {data_type}")));
        };
        let from = if inner.kind == Type::Unknown { Type::Text } else { inner.kind };
        let cast = Cast { from, to, limit, length };
        if !cast.exists() {
            let message = format!("there is no cast from {from} to {to} here");
            return Err(Mistake::new(at, message).help("cast it to text first, if that text can be read as one"));
        }
        let ascii = inner.ascii;
        Ok(Bound { ascii, ..self.strict(Op::Cast(cast), vec![inner.node], to, at)? })
    }
}

fn number(digits: &str) -> Option<(Value<'static>, Type)> {
    if digits.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = digits.parse::<i64>()
    {
        let kind = if i32::try_from(number).is_ok() { Type::Int4 } else { Type::Int8 };
        return Some((Value::Integer(number), kind));
    }
    Some((Value::Numeric(Numeric::parse(digits)?), Type::Numeric))
}

/// The type, and the precision and scale of a `numeric`, or the length of a `varchar`.
type Meant = (Type, Option<(u32, u32)>, Option<usize>);

fn meant(data_type: &DataType) -> Option<Meant> {
    let plain = |kind| Some((kind, None, None));
    match data_type {
        DataType::Boolean | DataType::Bool => plain(Type::Boolean),
        DataType::SmallInt(None) | DataType::Int2(None) => plain(Type::Int2),
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => plain(Type::Int4),
        DataType::BigInt(None) | DataType::Int8(None) => plain(Type::Int8),
        DataType::Real | DataType::Float4 => plain(Type::Float4),
        DataType::DoublePrecision | DataType::Float8 | DataType::Float(ExactNumberInfo::None) => plain(Type::Float8),
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => {
            let limit = match info {
                ExactNumberInfo::None => None,
                ExactNumberInfo::Precision(precision) => Some((u32::try_from(*precision).ok()?, 0)),
                ExactNumberInfo::PrecisionAndScale(precision, scale) => {
                    Some((u32::try_from(*precision).ok()?, u32::try_from(*scale).ok()?))
                }
            };
            limit.is_none_or(|(precision, _)| (1..=1000).contains(&precision)).then_some((Type::Numeric, limit, None))
        }
        DataType::Text => plain(Type::Text),
        DataType::Varchar(length) | DataType::CharacterVarying(length) => match length {
            None => plain(Type::Text),
            Some(CharacterLength::IntegerLength { length, unit: None }) => {
                Some((Type::Text, None, Some(usize::try_from(*length).ok()?)))
            }
            Some(_) => None,
        },
        DataType::Uuid => plain(Type::Uuid),
        DataType::Date => plain(Type::Date),
        DataType::Timestamp(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => plain(Type::Timestamp),
        DataType::Timestamp(None, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => plain(Type::TimestampTz),
        _ => None,
    }
}
