//! What a row is in words: a template with any of its columns in it.

use super::{Part, TemplateError, parse, table_prefix};
use crate::decode::json;
use crate::event::{Cell, Relation, Row};

/// `{first} {last}`: literal text, and `{column}` where a value goes, as PostgreSQL writes it; NULL is nothing. `{{` and `}}` are literal braces, `{table}` is
/// the table's name. Unlike a key it need not tell rows apart, so values stand as they are, and next to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTemplate {
    parts: Vec<Part>,
}

impl TextTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// Says where it is wrong.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(TextTemplate { parts: parse::parts(text, false)? })
    }

    /// Whether the columns are there.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self, relation: &Relation) -> Result<(), TemplateError> {
        let missing = self.parts.iter().find_map(|part| match part {
            Part::Column(name) if relation.column_index(name).is_none() => Some(name.clone()),
            Part::Column(_) | Part::Literal(_) | Part::Table => None,
        });
        match missing {
            Some(column) => Err(TemplateError::unknown(column, relation)),
            None => Ok(()),
        }
    }

    /// Of a row; `None` if a value is missing from it.
    #[must_use]
    pub fn render(&self, relation: &Relation, row: &Row) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.extend_from_slice(literal.as_bytes()),
                Part::Table => text.extend_from_slice(table_prefix(&relation.name).as_bytes()),
                Part::Column(name) => match row.cell(relation.column_index(name)?)? {
                    Cell::Text(value) => text.extend_from_slice(value),
                    Cell::Binary(value) => json::put_hex(value, &mut text),
                    Cell::Null => {}
                    Cell::Unchanged => return None,
                },
            }
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::testing::{relation, row};

    #[test]
    fn values_stand_as_they_are_and_one_that_is_missing_is_no_empty_one() {
        let relation = relation("t", &["id", "name", "big"], &[0]);
        let render = |template: &str, values: &[&str]| {
            let template = TextTemplate::parse(template).expect("a template");
            template.check(&relation).expect("it fits");
            template.render(&relation, &row(values)).map(|text| String::from_utf8(text).expect("text"))
        };
        assert_eq!(render("{id}{name}%", &["1", "a:b%", "~"]).as_deref(), Some("1a:b%%"));
        assert_eq!(render("{{{name}}} of {table}", &["1", "", "~"]).as_deref(), Some("{} of public.t"));
        assert_eq!(render("{id} {big}", &["1", "", "~"]), None);
        let unknown = TextTemplate::parse("{nme}").expect("a template").check(&relation);
        assert!(matches!(unknown, Err(TemplateError::UnknownColumn { .. })), "{unknown:?}");
        assert!(matches!(TextTemplate::parse("{id"), Err(TemplateError::Brace { at: 1 })));
    }
}
