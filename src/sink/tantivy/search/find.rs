//! What matches: how many, the first of them in the order asked for, and how many of each value.
//!
//! Values are counted over the columns that sorting uses too, not with tantivy's facet fields: those count paths of their own making,
//! in fields to be filled beside the columns', and know neither numbers nor dates.

use std::collections::BTreeMap;
use std::mem;

use serde_json::Value as Json;
use tantivy::aggregation::agg_req::{Aggregation, AggregationVariants, Aggregations};
use tantivy::aggregation::agg_result::{AggregationResult, AggregationResults, BucketEntry, BucketResult};
use tantivy::aggregation::bucket::TermsAggregation;
use tantivy::aggregation::{AggContextParams, AggregationCollector, AggregationLimitsGuard, Key};
use tantivy::collector::{Collector, Count, TopDocs};
use tantivy::query::Query;
use tantivy::{DateTime, DocAddress, Order, Searcher, TantivyError};

use super::error::{SearchError, unknown_field};
use super::request::{SearchRequest, Sort};
use crate::sink::tantivy::analysis::Analyzer;
use crate::sink::tantivy::fields::{Fields, Kind, TABLE};

/// Memory for counting values, of one search.
const FACET_MEMORY_BYTES_MAX: u64 = 64 << 20;
/// So many values of a segment are remembered; of columns with more, counts may be too low.
const FACET_VALUES_MAX: u32 = 65_000;

/// What was found.
pub(super) struct Found {
    pub(super) total: usize,
    pub(super) hits: Hits,
    pub(super) facets: BTreeMap<String, Facet>,
}

/// How well each matches, unless they are sorted by something else, and where it is.
type Hits = Vec<(Option<f32>, DocAddress)>;
/// How many, which, and how many of each value.
type Collected = (usize, Hits, Option<AggregationResults>);

/// How many documents have each value of a column.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Facet {
    /// The most frequent values.
    pub values: Vec<FacetValue>,
    /// Documents with other values.
    pub other: u64,
    /// By so much each count may be too low; more than 0 only where a column has very many values.
    pub error: u64,
}

/// A value, and how many documents have it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct FacetValue {
    /// In JSON, as in the documents; a date as a point in time.
    pub value: Json,
    /// Documents.
    pub count: u64,
}

/// Searches.
pub(super) fn find(
    searcher: &Searcher,
    fields: &Fields,
    query: &dyn Query,
    request: &SearchRequest,
) -> Result<Found, SearchError> {
    let kinds = request.facets.iter().map(|name| Ok((name.clone(), facet_kind(searcher, fields, name)?)));
    let kinds = kinds.collect::<Result<BTreeMap<_, _>, SearchError>>()?;
    let sort = request.sort.as_ref().map(|sort| Ok((facet_kind(searcher, fields, &sort.column)?, sort)));
    let sort = sort.transpose().map_err(|error: SearchError| error)?;
    let counter = (!kinds.is_empty()).then(|| counter(searcher, request));
    let (total, hits, counted) = match sort {
        _ if request.limit == 0 => {
            let (total, counted) = searcher.search(query, &(Count, counter))?;
            (total, Vec::new(), counted)
        }
        None => {
            let (total, hits, counted) = searcher.search(query, &(Count, top(request).order_by_score(), counter))?;
            (total, hits.into_iter().map(|(score, address)| (Some(score), address)).collect(), counted)
        }
        Some((kind, sort)) => sorted(searcher, query, request, kind, sort, counter)?,
    };
    let mut counted = counted.unwrap_or_default();
    let facets = kinds.into_iter().map(|(name, kind)| {
        let facet = facet(kind, &mut counted, &name);
        (name, facet)
    });
    Ok(Found { total, hits, facets: facets.collect() })
}

fn sorted(
    searcher: &Searcher,
    query: &dyn Query,
    request: &SearchRequest,
    kind: Kind,
    Sort { column, is_descending }: &Sort,
    counter: Option<AggregationCollector>,
) -> Result<Collected, TantivyError> {
    let order = if *is_descending { Order::Desc } else { Order::Asc };
    let top = top(request);
    match kind {
        Kind::Integer => by(searcher, query, top.order_by_fast_field::<i64>(column, order), counter),
        Kind::Float => by(searcher, query, top.order_by_fast_field::<f64>(column, order), counter),
        Kind::Boolean => by(searcher, query, top.order_by_fast_field::<bool>(column, order), counter),
        Kind::Date => by(searcher, query, top.order_by_fast_field::<DateTime>(column, order), counter),
        Kind::Text { .. } | Kind::Json(_) => {
            by(searcher, query, top.order_by_string_fast_field(column, order), counter)
        }
    }
}

fn by<K: Send + 'static>(
    searcher: &Searcher,
    query: &dyn Query,
    top: impl Collector<Fruit = Vec<(K, DocAddress)>>,
    counter: Option<AggregationCollector>,
) -> Result<Collected, TantivyError> {
    let (total, hits, counted) = searcher.search(query, &(Count, top, counter))?;
    Ok((total, hits.into_iter().map(|(_, address)| (None, address)).collect(), counted))
}

fn top(request: &SearchRequest) -> TopDocs {
    TopDocs::with_limit(request.limit).and_offset(request.offset)
}

/// What a column that is to be counted or sorted by holds.
fn facet_kind(searcher: &Searcher, fields: &Fields, name: &str) -> Result<Kind, SearchError> {
    let kind = if name == TABLE {
        Kind::Text { analyzer: Analyzer::WORDS, is_facet: searcher.schema().get_field_entry(fields.table).is_fast() }
    } else {
        fields.columns.get(name).map(|(_, kind)| *kind).ok_or_else(|| unknown_field(name, fields))?
    };
    if kind.is_facet() {
        return Ok(kind);
    }
    let why =
        if matches!(kind, Kind::Json(_)) { "it is JSON" } else { "it is text that `facets` of the sink does not name" };
    let known = fields.columns.iter().filter(|(_, (_, kind))| kind.is_facet());
    let known = known.map(|(name, _)| name.clone()).collect();
    Err(SearchError::NoFacet { name: name.to_owned(), detail: why.to_owned(), known })
}

fn counter(searcher: &Searcher, request: &SearchRequest) -> AggregationCollector {
    let size = u32::try_from(request.facet_limit.max(1)).ok();
    let count = |name: &String| {
        let segment_size = Some(FACET_VALUES_MAX);
        let terms = TermsAggregation { field: name.clone(), size, segment_size, ..TermsAggregation::default() };
        let agg = AggregationVariants::Terms(terms);
        (name.clone(), Aggregation { agg, sub_aggregation: Aggregations::default() })
    };
    let limits = AggregationLimitsGuard::new(Some(FACET_MEMORY_BYTES_MAX), None);
    let context = AggContextParams::new(limits, searcher.index().tokenizers().clone());
    AggregationCollector::from_aggs(request.facets.iter().map(count).collect(), context)
}

fn facet(kind: Kind, counted: &mut AggregationResults, name: &str) -> Facet {
    match counted.0.get_mut(name) {
        Some(AggregationResult::BucketResult(BucketResult::Terms {
            buckets,
            sum_other_doc_count,
            doc_count_error_upper_bound,
        })) => Facet {
            values: mem::take(buckets).into_iter().map(|bucket| value(kind, bucket)).collect(),
            other: *sum_other_doc_count,
            error: doc_count_error_upper_bound.unwrap_or_default(),
        },
        _ => Facet { values: Vec::new(), other: 0, error: 0 },
    }
}

fn value(kind: Kind, bucket: BucketEntry) -> FacetValue {
    let value = match (kind, bucket.key_as_string, bucket.key) {
        (Kind::Boolean, Some(word), _) => Json::Bool(word == "true"),
        (_, Some(text), _) | (_, None, Key::Str(text)) => Json::from(text),
        (_, None, Key::I64(number)) => Json::from(number),
        (_, None, Key::U64(number)) => Json::from(number),
        (_, None, Key::F64(number)) => Json::from(number),
    };
    FacetValue { value, count: bucket.doc_count }
}
