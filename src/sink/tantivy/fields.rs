//! Which columns are indexed, and as what.
//!
//! A column of a field's name has one kind in the whole index. Where two tables disagree it is text, which takes
//! anything. Names that tantivy or we need for ourselves stay unindexed; every value is in `_source` all the same.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tantivy::DateTime;
use tantivy::schema::{
    BytesOptions, DateOptions, DateTimePrecision, FAST, Field, FieldEntry, FieldType, INDEXED, IndexRecordOption,
    JsonObjectOptions, NumericOptions, STORED, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::TokenizerManager;

use super::analysis::{self, Analysis, Analyzer, Side, VALUE};
use crate::event::{Relation, Scalar, Shape};

/// Finds a document: its key with a byte before it, or a long key's hash ([`super::document::id_of`]).
pub(super) const ID: &str = "_id";
/// The document's key as it is.
pub(super) const KEY: &str = "_key";
/// The whole document as JSON text.
pub(super) const SOURCE: &str = "_source";
/// The table, as `schema.table`.
pub(super) const TABLE: &str = "_table";

/// What a column is indexed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Terms with their positions.
    Text {
        /// How it becomes terms.
        analyzer: Analyzer,
        /// It can be counted and sorted by.
        is_facet: bool,
    },
    /// `int2` to `int8`, `oid`.
    Integer,
    /// `float4`, `float8`, and `numeric` as far as a double can hold it.
    Float,
    /// `boolean`.
    Boolean,
    /// Dates and timestamps, as nanoseconds in UTC: years 1678 to 2261.
    Date,
    /// `json`, `jsonb`: each path is searchable, as `column.path:word`.
    Json(Analyzer),
}

impl Kind {
    /// Whether there are words in it.
    pub(super) const fn is_text(self) -> bool {
        matches!(self, Kind::Text { .. })
    }

    /// Whether documents can be counted and sorted by it.
    pub(super) const fn is_facet(self) -> bool {
        match self {
            Kind::Text { is_facet, .. } => is_facet,
            Kind::Integer | Kind::Float | Kind::Boolean | Kind::Date => true,
            Kind::Json(_) => false,
        }
    }

    /// The same with the analyzer that its column should have.
    pub(super) fn analyzed(self, column: &str, analysis: &Analysis) -> Kind {
        match self {
            Kind::Text { .. } => Kind::text(column, analysis),
            Kind::Json(_) => Kind::Json(analysis.of(column)),
            Kind::Integer | Kind::Float | Kind::Boolean | Kind::Date => self,
        }
    }

    fn text(column: &str, analysis: &Analysis) -> Kind {
        let is_facet = analysis.facets.iter().any(|facet| facet == column);
        Kind::Text { analyzer: analysis.of(column), is_facet }
    }
}

/// For messages.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Text { analyzer, is_facet: false } => write!(f, "text (`{analyzer}`)"),
            Kind::Text { analyzer, is_facet: true } => write!(f, "text (`{analyzer}`) and facet"),
            Kind::Integer => f.write_str("integer"),
            Kind::Float => f.write_str("number"),
            Kind::Boolean => f.write_str("boolean"),
            Kind::Date => f.write_str("date"),
            Kind::Json(analyzer) => write!(f, "JSON (`{analyzer}`)"),
        }
    }
}

/// The fields of an index.
#[derive(Clone)]
pub(super) struct Fields {
    /// See [`ID`].
    pub(super) id: Field,
    /// See [`KEY`].
    pub(super) key: Field,
    /// See [`SOURCE`].
    pub(super) source: Field,
    /// See [`TABLE`].
    pub(super) table: Field,
    /// The indexed columns by name.
    pub(super) columns: BTreeMap<String, (Field, Kind)>,
    /// What a query's words go through.
    pub(super) query_analyzers: TokenizerManager,
}

/// What the tables' columns call for. `only` names those to index; `None` is all that can be.
pub(super) fn plan(
    relations: &[Arc<Relation>],
    only: Option<&[String]>,
    analysis: &Analysis,
) -> BTreeMap<String, Kind> {
    let mut plan = BTreeMap::new();
    for column in relations.iter().flat_map(|relation| &relation.columns) {
        let wanted = only.is_none_or(|only| only.contains(&column.name));
        let Some(kind) = kind(column.shape, &column.name, analysis).filter(|_| wanted && is_usable(&column.name))
        else {
            continue;
        };
        let differs = |known: &mut Kind| {
            if *known != kind {
                *known = Kind::text(&column.name, analysis);
            }
        };
        plan.entry(column.name.clone()).and_modify(differs).or_insert(kind);
    }
    plan
}

/// Whether the configuration's words about columns fit what these are; says what does not.
pub(super) fn check(analysis: &Analysis, kind_of: impl Fn(&str) -> Option<Kind>) -> Result<(), String> {
    for name in analysis.named() {
        if kind_of(name).is_none() {
            return Err(format!("`{name}`, which `analyzers` or `facets` names, is no column that is indexed"));
        }
    }
    let is_no_text =
        |name: &&String| kind_of(name).is_some_and(|kind| !matches!(kind, Kind::Text { .. } | Kind::Json(_)));
    if let Some(name) = analysis.columns.keys().find(is_no_text) {
        return Err(format!("column `{name}`, which `analyzers` names, has no text"));
    }
    match analysis.facets.iter().find(|name| kind_of(name).is_some_and(|kind| !kind.is_facet())) {
        Some(name) => Err(format!("column `{name}`, which `facets` names, is JSON: nothing is counted by it")),
        None => Ok(()),
    }
}

/// Whether an index can have a field of this name: not ours, and one that a query can name.
pub(super) fn is_usable(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('-') && ![ID, KEY, SOURCE, TABLE].contains(&name)
}

/// The schema of a new index.
pub(super) fn schema(plan: &BTreeMap<String, Kind>) -> Schema {
    let mut schema = Schema::builder();
    schema.add_bytes_field(ID, BytesOptions::default().set_indexed());
    schema.add_bytes_field(KEY, STORED);
    schema.add_text_field(SOURCE, STORED);
    let whole = TextFieldIndexing::default().set_tokenizer("raw").set_fieldnorms(false);
    schema.add_text_field(TABLE, TextOptions::default().set_indexing_options(whole).set_fast("raw"));
    for (name, kind) in plan {
        schema.add_field(FieldEntry::new(name.clone(), field_type(*kind)));
    }
    schema.build()
}

/// The fields of an index that is there; `None` if it is not one of ours.
pub(super) fn read(schema: &Schema) -> Option<Fields> {
    let mut columns = BTreeMap::new();
    for (field, entry) in schema.fields().filter(|(_, entry)| is_usable(entry.name())) {
        columns.insert(entry.name().to_owned(), (field, kind_of(entry.field_type())?));
    }
    let own = |name| schema.get_field(name).ok();
    let query_analyzers = TokenizerManager::default();
    analysis::register(&query_analyzers, Side::Query, analyzers(columns.values().map(|(_, kind)| *kind)));
    Some(Fields { id: own(ID)?, key: own(KEY)?, source: own(SOURCE)?, table: own(TABLE)?, columns, query_analyzers })
}

fn analyzers(kinds: impl Iterator<Item = Kind>) -> impl Iterator<Item = Analyzer> {
    kinds.filter_map(|kind| match kind {
        Kind::Text { analyzer, .. } | Kind::Json(analyzer) => Some(analyzer),
        Kind::Integer | Kind::Float | Kind::Boolean | Kind::Date => None,
    })
}

/// The analyzers that the schema names, which every opened index must be given anew.
pub(super) fn register_analyzers(index: &tantivy::Index) {
    let schema = index.schema();
    let kinds = schema.fields().filter_map(|(_, entry)| kind_of(entry.field_type()));
    analysis::register(index.tokenizers(), Side::Index, analyzers(kinds));
    analysis::register_value(index.fast_field_tokenizer());
}

/// The point in time of an ISO 8601 date or timestamp, if the index can hold it.
pub(super) fn date(iso: &str) -> Option<DateTime> {
    let midnight = jiff::civil::Time::midnight();
    let utc = |civil: jiff::civil::DateTime| jiff::tz::TimeZone::UTC.to_timestamp(civil).ok();
    let time = if iso.ends_with('Z') {
        iso.parse::<jiff::Timestamp>().ok()
    } else if iso.contains('T') {
        iso.parse::<jiff::civil::DateTime>().ok().and_then(utc)
    } else {
        iso.parse::<jiff::civil::Date>().ok().and_then(|date| utc(date.to_datetime(midnight)))
    };
    time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()).map(DateTime::from_timestamp_nanos)
}

/// The kind of a column; `None` if it is no use in an index.
fn kind(shape: Shape, column: &str, analysis: &Analysis) -> Option<Kind> {
    let (Shape::Scalar(scalar) | Shape::Array { element: scalar, .. }) = shape;
    Some(match scalar {
        Scalar::Text | Scalar::Time | Scalar::TimeTz => Kind::text(column, analysis),
        Scalar::Boolean => Kind::Boolean,
        Scalar::Integer => Kind::Integer,
        Scalar::Float | Scalar::Numeric => Kind::Float,
        Scalar::Json => Kind::Json(analysis.of(column)),
        Scalar::Timestamp | Scalar::TimestampTz | Scalar::Date => Kind::Date,
        Scalar::Bytea => return None,
    })
}

fn terms(analyzer: Analyzer) -> TextFieldIndexing {
    let indexing = TextFieldIndexing::default().set_tokenizer(&analyzer.name());
    indexing.set_index_option(IndexRecordOption::WithFreqsAndPositions)
}

fn field_type(kind: Kind) -> FieldType {
    let number = || NumericOptions::from(INDEXED | FAST);
    match kind {
        Kind::Text { analyzer, is_facet } => {
            let text = TextOptions::default().set_indexing_options(terms(analyzer));
            FieldType::Str(if is_facet { text.set_fast(VALUE) } else { text })
        }
        Kind::Integer => FieldType::I64(number()),
        Kind::Float => FieldType::F64(number()),
        Kind::Boolean => FieldType::Bool(number()),
        Kind::Date => FieldType::Date(DateOptions::from(INDEXED | FAST).set_precision(DateTimePrecision::Microseconds)),
        Kind::Json(analyzer) => {
            FieldType::JsonObject(JsonObjectOptions::default().set_indexing_options(terms(analyzer)))
        }
    }
}

fn kind_of(field: &FieldType) -> Option<Kind> {
    let analyzer = |terms: Option<&TextFieldIndexing>| Analyzer::of_name(terms?.tokenizer());
    let kind = match field {
        FieldType::Str(text) => {
            Kind::Text { analyzer: analyzer(text.get_indexing_options())?, is_facet: text.is_fast() }
        }
        FieldType::I64(_) => Kind::Integer,
        FieldType::F64(_) => Kind::Float,
        FieldType::Bool(_) => Kind::Boolean,
        FieldType::Date(_) => Kind::Date,
        FieldType::JsonObject(json) => Kind::Json(analyzer(json.get_text_indexing_options())?),
        _ => return None,
    };
    (field_type(kind) == *field).then_some(kind)
}
