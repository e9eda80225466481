//! What a column's type calls for in the index.
//!
//! A value that its field cannot hold (`NaN`, `infinity`, a year beyond 9999) is left out of the index where the server can do that, and
//! stays in the document. A number in a `numeric` column is searched by as a double; the document has all its digits.

use serde_json::{Map, Value, json};

use super::document::OWN;
use crate::event::{Column, Relation, Scalar, Shape};

/// `pg_type.oid` of `uuid`.
const UUID: u32 = 2950;

/// The mapping of a new index: whose it is, the name that readers know it by, our own field, and no guesses about others.
pub(super) fn empty(sink: &str, name: &str) -> Value {
    json!({
        "dynamic": false,
        "_meta": { "walbridge": sink, "alias": name },
        "properties": { OWN: { "properties": {
            "table": { "type": "keyword" },
            "at": { "type": "object", "enabled": false },
            "key": { "type": "keyword", "index": false, "doc_values": false },
        } } },
    })
}

/// The fields of a table's columns, but those that `known` has already.
pub(super) fn properties(
    relation: &Relation,
    overrides: &Map<String, Value>,
    known: &Map<String, Value>,
) -> Map<String, Value> {
    let new = relation.columns.iter().filter(|column| column.name != OWN && !known.contains_key(&column.name));
    new.map(|column| {
        let field = overrides.get(&column.name).cloned().unwrap_or_else(|| field(column));
        (column.name.clone(), field)
    })
    .collect()
}

fn field(column: &Column) -> Value {
    // An array's field is that of its elements.
    let (Shape::Scalar(scalar) | Shape::Array { element: scalar, .. }) = column.shape;
    match scalar {
        Scalar::Text if column.type_oid == UUID => json!({ "type": "keyword" }),
        Scalar::Text => {
            json!({ "type": "text", "fields": { "keyword": { "type": "keyword", "ignore_above": 256 } } })
        }
        Scalar::Boolean => json!({ "type": "boolean" }),
        Scalar::Integer => json!({ "type": "long" }),
        Scalar::Float | Scalar::Numeric => json!({ "type": "double", "ignore_malformed": true }),
        // Rows may disagree about what is at a path, and the first would decide for all.
        Scalar::Json => json!({ "type": "object", "enabled": false }),
        Scalar::Timestamp | Scalar::TimestampTz | Scalar::Date => {
            json!({ "type": "date", "format": "strict_date_optional_time_nanos", "ignore_malformed": true })
        }
        Scalar::Time | Scalar::TimeTz => json!({ "type": "keyword" }),
        Scalar::Bytea => json!({ "type": "keyword", "index": false, "doc_values": false }),
    }
}
