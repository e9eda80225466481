//! Keys of no row, for asking a target what it would allow.

use super::{KeyTemplate, Part, table_prefix};
use crate::event::TableName;

impl KeyTemplate {
    /// A key such as this template gives, with `0` for every value; `None` if it has the table's name in it, and that is not known.
    #[must_use]
    pub fn sample(&self, table: Option<&TableName>) -> Option<Vec<u8>> {
        let mut key = Vec::new();
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(text) => key.extend_from_slice(text.as_bytes()),
                Part::Column(_) => key.push(b'0'),
                Part::Table => self.put_value(at, table_prefix(table?).as_bytes(), &mut key),
            }
        }
        Some(key)
    }

    /// What Redis Cluster takes for all of a key in choosing its slot: the text in the first braces, if no column's value can stand before or in it.
    #[must_use]
    pub fn hash_tag(&self) -> Option<String> {
        let Some(Part::Literal(text)) = self.parts.first() else { return None };
        let (_, rest) = text.split_once('{')?;
        let (tag, _) = rest.split_once('}')?;
        (!tag.is_empty()).then(|| tag.to_owned())
    }

    /// A key of a table that has no template, as [`KeyTemplate::sample`] gives one.
    #[must_use]
    pub fn default_sample(table: &TableName) -> Vec<u8> {
        format!("{}:0", table_prefix(table)).into_bytes()
    }
}
