//! The search over an index: what the admin port answers `/search` with.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use serde_json::value::RawValue;
use tantivy::collector::{Count, TopDocs};
use tantivy::query::{Query, QueryParser, QueryParserError};
use tantivy::schema::{Field, Value};
use tantivy::snippet::SnippetGenerator;
use tantivy::{DocAddress, IndexReader, Searcher, TantivyDocument, TantivyError};

use super::document::for_each_text;
use super::fields::{Fields, Kind, is_usable};

/// Hits in one answer, at most.
pub const LIMIT_MAX: usize = 1000;
/// How deep one may page: every search sorts this many hits.
pub const DEPTH_MAX: usize = 10_000;
/// Bytes of documents in one answer, at most.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of a query, at most.
const QUERY_BYTES_MAX: usize = 4096;
/// Parentheses in each other, at most: the parser goes one call deeper for each.
const NESTING_MAX: usize = 16;
/// A text is searched for its best passage no further than this.
const HIGHLIGHT_BYTES_MAX: usize = 256 << 10;

/// What is searched for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// The query, in tantivy's language: words (any of them), `"a phrase"`, `column:word`, `+must -mustnot`, `AND`, `OR`,
    /// `NOT`, `column:[10 TO 20]`, `column:[2026-01-01T00:00:00Z TO *}`, `json_column.path:word`, `*` for everything.
    pub q: String,
    /// The columns that words without a column are looked up in; `None` for all text columns.
    #[serde(default)]
    pub fields: Option<Vec<String>>,
    /// How many hits; 0 only counts. At most [`LIMIT_MAX`].
    #[serde(default = "limit_default")]
    pub limit: usize,
    /// How many hits to leave out first. With `limit` at most [`DEPTH_MAX`].
    #[serde(default)]
    pub offset: usize,
    /// Whether to show where each text column matched.
    #[serde(default)]
    pub highlight: bool,
}

const fn limit_default() -> usize {
    10
}

/// What was found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SearchAnswer {
    /// How many documents match, hits or not.
    pub total: usize,
    /// The best, in falling score.
    pub hits: Vec<Hit>,
    /// Milliseconds the search took.
    pub took_ms: u64,
}

/// A document found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Hit {
    /// Its key; bytes that are not UTF-8 are shown as `�`.
    pub key: String,
    /// How well it matches (BM25).
    pub score: f32,
    /// The document.
    pub document: Box<RawValue>,
    /// By column, the best passage as HTML: everything escaped, what matched between `<b>` and `</b>`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub highlights: BTreeMap<String, String>,
}

/// A search that gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The sink has not opened its index yet.
    #[error("the index is not open yet; try again shortly, or see `walbridge status` for why it is not")]
    NotReady,
    /// The query cannot be read.
    #[error(
        "the query cannot be read at character {at} ({near}): {detail}. Put words with special characters in \"quotes\""
    )]
    Syntax {
        /// Counts characters from 1.
        at: usize,
        /// The text from there on, quoted; or the query's end.
        near: String,
        /// What was expected.
        detail: String,
    },
    /// The query can be read but makes no sense for this index.
    #[error("the query cannot be run: {detail}. {remedy}")]
    Query {
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
    /// The index failed.
    #[error("the index cannot be searched: {0}. If this persists, remove its directory: it is built anew from the log")]
    Index(#[from] TantivyError),
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
    /// The query is no good, or the index is not.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchAnswer, SearchError> {
        let start = Instant::now();
        check_limits(request)?;
        let (reader, fields) = self.view.get().ok_or(SearchError::NotReady)?;
        let searcher = reader.searcher();
        let query = parse(&searcher, &fields, request)?;
        let (total, found) = find(&searcher, &*query, request)?;
        let highlighter = request.highlight.then(|| Highlighter::new(&searcher, &*query, &fields)).transpose()?;
        let mut bytes_left = ANSWER_BYTES_MAX;
        let mut hits = Vec::with_capacity(found.len());
        for (score, address) in found {
            hits.push(read_hit(&searcher, &fields, score, address, highlighter.as_ref(), &mut bytes_left)?);
        }
        let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(SearchAnswer { total, hits, took_ms })
    }
}

fn check_limits(request: &SearchRequest) -> Result<(), SearchError> {
    let too_much = |detail: String| Err(SearchError::TooMuch { detail });
    if request.limit > LIMIT_MAX {
        return too_much(format!("`limit` is {}; at most {LIMIT_MAX} hits fit in one answer", request.limit));
    }
    if request.offset.saturating_add(request.limit) > DEPTH_MAX {
        return too_much(format!("`offset` and `limit` together reach beyond the first {DEPTH_MAX} hits"));
    }
    if request.q.len() > QUERY_BYTES_MAX {
        return too_much(format!("the query has {} bytes; at most {QUERY_BYTES_MAX} are read", request.q.len()));
    }
    let depths = request.q.chars().scan(0_usize, |depth, char| {
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

fn parse(searcher: &Searcher, fields: &Fields, request: &SearchRequest) -> Result<Box<dyn Query>, SearchError> {
    if request.q.trim().is_empty() {
        let remedy = "Give `q` a word, or `*` for everything".to_owned();
        return Err(SearchError::Query { detail: "it is empty".to_owned(), remedy });
    }
    let parser = QueryParser::for_index(searcher.index(), default_fields(fields, request)?);
    parser.parse_query(&request.q).map_err(|error| explain(error, fields, &request.q))
}

/// Where words without a column are looked up.
fn default_fields(fields: &Fields, request: &SearchRequest) -> Result<Vec<Field>, SearchError> {
    let Some(names) = &request.fields else {
        let texts = fields.columns.values().filter(|(_, kind)| *kind == Kind::Text);
        return Ok(texts.map(|(field, _)| *field).collect());
    };
    let field = |name: &String| fields.columns.get(name).map(|(field, _)| *field);
    names.iter().map(|name| field(name).ok_or_else(|| unknown_field(name, fields))).collect()
}

fn find(
    searcher: &Searcher,
    query: &dyn Query,
    request: &SearchRequest,
) -> Result<(usize, Vec<(f32, DocAddress)>), SearchError> {
    if request.limit == 0 {
        return Ok((searcher.search(query, &Count)?, Vec::new()));
    }
    let best = TopDocs::with_limit(request.limit).and_offset(request.offset).order_by_score();
    Ok(searcher.search(query, &(Count, best))?)
}

fn read_hit(
    searcher: &Searcher,
    fields: &Fields,
    score: f32,
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
        score,
        highlights: highlighter.map(|highlighter| highlighter.highlight(&source)).unwrap_or_default(),
        document: RawValue::from_string(source).map_err(damaged)?,
    })
}

/// Finds the passages that matched, in the document's own text.
struct Highlighter {
    columns: Vec<(String, SnippetGenerator)>,
}

impl Highlighter {
    fn new(searcher: &Searcher, query: &dyn Query, fields: &Fields) -> Result<Self, SearchError> {
        let texts = fields.columns.iter().filter(|(_, (_, kind))| *kind == Kind::Text);
        let generators =
            texts.map(|(name, (field, _))| Ok((name.clone(), SnippetGenerator::create(searcher, query, *field)?)));
        Ok(Highlighter { columns: generators.collect::<Result<_, TantivyError>>()? })
    }

    fn highlight(&self, source: &str) -> BTreeMap<String, String> {
        let values: HashMap<String, &RawValue> = serde_json::from_str(source).unwrap_or_default();
        let mut highlights = BTreeMap::new();
        for (name, generator) in &self.columns {
            let mut text = String::new();
            if let Some(value) = values.get(name) {
                for_each_text(value.get(), &mut |part| {
                    let room = HIGHLIGHT_BYTES_MAX.saturating_sub(text.len());
                    text.push_str(part.get(..part.floor_char_boundary(room)).unwrap_or_default());
                    text.push(' ');
                });
            }
            let snippet = generator.snippet(text.trim_end());
            if !snippet.is_empty() {
                highlights.insert(name.clone(), snippet.to_html());
            }
        }
        highlights
    }
}

/// Tantivy's error in terms of columns and places.
fn explain(error: QueryParserError, fields: &Fields, query: &str) -> SearchError {
    let because = |detail: String, remedy: &str| SearchError::Query { detail, remedy: remedy.to_owned() };
    match error {
        QueryParserError::SyntaxError(_) => syntax_error(query),
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

/// The strict parser does not say where it stopped; the lenient one does.
fn syntax_error(query: &str) -> SearchError {
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
    SearchError::Syntax { at: before.chars().count().saturating_add(1), near, detail }
}

fn unknown_field(name: &str, fields: &Fields) -> SearchError {
    let known: Vec<String> = fields.columns.keys().filter(|known| is_usable(known)).cloned().collect();
    let distance = |known: &&String| strsim::damerau_levenshtein(name, known);
    let near = known.iter().min_by_key(distance).filter(|known| distance(known) <= 2).cloned();
    SearchError::UnknownField { name: name.to_owned(), near, known }
}
