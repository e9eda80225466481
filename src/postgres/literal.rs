//! Values as SQL literals.

use std::fmt::Write as _;

use postgres_protocol::escape::escape_literal;

/// A value's text as a literal. Only an `SQL_ASCII` database has text that is not UTF-8; there such bytes are written as escapes.
pub(crate) fn literal(value: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(value) {
        return escape_literal(text);
    }
    let mut sql = " E'".to_owned();
    for chunk in value.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if matches!(letter, '\'' | '\\') {
                sql.push(letter);
            }
            sql.push(letter);
        }
        for byte in chunk.invalid() {
            // Writing to a String does not fail.
            let _ = write!(sql, "\\x{byte:02x}");
        }
    }
    sql.push('\'');
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_escaped_and_nothing_ends_the_literal() {
        assert_eq!(literal(b"it's"), "'it''s'");
        assert_eq!(literal(b"a'\\\x80\xc3\xa9\xff"), r" E'a''\\\x80é\xff'");
    }
}
