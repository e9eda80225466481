//! Keys of the default template, for a target that names its rows by their columns: written and read by the table's name and the values.

use std::borrow::Cow;

use bytes::Bytes;

use super::{encode, table_prefix};
use crate::event::TableName;
use crate::project::mutation::Key;

/// The key of a row of this table with these key values, as [`super::KeyTemplate::default_for`] makes it.
#[must_use]
pub fn write(table: &TableName, values: &[&[u8]]) -> Key {
    let mut key = table_prefix(table).into_bytes();
    for (index, value) in (1..).zip(values) {
        key.push(b':');
        if index == values.len() {
            key.extend_from_slice(value);
        } else {
            encode(value, b':', &mut key);
        }
    }
    Key(Bytes::from(key))
}

/// The table that such a key is of, and what [`values`] reads. `None`: it is none, or the hash of a row without a key.
#[must_use]
pub fn table(key: &Key) -> Option<(TableName, &[u8])> {
    let end = key.0.iter().position(|byte| matches!(byte, b':' | b'#'))?;
    let (name, rest) = key.0.split_at_checked(end)?;
    let values = rest.strip_prefix(b":")?;
    let dot = name.iter().position(|&byte| byte == b'.')?;
    let (schema, table) = name.split_at_checked(dot)?;
    let text = |bytes: &[u8]| String::from_utf8(decode(bytes).into_owned()).ok();
    Some((TableName { schema: text(schema)?, table: text(table.get(1..)?)? }, values))
}

/// The values of a key of so many columns; `None` if it has not so many.
#[must_use]
pub fn values(text: &[u8], columns: usize) -> Option<Vec<Cow<'_, [u8]>>> {
    let last = columns.checked_sub(1)?;
    let mut parts = text.splitn(columns, |&byte| byte == b':');
    let mut values: Vec<Cow<'_, [u8]>> = parts.by_ref().take(last).map(decode).collect();
    values.push(Cow::Borrowed(parts.next()?));
    Some(values)
}

pub(super) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| after.split_first_chunk::<2>()).flatten();
        let value = escaped.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (value, after) = value.unwrap_or((byte, after));
        bytes.push(value);
        rest = after;
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::KeyTemplate;
    use super::*;
    use crate::project::testing::{relation, row};

    proptest! {
        #[test]
        fn a_key_is_read_as_it_was_written(
            schema in "[a:.%#]{0,4}", name in "[a:.%#]{0,4}", given in prop::collection::vec("[0:%é#]{0,5}", 1..4)
        ) {
            let columns = ["a", "b", "c"];
            let columns = columns.get(..given.len()).expect("at most three");
            let mut relation = relation("t", columns, &(0..given.len()).collect::<Vec<_>>());
            relation.name = TableName { schema, table: name };
            let texts: Vec<&str> = given.iter().map(String::as_str).collect();
            let key = KeyTemplate::default_for(&relation).render(&relation, &row(&texts), None).expect("a key");
            let bytes: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
            prop_assert_eq!(&write(&relation.name, &bytes), &key);
            let (found, rest) = table(&key).expect("a table");
            prop_assert_eq!(&found, &relation.name);
            let read = values(rest, given.len()).expect("as many");
            prop_assert_eq!(read.iter().map(|value| &**value).collect::<Vec<_>>(), bytes);
        }
    }

    #[test]
    fn what_is_no_key_or_has_not_as_many_values_is_none() {
        let key = |text: &'static str| Key(Bytes::from_static(text.as_bytes()));
        assert_eq!(table(&key("public.t#00ff")), None);
        assert_eq!(table(&key("t:1")), None);
        assert_eq!(table(&key("")), None);
        assert_eq!(values(b"1", 2), None);
        assert_eq!(values(b"1", 0), None);
    }
}
