//! What a sink's documents are called, and where they are.
//!
//! A place, such as the index or the routing value, is a part of the key: a row that goes elsewhere is a row that gets another key, so that its document
//! is removed where it was. Whatever orders, compares or remembers rows by their keys need not know.

use std::borrow::Cow;
use std::fmt;

use super::{KeyError, KeyTemplate, Misnamed, Part, TemplateError, encode, parse, plain};
use crate::event::{Cell, Relation, ReplicaIdentity, Row};
use crate::project::mutation::Key;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// The key's template; `None`: [`KeyTemplate::default_for`].
    pub template: Option<KeyTemplate>,
    /// What tells where the document is, in the order in which it stands in the key.
    pub places: Vec<Place>,
}

impl Naming {
    /// For documents of this table. `determined` are columns besides the key's that are known of a deleted row, too.
    ///
    /// # Errors
    /// What is configured does not fit the table.
    pub fn of(&self, relation: &Relation, determined: &[String]) -> Result<KeyTemplate, Misnamed> {
        let misnamed =
            |name, template, error| Err(Misnamed { name, template, table: relation.name.to_string(), error });
        let mut template = match &self.template {
            None => KeyTemplate::default_for(relation),
            Some(template) => match template.check(relation, determined) {
                Ok(()) => template.clone(),
                Err(error) => return misnamed("key", template.to_string(), error),
            },
        };
        for place in &self.places {
            if let Err(error) = place.check(relation, determined) {
                return misnamed(place.name, place.to_string(), error);
            }
        }
        template.places.clone_from(&self.places);
        Ok(template)
    }
}

impl From<Option<KeyTemplate>> for Naming {
    fn from(template: Option<KeyTemplate>) -> Self {
        Naming { template, places: Vec::new() }
    }
}

/// A template that tells where a row's document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it is called in the configuration.
    name: &'static str,
    template: KeyTemplate,
}

impl Place {
    /// Reads a template. `name` is for messages.
    ///
    /// # Errors
    /// Says where it is wrong.
    pub fn parse(name: &'static str, text: &str) -> Result<Self, TemplateError> {
        let parts = parse::parts(text, true)?;
        if parts.iter().all(|part| matches!(part, Part::Literal(_))) {
            return Err(TemplateError::NoColumn);
        }
        Ok(Place { name, template: KeyTemplate { parts, whole_row: None, places: Vec::new() } })
    }

    /// Its columns exist, and what they were is known when the row changes or goes.
    fn check(&self, relation: &Relation, determined: &[String]) -> Result<(), TemplateError> {
        let is_whole = relation.identity == ReplicaIdentity::Full;
        for name in self.template.columns() {
            if relation.column_index(name).is_none() {
                let known: Vec<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
                return Err(TemplateError::UnknownColumn { column: name.to_owned(), known: known.join(", ") });
            }
            let is_key = relation.key_columns().any(|column| column.name == name);
            if !is_whole && !is_key && !determined.iter().any(|column| column == name) {
                return Err(TemplateError::NotKept { column: name.to_owned(), table: relation.name.to_string() });
            }
        }
        Ok(())
    }

    /// The place of a row, with a slash behind it; nothing but that where a column is NULL.
    pub(super) fn render(
        &self,
        relation: &Relation,
        row: &Row,
        fallback: Option<&Row>,
        key: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        let mut columns = self.template.columns().filter_map(|name| relation.column_index(name));
        if !columns.any(|index| row.cell(index) == Some(Cell::Null)) {
            let mut place = Vec::new();
            self.template.render_parts(relation, row, fallback, &mut place)?;
            encode(&place, b'/', key);
        }
        key.push(b'/');
        Ok(())
    }

    /// So many places that a key begins with, and what stands behind them. `None`: it has not so many.
    #[must_use]
    pub fn split(key: &Key, count: usize) -> Option<(Vec<Cow<'_, [u8]>>, &[u8])> {
        let mut rest: &[u8] = &key.0;
        let mut places = Vec::with_capacity(count);
        for _ in 0..count {
            let end = rest.iter().position(|&byte| byte == b'/')?;
            places.push(plain::decode(rest.get(..end)?));
            rest = rest.get(end.saturating_add(1)..)?;
        }
        Some((places, rest))
    }
}

/// The number of an index, and what is built beside it, are written behind its name, and search servers take 255 bytes.
pub const INDEX_NAME_BYTES_MAX: usize = 200;

/// Whether search servers take it for an index's name, and a URL as it is.
#[must_use]
pub fn is_index_name(name: &str) -> bool {
    let begins = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inside = |byte: u8| begins(byte) || b"_.-".contains(&byte);
    name.len() <= INDEX_NAME_BYTES_MAX && name.bytes().next().is_some_and(begins) && name.bytes().all(inside)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.template.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{relation, row};
    use super::*;
    use crate::event::RowBuilder;

    fn naming() -> Naming {
        let place = |name, text| Place::parse(name, text).expect("valid");
        Naming { template: None, places: vec![place("index", "of-{a}"), place("routing", "{b}.{a}")] }
    }

    #[test]
    fn where_a_document_is_stands_in_front_of_its_key_and_is_found_there_again() {
        let relation = relation("t", &["id", "a", "b"], &[0, 1, 2]);
        let naming = Naming { template: Some(KeyTemplate::parse("{id}:{a}:{b}").expect("valid")), ..naming() };
        let template = naming.of(&relation, &[]).expect("fits");
        let key = template.render(&relation, &row(&["1/2", "x/%2F", "y.z"]), None).expect("a key");
        let (places, rest) = Place::split(&key, 2).expect("two");
        assert_eq!((&*places[0], rest), (&b"of-x/%2F"[..], &b"1/2:x/%252F:y.z"[..]), "{key}");
        assert_eq!(&*places[1], b"y%2Ez.x/%2F");
        assert_eq!(Place::split(&Key("a/b".into()), 2), None);
    }

    #[test]
    fn a_row_without_a_value_there_is_nowhere_in_particular() {
        let relation = relation("t", &["id", "a", "b"], &[0, 1, 2]);
        let mut cells = RowBuilder::default();
        [Cell::Text(b"1"), Cell::Null, Cell::Text(b"z")].into_iter().for_each(|cell| cells.push(cell));
        let naming = Naming { template: Some(KeyTemplate::parse("{id}").expect("valid")), ..naming() };
        // A key must have all the columns of the table's, which is not this test's matter.
        let short = Relation { key: vec![0], identity: ReplicaIdentity::Full, ..relation };
        let key = naming.of(&short, &[]).expect("fits").render(&short, &cells.finish(), None).expect("a key");
        assert_eq!(key.to_string(), "//1");
    }

    #[test]
    fn what_is_not_known_of_an_old_row_cannot_tell_where_its_document_is() {
        let table = relation("t", &["id", "a", "b"], &[0]);
        let refused = naming().of(&table, &[]).expect_err("refused").to_string();
        assert!(refused.starts_with("index = \"of-{a}\" for table public.t: column `a`"), "{refused}");
        assert!(refused.contains("ALTER TABLE public.t REPLICA IDENTITY FULL"), "{refused}");
        let known = ["a".to_owned(), "b".to_owned()];
        assert!(naming().of(&table, &known).is_ok(), "made of the key");
        assert!(naming().of(&Relation { identity: ReplicaIdentity::Full, ..table }, &[]).is_ok());
        let unknown = relation("t", &["id", "a"], &[0, 1]);
        assert!(matches!(naming().of(&unknown, &[]), Err(Misnamed { error: TemplateError::UnknownColumn { .. }, .. })));
        assert_eq!(Place::parse("routing", "all"), Err(TemplateError::NoColumn));
    }
}
