//! Casts, and the input functions of types.

use super::moment;
use super::numeric::Numeric;
use super::types::Type;
use super::value::{Evaluated, Fault, Value};

/// What a cast makes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cast {
    pub(super) from: Type,
    pub(super) to: Type,
    /// `numeric(precision, scale)`.
    pub(super) limit: Option<(u32, u32)>,
    /// `varchar(length)`.
    pub(super) length: Option<usize>,
}

impl Cast {
    pub(super) const fn plain(from: Type, to: Type) -> Self {
        Cast { from, to, limit: None, length: None }
    }

    /// Whether there is such a cast.
    pub(super) fn exists(&self) -> bool {
        let readable = |kind: Type| !matches!(kind, Type::Jsonb | Type::Bytea | Type::Blank | Type::Other);
        match (self.from, self.to) {
            (from, to) if from == to || to == Type::Text || from.is_open() => true,
            (Type::Text, to) => readable(to),
            (from, to) if from.is_number() && to.is_number() => true,
            (Type::Boolean, Type::Int4) | (Type::Int4, Type::Boolean) => true,
            (from, to) if from.is_moment() && to.is_moment() => true,
            _ => false,
        }
    }

    /// Of a value that is not NULL.
    pub(super) fn apply<'r>(&self, value: Value<'r>) -> Evaluated<'r> {
        let value = if self.from == self.to { value } else { self.convert(value)? };
        match (value, self.limit, self.length) {
            (Value::Numeric(number), Some((precision, scale)), _) => {
                Ok(Value::Numeric(number.limited(precision, scale)?))
            }
            (Value::Text(text), _, Some(length)) => Ok(Value::text(text.chars().take(length).collect::<String>())),
            (value, ..) => Ok(value),
        }
    }

    fn convert<'r>(&self, value: Value<'r>) -> Evaluated<'r> {
        match (self.to, value) {
            (Type::Text, Value::Boolean(value)) => Ok(Value::text(if value { "true" } else { "false" })),
            (Type::Text, Value::Text(text)) => Ok(Value::Text(text)),
            (Type::Text, value) => {
                Ok(value.write(self.from).map_or(Value::Null, |text| Value::text(text.into_owned())))
            }
            (to, Value::Text(text)) => parse(text.trim_matches(is_space), to),
            (Type::Int4, Value::Boolean(value)) => Ok(Value::Integer(i64::from(value))),
            (Type::Boolean, Value::Integer(number)) => Ok(Value::Boolean(number != 0)),
            (to, value @ (Value::Integer(_) | Value::Float(_) | Value::Numeric(_))) => self.number(to, value),
            (to, value @ (Value::Date(_) | Value::Moment(_))) => moment::cast(value, to),
            _ => Err(Fault::confused()),
        }
    }

    fn number<'r>(&self, to: Type, value: Value<'_>) -> Evaluated<'r> {
        match (to, value) {
            (to, Value::Integer(number)) if to.is_integer() => integer(number, to),
            (to, Value::Numeric(number)) if to.is_integer() => integer(number.as_integer(to)?, to),
            (to, Value::Float(number)) if to.is_integer() => integer_of_float(number, to),
            (Type::Numeric, Value::Integer(number)) => Ok(Value::Numeric(Numeric::integer(number))),
            (Type::Numeric, Value::Float(number)) => {
                Ok(Value::Numeric(Numeric::of_float(number, if self.from == Type::Float4 { 6 } else { 15 })))
            }
            #[expect(clippy::cast_precision_loss, reason = "the cast is the rounding")]
            (to, Value::Integer(number)) => {
                Ok(Value::Float(if to == Type::Float4 { f64::from(number as f32) } else { number as f64 }))
            }
            (Type::Float4, Value::Numeric(number)) => match number {
                Numeric::Finite { .. } => Ok(Value::Float(float(&number.to_string(), Type::Float4)?)),
                _ => Ok(Value::Float(number.as_float()?)),
            },
            (_, Value::Numeric(number)) => Ok(Value::Float(number.as_float()?)),
            (Type::Float4, Value::Float(number)) => narrow(number),
            (_, Value::Float(number)) => Ok(Value::Float(number)),
            _ => Err(Fault::confused()),
        }
    }
}

/// `double precision` as `real`.
fn narrow<'r>(number: f64) -> Evaluated<'r> {
    #[expect(clippy::cast_possible_truncation, reason = "the cast is the rounding")]
    let narrow = number as f32;
    if narrow.is_infinite() && number.is_finite() {
        return Err(Fault::refused("22003", "value out of range: overflow"));
    }
    if narrow == 0.0 && number != 0.0 {
        return Err(Fault::refused("22003", "value out of range: underflow"));
    }
    Ok(Value::Float(f64::from(narrow)))
}

/// An integer, if it is one of this type.
pub(super) fn integer<'r>(number: i64, kind: Type) -> Evaluated<'r> {
    let fits = match kind {
        Type::Int2 => i16::try_from(number).is_ok(),
        Type::Int4 => i32::try_from(number).is_ok(),
        _ => true,
    };
    if fits { Ok(Value::Integer(number)) } else { Err(Fault::out_of_range(kind)) }
}

fn integer_of_float<'r>(number: f64, kind: Type) -> Evaluated<'r> {
    let rounded = number.round_ties_even();
    let limit = match kind {
        Type::Int2 => 32_768.0,
        Type::Int4 => 2_147_483_648.0,
        _ => 9_223_372_036_854_775_808.0,
    };
    if !(-limit..limit).contains(&rounded) {
        return Err(Fault::out_of_range(kind));
    }
    #[expect(clippy::cast_possible_truncation, reason = "just looked at")]
    integer(rounded as i64, kind)
}

/// What the input functions take for space.
const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// What a type's input function makes of a text without space around it.
pub(super) fn parse<'r>(text: &str, kind: Type) -> Evaluated<'r> {
    let strange = || Fault::refused("22P02", format!("invalid input syntax for type {kind}: \"{text}\""));
    match kind {
        Type::Boolean => boolean(text).map(Value::Boolean).ok_or_else(strange),
        Type::Int2 | Type::Int4 | Type::Int8 => {
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(strange());
            }
            let beyond = || Fault::refused("22003", format!("value \"{text}\" is out of range for type {kind}"));
            let number = text.parse().map_err(|_| beyond())?;
            integer(number, kind).map_err(|_| beyond())
        }
        Type::Numeric => Numeric::parse(text).map(Value::Numeric).ok_or_else(strange),
        Type::Float4 | Type::Float8 => float(text, kind).map(Value::Float),
        Type::Uuid => uuid(text).map(Value::text).ok_or_else(strange),
        Type::Date | Type::Timestamp | Type::TimestampTz => moment::parse(text, kind),
        Type::Text => Ok(Value::text(text.to_owned())),
        Type::Bytea => bytes(text).map(Value::Bytes).ok_or_else(strange),
        Type::Jsonb | Type::Blank | Type::Other | Type::Unknown | Type::Any => Err(Fault::confused()),
    }
}

/// `boolin` takes any beginning that tells what is meant.
fn boolean(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    match text.as_str() {
        _ if begins("true", 1) || begins("yes", 1) || text == "on" || text == "1" => Some(true),
        _ if begins("false", 1) || begins("no", 1) || begins("off", 2) || text == "0" => Some(false),
        _ => None,
    }
}

/// `float4in`, `float8in`.
pub(super) fn float(text: &str, kind: Type) -> Result<f64, Fault> {
    let strange = || Fault::refused("22P02", format!("invalid input syntax for type {kind}: \"{text}\""));
    let beyond = || Fault::refused("22003", format!("\"{text}\" is out of range for type {kind}"));
    let lower = text.to_ascii_lowercase();
    let digits = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    if matches!(digits, "infinity" | "inf" | "nan") {
        return lower.parse().map_err(|_| strange());
    }
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Err(strange());
    }
    let number: f64 = match kind {
        Type::Float4 => f64::from(lower.parse::<f32>().map_err(|_| strange())?),
        _ => lower.parse().map_err(|_| strange())?,
    };
    let mantissa = digits.split('e').next().unwrap_or_default();
    let vanished = number == 0.0 && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    if number.is_infinite() || vanished { Err(beyond()) } else { Ok(number) }
}

/// Canonical form: groups of digits in lower case. Hyphens may stand behind any four digits, braces around it all.
fn uuid(text: &str) -> Option<String> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut digits = String::new();
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        digits.push(Some(character.to_ascii_lowercase()).filter(char::is_ascii_hexdigit)?);
        if digits.len().is_multiple_of(4) && digits.len() < 32 {
            characters.next_if_eq(&'-');
        }
    }
    (digits.len() == 32).then_some(())?;
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    Some([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-"))
}

/// `\x` and hex digits, as our sessions have it.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.strip_prefix("\\x")?.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    rest.is_empty().then_some(())?;
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
