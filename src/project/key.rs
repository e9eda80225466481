//! The name of a row's document in a target: a template with the row's key columns in it.

mod error;
mod naming;
mod parse;
pub mod plain;
mod sample;
mod text;

use std::fmt;

use bytes::Bytes;

pub use self::error::{Misnamed, TemplateError};
pub use self::naming::{INDEX_NAME_BYTES_MAX, Naming, Place, is_index_name};
pub use self::text::TextTemplate;
use super::mutation::Key;
use sha2::{Digest as _, Sha256};

use crate::event::{Cell, Relation, ReplicaIdentity, Row, Scalar, Shape, TableName};

/// `user:{id}`: literal text, and `{column}` where a value goes. `{{` and `}}` are literal braces.
///
/// Two rows never get the same key. Each value but the last ends at the first byte of the literal behind it; that byte, and
/// `%`, are percent-encoded inside the value, so that (`a:b`, `c`) and (`a`, `b:c`) stay apart. The last value stands as it
/// is: `user:{id}` gives `user:` and the id, whatever it holds. `{table}` is the table's name, `schema.table`, so that rows of
/// several tables stay apart too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate {
    parts: Vec<Part>,
    /// The table's name, where there is no key but the whole row: rows with NULLs, and very long ones, are named after it and
    /// a hash.
    whole_row: Option<String>,
    /// What stands in front of it, each with a slash behind.
    places: Vec<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Column(String),
    Table,
}

/// Stands between the two where a document is a member of a collection: the collection's key, this, the member.
pub const MEMBER: u8 = 0x1f;

/// The placeholder for the table's name.
const TABLE: &str = "table";

/// A row that has no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the row's key column `{0}` has no value in the event")]
pub struct KeyError(pub String);

impl KeyTemplate {
    /// What a table gets that has no template: `schema.table:{key column}`, with all key columns, separated by colons. In the
    /// table's name `:`, `#` and `%` are percent-encoded, and in its schema's `.` as well, so that two tables never share a
    /// document.
    #[must_use]
    pub fn default_for(relation: &Relation) -> Self {
        let name = table_prefix(&relation.name);
        let mut parts = Vec::new();
        for column in relation.key_columns() {
            let separator = if parts.is_empty() { format!("{name}:") } else { ":".to_owned() };
            parts.extend([Part::Literal(separator), Part::Column(column.name.clone())]);
        }
        let is_whole = relation.identity == ReplicaIdentity::Full && relation.key.len() == relation.columns.len();
        KeyTemplate { parts, whole_row: is_whole.then_some(name), places: Vec::new() }
    }

    /// Whether a key could be of a document of a table that has no template, whatever its columns are or were.
    #[must_use]
    pub fn is_default_of(table: &TableName, key: &[u8]) -> bool {
        let rest = key.strip_prefix(table_prefix(table).as_bytes());
        rest.is_some_and(|rest| matches!(rest.first(), Some(b':' | b'#')))
    }

    /// A glob that matches all of those.
    #[must_use]
    pub fn default_glob(table: &TableName) -> Vec<u8> {
        let mut glob = Vec::new();
        put_literal(table_prefix(table).as_bytes(), &mut glob);
        glob.extend_from_slice(b"[:#]*");
        glob
    }

    /// Checks the template against a table: its columns exist, are the key's or `determined` (known of a deleted row, too), and all of
    /// the key's are there.
    ///
    /// # Errors
    /// The first that is not so.
    pub fn check(&self, relation: &Relation, determined: &[String]) -> Result<(), TemplateError> {
        let key: Vec<&str> = relation.key_columns().map(|column| column.name.as_str()).collect();
        for name in self.columns() {
            if relation.column_index(name).is_none() {
                return Err(TemplateError::unknown(name.to_owned(), relation));
            }
            // Under FULL every old row is told whole.
            let is_told = key.contains(&name) || relation.identity == ReplicaIdentity::Full;
            if !is_told && !determined.iter().any(|column| column == name) {
                return Err(TemplateError::NotKey { column: name.to_owned(), key: key.join(", ") });
            }
        }
        match key.iter().find(|column| !self.columns().any(|name| name == **column)) {
            Some(missing) => Err(TemplateError::Ambiguous { column: (*missing).to_owned() }),
            None => Ok(()),
        }
    }

    /// The key of a row. Where the row lacks a key value (unchanged TOAST), `fallback` has it: the old row, if any.
    ///
    /// # Errors
    /// A key column has no value, or there is no such column.
    pub fn render(&self, relation: &Relation, row: &Row, fallback: Option<&Row>) -> Result<Key, KeyError> {
        let mut key = Vec::new();
        for place in &self.places {
            place.render(relation, row, fallback, &mut key)?;
        }
        match &self.whole_row {
            Some(name) => match hash_of_row(relation, row, fallback)? {
                Some(hash) => key.extend_from_slice(format!("{name}#{hash}").as_bytes()),
                None => self.render_parts(relation, row, fallback, &mut key)?,
            },
            None => self.render_parts(relation, row, fallback, &mut key)?,
        }
        Ok(Key(Bytes::from(key)))
    }

    fn render_parts(
        &self,
        relation: &Relation,
        row: &Row,
        fallback: Option<&Row>,
        key: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(text) => key.extend_from_slice(text.as_bytes()),
                Part::Column(name) => {
                    let refuse = || KeyError(name.clone());
                    let index = relation.column_index(name).ok_or_else(refuse)?;
                    let value = value(row, index).or_else(|| value(fallback?, index)).ok_or_else(refuse)?;
                    self.put_value(at, value, key);
                }
                Part::Table => self.put_value(at, table_prefix(&relation.name).as_bytes(), key),
            }
        }
        Ok(())
    }

    fn put_value(&self, at: usize, value: &[u8], key: &mut Vec<u8>) {
        match self.end_of(at) {
            Some(end) => encode(value, end, key),
            None => key.extend_from_slice(value),
        }
    }

    /// A glob (as Redis's `SCAN … MATCH` has it) that matches every key of this template, and perhaps others:
    /// [`KeyTemplate::may_be_ours`] tells those apart.
    #[must_use]
    pub fn glob(&self) -> Vec<u8> {
        let mut glob = Vec::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => put_literal(text.as_bytes(), &mut glob),
                Part::Column(_) | Part::Table => glob.push(b'*'),
            }
        }
        glob
    }

    /// Whether a key could be of a row of this table: the literals are there, and numbers stand where the columns are
    /// numbers. Text can be anything, so a foreign key that looks the same is taken for ours.
    #[must_use]
    pub fn may_be_ours(&self, relation: &Relation, key: &[u8]) -> bool {
        let mut rest = key;
        for (at, part) in self.parts.iter().enumerate() {
            let length = match part {
                Part::Literal(text) => Some(text.len()).filter(|_| rest.starts_with(text.as_bytes())),
                Part::Column(name) => self
                    .value_length(at, rest)
                    .filter(|&length| plausible(relation, name, rest.get(..length).unwrap_or_default())),
                Part::Table => {
                    let mut name = Vec::new();
                    self.put_value(at, table_prefix(&relation.name).as_bytes(), &mut name);
                    self.value_length(at, rest).filter(|&length| rest.get(..length) == Some(&name))
                }
            };
            let Some((_, after)) = length.and_then(|length| rest.split_at_checked(length)) else { return false };
            rest = after;
        }
        rest.is_empty()
    }

    /// How long the value is that `rest` begins with, in a key of this template.
    fn value_length(&self, at: usize, rest: &[u8]) -> Option<usize> {
        match (self.end_of(at), self.parts.get(at.saturating_add(1))) {
            (Some(end), _) => rest.iter().position(|&byte| byte == end),
            (None, Some(Part::Literal(last))) => rest.len().checked_sub(last.len()),
            (None, Some(Part::Column(_) | Part::Table) | None) => Some(rest.len()),
        }
    }

    /// The byte that ends the value of this part; `None` for the last value, which ends with the key or its last literal.
    fn end_of(&self, at: usize) -> Option<u8> {
        match self.parts.get(at.saturating_add(1)..)? {
            [Part::Literal(text), _, ..] => text.bytes().next(),
            _ => None,
        }
    }

    fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Column(name) => Some(name.as_str()),
            Part::Literal(_) | Part::Table => None,
        })
    }

    /// Whether the table's name is in it, so that several tables never share a document.
    #[must_use]
    pub fn tells_tables_apart(&self) -> bool {
        self.parts.contains(&Part::Table)
    }
}

/// `schema.table`, encoded so that no other table's is the same and nothing in it looks like the end of it.
fn table_prefix(name: &TableName) -> String {
    let mut prefix = String::new();
    let mut put = |text: &str, special: &[char]| {
        for letter in text.chars() {
            match letter {
                special_letter if special.contains(&special_letter) => {
                    prefix.push_str(&format!("%{:02X}", u32::from(special_letter)));
                }
                other => prefix.push(other),
            }
        }
    };
    put(&name.schema, &['%', ':', '#', '.']);
    put(".", &[]);
    put(&name.table, &['%', ':', '#']);
    prefix
}

/// Adds what matches just this text to a glob, as Redis has them.
pub(crate) fn put_literal(text: &[u8], glob: &mut Vec<u8>) {
    for &byte in text {
        if b"*?[]\\^-".contains(&byte) {
            glob.push(b'\\');
        }
        glob.push(byte);
    }
}

/// Beyond it a row without a key is named by a hash. No index's entry is as long, so a table with a key of all its columns
/// never comes here.
const ROW_BYTES_MAX: usize = 4096;

/// The hash that names a whole row; `None` if its values can.
fn hash_of_row(relation: &Relation, row: &Row, fallback: Option<&Row>) -> Result<Option<String>, KeyError> {
    let mut hash = Sha256::new();
    let (mut bytes, mut has_null) = (0_usize, false);
    for (&index, column) in relation.key.iter().zip(relation.key_columns()) {
        let cell = row.cell(index).filter(|cell| *cell != Cell::Unchanged);
        match cell.or_else(|| fallback?.cell(index)) {
            Some(Cell::Text(value) | Cell::Binary(value)) => {
                bytes = bytes.saturating_add(value.len());
                hash.update([1]);
                hash.update(u64::try_from(value.len()).unwrap_or(u64::MAX).to_be_bytes());
                hash.update(value);
            }
            Some(Cell::Null) => {
                has_null = true;
                hash.update([0]);
            }
            Some(Cell::Unchanged) | None => return Err(KeyError(column.name.clone())),
        }
    }
    let hashed = has_null || bytes > ROW_BYTES_MAX;
    Ok(hashed.then(|| hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn encode(value: &[u8], end: u8, key: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in value {
        if byte == b'%' || byte == end {
            let digit = |index: u8| HEX.get(usize::from(index)).copied().unwrap_or(b'0');
            key.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            key.push(byte);
        }
    }
}

fn value(row: &Row, index: usize) -> Option<&[u8]> {
    match row.cell(index)? {
        Cell::Text(value) | Cell::Binary(value) => Some(value),
        Cell::Null | Cell::Unchanged => None,
    }
}

fn plausible(relation: &Relation, column: &str, value: &[u8]) -> bool {
    let column = relation.column_index(column).and_then(|index| relation.columns.get(index));
    if column.is_none_or(|column| column.shape != Shape::Scalar(Scalar::Integer)) {
        return true;
    }
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// As it was written.
impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Part::Column(name) => write!(f, "{{{name}}}"),
            Part::Table => write!(f, "{{{TABLE}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{relation, row};
    use super::*;

    fn render(template: &str, cells: &[&str]) -> String {
        let relation = relation("t", &["a", "b"], &[0, 1]);
        let key = KeyTemplate::parse(template).expect("valid").render(&relation, &row(cells), None);
        key.expect("a key").to_string()
    }

    #[test]
    fn a_single_value_stands_as_it_is() {
        assert_eq!(render("user:{a}", &["x:%y", ""]), "user:x:%y");
        assert_eq!(render("{{{a}}}", &["1", ""]), "{1}");
    }

    #[test]
    fn composite_keys_stay_apart_whatever_the_values_hold() {
        assert_ne!(render("{a}:{b}", &["a:b", "c"]), render("{a}:{b}", &["a", "b:c"]));
        assert_ne!(render("{a}:{b}", &["a%3Ab", "c"]), render("{a}:{b}", &["a:b", "c"]));
        assert_eq!(render("k/{a}:{b}", &["x:y", "z"]), "k/x%3Ay:z");
        assert_eq!(render("user:{a}:{b}!", &["sue", "x:y%!"]), "user:sue:x:y%!!", "only what must be is encoded");
    }

    proptest::proptest! {
        #[test]
        fn rows_with_different_keys_have_different_documents(
            one in ["[a:%.]{0,4}", "[a:%.]{0,4}"], other in ["[a:%.]{0,4}", "[a:%.]{0,4}"],
            template in proptest::sample::select(vec!["{a}:{b}", "{a}.:{b}", "{a}a{b}a", "x{a}::{b}%"]),
        ) {
            let key = |cells: &[String; 2]| render(template, &[&cells[0], &cells[1]]);
            proptest::prop_assert_eq!(key(&one) == key(&other), one == other);
            let template = KeyTemplate::parse(template).expect("valid");
            proptest::prop_assert!(template.may_be_ours(&relation("t", &["a", "b"], &[0, 1]), key(&one).as_bytes()));
        }
    }

    #[test]
    fn a_key_with_the_tables_name_in_it_is_that_tables_alone() {
        let template = KeyTemplate::parse("doc:{table}:{id}").expect("valid");
        assert!(template.tells_tables_apart() && !KeyTemplate::parse("doc:{id}").expect("valid").tells_tables_apart());
        let of = |table: &str| {
            let relation = relation(table, &["id"], &[0]);
            let key = template.render(&relation, &row(&["1:2"]), None).expect("a key");
            (relation, key)
        };
        let ((short, one), (long, other)) = (of("a"), of("a:1"));
        assert_eq!(one.to_string(), "doc:public.a:1:2");
        assert!(template.may_be_ours(&short, &one.0) && template.may_be_ours(&long, &other.0));
        assert!(!template.may_be_ours(&long, &one.0) && !template.may_be_ours(&short, &other.0));
        assert_eq!((template.check(&short, &[]), template.to_string()), (Ok(()), "doc:{table}:{id}".to_owned()));
    }

    #[test]
    fn templates_are_checked_with_the_place_and_the_remedy() {
        for (text, wanted) in [
            ("{a}{b}", "character 3 needs a separator"),
            ("{a}%{b}", "separator"),
            ("a{", "character 2"),
            ("a}", "character 2"),
            ("{}", "character 1"),
            ("a", "placeholder"),
        ] {
            let error = KeyTemplate::parse(text).expect_err(text).to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let check =
            |text| KeyTemplate::parse(text).expect("valid").check(&relation("t", &["a", "b", "c"], &[0, 1]), &[]);
        assert_eq!(check("{a}:{b}"), Ok(()));
        assert!(matches!(check("{x}"), Err(TemplateError::UnknownColumn { .. })));
        assert!(matches!(check("{c}"), Err(TemplateError::NotKey { .. })));
        assert!(matches!(check("{a}"), Err(TemplateError::Ambiguous { .. })));
    }

    #[test]
    fn the_default_names_table_and_key() {
        assert_eq!(KeyTemplate::default_for(&relation("users", &["id", "n"], &[0])).to_string(), "public.users:{id}");
        assert_eq!(KeyTemplate::default_for(&relation("f", &["a", "b"], &[0, 1])).to_string(), "public.f:{a}:{b}");
    }

    #[test]
    fn tables_whose_names_look_alike_put_together_have_keys_of_their_own() {
        let named = |schema: &str, table: &str| {
            let mut relation = relation(table, &["id"], &[0]);
            relation.name.schema = schema.into();
            let key = KeyTemplate::default_for(&relation).render(&relation, &row(&["1"]), None).expect("a key");
            assert!(KeyTemplate::is_default_of(&relation.name, &key.0));
            key.to_string()
        };
        assert_eq!(named("public", "a:b"), "public.a%3Ab:1");
        assert_ne!(named("a.b", "c"), named("a", "b.c"));
        let other = TableName { schema: "public".into(), table: "a".into() };
        assert!(!KeyTemplate::is_default_of(&other, b"public.a%3Ab:1"));
        assert!(!KeyTemplate::is_default_of(&other, b"public.ab:1"));
        assert_eq!(KeyTemplate::default_glob(&other), b"public.a[:#]*");
    }

    #[test]
    fn a_whole_row_names_itself_and_with_nulls_by_a_hash() {
        let keyed = relation("t", &["a", "b"], &[0, 1]);
        let whole = Relation { identity: ReplicaIdentity::Full, ..keyed.clone() };
        let cells = |cells: &[Cell<'_>]| {
            let mut builder = crate::event::RowBuilder::default();
            cells.iter().for_each(|cell| builder.push(*cell));
            builder.finish()
        };
        let key = |relation: &Relation, row: &Row| {
            KeyTemplate::default_for(relation).render(relation, row, None).map(|key| key.to_string())
        };
        // As under any other identity, if the whole row is the primary key.
        let both = row(&["x", "y:z"]);
        assert_eq!(key(&whole, &both), key(&keyed, &both));
        let null = key(&whole, &cells(&[Cell::Text(b"x"), Cell::Null])).expect("a key");
        let empty = key(&whole, &row(&["x", ""])).expect("a key");
        let other = key(&whole, &cells(&[Cell::Null, Cell::Text(b"x")])).expect("a key");
        assert!(null.starts_with("public.t#") && null.len() == "public.t#".len() + 64, "{null}");
        assert!(null != empty && null != other && empty == "public.t:x:");
        let long = key(&whole, &row(&["x", &"y".repeat(5000)])).expect("a key");
        assert!(long.starts_with("public.t#"));
        assert!(key(&whole, &row(&["x", "~"])).is_err(), "a value that is not there names nothing");
    }

    #[test]
    fn a_foreign_key_that_cannot_be_a_number_is_left_alone() {
        let mut relation = relation("t", &["id"], &[0]);
        relation.columns[0].shape = Shape::Scalar(Scalar::Integer);
        let template = KeyTemplate::parse("user:{id}").expect("valid");
        assert!(template.may_be_ours(&relation, b"user:-12"));
        assert!(!template.may_be_ours(&relation, b"user:1:friends"));
        assert!(!template.may_be_ours(&relation, b"user:"));
        assert_eq!(KeyTemplate::parse("a*[{id}").expect("valid").glob(), b"a\\*\\[*");
    }
}
