//! What is wrong with a template: each with its place and what to write instead.

use crate::event::Relation;

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its partner.
    #[error("`{{` and `}}` do not match at character {at}; a placeholder is {{column}}, a literal brace {{{{ or }}}}")]
    Brace {
        /// Counted from 1.
        at: usize,
    },
    /// Two values with nothing between them, or something that encoded values hold too.
    #[error(
        "the placeholder that ends at character {at} needs a separator behind it, such as a colon: one that does not begin \
         with %, a digit or A to F, of which encoded values are made"
    )]
    Separator {
        /// Counted from 1.
        at: usize,
    },
    /// Every row would get the same key.
    #[error("a key needs a placeholder, as in user:{{id}}")]
    NoColumn,
    /// A placeholder names nothing.
    #[error("the table has no column `{column}`; its columns are {known}")]
    UnknownColumn {
        /// The name in the template.
        column: String,
        /// What there is.
        known: String,
    },
    /// A delete tells only the replica identity's columns, so the document could not be found again.
    #[error(
        "column `{column}` is not part of the table's key ({key}), so what a row leaves behind, when it is deleted or moves, could not be found; use the \
         key's columns, or have old rows sent whole: ALTER TABLE … REPLICA IDENTITY FULL"
    )]
    NotKey {
        /// The name in the template.
        column: String,
        /// The key.
        key: String,
    },
    /// What was there before is not known when a row changes, so its document could not be found where it was.
    #[error(
        "column `{column}` can change, and the table's replica identity does not tell what it was, so a changed or deleted row's document could not be \
         found; have whole rows sent: ALTER TABLE {table} REPLICA IDENTITY FULL"
    )]
    NotKept {
        /// The name in the template.
        column: String,
        /// The table.
        table: String,
    },
    /// Two rows could share a document.
    #[error(
        "the key's column `{column}` is missing from the template, so different rows would share a document; add {{{column}}}"
    )]
    Ambiguous {
        /// The missing one.
        column: String,
    },
}

impl TemplateError {
    /// A table has no such column.
    pub(super) fn unknown(column: String, relation: &Relation) -> Self {
        let known: Vec<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
        TemplateError::UnknownColumn { column, known: known.join(", ") }
    }
}

/// A template that does not fit a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} = \"{template}\" for table {table}: {error}")]
pub struct Misnamed {
    /// The template's name in the configuration.
    pub name: &'static str,
    /// The template.
    pub template: String,
    /// The table.
    pub table: String,
    /// Why not.
    pub error: TemplateError,
}
