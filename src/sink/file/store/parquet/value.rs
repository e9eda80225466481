//! What a column is in Parquet, and a value's text as that.

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::FixedLenByteArray;
use parquet::errors::ParquetError;
use parquet::schema::types::{Type, TypePtr};

use super::leaf::{Values, primitive};
use crate::decode::json::write_cell;
use crate::event::{Column, Shape};
use crate::kafka::format::kind;
use crate::kafka::format::moment::{self, DAY, Moment};
use crate::kafka::format::number;

/// The digits that readers of Parquet can be relied upon to take.
const PRECISION_MAX: usize = 38;
/// OIDs of types that have a narrower one of their own.
const INT2: u32 = 21;
const INT4: u32 = 23;
const FLOAT4: u32 = 700;

/// How a column's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Int16,
    Int32,
    /// `int8`, `oid`, and domains over any integer.
    Int64,
    Float,
    Double,
    /// `numeric(p, s)` as an unscaled integer, big-endian, in just as many bytes as `p` digits can need.
    Decimal {
        precision: usize,
        scale: usize,
        width: usize,
    },
    Bytes,
    Date,
    Time,
    /// With whether it is a point in time (`timestamptz`), or a reading of some clock.
    Timestamp {
        is_utc: bool,
    },
    /// PostgreSQL's own text.
    Json,
    /// An array, as a JSON line has it.
    Array(Shape),
    /// Any other type's text: of `numeric` without a precision, or of more digits than Parquet's readers take, too.
    Text,
}

impl Kind {
    pub(super) fn of(column: &Column) -> Kind {
        match kind::Kind::of(column) {
            kind::Kind::Boolean => Kind::Boolean,
            kind::Kind::Integer if column.type_oid == INT2 => Kind::Int16,
            kind::Kind::Integer if column.type_oid == INT4 => Kind::Int32,
            kind::Kind::Integer => Kind::Int64,
            kind::Kind::Float if column.type_oid == FLOAT4 => Kind::Float,
            kind::Kind::Float => Kind::Double,
            kind::Kind::Decimal { precision, scale } if (1..=PRECISION_MAX).contains(&precision) => {
                Kind::Decimal { precision, scale, width: width(precision) }
            }
            kind::Kind::Bytea => Kind::Bytes,
            kind::Kind::Date => Kind::Date,
            kind::Kind::TimeMillis | kind::Kind::TimeMicros => Kind::Time,
            kind::Kind::TimestampMillis | kind::Kind::TimestampMicros => Kind::Timestamp { is_utc: false },
            kind::Kind::TimestampTz(_) => Kind::Timestamp { is_utc: true },
            kind::Kind::Json => Kind::Json,
            kind::Kind::Array(..) => Kind::Array(column.shape),
            _ => Kind::Text,
        }
    }

    pub(super) fn values(self) -> Values {
        match self {
            Kind::Boolean => Values::Boolean(Vec::new()),
            Kind::Int16 | Kind::Int32 | Kind::Date => Values::Int32(Vec::new()),
            Kind::Int64 | Kind::Time | Kind::Timestamp { .. } => Values::Int64(Vec::new()),
            Kind::Float => Values::Float(Vec::new()),
            Kind::Double => Values::Double(Vec::new()),
            Kind::Decimal { .. } => Values::Fixed(Vec::new()),
            Kind::Bytes | Kind::Json | Kind::Array(_) | Kind::Text => Values::Bytes(Vec::new()),
        }
    }

    /// A field of such values. Of a decimal the annotations that older readers know are written, too.
    pub(super) fn field(self, name: &str) -> Result<TypePtr, ParquetError> {
        let (physical, logical) = match self {
            Kind::Boolean => (Physical::BOOLEAN, None),
            Kind::Int16 => (Physical::INT32, Some(LogicalType::integer(16, true))),
            Kind::Int32 => (Physical::INT32, None),
            Kind::Int64 => (Physical::INT64, None),
            Kind::Float => (Physical::FLOAT, None),
            Kind::Double => (Physical::DOUBLE, None),
            Kind::Bytes => (Physical::BYTE_ARRAY, None),
            Kind::Date => (Physical::INT32, Some(LogicalType::Date)),
            Kind::Time => (Physical::INT64, Some(LogicalType::time(false, TimeUnit::MICROS))),
            Kind::Timestamp { is_utc } => (Physical::INT64, Some(LogicalType::timestamp(is_utc, TimeUnit::MICROS))),
            Kind::Json | Kind::Array(_) => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Decimal { precision, scale, width } => {
                let count = |count| i32::try_from(count).unwrap_or(i32::MAX);
                let (precision, scale) = (count(precision), count(scale));
                let field = Type::primitive_type_builder(name, Physical::FIXED_LEN_BYTE_ARRAY)
                    .with_logical_type(Some(LogicalType::decimal(scale, precision)))
                    .with_precision(precision)
                    .with_scale(scale)
                    .with_length(count(width));
                return field.with_repetition(Repetition::OPTIONAL).build().map(TypePtr::new);
            }
        };
        primitive(name, physical, logical, Repetition::OPTIONAL)
    }

    /// Adds the value that the text tells; `None`: the column cannot hold it.
    pub(super) fn put(self, text: &[u8], out: &mut Values) -> Option<()> {
        match (self, out) {
            (Kind::Boolean, Values::Boolean(out)) => out.push(text == b"t"),
            (Kind::Int16 | Kind::Int32, Values::Int32(out)) => out.push(number::integer(text)?.try_into().ok()?),
            (Kind::Int64, Values::Int64(out)) => out.push(number::integer(text)?),
            (Kind::Float, Values::Float(out)) => out.push(std::str::from_utf8(text).ok()?.parse().ok()?),
            (Kind::Double, Values::Double(out)) => out.push(std::str::from_utf8(text).ok()?.parse().ok()?),
            (Kind::Decimal { scale, width, .. }, Values::Fixed(out)) => out.push(decimal(text, scale, width)?),
            (Kind::Bytes, out) => return out.put_bytes(bytea(text)?),
            (Kind::Date, Values::Int32(out)) => match moment::date(text)? {
                Moment::At(days, _) => out.push(days.try_into().ok()?),
                Moment::Future | Moment::Past => return None,
            },
            (Kind::Time, out) => {
                let (micros, _) =
                    moment::time_of_day(text).filter(|(micros, rest)| *micros < DAY && rest.is_empty())?;
                return out.put_int64(micros);
            }
            (Kind::Timestamp { is_utc }, out) => {
                let zone: &[u8] = if is_utc { b"+00" } else { b"" };
                let Moment::At(days, micros) = moment::timestamp(text, zone)? else { return None };
                return out.put_int64(days.checked_mul(DAY)?.checked_add(micros)?);
            }
            (Kind::Array(shape), out) => {
                let mut json = Vec::new();
                write_cell(shape, text, &mut json);
                return out.put_bytes(json);
            }
            (Kind::Json | Kind::Text, out) => return out.put_bytes(utf8(text)),
            _ => return None,
        }
        Some(())
    }
}

/// The bytes that hold any number of so many digits.
fn width(precision: usize) -> usize {
    let digits = u32::try_from(precision).unwrap_or(u32::MAX);
    let holds =
        |width: &usize| 10_i128.checked_pow(digits).is_some_and(|beyond| beyond - 1 <= i128::MAX >> (128 - 8 * width));
    (1..16).find(holds).unwrap_or(16)
}

/// PostgreSQL writes all digits of a column's scale. What is no finite number, or has others, is not one of this column.
fn decimal(text: &[u8], scale: usize, width: usize) -> Option<FixedLenByteArray> {
    let missing = scale.checked_sub(number::scale(text)?)?;
    let mut padded = text.to_vec();
    padded.extend(std::iter::repeat_n(b'0', missing));
    number::unscaled(&padded, |bytes| {
        let sign = if bytes.first().is_some_and(|byte| *byte >= 0x80) { 0xFF } else { 0 };
        let mut whole = vec![sign; width.checked_sub(bytes.len())?];
        whole.extend_from_slice(bytes);
        Some(FixedLenByteArray::from(whole))
    })
}

/// `\x…`
fn bytea(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits = text.strip_prefix(b"\\x")?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

/// A byte that is not part of UTF-8, which only an `SQL_ASCII` database has, becomes the four characters `\xNN`.
fn utf8(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_takes_as_many_bytes_as_its_digits_can_need() {
        let widths: Vec<usize> = [1, 2, 3, 4, 9, 10, 18, 19, 38].into_iter().map(width).collect();
        assert_eq!(widths, [1, 1, 2, 2, 4, 5, 8, 9, 16]);
    }

    #[test]
    fn what_a_column_cannot_hold_is_not_rounded_to_something_else() {
        let bytes = |text: &str| decimal(text.as_bytes(), 2, 5).map(|value| value.data().to_vec());
        assert_eq!(bytes("-12.34"), Some(vec![0xFF, 0xFF, 0xFF, 0xFB, 0x2E]));
        assert_eq!(bytes("12"), Some(vec![0, 0, 0, 0x04, 0xB0]));
        assert_eq!((bytes("NaN"), bytes("1.234"), bytes("99999999999999")), (None, None, None));
        let holds = |kind: Kind, text: &str| kind.put(text.as_bytes(), &mut kind.values()).is_some();
        assert!(holds(Kind::Timestamp { is_utc: true }, "4714-11-24 00:00:00+00 BC"));
        for (kind, text) in [
            (Kind::Timestamp { is_utc: false }, "infinity"),
            (Kind::Timestamp { is_utc: false }, "294276-12-31 23:59:59.999999"),
            (Kind::Date, "-infinity"),
            (Kind::Time, "24:00:00"),
            (Kind::Int16, "32768000000"),
        ] {
            assert!(!holds(kind, text), "{kind:?} {text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_told_as_such() {
        assert_eq!(
            (utf8(b"a\xFFb"), bytea(b"\\x00ff"), bytea(b"\\x0")),
            (b"a\\xffb".to_vec(), Some(vec![0, 255]), None)
        );
    }
}
