//! Arrays (manual: "Array Input and Output Syntax") as JSON arrays, each element as a value of its own.

use super::super::kind::Kind;
use super::value;

/// PostgreSQL's own limit (`MAXDIM`).
const DIMENSIONS_MAX: u32 = 6;

/// Writes the array, nested by dimension. Bounds that do not begin at 1 are lost.
pub(super) fn write(element: &Kind, delimiter: u8, text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    let mut rest = text;
    let mut exact = true;
    if rest.first() == Some(&b'[') {
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        rest = rest.get(equals.checked_add(1)?..)?;
        exact = false;
    }
    let mut depth = 0_u32;
    let mut unescaped = Vec::new();
    loop {
        rest = match (rest.split_first()?, depth) {
            ((b'{', after), 0..DIMENSIONS_MAX) => {
                depth = depth.saturating_add(1);
                out.push(b'[');
                if after.first() != Some(&b'}') {
                    rest = after;
                    continue;
                }
                after
            }
            ((b'"', after), 1..) => {
                unescaped.clear();
                let after = unquote(after, &mut unescaped)?;
                exact &= value::write(element, &unescaped, out);
                after
            }
            (_, 1..) => {
                let end = rest.iter().position(|&byte| byte == delimiter || byte == b'}')?;
                let (bare, after) = rest.split_at_checked(end)?;
                match bare {
                    b"NULL" => out.extend_from_slice(b"null"),
                    b"" => return None,
                    _ => exact &= value::write(element, bare, out),
                }
                after
            }
            _ => return None,
        };
        // An element or an empty array has ended: close what ends with it.
        while let Some((b'}', after)) = rest.split_first() {
            depth = depth.checked_sub(1)?;
            out.push(b']');
            rest = after;
        }
        match (rest.split_first(), depth) {
            (None, 0) => return Some(exact),
            (Some((&byte, after)), 1..) if byte == delimiter => {
                out.push(b',');
                rest = after;
            }
            _ => return None,
        }
    }
}

/// Takes an element whose opening quote has been taken; returns what follows its closing one.
fn unquote<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (run, rest) = text.split_at_checked(text.iter().position(|byte| matches!(byte, b'"' | b'\\'))?)?;
        out.extend_from_slice(run);
        let (&byte, rest) = rest.split_first()?;
        if byte == b'"' {
            return Some(rest);
        }
        let (&escaped, rest) = rest.split_first()?;
        out.push(escaped);
        text = rest;
    }
}
