//! The types that expressions compute with, and how PostgreSQL makes one of two.

use std::fmt;

use crate::event::{Column, Scalar, Shape};

/// A type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Boolean,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    /// `text` and `varchar`, which have the same operators.
    Text,
    Bytea,
    Uuid,
    Jsonb,
    Date,
    Timestamp,
    TimestampTz,
    /// `char(n)`, whose text has blanks at its end that do not count.
    Blank,
    /// Any other: an enum, an array, an extension's. Its operators are not known here, its text is.
    Other,
    /// A literal in quotes, or NULL, before its neighbours have said what it is.
    Unknown,
    /// A column's, while there is no table yet. Fits everything.
    Any,
}

impl Type {
    /// Of a scalar that is a point in time.
    pub(super) const fn of_moment(scalar: Scalar) -> Option<Self> {
        match scalar {
            Scalar::Date => Some(Type::Date),
            Scalar::Timestamp => Some(Type::Timestamp),
            Scalar::TimestampTz => Some(Type::TimestampTz),
            _ => None,
        }
    }

    /// A column's.
    pub(super) fn of(column: &Column) -> Self {
        match column.type_oid {
            16 => Type::Boolean,
            17 => Type::Bytea,
            20 => Type::Int8,
            21 => Type::Int2,
            23 => Type::Int4,
            25 | 1043 => Type::Text,
            700 => Type::Float4,
            701 => Type::Float8,
            1042 => Type::Blank,
            1082 => Type::Date,
            1114 => Type::Timestamp,
            1184 => Type::TimestampTz,
            1700 => Type::Numeric,
            2950 => Type::Uuid,
            3802 => Type::Jsonb,
            _ => Type::Other,
        }
    }

    /// `pg_type.oid`; what has no type of its own is text.
    pub(super) const fn oid(self) -> u32 {
        match self {
            Type::Boolean => 16,
            Type::Bytea => 17,
            Type::Int8 => 20,
            Type::Int2 => 21,
            Type::Int4 => 23,
            Type::Text | Type::Blank | Type::Other | Type::Unknown | Type::Any => 25,
            Type::Float4 => 700,
            Type::Float8 => 701,
            Type::Date => 1082,
            Type::Timestamp => 1114,
            Type::TimestampTz => 1184,
            Type::Numeric => 1700,
            Type::Uuid => 2950,
            Type::Jsonb => 3802,
        }
    }

    /// How the text of its values is to be read.
    pub(super) const fn shape(self) -> Shape {
        Shape::Scalar(match self {
            Type::Boolean => Scalar::Boolean,
            Type::Int2 | Type::Int4 | Type::Int8 => Scalar::Integer,
            Type::Numeric => Scalar::Numeric,
            Type::Float4 | Type::Float8 => Scalar::Float,
            Type::Bytea => Scalar::Bytea,
            Type::Jsonb => Scalar::Json,
            Type::Date => Scalar::Date,
            Type::Timestamp => Scalar::Timestamp,
            Type::TimestampTz => Scalar::TimestampTz,
            Type::Text | Type::Uuid | Type::Blank | Type::Other | Type::Unknown | Type::Any => Scalar::Text,
        })
    }

    /// Its place among the numbers, each of which is cast to those behind it without being asked.
    const fn number(self) -> Option<u8> {
        Some(match self {
            Type::Int2 => 0,
            Type::Int4 => 1,
            Type::Int8 => 2,
            Type::Numeric => 3,
            Type::Float4 => 4,
            Type::Float8 => 5,
            _ => return None,
        })
    }

    /// Its place among the dates, likewise.
    const fn moment(self) -> Option<u8> {
        Some(match self {
            Type::Date => 0,
            Type::Timestamp => 1,
            Type::TimestampTz => 2,
            _ => return None,
        })
    }

    pub(super) const fn is_integer(self) -> bool {
        matches!(self, Type::Int2 | Type::Int4 | Type::Int8)
    }

    pub(super) const fn is_number(self) -> bool {
        self.number().is_some()
    }

    pub(super) const fn is_moment(self) -> bool {
        self.moment().is_some()
    }

    /// Whether nothing is known of it that could be wrong.
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Type::Unknown | Type::Any)
    }

    /// Whether a value is cast to this type without being asked.
    pub(super) fn takes(self, other: Type) -> bool {
        let chain = |place: fn(Type) -> Option<u8>| matches!((place(other), place(self)), (Some(a), Some(b)) if a <= b);
        self == other
            || self.is_open()
            || other.is_open()
            || chain(Type::number)
            || chain(Type::moment)
            || (self == Type::Text && other == Type::Blank)
    }

    /// The one type of `CASE`, `COALESCE`, `IN` and their like (manual: "UNION, CASE, and Related Constructs").
    pub(super) fn common(types: impl IntoIterator<Item = Type>) -> Result<Type, (Type, Type)> {
        let mut common = Type::Unknown;
        for next in types {
            common = match (common, next) {
                (Type::Any, _) | (_, Type::Any) => Type::Any,
                (common, Type::Unknown) => common,
                (Type::Unknown, next) => next,
                (common, next) if common.takes(next) => common,
                (common, next) if next.takes(common) => next,
                (common, next) => return Err((common, next)),
            };
        }
        Ok(common)
    }

    /// The type in which two numbers are added or compared.
    pub(super) fn of_operands(left: Type, right: Type) -> Option<Type> {
        let is_float = |kind: Type| matches!(kind, Type::Float4 | Type::Float8);
        Some(match (left, right) {
            (Type::Any, _) | (_, Type::Any) => Type::Any,
            (Type::Unknown, other) | (other, Type::Unknown) => other,
            (left, right) if left == right => left,
            (left, right) if left.is_number() && right.is_number() => {
                if is_float(left) || is_float(right) {
                    Type::Float8
                } else {
                    Type::common([left, right]).ok()?
                }
            }
            (left, right) if left.is_moment() && right.is_moment() => Type::common([left, right]).ok()?,
            (Type::Text, Type::Blank) | (Type::Blank, Type::Text) => Type::Text,
            _ => return None,
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Boolean => "boolean",
            Type::Int2 => "smallint",
            Type::Int4 => "integer",
            Type::Int8 => "bigint",
            Type::Numeric => "numeric",
            Type::Float4 => "real",
            Type::Float8 => "double precision",
            Type::Text => "text",
            Type::Bytea => "bytea",
            Type::Uuid => "uuid",
            Type::Jsonb => "jsonb",
            Type::Date => "date",
            Type::Timestamp => "timestamp without time zone",
            Type::TimestampTz => "timestamp with time zone",
            Type::Blank => "character",
            Type::Other => "a type whose operators are not known here",
            Type::Unknown | Type::Any => "unknown",
        })
    }
}
