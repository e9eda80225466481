//! The search over an index: what the admin port answers `/search` with.

mod error;
mod find;
mod highlight;
mod query;
mod request;
mod time_limit;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tantivy::aggregation::AggregationError;
use tantivy::schema::Value;
use tantivy::{DocAddress, IndexReader, Searcher, TantivyDocument, TantivyError};

pub use self::error::SearchError;
pub use self::find::{Facet, FacetValue};
pub use self::request::{DEPTH_MAX, FACET_LIMIT_MAX, LIMIT_MAX, SearchRequest, Sort};

use self::highlight::Highlighter;
use self::time_limit::TimeLimit;
use super::fields::{Fields, TABLE};

/// Bytes of documents in one answer, at most.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long a search may look for what matches.
pub const SEARCH_TIME_MAX: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SearchAnswer {
    /// How many documents match, hits or not.
    pub total: usize,
    /// The first of them: the best, in falling score, or in the order asked for.
    pub hits: Vec<Hit>,
    /// By column, how many of all that match have each value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facets: BTreeMap<String, Facet>,
    /// Milliseconds the search took.
    pub took_ms: u64,
}

/// A document found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Hit {
    /// Its key; bytes that are not UTF-8 are shown as `�`.
    pub key: String,
    /// Its table, as `schema.table`; `None` in an index that was made before this could be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// How well it matches (BM25); `None` where they are sorted by something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// The document.
    pub document: Box<RawValue>,
    /// By column, the best passage as HTML: everything escaped, what matched between `<b>` and `</b>`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub highlights: BTreeMap<String, String>,
}

/// The index as searches see it: the one last opened. Shared with the sink, which sets it.
#[derive(Clone, Default)]
pub(super) struct View(Arc<RwLock<Option<(IndexReader, Fields)>>>);

impl View {
    pub(super) fn set(&self, reader: IndexReader, fields: Fields) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some((reader, fields));
    }

    fn get(&self) -> Option<(IndexReader, Fields)> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Searches an index while the sink writes it. Cheap to clone.
#[derive(Clone)]
pub struct SearchHandle {
    view: View,
}

impl SearchHandle {
    pub(super) fn new(view: View) -> Self {
        SearchHandle { view }
    }

    /// Searches what was last committed. Blocks on the disk and computes: call it on the blocking pool.
    ///
    /// # Errors
    /// The query is no good, or asks for too much, or the index is not.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchAnswer, SearchError> {
        self.search_within(request, SEARCH_TIME_MAX)
    }

    /// [`SearchHandle::search`] with another limit in time than [`SEARCH_TIME_MAX`].
    ///
    /// # Errors
    /// The same.
    pub fn search_within(&self, request: &SearchRequest, limit: Duration) -> Result<SearchAnswer, SearchError> {
        let start = Instant::now();
        request::check(request)?;
        let (reader, fields) = self.view.get().ok_or(SearchError::NotReady)?;
        let searcher = reader.searcher();
        let query::Parsed { words, whole } = query::parse(&searcher, &fields, request)?;
        let highlighter = request.highlight.then(|| Highlighter::new(&searcher, &*words, &fields)).transpose()?;
        let time = TimeLimit::new(start.checked_add(limit).unwrap_or(start));
        let found = find::find(&searcher, &fields, &time.of(whole), request);
        if time.has_cut() {
            return Err(SearchError::TooSlow { limit });
        }
        let found = found.map_err(counted_too_much)?;
        let mut bytes_left = ANSWER_BYTES_MAX;
        let mut hits = Vec::with_capacity(found.hits.len());
        for (score, address) in found.hits {
            hits.push(read_hit(&searcher, &fields, score, address, highlighter.as_ref(), &mut bytes_left)?);
        }
        let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(SearchAnswer { total: found.total, hits, facets: found.facets, took_ms })
    }
}

fn counted_too_much(error: SearchError) -> SearchError {
    match error {
        SearchError::Index(TantivyError::AggregationError(
            AggregationError::MemoryExceeded { .. } | AggregationError::BucketLimitExceeded { .. },
        )) => SearchError::TooMuch { detail: "a column to count by has too many values".to_owned() },
        error => error,
    }
}

fn read_hit(
    searcher: &Searcher,
    fields: &Fields,
    score: Option<f32>,
    address: DocAddress,
    highlighter: Option<&Highlighter>,
    bytes_left: &mut usize,
) -> Result<Hit, SearchError> {
    let document: TantivyDocument = searcher.doc(address)?;
    let source = document.get_first(fields.source).and_then(|value| value.as_str()).unwrap_or("null").to_owned();
    *bytes_left = bytes_left.checked_sub(source.len()).ok_or_else(|| SearchError::TooMuch {
        detail: format!("the documents found have more than {} MiB together", ANSWER_BYTES_MAX >> 20),
    })?;
    let key = document.get_first(fields.key).and_then(|value| value.as_bytes()).unwrap_or_default();
    let damaged = |error: serde_json::Error| TantivyError::InternalError(format!("a document is not JSON: {error}"));
    Ok(Hit {
        key: String::from_utf8_lossy(key).into_owned(),
        table: table_of(searcher, address)?,
        score,
        highlights: highlighter.map(|highlighter| highlighter.highlight(&source)).unwrap_or_default(),
        document: RawValue::from_string(source).map_err(damaged)?,
    })
}

fn table_of(
    searcher: &Searcher,
    DocAddress { segment_ord, doc_id }: DocAddress,
) -> Result<Option<String>, TantivyError> {
    let Some(column) = searcher.segment_reader(segment_ord).fast_fields().str(TABLE)? else { return Ok(None) };
    let mut table = String::new();
    for term in column.term_ords(doc_id) {
        column.ord_to_str(term, &mut table)?;
    }
    Ok(Some(table))
}
