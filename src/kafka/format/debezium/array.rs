//! Arrays (manual: "Array Input and Output Syntax") as JSON arrays, each element as a value of its own.

use super::super::kind::Kind;
use super::value;
use crate::decode::array;

/// Writes the array, nested by dimension. Bounds that do not begin at 1 are lost.
pub(super) fn write(element: &Kind, delimiter: u8, text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    let (text, mut exact) = match text.first() {
        Some(b'[') => {
            let equals = text.iter().position(|&byte| byte == b'=')?;
            (text.get(equals.checked_add(1)?..)?, false)
        }
        _ => (text, true),
    };
    array::write_each(delimiter, text, out, |text, out| exact &= value::write(element, text, out))?;
    Some(exact)
}
