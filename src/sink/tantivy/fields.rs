//! Which columns are indexed, and as what.
//!
//! A column of a field's name has one kind in the whole index. Where two tables disagree it is text, which takes
//! anything. Names that tantivy or we need for ourselves stay unindexed; every value is in `_source` all the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use tantivy::DateTime;
use tantivy::schema::{
    BytesOptions, DateOptions, DateTimePrecision, FAST, Field, FieldEntry, FieldType, INDEXED, IndexRecordOption,
    JsonObjectOptions, NumericOptions, STORED, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer};

use crate::event::{Relation, Scalar, Shape};

/// Finds a document: its key with a byte before it, or a long key's hash ([`super::document::id_of`]).
pub(super) const ID: &str = "_id";
/// The document's key as it is.
pub(super) const KEY: &str = "_key";
/// The whole document as JSON text.
pub(super) const SOURCE: &str = "_source";
/// The table, as `schema.table`.
pub(super) const TABLE: &str = "_table";

/// Words at punctuation and white space, in lower case. As tantivy's default, except that it keeps words of more than 40
/// bytes, which hashes and tokens have.
const TOKENIZER: &str = "walbridge";
/// Longer words are not searchable.
const WORD_BYTES_MAX: usize = 255;

/// What a column is indexed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Words with their positions.
    Text,
    /// `int2` to `int8`, `oid`.
    Integer,
    /// `float4`, `float8`, and `numeric` as far as a double can hold it.
    Float,
    /// `boolean`.
    Boolean,
    /// Dates and timestamps, as nanoseconds in UTC: years 1678 to 2261.
    Date,
    /// `json`, `jsonb`: each path is searchable, as `column.path:word`.
    Json,
}

/// The fields of an index.
#[derive(Clone, Debug)]
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
}

/// What the tables' columns call for. `only` names those to index; `None` is all that can be.
pub(super) fn plan(relations: &[Arc<Relation>], only: Option<&[String]>) -> BTreeMap<String, Kind> {
    let mut plan = BTreeMap::new();
    for column in relations.iter().flat_map(|relation| &relation.columns) {
        let wanted = only.is_none_or(|only| only.contains(&column.name));
        let Some(kind) = kind(column.shape).filter(|_| wanted && is_usable(&column.name)) else { continue };
        plan.entry(column.name.clone()).and_modify(|known| *known = agree(*known, kind)).or_insert(kind);
    }
    plan
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
    schema.add_text_field(TABLE, TextOptions::default().set_indexing_options(whole));
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
    Some(Fields { id: own(ID)?, key: own(KEY)?, source: own(SOURCE)?, table: own(TABLE)?, columns })
}

/// The tokenizer that the schema names, which every opened index must be given anew.
pub(super) fn register_tokenizer(index: &tantivy::Index) {
    let words = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX.saturating_add(1)))
        .filter(LowerCaser);
    index.tokenizers().register(TOKENIZER, words.build());
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
const fn kind(shape: Shape) -> Option<Kind> {
    let (Shape::Scalar(scalar) | Shape::Array { element: scalar, .. }) = shape;
    Some(match scalar {
        Scalar::Text | Scalar::Time | Scalar::TimeTz => Kind::Text,
        Scalar::Boolean => Kind::Boolean,
        Scalar::Integer => Kind::Integer,
        Scalar::Float | Scalar::Numeric => Kind::Float,
        Scalar::Json => Kind::Json,
        Scalar::Timestamp | Scalar::TimestampTz | Scalar::Date => Kind::Date,
        Scalar::Bytea => return None,
    })
}

fn agree(one: Kind, other: Kind) -> Kind {
    if one == other { one } else { Kind::Text }
}

fn words() -> TextFieldIndexing {
    let indexing = TextFieldIndexing::default().set_tokenizer(TOKENIZER);
    indexing.set_index_option(IndexRecordOption::WithFreqsAndPositions)
}

fn field_type(kind: Kind) -> FieldType {
    let number = || NumericOptions::from(INDEXED | FAST);
    match kind {
        Kind::Text => FieldType::Str(TextOptions::default().set_indexing_options(words())),
        Kind::Integer => FieldType::I64(number()),
        Kind::Float => FieldType::F64(number()),
        Kind::Boolean => FieldType::Bool(number()),
        Kind::Date => FieldType::Date(DateOptions::from(INDEXED | FAST).set_precision(DateTimePrecision::Microseconds)),
        Kind::Json => FieldType::JsonObject(JsonObjectOptions::default().set_indexing_options(words())),
    }
}

fn kind_of(field: &FieldType) -> Option<Kind> {
    let kinds = [Kind::Text, Kind::Integer, Kind::Float, Kind::Boolean, Kind::Date, Kind::Json];
    kinds.into_iter().find(|&kind| field_type(kind) == *field)
}
