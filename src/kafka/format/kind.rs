//! What a column's values are, as far as Kafka's formats tell them apart.

use crate::decode::shape;
use crate::event::{Column, Scalar, Shape};

/// How a column's values are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    /// `int2`, `int4`, `int8`, `oid`.
    Integer,
    Float,
    /// Text, and every type whose text is all that is told of it.
    Text,
    /// `json`, `jsonb`.
    Json,
    /// `numeric` without a scale of its own.
    Numeric,
    /// `numeric(p, s)`: so many digits, so many of them behind the point. A scale below zero counts as none, and as digits.
    Decimal {
        precision: usize,
        scale: usize,
    },
    Money,
    /// `money` in digits: `1234.56`.
    PlainMoney,
    Bytea,
    Date,
    /// `time` of at most three digits of a second: milliseconds are enough.
    TimeMillis,
    TimeMicros,
    TimeTz,
    TimestampMillis,
    TimestampMicros,
    /// With so many digits of a second.
    TimestampTz(usize),
    Interval,
    /// `bit(1)`
    Bit,
    /// `bit(n)`
    Bits(usize),
    VarBits,
    Point,
    Segment,
    Box,
    Path,
    Polygon,
    Circle,
    Line,
    /// With the character between its elements.
    Array(std::boxed::Box<Kind>, u8),
}

impl Kind {
    /// Of a column.
    pub(crate) fn of(column: &Column) -> Kind {
        if let Some((element, delimiter)) = shape::element(column.type_oid) {
            return Kind::Array(std::boxed::Box::new(builtin(element, column.type_modifier)), delimiter);
        }
        if shape::builtin(column.type_oid).is_some() {
            return builtin(column.type_oid, column.type_modifier);
        }
        match column.shape {
            Shape::Scalar(scalar) => of_scalar(scalar, column.type_modifier),
            Shape::Array { element, delimiter } => {
                Kind::Array(std::boxed::Box::new(of_scalar(element, column.type_modifier)), delimiter)
            }
        }
    }
}

impl Kind {
    /// The same with decimals in digits, which is PostgreSQL's own text but for `money`.
    pub(super) fn in_digits(self) -> Kind {
        match self {
            Kind::Numeric | Kind::Decimal { .. } => Kind::Text,
            Kind::Money => Kind::PlainMoney,
            Kind::Array(element, delimiter) => Kind::Array(std::boxed::Box::new(element.in_digits()), delimiter),
            kind => kind,
        }
    }
}

/// Whether a column's binary form is its text: `name`, `text`, `json`, `xml`, `bpchar`, `varchar`, `refcursor`, and enums, `citext`
/// and domains over text.
pub(super) fn is_plain_text(kind: &Kind, type_oid: u32) -> bool {
    match kind {
        Kind::Text => matches!(type_oid, 19 | 25 | 142 | 1042 | 1043 | 1790 | 12_000..),
        Kind::Json => type_oid == 114,
        _ => false,
    }
}

/// By the OID of a built-in type (`pg_type.dat`) and its modifier.
fn builtin(type_oid: u32, modifier: i32) -> Kind {
    let given = usize::try_from(modifier).ok();
    match type_oid {
        16 => Kind::Boolean,
        17 => Kind::Bytea,
        20 | 21 | 23 | 26 => Kind::Integer,
        114 | 3802 => Kind::Json,
        600 => Kind::Point,
        601 => Kind::Segment,
        602 => Kind::Path,
        603 => Kind::Box,
        604 => Kind::Polygon,
        628 => Kind::Line,
        700 | 701 => Kind::Float,
        718 => Kind::Circle,
        790 => Kind::Money,
        1082 => Kind::Date,
        1083 if given.is_some_and(|digits| digits <= 3) => Kind::TimeMillis,
        1083 => Kind::TimeMicros,
        1114 if given.is_some_and(|digits| digits <= 3) => Kind::TimestampMillis,
        1114 => Kind::TimestampMicros,
        1184 => Kind::TimestampTz(given.unwrap_or(6)),
        1186 => Kind::Interval,
        1266 => Kind::TimeTz,
        1560 if modifier == 1 => Kind::Bit,
        1560 => given.map_or(Kind::VarBits, Kind::Bits),
        1562 => Kind::VarBits,
        1700 => numeric(modifier),
        _ => Kind::Text,
    }
}

/// `numeric`'s modifier is ((precision << 16) | scale) + 4, the scale in eleven bits of two's complement.
fn numeric(modifier: i32) -> Kind {
    if modifier < 4 {
        return Kind::Numeric;
    }
    let precision = usize::try_from((modifier - 4) >> 16).unwrap_or(0);
    let scale = (((modifier - 4) & 0x7FF) ^ 0x400) - 0x400;
    match usize::try_from(scale) {
        Ok(scale) => Kind::Decimal { precision: precision.max(scale), scale },
        Err(_) => Kind::Decimal { precision: precision.saturating_add(scale.unsigned_abs() as usize), scale: 0 },
    }
}

/// Of a user's type, by what its text holds. A domain's modifier is its base type's.
fn of_scalar(scalar: Scalar, modifier: i32) -> Kind {
    match scalar {
        Scalar::Text => Kind::Text,
        Scalar::Boolean => Kind::Boolean,
        Scalar::Integer => Kind::Integer,
        Scalar::Float => Kind::Float,
        Scalar::Numeric => builtin(1700, modifier),
        Scalar::Json => Kind::Json,
        Scalar::Timestamp => builtin(1114, modifier),
        Scalar::TimestampTz => builtin(1184, modifier),
        Scalar::Date => Kind::Date,
        Scalar::Time => builtin(1083, modifier),
        Scalar::TimeTz => Kind::TimeTz,
        Scalar::Bytea => Kind::Bytea,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_tell_scales_and_digits() {
        let kind = |type_oid, type_modifier| {
            let shape = shape::builtin(type_oid).expect("built in");
            Kind::of(&Column { name: "c".to_owned(), type_oid, type_modifier, shape })
        };
        assert_eq!(kind(1700, -1), Kind::Numeric);
        assert_eq!(kind(1700, (12 << 16 | 4) + 4), Kind::Decimal { precision: 12, scale: 4 });
        assert_eq!(kind(1700, (3 << 16 | (-2 & 0x7FF)) + 4), Kind::Decimal { precision: 5, scale: 0 });
        assert_eq!(kind(1700, (3 << 16 | 5) + 4), Kind::Decimal { precision: 5, scale: 5 });
        assert_eq!((kind(1114, -1), kind(1114, 3)), (Kind::TimestampMicros, Kind::TimestampMillis));
        assert_eq!(kind(1115, 0), Kind::Array(Box::new(Kind::TimestampMillis), b','));
        assert_eq!((kind(1560, 1), kind(1560, 9)), (Kind::Bit, Kind::Bits(9)));
        assert_eq!(kind(1020, -1), Kind::Array(Box::new(Kind::Box), b';'));
    }
}
