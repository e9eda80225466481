//! `+ - * / %` on numbers, with PostgreSQL's errors.

use super::cast::integer;
use super::numeric::Numeric;
use super::types::Type;
use super::value::{Evaluated, Fault, Value};

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    Times,
    Divide,
    Modulo,
}

/// Of two values of this type.
pub(super) fn apply<'r>(operator: Arithmetic, kind: Type, left: Value<'r>, right: Value<'r>) -> Evaluated<'r> {
    match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => integers(operator, kind, left, right),
        (Value::Float(left), Value::Float(right)) => floats(operator, kind, left, right).map(Value::Float),
        (Value::Numeric(left), Value::Numeric(right)) => numerics(operator, &left, &right).map(Value::Numeric),
        _ => Err(Fault::confused()),
    }
}

fn integers<'r>(operator: Arithmetic, kind: Type, left: i64, right: i64) -> Evaluated<'r> {
    if matches!(operator, Arithmetic::Divide | Arithmetic::Modulo) && right == 0 {
        return Err(Fault::division_by_zero());
    }
    let result = match operator {
        Arithmetic::Plus => left.checked_add(right),
        Arithmetic::Minus => left.checked_sub(right),
        Arithmetic::Times => left.checked_mul(right),
        Arithmetic::Divide => left.checked_div(right),
        Arithmetic::Modulo => left.checked_rem(right).or(Some(0)),
    };
    integer(result.ok_or_else(|| Fault::out_of_range(kind))?, kind)
}

fn floats(operator: Arithmetic, kind: Type, left: f64, right: f64) -> Result<f64, Fault> {
    let result = if kind == Type::Float4 {
        #[expect(clippy::cast_possible_truncation, reason = "both are of the narrower type")]
        let (left, right) = (left as f32, right as f32);
        f64::from(compute(operator, left, right))
    } else {
        compute(operator, left, right)
    };
    match operator {
        Arithmetic::Divide if right == 0.0 && !left.is_nan() => return Err(Fault::division_by_zero()),
        Arithmetic::Divide if result.is_infinite() && left.is_finite() => return Err(overflow()),
        Arithmetic::Divide if result == 0.0 && left != 0.0 && right.is_finite() => return Err(underflow()),
        Arithmetic::Plus | Arithmetic::Minus | Arithmetic::Times
            if result.is_infinite() && left.is_finite() && right.is_finite() =>
        {
            return Err(overflow());
        }
        Arithmetic::Times if result == 0.0 && left != 0.0 && right != 0.0 => return Err(underflow()),
        _ => {}
    }
    Ok(result)
}

fn compute<F>(operator: Arithmetic, left: F, right: F) -> F
where
    F: std::ops::Add<Output = F>
        + std::ops::Sub<Output = F>
        + std::ops::Mul<Output = F>
        + std::ops::Div<Output = F>
        + std::ops::Rem<Output = F>,
{
    match operator {
        Arithmetic::Plus => left + right,
        Arithmetic::Minus => left - right,
        Arithmetic::Times => left * right,
        Arithmetic::Divide => left / right,
        Arithmetic::Modulo => left % right,
    }
}

fn overflow() -> Fault {
    Fault::refused("22003", "value out of range: overflow")
}

fn underflow() -> Fault {
    Fault::refused("22003", "value out of range: underflow")
}

fn numerics(operator: Arithmetic, left: &Numeric, right: &Numeric) -> Result<Numeric, Fault> {
    match operator {
        Arithmetic::Plus => left.plus(right),
        Arithmetic::Minus => left.plus(&right.negated()),
        Arithmetic::Times => left.times(right),
        Arithmetic::Divide => left.divided_by(right),
        Arithmetic::Modulo => left.modulo(right),
    }
}

/// Unary minus.
pub(super) fn negate<'r>(kind: Type, value: Value<'r>) -> Evaluated<'r> {
    match value {
        Value::Integer(number) => integer(number.checked_neg().ok_or_else(|| Fault::out_of_range(kind))?, kind),
        Value::Float(number) => Ok(Value::Float(-number)),
        Value::Numeric(number) => Ok(Value::Numeric(number.negated())),
        _ => Err(Fault::confused()),
    }
}

/// `abs`.
pub(super) fn absolute<'r>(kind: Type, value: Value<'r>) -> Evaluated<'r> {
    match value {
        Value::Integer(number) if number >= 0 => Ok(Value::Integer(number)),
        Value::Float(number) => Ok(Value::Float(number.abs())),
        Value::Numeric(number) if !number.is_negative() => Ok(Value::Numeric(number)),
        negative => negate(kind, negative),
    }
}
