//! Geometric types: points in their various brackets.

use super::input::Input;
use super::number::float8;

fn pair(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    float8(input.f64()?, out);
    out.push(b',');
    float8(input.f64()?, out);
    Some(())
}

/// `(x,y),(x,y)`: `point_out`, `box_out`.
pub(super) fn points(count: usize, input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    for index in 0..count {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'(');
        pair(input, out)?;
        out.push(b')');
    }
    Some(())
}

/// `lseg_out`.
pub(super) fn segment(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'[');
    points(2, input, out)?;
    out.push(b']');
    Some(())
}

/// `path_out`: round brackets if it is closed.
pub(super) fn path(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    let closed = input.u8()? != 0;
    let count = input.count(16)?;
    out.push(if closed { b'(' } else { b'[' });
    points(count, input, out)?;
    out.push(if closed { b')' } else { b']' });
    Some(())
}

/// `poly_out`.
pub(super) fn polygon(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    let count = input.count(16)?;
    out.push(b'(');
    points(count, input, out)?;
    out.push(b')');
    Some(())
}

/// `line_out`: the coefficients of `Ax + By + C = 0`.
pub(super) fn line(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'{');
    pair(input, out)?;
    out.push(b',');
    float8(input.f64()?, out);
    out.push(b'}');
    Some(())
}

/// `circle_out`.
pub(super) fn circle(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'<');
    points(1, input, out)?;
    out.push(b',');
    float8(input.f64()?, out);
    out.push(b'>');
    Some(())
}
