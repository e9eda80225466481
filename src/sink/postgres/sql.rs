//! Pieces of statements.

use std::borrow::Cow;

use crate::decode::array::put_quoted;
use crate::event::TableName;
use crate::postgres::literal::literal;

/// A name as SQL has it.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table's name.
pub(super) fn table(name: &TableName) -> String {
    format!("{}.{}", identifier(&name.schema), identifier(&name.table))
}

/// A text as a literal.
pub(super) fn text(text: &str) -> String {
    literal(text.as_bytes())
}

/// Names, with commas between them.
pub(super) fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(identifier).collect::<Vec<_>>().join(", ")
}

/// Some values of a row in order, as text; `None` is NULL.
pub(super) type Values<'a> = Vec<Option<Cow<'a, [u8]>>>;

/// The values of one column of all rows, as the literal of an array of texts.
pub(super) fn array<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> String {
    let mut array = vec![b'{'];
    for value in values {
        if array.len() > 1 {
            array.push(b',');
        }
        match value {
            Some(value) => put_quoted(value, &mut array),
            None => array.extend_from_slice(b"NULL"),
        }
    }
    array.push(b'}');
    literal(&array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_name_or_a_value_early() {
        assert_eq!(table(&TableName { schema: "a\"b".into(), table: "C d".into() }), r#""a""b"."C d""#);
        let values = [Some(&b"it's"[..]), None, Some(b"NULL"), Some(b"a\"b\\c,{}"), Some(b"")];
        assert_eq!(array(values.into_iter()), r#" E'{"it''s",NULL,"NULL","a\\"b\\\\c,{}",""}'"#);
        assert_eq!(array([].into_iter()), "'{}'");
    }
}
