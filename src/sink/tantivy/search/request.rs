//! A question, and how much one may ask for: a search must not harm the delivery beside it.

use super::error::SearchError;

/// Hits in one answer, at most.
pub const LIMIT_MAX: usize = 1000;
/// How deep one may page: every search sorts this many hits.
pub const DEPTH_MAX: usize = 10_000;
/// Values counted of one column, at most.
pub const FACET_LIMIT_MAX: usize = 1000;
/// Bytes of a query, and of a filter, at most.
const QUERY_BYTES_MAX: usize = 4096;
/// Parentheses in each other, at most: the parser goes one call deeper for each.
const NESTING_MAX: usize = 16;
const FILTERS_MAX: usize = 16;
const FACETS_MAX: usize = 8;
/// Letters wrong in a word, at most; tantivy has no more.
const FUZZY_MAX: u8 = 2;

/// What is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchRequest {
    /// The query, in tantivy's language: words (any of them), `"a phrase"`, `column:word`, `+must -mustnot`, `AND`, `OR`,
    /// `NOT`, `column:[10 TO 20]`, `column:[2026-01-01T00:00:00Z TO *}`, `json_column.path:word`, `*` for everything.
    pub q: String,
    /// Queries in the same language that a hit must match too, and that say nothing about how well it does.
    pub filters: Vec<String>,
    /// The columns that words without a column are looked up in; `None` for all text columns.
    pub fields: Option<Vec<String>>,
    /// How many letters of a word may be wrong, missing, too much or exchanged; 0 to 2.
    pub fuzzy: u8,
    /// What the hits are sorted by; `None` for how well they match.
    pub sort: Option<Sort>,
    /// The columns by whose values all that match are counted.
    pub facets: Vec<String>,
    /// How many values of each, the most frequent first. At most [`FACET_LIMIT_MAX`].
    pub facet_limit: usize,
    /// How many hits; 0 only counts. At most [`LIMIT_MAX`].
    pub limit: usize,
    /// How many hits to leave out first. With `limit` at most [`DEPTH_MAX`].
    pub offset: usize,
    /// Whether to show where each text column matched.
    pub highlight: bool,
}

/// What hits are sorted by. Those without a value come last either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub column: String,
    /// The greatest first.
    pub is_descending: bool,
}

impl SearchRequest {
    /// The best ten, and nothing else.
    #[must_use]
    pub fn new(q: impl Into<String>) -> Self {
        SearchRequest {
            q: q.into(),
            filters: Vec::new(),
            fields: None,
            fuzzy: 0,
            sort: None,
            facets: Vec::new(),
            facet_limit: 10,
            limit: 10,
            offset: 0,
            highlight: false,
        }
    }
}

/// Refuses what asks for too much.
pub(super) fn check(request: &SearchRequest) -> Result<(), SearchError> {
    let too_much = |detail: String| Err(SearchError::TooMuch { detail });
    if request.limit > LIMIT_MAX {
        return too_much(format!("`limit` is {}; at most {LIMIT_MAX} hits fit in one answer", request.limit));
    }
    if request.offset.saturating_add(request.limit) > DEPTH_MAX {
        return too_much(format!("`offset` and `limit` together reach beyond the first {DEPTH_MAX} hits"));
    }
    if request.facet_limit > FACET_LIMIT_MAX || request.facets.len() > FACETS_MAX {
        return too_much(format!("at most {FACET_LIMIT_MAX} values of {FACETS_MAX} columns are counted at once"));
    }
    if request.filters.len() > FILTERS_MAX {
        return too_much(format!("there are {} filters; at most {FILTERS_MAX} are read", request.filters.len()));
    }
    if request.fuzzy > FUZZY_MAX {
        return too_much(format!("`fuzzy` is {}; at most {FUZZY_MAX} letters may differ", request.fuzzy));
    }
    [&request.q].into_iter().chain(&request.filters).try_for_each(|query| check_query(query))
}

fn check_query(query: &str) -> Result<(), SearchError> {
    let too_much = |detail: String| Err(SearchError::TooMuch { detail });
    if query.len() > QUERY_BYTES_MAX {
        return too_much(format!("the query has {} bytes; at most {QUERY_BYTES_MAX} are read", query.len()));
    }
    let depths = query.chars().scan(0_usize, |depth, char| {
        *depth = match char {
            '(' => depth.saturating_add(1),
            ')' => depth.saturating_sub(1),
            _ => *depth,
        };
        Some(*depth)
    });
    if depths.max().unwrap_or(0) > NESTING_MAX {
        return too_much(format!("the query's parentheses are nested deeper than {NESTING_MAX}"));
    }
    Ok(())
}
