//! The query and its filters as tantivy's.

use tantivy::Searcher;
use tantivy::query::{BooleanQuery, ConstScoreQuery, Occur, Query, QueryParser};
use tantivy::schema::Field;

use super::error::{SearchError, explain, refused, unknown_field};
use super::request::SearchRequest;
use crate::sink::tantivy::fields::Fields;

/// What is looked for.
pub(super) struct Parsed {
    /// The query by itself: what is highlighted.
    pub(super) words: Box<dyn Query>,
    /// It and the filters.
    pub(super) whole: Box<dyn Query>,
}

/// Reads the request's queries.
pub(super) fn parse(searcher: &Searcher, fields: &Fields, request: &SearchRequest) -> Result<Parsed, SearchError> {
    let searched = default_fields(fields, request)?;
    let parser = || QueryParser::new(searcher.schema().clone(), searched.clone(), fields.query_analyzers.clone());
    let mut fuzzy = parser();
    if request.fuzzy > 0 {
        for (field, _) in fields.columns.values().filter(|(_, kind)| kind.is_text()) {
            fuzzy.set_field_fuzzy(*field, false, request.fuzzy, true);
        }
    }
    let words = read(&fuzzy, fields, "the query", &request.q)?;
    if request.filters.is_empty() {
        return Ok(Parsed { whole: words.box_clone(), words });
    }
    // A filter has no typing errors in it: a program wrote it.
    let exact = parser();
    let mut parts = vec![(Occur::Must, words.box_clone())];
    for (index, filter) in request.filters.iter().enumerate() {
        let name = format!("filter {}", index.saturating_add(1));
        let filter = read(&exact, fields, &name, filter)?;
        parts.push((Occur::Must, Box::new(ConstScoreQuery::new(filter, 0.0))));
    }
    Ok(Parsed { words, whole: Box::new(BooleanQuery::new(parts)) })
}

fn read(parser: &QueryParser, fields: &Fields, name: &str, query: &str) -> Result<Box<dyn Query>, SearchError> {
    if query.trim().is_empty() {
        return Err(refused(name, "it is empty".to_owned(), "Give it a word, or `*` for everything"));
    }
    parser.parse_query(query).map_err(|error| explain(error, fields, name, query))
}

/// Where words without a column are looked up.
fn default_fields(fields: &Fields, request: &SearchRequest) -> Result<Vec<Field>, SearchError> {
    let Some(names) = &request.fields else {
        let texts = fields.columns.values().filter(|(_, kind)| kind.is_text());
        return Ok(texts.map(|(field, _)| *field).collect());
    };
    let field = |name: &String| fields.columns.get(name).map(|(field, _)| *field);
    names.iter().map(|name| field(name).ok_or_else(|| unknown_field(name, fields))).collect()
}
