//! Rows as JSON, straight from PostgreSQL's text into a buffer: no value is built on the way.
//!
//! `docs/types.md` has the mapping. Two rules hold for every type: what is written is valid JSON on one line, whatever the
//! text was; and text that is not what its type's should be is written as a string, unaltered, rather than guessed at.

use super::{array, datetime, document};
use crate::event::{Cell, Relation, Row, Scalar, Shape};

/// Writes an object of all columns in their order. Unchanged TOAST columns are left out, for they are not known
/// ([`unchanged_columns`] names them); NULL is `null`.
pub fn write_row(relation: &Relation, row: &Row, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    for (column, cell) in relation.columns.iter().zip(row.cells()) {
        object.member(&column.name, column.shape, cell);
    }
    object.end();
}

/// Writes an object of the key's columns. One that `row` lacks as unchanged TOAST is taken from `older`: PostgreSQL logs the
/// old key for just this case (`ExtractReplicaIdentity`), whether or not the key changed.
pub fn write_key(relation: &Relation, row: &Row, older: Option<&Row>, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    for &index in &relation.key {
        let newest = row.cell(index).filter(|cell| *cell != Cell::Unchanged);
        let cell = newest.or_else(|| older.and_then(|older| older.cell(index)));
        if let (Some(column), Some(cell)) = (relation.columns.get(index), cell) {
            object.member(&column.name, column.shape, cell);
        }
    }
    object.end();
}

/// The names of the columns whose values are not in the row because the `UPDATE` did not touch them.
pub fn unchanged_columns<'a>(relation: &'a Relation, row: &'a Row) -> impl Iterator<Item = &'a str> {
    let cells = relation.columns.iter().zip(row.cells());
    cells.filter(|(_, cell)| *cell == Cell::Unchanged).map(|(column, _)| column.name.as_str())
}

/// Writes one value from its text.
pub fn write_cell(shape: Shape, text: &[u8], out: &mut Vec<u8>) {
    match shape {
        Shape::Scalar(scalar) => write_scalar(scalar, text, out),
        Shape::Array { element, delimiter } => {
            or_string(text, out, |out| array::write(element, delimiter, text, out));
        }
    }
}

/// Writes one value that is not an array.
pub(super) fn write_scalar(scalar: Scalar, text: &[u8], out: &mut Vec<u8>) {
    match scalar {
        Scalar::Boolean if text == b"t" => out.extend_from_slice(b"true"),
        Scalar::Boolean if text == b"f" => out.extend_from_slice(b"false"),
        Scalar::Integer if is_exact_integer(text) => out.extend_from_slice(text),
        Scalar::Float if number_length(text) == Some(text.len()) => out.extend_from_slice(text),
        Scalar::Json => or_string(text, out, |out| document::write(text, out)),
        Scalar::Timestamp => or_string(text, out, |out| datetime::write_timestamp(text, out)),
        Scalar::TimestampTz => or_string(text, out, |out| datetime::write_timestamptz(text, out)),
        Scalar::Date => or_string(text, out, |out| datetime::write_date(text, out)),
        Scalar::TimeTz => or_string(text, out, |out| datetime::write_timetz(text, out)),
        Scalar::Boolean
        | Scalar::Integer
        | Scalar::Float
        | Scalar::Text
        | Scalar::Numeric
        | Scalar::Time
        | Scalar::Bytea => write_string(text, out),
    }
}

/// Writes the text as `write` does, or if that gives up, as a string.
fn or_string(text: &[u8], out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) {
    let start = out.len();
    if write(out).is_none() {
        out.truncate(start);
        write_string(text, out);
    }
}

/// Writes a JSON string. A byte that is not part of UTF-8 (only an `SQL_ASCII` database has such) becomes the four
/// characters `\x80`.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if std::str::from_utf8(text).is_ok() {
        write_escaped(text, out);
    } else {
        for chunk in text.utf8_chunks() {
            write_escaped(chunk.valid().as_bytes(), out);
            for &byte in chunk.invalid() {
                out.extend_from_slice(b"\\\\x");
                out.extend_from_slice(&hex(byte));
            }
        }
    }
    out.push(b'"');
}

/// Writes bytes as the string that PostgreSQL writes for `bytea`: `\x` and hex digits.
pub fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().saturating_mul(2).saturating_add(5));
    out.extend_from_slice(b"\"\\\\x");
    bytes.iter().for_each(|&byte| out.extend_from_slice(&hex(byte)));
    out.push(b'"');
}

/// How many of the first bytes may stand in a JSON string as they are.
#[inline]
pub(super) fn plain_length(text: &[u8]) -> usize {
    const fn special(byte: u8) -> bool {
        byte < 0x20 || byte == b'"' || byte == b'\\'
    }
    // Without a branch per byte the compiler makes vector instructions of it.
    let (chunks, _) = text.as_chunks::<16>();
    let plain = |chunk: &&[u8; 16]| !chunk.iter().fold(false, |any, &byte| any | special(byte));
    let start = chunks.iter().take_while(plain).count().saturating_mul(16);
    let rest = text.get(start..).unwrap_or_default();
    start.saturating_add(rest.iter().position(|&byte| special(byte)).unwrap_or(rest.len()))
}

/// Writes valid UTF-8 with JSON's escapes.
fn write_escaped(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some((plain, rest)) = text.split_at_checked(plain_length(text)) {
        out.extend_from_slice(plain);
        let Some((&byte, rest)) = rest.split_first() else { return };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex(byte));
            }
        }
        text = rest;
    }
}

/// Two lower-case hex digits.
const fn hex(byte: u8) -> [u8; 2] {
    const fn digit(nibble: u8) -> u8 {
        nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
    }
    [digit(byte >> 4), digit(byte & 15)]
}

/// An integer that every JSON parser reads exactly: at most 2^53 from zero, as far as a double counts without gaps.
fn is_exact_integer(text: &[u8]) -> bool {
    const LIMIT: &[u8] = b"9007199254740992";
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let small = digits.len() < LIMIT.len() || (digits.len() == LIMIT.len() && digits <= LIMIT);
    small && integer_length(text) == Some(text.len())
}

/// The length of the JSON integer at the front, if there is one.
fn integer_length(text: &[u8]) -> Option<usize> {
    let sign = usize::from(text.first() == Some(&b'-'));
    match digits(text.get(sign..)?) {
        0 => None,
        1 => Some(sign.saturating_add(1)),
        _ if text.get(sign) == Some(&b'0') => None,
        length => Some(sign.saturating_add(length)),
    }
}

/// The length of the JSON number at the front, if there is one. PostgreSQL's finite floats (`1e+20`, `-0`) all are.
pub(super) fn number_length(text: &[u8]) -> Option<usize> {
    let mut length = integer_length(text)?;
    if let Some((b'.', fraction)) = text.get(length..)?.split_first() {
        let digits = Some(digits(fraction)).filter(|&digits| digits > 0)?;
        length = length.checked_add(1)?.checked_add(digits)?;
    }
    if let Some((b'e' | b'E', exponent)) = text.get(length..)?.split_first() {
        let sign = usize::from(matches!(exponent.first(), Some(b'+' | b'-')));
        let digits = Some(digits(exponent.get(sign..)?)).filter(|&digits| digits > 0)?;
        length = length.checked_add(1)?.checked_add(sign)?.checked_add(digits)?;
    }
    Some(length)
}

/// How many digits stand at the front.
fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// An object being written.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, empty: true }
    }

    /// Writes a member, unless the value is not known.
    fn member(&mut self, name: &str, shape: Shape, cell: Cell<'_>) {
        if cell == Cell::Unchanged {
            return;
        }
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        write_string(name.as_bytes(), self.out);
        self.out.push(b':');
        match cell {
            Cell::Null | Cell::Unchanged => self.out.extend_from_slice(b"null"),
            Cell::Text(text) => write_cell(shape, text, self.out),
            Cell::Binary(bytes) => write_hex(bytes, self.out),
        }
    }

    fn end(self) {
        self.out.push(b'}');
    }
}
