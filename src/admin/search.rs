//! `GET /search/{sink}`: asks a search sink, of which nothing is known here but a function that answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;

use super::Pages;
use super::api::{error, json_text};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchRequest {
    /// In the query language of the index; `*` for everything.
    pub query: String,
    /// What a hit must match too, in the same language.
    pub filters: Vec<String>,
    /// Which fields to search in; empty for those that the index has by default.
    pub fields: Vec<String>,
    /// How many letters of a word may be wrong; 0 to 2.
    pub fuzzy: u8,
    /// The field to sort by, after a `-` for the greatest first; `None` for the best first.
    pub sort: Option<String>,
    /// The fields by whose values to count what matches.
    pub facets: Vec<String>,
    /// How many values of each; 1 to 1000.
    pub facet_limit: usize,
    /// How many hits at most; 0, which only counts, to 1000.
    pub limit: usize,
    /// How many hits to pass over; at most 10 000.
    pub offset: usize,
    /// The fields of which to show where the words were found.
    pub highlight: Vec<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The question cannot be understood; says why.
    #[error("{0}")]
    BadRequest(String),
    /// The index cannot be asked now.
    #[error("{0}")]
    Unavailable(String),
}

/// An answer to come: a JSON object, given to the client as it is.
pub type SearchFuture = Pin<Box<dyn Future<Output = Result<Box<RawValue>, SearchError>> + Send>>;

type Searcher = Arc<dyn Fn(SearchRequest) -> SearchFuture + Send + Sync>;

/// Who can be asked, by the sink's name. Complete before the port answers.
#[derive(Clone, Default)]
pub struct SearchRegistry(Arc<BTreeMap<String, Searcher>>);

impl SearchRegistry {
    /// Adds one.
    pub fn add<F, A>(&mut self, sink: impl Into<String>, search: F)
    where
        F: Fn(SearchRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Box<RawValue>, SearchError>> + Send + 'static,
    {
        let searcher: Searcher = Arc::new(move |request| Box::pin(search(request)));
        Arc::make_mut(&mut self.0).insert(sink.into(), searcher);
    }
}

impl std::fmt::Debug for SearchRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 1_000;
const OFFSET_MAX: usize = 10_000;
const FUZZY_MAX: usize = 2;
const QUERY_BYTES_MAX: usize = 4 << 10;

impl SearchRequest {
    /// From the pairs behind the `?`.
    fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut request = SearchRequest {
            query: String::new(),
            filters: Vec::new(),
            fields: Vec::new(),
            fuzzy: 0,
            sort: None,
            facets: Vec::new(),
            facet_limit: LIMIT_DEFAULT,
            limit: LIMIT_DEFAULT,
            offset: 0,
            highlight: Vec::new(),
        };
        let names = |list: &str| list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let number = |name: &str, text: &str, range: std::ops::RangeInclusive<usize>| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("{name} is a number from {} to {}", range.start(), range.end()))
        };
        for (name, value) in pairs {
            match name.as_str() {
                "q" => request.query = value,
                "filter" => request.filters.push(value),
                "fields" => request.fields = names(&value),
                "fuzzy" => request.fuzzy = u8::try_from(number("fuzzy", &value, 0..=FUZZY_MAX)?).unwrap_or_default(),
                "sort" => request.sort = Some(value).filter(|column| !column.is_empty()),
                "facets" => request.facets = names(&value),
                "facet_limit" => request.facet_limit = number("facet_limit", &value, 1..=LIMIT_MAX)?,
                "limit" => request.limit = number("limit", &value, 0..=LIMIT_MAX)?,
                "offset" => request.offset = number("offset", &value, 0..=OFFSET_MAX)?,
                "highlight" => request.highlight = names(&value),
                _ => {
                    let known = "q, filter, fields, fuzzy, sort, facets, facet_limit, limit, offset, highlight";
                    return Err(format!("`{name}` is unknown; known here: {known}"));
                }
            }
        }
        if request.query.is_empty() {
            return Err("say what to search for: ?q=words (everything: q=*)".to_owned());
        }
        if request.query.len() > QUERY_BYTES_MAX {
            return Err(format!("q has at most {QUERY_BYTES_MAX} bytes"));
        }
        Ok(request)
    }
}

pub(super) async fn search(
    State(shared): State<Pages>,
    Path(sink): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let Some(searcher) = shared.search.0.get(&sink) else {
        let known = shared.search.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return error(StatusCode::NOT_FOUND, &format!("no search sink of that name; there is: {known}"));
    };
    let request = match SearchRequest::from_pairs(pairs) {
        Ok(request) => request,
        Err(why) => return error(StatusCode::BAD_REQUEST, &why),
    };
    match searcher(request).await {
        Ok(answer) => json_text(answer.get().to_owned()).into_response(),
        Err(SearchError::BadRequest(why)) => error(StatusCode::BAD_REQUEST, &why),
        Err(SearchError::Unavailable(why)) => error(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<SearchRequest, String> {
        SearchRequest::from_pairs(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn a_question_has_defaults_and_limits() {
        let pairs = [("q", "a b"), ("fields", "name,bio,"), ("limit", "1000"), ("filter", "a:1"), ("filter", "b:2,c")];
        let request = read(&pairs).expect("valid");
        assert_eq!(request.filters, ["a:1", "b:2,c"]);
        assert_eq!(request.fields, ["name", "bio"]);
        assert_eq!((request.limit, request.offset), (1_000, 0));
        for wrong in [
            &[("q", "x"), ("limit", "1001")][..],
            &[("q", "x"), ("facet_limit", "0")],
            &[("q", "x"), ("fuzzy", "3")],
            &[("q", "x"), ("offset", "-1")],
            &[("q", "x"), ("offset", "10001")],
            &[("q", "x"), ("page", "2")],
            &[("q", "")],
            &[],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
