//! What rows become in Redis, and how long it stays.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use crate::event::{Cell, Column, Relation, Row, Scalar, Shape};
use crate::project::key::TextTemplate;
use crate::project::mutation::Document;
use crate::project::sql;

/// How a row stands in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A string: the row as a JSON object.
    Json,
    /// A string: a text made of the row.
    Text,
    /// A hash: a field for each column that is not NULL, holding the value's text.
    Hash,
    /// As fields of a hash in which others may have fields too: theirs stay. Which ones are ours stands in a field named after the sink.
    Fields,
    /// Not at all: a changed row's key is removed, for caches that fill themselves.
    Invalidate,
    /// As a member of a set.
    Set,
    /// As an element of a list, the newest first.
    List,
    /// As a member of a sorted set, with a column's value as its score.
    SortedSet,
    /// As an entry of a stream for each of its changes.
    Stream,
}

impl ValueKind {
    /// Whether many rows share a key of Redis: a document's name is then that key and the row's member in it.
    #[must_use]
    pub const fn is_collection(self) -> bool {
        matches!(self, ValueKind::Set | ValueKind::List | ValueKind::SortedSet)
    }

    /// Whether a row that lacks values can take them from what stands there.
    pub(super) const fn merges(self) -> bool {
        matches!(self, ValueKind::Json | ValueKind::Hash | ValueKind::Fields)
    }

    /// Redis's word for the type, where a key of another one is not ours to replace.
    pub(super) const fn kept_type(self) -> Option<&'static str> {
        match self {
            ValueKind::Fields => Some("hash"),
            ValueKind::Set => Some("set"),
            ValueKind::List => Some("list"),
            ValueKind::SortedSet => Some("zset"),
            ValueKind::Stream => Some("stream"),
            ValueKind::Json | ValueKind::Text | ValueKind::Hash | ValueKind::Invalidate => None,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Form {
    /// As what.
    pub value: ValueKind,
    /// Of texts: what it is made of.
    pub text: Option<TextTemplate>,
    /// Of sorted sets: the column that is the score.
    pub score: Option<String>,
    /// Lists, sorted sets and streams keep so many entries, the newest or highest ones.
    pub entries_max: Option<u64>,
    /// Keys go away so long after they were last written. Less than a millisecond counts as one.
    pub ttl: Option<Duration>,
    /// And up to so much later, each key always by the same.
    pub ttl_jitter: Option<Duration>,
    /// A row's key goes away at the time in this column; `NULL` and infinity: never.
    pub ttl_column: Option<String>,
    /// Each key that is written or removed is published on this channel, in the same transaction.
    pub publish: Option<String>,
    /// Of streams: their name, in which `{table}` stands for the table's; and the source's name, for the entries.
    pub stream: Option<(String, String)>,
}

/// When a key goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// When it is removed.
    Never,
    /// So many milliseconds after it was written.
    After(u64),
    /// Milliseconds since 1970.
    At(u64),
}

/// Redis counts until expiry in signed 64-bit milliseconds since 1970; this is 35,000 years.
const EXPIRY_MS_MAX: u64 = 1 << 50;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(EXPIRY_MS_MAX).min(EXPIRY_MS_MAX)
}

impl Form {
    /// Of this kind, and nothing else.
    #[must_use]
    pub const fn of(value: ValueKind) -> Self {
        Form {
            value,
            text: None,
            score: None,
            entries_max: None,
            ttl: None,
            ttl_jitter: None,
            ttl_column: None,
            publish: None,
            stream: None,
        }
    }

    /// Whether keys go away by themselves.
    #[must_use]
    pub const fn expires(&self) -> bool {
        self.ttl.is_some() || self.ttl_column.is_some()
    }

    /// Whether the columns that it names are there, and of types that will do.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self, relation: &Relation) -> Result<(), String> {
        let column = |name: &String| {
            let found = relation.columns.iter().find(|column| column.name == *name);
            found.ok_or_else(|| format!("table {} has no column `{name}`", relation.name))
        };
        if let Some(text) = &self.text {
            text.check(relation).map_err(|error| format!("text: {error}"))?;
        }
        if let Some(name) = &self.score
            && !is_score(column(name)?)
        {
            return Err(format!("score: `{name}` of {} is neither a number nor a point in time", relation.name));
        }
        if let Some(name) = &self.ttl_column
            && !is_moment(column(name)?)
        {
            return Err(format!("ttl_column: `{name}` of {} is no point in time", relation.name));
        }
        Ok(())
    }

    /// When the key of a row goes away; `Err`: why the row says nothing about it.
    pub(super) fn expiry(&self, key: &[u8], document: &Document) -> Result<Expiry, String> {
        let Some(name) = &self.ttl_column else { return Ok(self.fixed_expiry(key)) };
        let seconds = match cell(&document.relation, &document.row, name)? {
            (_, Cell::Null) => return Ok(Expiry::Never),
            (column, Cell::Text(text)) => seconds(column, text),
            (_, Cell::Binary(_) | Cell::Unchanged) => None,
        };
        match seconds {
            // A time that is over still has to be one that Redis takes.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between the limits")]
            Some(at) if at < f64::INFINITY => Ok(Expiry::At((at * 1000.0).clamp(1.0, EXPIRY_MS_MAX as f64) as u64)),
            Some(_) => Ok(Expiry::Never),
            None => Err(format!("its column `{name}`, ttl_column of this sink, holds no point in time")),
        }
    }

    /// The same where no row is asked.
    pub(super) fn fixed_expiry(&self, key: &[u8]) -> Expiry {
        let Some(ttl) = self.ttl else { return Expiry::Never };
        let jitter = self.ttl_jitter.map_or(0, |jitter| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish() % millis(jitter).saturating_add(1)
        });
        Expiry::After(millis(ttl).max(1).saturating_add(jitter).min(EXPIRY_MS_MAX))
    }

    /// A row's score, as Redis takes and tells it; `Err`: why it has none.
    pub(super) fn score(&self, document: &Document) -> Result<Option<String>, String> {
        let Some(name) = &self.score else { return Ok(None) };
        let score = match cell(&document.relation, &document.row, name)? {
            (column, Cell::Text(text)) => number(column, text),
            (_, Cell::Null | Cell::Binary(_) | Cell::Unchanged) => None,
        };
        let none =
            || format!("its column `{name}` is no score: leave such rows out (shape: where = \"{name} IS NOT NULL\")");
        score.map(|score| Some(score.to_string())).ok_or_else(none)
    }

    /// Whether the value of the score's column was not sent.
    pub(super) fn lacks_score(&self, document: &Document) -> bool {
        let found = self.score.as_ref().and_then(|name| cell(&document.relation, &document.row, name).ok());
        found.is_some_and(|(_, cell)| cell == Cell::Unchanged)
    }
}

fn cell<'r>(relation: &'r Relation, row: &'r Row, name: &str) -> Result<(&'r Column, Cell<'r>), String> {
    let found = relation.column_index(name);
    let found = found.and_then(|index| Some((relation.columns.get(index)?, row.cell(index)?)));
    found.ok_or_else(|| format!("table {} has no column `{name}`", relation.name))
}

fn is_score(column: &Column) -> bool {
    let is_number = matches!(column.shape, Shape::Scalar(Scalar::Integer | Scalar::Float | Scalar::Numeric));
    is_number || is_moment(column)
}

fn is_moment(column: &Column) -> bool {
    matches!(column.shape, Shape::Scalar(Scalar::Timestamp | Scalar::TimestampTz | Scalar::Date))
}

/// As Redis has numbers: in 64-bit floating point.
fn number(column: &Column, text: &[u8]) -> Option<f64> {
    if is_moment(column) {
        return seconds(column, text);
    }
    let text = str::from_utf8(text).ok().filter(|_| is_score(column))?;
    text.parse::<f64>().ok().filter(|number| !number.is_nan())
}

/// Seconds since 1970 in UTC, as `extract(epoch from …)` counts them.
fn seconds(column: &Column, text: &[u8]) -> Option<f64> {
    let Shape::Scalar(scalar) = column.shape else { return None };
    sql::seconds_since_1970(scalar, str::from_utf8(text).ok()?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{ReplicaIdentity, RowBuilder, TableName};

    fn document(scalar: Scalar, cell: Cell<'_>) -> Document {
        let relation = Relation {
            oid: 1,
            name: TableName { schema: "public".to_owned(), table: "t".to_owned() },
            identity: ReplicaIdentity::Default,
            columns: vec![Column {
                name: "c".to_owned(),
                type_oid: 0,
                type_modifier: -1,
                shape: Shape::Scalar(scalar),
            }],
            key: vec![0],
        };
        let mut row = RowBuilder::default();
        row.push(cell);
        Document { relation: Arc::new(relation), row: row.finish() }
    }

    #[test]
    fn scores_are_numbers_and_points_in_time_as_redis_tells_them() {
        let form = Form { score: Some("c".to_owned()), ..Form::of(ValueKind::SortedSet) };
        for (scalar, text, score) in [
            (Scalar::Integer, "-17", "-17"),
            (Scalar::Numeric, "1.50", "1.5"),
            (Scalar::Float, "1e-7", "0.0000001"),
            (Scalar::Float, "Infinity", "inf"),
            (Scalar::TimestampTz, "2026-11-24 10:00:00.5+00", "1795514400.5"),
            (Scalar::Timestamp, "1969-12-31 23:59:59", "-1"),
            (Scalar::Date, "1970-01-02", "86400"),
            (Scalar::TimestampTz, "-infinity", "-inf"),
        ] {
            let document = document(scalar, Cell::Text(text.as_bytes()));
            assert_eq!(form.check(&document.relation), Ok(()));
            assert_eq!(form.score(&document), Ok(Some(score.to_owned())), "{text}");
        }
        for (scalar, cell) in
            [(Scalar::Text, Cell::Text(b"1")), (Scalar::Float, Cell::Text(b"NaN")), (Scalar::Integer, Cell::Null)]
        {
            assert!(form.score(&document(scalar, cell)).is_err(), "{cell:?}");
        }
        assert!(form.check(&document(Scalar::Text, Cell::Null).relation).is_err());
    }

    #[test]
    fn a_key_expires_at_its_time_or_always_as_much_later_than_the_others() {
        let at = Form { ttl_column: Some("c".to_owned()), ..Form::of(ValueKind::Json) };
        for (cell, expiry) in [
            (Cell::Null, Expiry::Never),
            (Cell::Text(b"infinity"), Expiry::Never),
            (Cell::Text(b"2026-11-24 10:00:00.5+00"), Expiry::At(1_795_514_400_500)),
            (Cell::Text(b"1969-01-01 00:00:00+00"), Expiry::At(1)),
        ] {
            assert_eq!(at.expiry(b"k", &document(Scalar::TimestampTz, cell)), Ok(expiry));
        }
        let form = Form {
            ttl: Some(Duration::from_secs(10)),
            ttl_jitter: Some(Duration::from_secs(5)),
            ..Form::of(ValueKind::Json)
        };
        let found: Vec<Expiry> = (0..100_u8).map(|key| form.fixed_expiry(&[key])).collect();
        assert_eq!(found, (0..100_u8).map(|key| form.fixed_expiry(&[key])).collect::<Vec<_>>());
        let between = |expiry: &Expiry| matches!(expiry, Expiry::After(10_000..=15_000));
        assert!(found.iter().all(between) && found.iter().any(|expiry| expiry != &found[0]), "{found:?}");
    }
}
