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

/// Writes an object of the key's columns. One that `row` lacks as unchanged TOAST is taken from `older`: PostgreSQL
/// logs the old key for just this case (`ExtractReplicaIdentity`), whether or not the key changed.
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
        | Scalar::Bytea => {
            write_string(text, out);
        }
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
/// characters `\x80`, and the answer is that the text cannot be told from the string.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.push(b'"');
    let exact = std::str::from_utf8(text).is_ok();
    if exact {
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
    exact
}

/// Writes bytes as the string that PostgreSQL writes for `bytea`: `\x` and hex digits.
pub fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().saturating_mul(2).saturating_add(5));
    out.extend_from_slice(b"\"\\\\x");
    bytes.iter().for_each(|&byte| out.extend_from_slice(&hex(byte)));
    out.push(b'"');
}

/// Writes bytes as PostgreSQL writes `bytea`, not as JSON.
pub fn put_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().saturating_mul(2).saturating_add(2));
    out.extend_from_slice(b"\\x");
    bytes.iter().for_each(|&byte| out.extend_from_slice(&hex(byte)));
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
        self.out.push(b'"');
        write_escaped(name.as_bytes(), self.out);
        self.out.extend_from_slice(b"\":");
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Column, ReplicaIdentity, RowBuilder, TableName};

    fn json(scalar: Scalar, text: &[u8]) -> String {
        let mut out = Vec::new();
        write_scalar(scalar, text, &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn scalars_are_written_by_the_table_in_docs_types() {
        for (scalar, text, expected) in [
            (Scalar::Boolean, "t", "true"),
            (Scalar::Boolean, "f", "false"),
            (Scalar::Boolean, "yes", r#""yes""#),
            (Scalar::Integer, "0", "0"),
            (Scalar::Integer, "-1", "-1"),
            (Scalar::Integer, "9007199254740992", "9007199254740992"),
            (Scalar::Integer, "-9007199254740992", "-9007199254740992"),
            (Scalar::Integer, "9007199254740993", r#""9007199254740993""#),
            (Scalar::Integer, "-9223372036854775808", r#""-9223372036854775808""#),
            (Scalar::Integer, "007", r#""007""#),
            (Scalar::Integer, "", r#""""#),
            (Scalar::Integer, "-", r#""-""#),
            (Scalar::Integer, "1 2 3", r#""1 2 3""#),
            (Scalar::Float, "1", "1"),
            (Scalar::Float, "-0", "-0"),
            (Scalar::Float, "0.1", "0.1"),
            (Scalar::Float, "1e+20", "1e+20"),
            (Scalar::Float, "1.7976931348623157e+308", "1.7976931348623157e+308"),
            (Scalar::Float, "5e-324", "5e-324"),
            (Scalar::Float, "NaN", r#""NaN""#),
            (Scalar::Float, "-Infinity", r#""-Infinity""#),
            (Scalar::Float, ".5", r#"".5""#),
            (Scalar::Float, "5.", r#""5.""#),
            (Scalar::Float, "1e", r#""1e""#),
            (Scalar::Numeric, "12.50", r#""12.50""#),
            (Scalar::Numeric, "NaN", r#""NaN""#),
            (Scalar::Bytea, r"\xdeadbeef", r#""\\xdeadbeef""#),
            (Scalar::Time, "24:00:00", r#""24:00:00""#),
            (Scalar::Text, "a\"b\\c\n\r\t\u{1}\u{7f}é🦀", "\"a\\\"b\\\\c\\n\\r\\t\\u0001\u{7f}é🦀\""),
        ] {
            assert_eq!(json(scalar, text.as_bytes()), expected, "{scalar:?} {text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_and_the_rest_of_the_text_stays() {
        assert_eq!(json(Scalar::Text, b"a\x80\xC3\"\xF0\x9F\xA6\x80"), "\"a\\\\x80\\\\xc3\\\"\u{1F980}\"");
    }

    fn row(cells: &[Cell<'_>]) -> Row {
        let mut builder = RowBuilder::default();
        cells.iter().for_each(|&cell| builder.push(cell));
        builder.finish()
    }

    fn relation(columns: &[(&str, Scalar)], key: &[usize]) -> Relation {
        let column = |&(name, scalar): &(&str, Scalar)| Column {
            name: name.to_owned(),
            type_oid: 0,
            type_modifier: -1,
            shape: Shape::Scalar(scalar),
        };
        Relation {
            oid: 1,
            name: TableName { schema: "s".into(), table: "t".into() },
            identity: ReplicaIdentity::Default,
            columns: columns.iter().map(column).collect(),
            key: key.to_vec(),
        }
    }

    /// Decoders that gave unchanged TOAST and NULL the same nil wrote nulls over large values.
    #[test]
    fn an_unchanged_column_is_absent_and_null_is_null() {
        let relation = relation(&[("a\"", Scalar::Text), ("b", Scalar::Text), ("c", Scalar::Integer)], &[2]);
        let row = row(&[Cell::Unchanged, Cell::Null, Cell::Text(b"3")]);
        let mut out = Vec::new();
        write_row(&relation, &row, &mut out);
        assert_eq!(out, br#"{"b":null,"c":3}"#);
        assert_eq!(unchanged_columns(&relation, &row).collect::<Vec<_>>(), ["a\""]);
    }

    /// A key column may itself be stored out of line; then an update has it only in the old key. With a composite key
    /// the other column may have changed in the same update, so neither row alone has the new key.
    #[test]
    fn a_key_is_completed_from_the_old_row_column_by_column() {
        let relation = relation(&[("a", Scalar::Integer), ("v", Scalar::Text), ("b", Scalar::Text)], &[0, 2]);
        let old = row(&[Cell::Text(b"1"), Cell::Null, Cell::Text(b"long")]);
        let new = row(&[Cell::Text(b"2"), Cell::Null, Cell::Unchanged]);
        let mut out = Vec::new();
        write_key(&relation, &new, Some(&old), &mut out);
        assert_eq!(out, br#"{"a":2,"b":"long"}"#);
    }

    #[test]
    fn a_binary_cell_is_written_as_hex() {
        let mut out = Vec::new();
        write_row(&relation(&[("a", Scalar::Integer)], &[]), &row(&[Cell::Binary(&[0, 0xAB])]), &mut out);
        assert_eq!(out, br#"{"a":"\\x00ab"}"#);
    }

    fn any_shape() -> impl Strategy<Value = Shape> {
        let scalar = || (0_u8..12).prop_map(|number| Scalar::from_number(number).expect("a number in use"));
        prop_oneof![
            scalar().prop_map(Shape::Scalar),
            (scalar(), prop::sample::select(vec![b',', b';']))
                .prop_map(|(element, delimiter)| Shape::Array { element, delimiter }),
        ]
    }

    proptest! {
        #[test]
        fn whatever_the_text_the_output_is_one_json_value_on_one_line(
            shape in any_shape(),
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                "[-+0-9.eE:TZ BCinfty]{0,30}".prop_map(String::into_bytes),
                "[]\\[{}\",;:\\\\ntu019 .dD8\n]{0,40}".prop_map(String::into_bytes),
                "\\PC{0,40}".prop_map(String::into_bytes),
            ],
        ) {
            let mut out = Vec::new();
            write_cell(shape, &text, &mut out);
            prop_assert!(!out.contains(&b'\n'));
            let parsed = serde_json::from_slice::<serde_json::Value>(&out);
            prop_assert!(parsed.is_ok(), "{:?} -> {:?}", String::from_utf8_lossy(&text), String::from_utf8_lossy(&out));
        }

        #[test]
        fn text_survives(text in any::<String>()) {
            let parsed: String = serde_json::from_str(&json(Scalar::Text, text.as_bytes())).expect("a JSON string");
            prop_assert_eq!(parsed, text);
        }

        #[test]
        fn integers_are_numbers_as_far_as_a_double_counts_and_all_their_digits_beyond(n: i64) {
            let parsed: serde_json::Value = serde_json::from_str(&json(Scalar::Integer, n.to_string().as_bytes()))
                .expect("JSON");
            prop_assert_eq!(parsed.is_number(), n.unsigned_abs() <= 1 << 53);
            prop_assert_eq!(parsed.as_str().map_or_else(|| parsed.to_string(), str::to_owned), n.to_string());
        }
    }
}
