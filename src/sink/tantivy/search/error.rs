//! Searches that give no answer, in terms of columns and places.

use std::time::Duration;

use tantivy::TantivyError;
use tantivy::query::QueryParserError;

use crate::sink::tantivy::fields::{Fields, is_usable};

/// A search that gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The sink has not opened its index yet.
    #[error("the index is not open yet; try again shortly, or see `walbridge status` for why it is not")]
    NotReady,
    /// The query cannot be read.
    #[error(
        "{query} cannot be read at character {at} ({near}): {detail}. Put words with special characters in \"quotes\""
    )]
    Syntax {
        /// Which one: the query, or one of the filters.
        query: String,
        /// Counts characters from 1.
        at: usize,
        /// The text from there on, quoted; or the query's end.
        near: String,
        /// What was expected.
        detail: String,
    },
    /// The query can be read but makes no sense for this index.
    #[error("{query} cannot be run: {detail}. {remedy}")]
    Query {
        /// Which one.
        query: String,
        /// Why.
        detail: String,
        /// What to do.
        remedy: String,
    },
    /// A column that the index does not have.
    #[error("there is no column `{name}` to search by{}; there are: {}. Text with a colon must stand in \"quotes\"",
        .near.as_ref().map(|near| format!(", did you mean `{near}`?")).unwrap_or_default(), .known.join(", "))]
    UnknownField {
        /// The name.
        name: String,
        /// One that looks like it.
        near: Option<String>,
        /// All there are.
        known: Vec<String>,
    },
    /// More was asked for than one answer may hold.
    #[error("{detail}. Ask for less at once")]
    TooMuch {
        /// What, and how much is allowed.
        detail: String,
    },
    /// A column that nothing is counted or sorted by.
    #[error("nothing is counted or sorted by `{name}`: {detail}. By these it is: {}", .known.join(", "))]
    NoFacet {
        /// The name.
        name: String,
        /// Why.
        detail: String,
        /// All there are.
        known: Vec<String>,
    },
    /// It took too long.
    #[error("the search took longer than {} ms. Ask for something rarer, or for less at once", .limit.as_millis())]
    TooSlow {
        /// How long a search may take.
        limit: Duration,
    },
    /// The index failed.
    #[error("the index cannot be searched: {0}. If this persists, remove its directory: it is built anew from the log")]
    Index(#[from] TantivyError),
}

/// Tantivy's error in terms of columns and places.
pub(super) fn explain(error: QueryParserError, fields: &Fields, name: &str, query: &str) -> SearchError {
    let because = |detail: String, remedy: &str| refused(name, detail, remedy);
    match error {
        QueryParserError::SyntaxError(_) => syntax_error(name, query),
        QueryParserError::FieldDoesNotExist(name) => unknown_field(&name, fields),
        QueryParserError::FieldNotIndexed(name) => unknown_field(&name, fields),
        QueryParserError::NoDefaultFieldDeclared => {
            because("no text column is indexed".to_owned(), "Name a column: `column:value`")
        }
        QueryParserError::AllButQueryForbidden => {
            because("it only says what not to find".to_owned(), "Add what to find, or `*` for everything")
        }
        QueryParserError::DateFormatError(_) => {
            because("a date is not in RFC 3339".to_owned(), "Write it as in `column:[2026-11-24T00:00:00Z TO *}`")
        }
        QueryParserError::ExpectedInt(_)
        | QueryParserError::ExpectedFloat(_)
        | QueryParserError::ExpectedBool(_)
        | QueryParserError::ExpectedBase64(_) => {
            because(error.to_string(), "Give the column a value of its type: `age:30`, `price:9.5`, `active:true`")
        }
        QueryParserError::UnsupportedQuery(_)
        | QueryParserError::FieldDoesNotHavePositionsIndexed(_)
        | QueryParserError::PhrasePrefixRequiresAtLeastTwoTerms { .. }
        | QueryParserError::UnknownTokenizer { .. }
        | QueryParserError::RangeMustNotHavePhrase
        | QueryParserError::FacetFormatError(_)
        | QueryParserError::IpFormatError(_) => because(error.to_string(), "Change the query"),
    }
}

/// The query makes no sense for this index.
pub(super) fn refused(query: &str, detail: String, remedy: &str) -> SearchError {
    SearchError::Query { query: query.to_owned(), detail, remedy: remedy.to_owned() }
}

/// The strict parser does not say where it stopped; the lenient one does.
fn syntax_error(name: &str, query: &str) -> SearchError {
    let (_, errors) = tantivy::query_grammar::parse_query_lenient(query);
    let (byte, detail) = errors
        .into_iter()
        .next()
        .map_or((query.len(), "unexpected".to_owned()), |error| (query.floor_char_boundary(error.pos), error.message));
    let (before, after) = query.split_at_checked(byte).unwrap_or((query, ""));
    let near = match after.get(..after.floor_char_boundary(20)).unwrap_or_default() {
        "" => "its end".to_owned(),
        text => format!("`{text}`"),
    };
    SearchError::Syntax { query: name.to_owned(), at: before.chars().count().saturating_add(1), near, detail }
}

/// There is no column of this name.
pub(super) fn unknown_field(name: &str, fields: &Fields) -> SearchError {
    let known: Vec<String> = fields.columns.keys().filter(|known| is_usable(known)).cloned().collect();
    let distance = |known: &&String| strsim::damerau_levenshtein(name, known);
    let near = known.iter().min_by_key(distance).filter(|known| distance(known) <= 2).cloned();
    SearchError::UnknownField { name: name.to_owned(), near, known }
}
