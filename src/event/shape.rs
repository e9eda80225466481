//! How the text of a value is to be read.

/// What a column's text form holds, resolved once when its relation is captured, so that reading the log needs no catalog.
///
/// Domains are resolved to their base type; enums, composites, ranges and extension types are [`Scalar::Text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One value.
    Scalar(Scalar),
    /// An array of such values, of any number of dimensions. `delimiter` is `,` for all but `box`, which has `;`.
    Array {
        /// What each element holds.
        element: Scalar,
        /// The character between elements (`pg_type.typdelim`).
        delimiter: u8,
    },
}

/// What one value's text holds. The numbers are part of the log's format and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scalar {
    /// Any text: given to sinks as a string.
    Text = 0,
    /// `t` or `f`.
    Boolean = 1,
    /// `int2`, `int4`, `int8`, `oid`: digits with an optional sign.
    Integer = 2,
    /// `float4`, `float8`: a decimal or exponent form, or `NaN`, `Infinity`, `-Infinity`.
    Float = 3,
    /// `numeric`: digits without limit, or `NaN`, `Infinity`, `-Infinity`.
    Numeric = 4,
    /// `json`, `jsonb`.
    Json = 5,
    /// `timestamp`: `2026-11-24 10:00:00.5`, `infinity`, or with ` BC`.
    Timestamp = 6,
    /// `timestamptz`: as [`Scalar::Timestamp`] with `+00` behind it (the session's time zone is pinned to UTC).
    TimestampTz = 7,
    /// `date`.
    Date = 8,
    /// `time`.
    Time = 9,
    /// `timetz`.
    TimeTz = 10,
    /// `bytea`: `\x` and hex digits.
    Bytea = 11,
}

impl Shape {
    /// Plain text, the shape of every type not known better.
    pub const TEXT: Shape = Shape::Scalar(Scalar::Text);
}

impl Scalar {
    /// The scalar with this number in the log's format.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Scalar::Text,
            1 => Scalar::Boolean,
            2 => Scalar::Integer,
            3 => Scalar::Float,
            4 => Scalar::Numeric,
            5 => Scalar::Json,
            6 => Scalar::Timestamp,
            7 => Scalar::TimestampTz,
            8 => Scalar::Date,
            9 => Scalar::Time,
            10 => Scalar::TimeTz,
            11 => Scalar::Bytea,
            _ => return None,
        })
    }

    /// Its number in the log's format.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}
