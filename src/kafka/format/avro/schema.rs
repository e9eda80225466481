//! The Avro schemas of a table's keys and values, under the names that Debezium's have.
//!
//! Every column is nullable with the default null, so that a column that comes or goes is a compatible change in all the registry's
//! modes. What Connect knows by a name of its own has that too (`connect.name`), where it means the same.

use serde_json::{Value as Json, json};

use super::super::envelope::key_columns;
use super::super::name::{dotted, legal};
use super::super::schemas::{Language, Schema, Schemas};
use super::super::typed::{MONEY, Meaning, Type};
use crate::event::{Column, Relation};

/// Of a table whose records are in this topic.
pub(in crate::kafka::format) fn of_table(relation: &Relation, topic: &str) -> Schemas {
    let namespace = dotted(topic);
    let named = |name: &str, mut fields: Json, what: &str| {
        let full = format!("{namespace}.{name}");
        json!({ "type": "record", "name": name, "namespace": namespace, "doc": what, "fields": fields.take(), "connect.name": full })
    };
    let columns: Vec<Json> = relation.columns.iter().map(nullable_field).collect();
    let row = named("Value", columns.into(), "A row. What was not logged of it is null.");
    let keys = key_columns(relation);
    let key = keys.iter().filter_map(|&index| relation.columns.get(index)).map(key_field).collect::<Vec<Json>>();
    let key = (!keys.is_empty()).then(|| named("Key", key.into(), "What names a row."));
    let mut fields = vec![
        json!({ "name": "before", "type": ["null", row], "default": null }),
        json!({ "name": "after", "type": ["null", format!("{namespace}.Value")], "default": null }),
        json!({ "name": "source", "type": source() }),
        json!({ "name": "transaction", "type": ["null", transaction()], "default": null }),
        json!({ "name": "op", "type": "string" }),
    ];
    fields.extend(["ts_ms", "ts_us", "ts_ns"].map(|name| optional(name, "long")));
    let value = named("Envelope", fields.into(), "A change.");
    schemas(key.as_ref(), &value)
}

/// Of logical messages.
pub(in crate::kafka::format) fn of_messages() -> Schemas {
    let record = |name: &str, fields: Json| json!({ "type": "record", "name": name, "namespace": NAMESPACE, "fields": fields, "connect.name": format!("{NAMESPACE}.{name}") });
    let key = record("MessageKey", json!([optional("prefix", "string")]));
    let message = record("Message", json!([optional("prefix", "string"), optional("content", "bytes")]));
    let value = record(
        "MessageValue",
        json!([
            { "name": "op", "type": "string" },
            optional("ts_ms", "long"),
            { "name": "source", "type": source() },
            { "name": "transaction", "type": ["null", transaction()], "default": null },
            { "name": "message", "type": message },
        ]),
    );
    schemas(Some(&key), &value)
}

fn schemas(key: Option<&Json>, value: &Json) -> Schemas {
    let fixed = |json: &Json| Schema::Fixed(json.to_string());
    Schemas { language: Language::Avro, key: key.map(fixed), value: fixed(value) }
}

/// Debezium's.
const NAMESPACE: &str = "io.debezium.connector.postgresql";

/// Where a change comes from: the fields that the connector has, in its order.
fn source() -> Json {
    let field = |(name, kind): (&str, &str)| match kind.strip_prefix('?') {
        Some(kind) => optional(name, kind),
        None => json!({ "name": name, "type": kind }),
    };
    let fields: Vec<Json> = [
        ("version", "string"),
        ("connector", "string"),
        ("name", "string"),
        ("ts_ms", "long"),
        ("snapshot", "?string"),
        ("db", "string"),
        ("sequence", "?string"),
        ("ts_us", "?long"),
        ("ts_ns", "?long"),
        ("schema", "string"),
        ("table", "string"),
        ("txId", "?long"),
        ("lsn", "?long"),
        ("xmin", "?long"),
        ("origin", "?string"),
        ("origin_lsn", "?long"),
    ]
    .map(field)
    .into();
    json!({ "type": "record", "name": "Source", "namespace": NAMESPACE, "fields": fields, "connect.name": format!("{NAMESPACE}.Source") })
}

/// The place in a transaction.
fn transaction() -> Json {
    let fields = json!([
        { "name": "id", "type": "string" },
        { "name": "total_order", "type": "long" },
        { "name": "data_collection_order", "type": "long" },
    ]);
    json!({ "type": "record", "name": "block", "namespace": "event", "fields": fields, "connect.name": "event.block" })
}

fn optional(name: &str, kind: &str) -> Json {
    json!({ "name": name, "type": ["null", kind], "default": null })
}

fn nullable_field(column: &Column) -> Json {
    named_field(column, json!(["null", type_of(&Type::of(column))]), true)
}

/// No key is NULL.
fn key_field(column: &Column) -> Json {
    named_field(column, type_of(&Type::of(column)), false)
}

/// The column's own name stands beside one that is another.
fn named_field(column: &Column, kind: Json, nullable: bool) -> Json {
    let name = legal(&column.name);
    let mut field = json!({ "name": name, "type": kind });
    if let Some(field) = field.as_object_mut() {
        if nullable {
            field.insert("default".to_owned(), Json::Null);
        }
        if name != column.name {
            field.insert("walbridge.column".to_owned(), column.name.clone().into());
        }
    }
    field
}

fn type_of(of: &Type) -> Json {
    match of {
        Type::Boolean | Type::Bit => json!("boolean"),
        Type::Int => json!("int"),
        Type::Long => json!("long"),
        Type::Float => json!("float"),
        Type::Double => json!("double"),
        Type::Decimal { precision, scale } => decimal(*precision, *scale),
        Type::Money => decimal(MONEY.0, MONEY.1),
        Type::Text(Meaning::Plain) => json!("string"),
        Type::Text(Meaning::Json) => json!({ "type": "string", "connect.name": "io.debezium.data.Json" }),
        Type::Text(Meaning::Uuid) => {
            json!({ "type": "string", "logicalType": "uuid", "connect.name": "io.debezium.data.Uuid" })
        }
        Type::Bytes => json!("bytes"),
        // Connect has a name of its own for the logical type: no other may stand beside it.
        Type::Date => json!({ "type": "int", "logicalType": "date" }),
        Type::Time => {
            json!({ "type": "long", "logicalType": "time-micros", "connect.name": "io.debezium.time.MicroTime" })
        }
        Type::Timestamp => {
            json!({ "type": "long", "logicalType": "local-timestamp-micros", "connect.name": "io.debezium.time.MicroTimestamp" })
        }
        Type::TimestampTz => {
            json!({ "type": "long", "logicalType": "timestamp-micros", "connect.name": "io.debezium.time.MicroTimestamp" })
        }
        Type::Array(element, _) => json!({ "type": "array", "items": ["null", type_of(element)] }),
    }
}

fn decimal(precision: usize, scale: usize) -> Json {
    json!({ "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale })
}
