//! What others find in topics in Protobuf, beside what `SELECT` finds in the table.

use prost_reflect::{DynamicMessage, Value};
use serde_json::Value as Json;

use super::select::{self, Told};
use super::types::COLUMNS;
use crate::kafka::protobuf::{Consumer, fields, member};

/// Every type's values, copied and streamed, in each of PostgreSQL's wire forms, read by the registry's schema and by another
/// implementation of Protobuf: each is what the server says it is, by arithmetic of the server's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_implementation_reads_what_select_reads() {
    let told = Told::of_all_types("protobuf").await;
    let mut consumer = Consumer::new(&told.registry);
    let (mut complaints, mut compared) = (Vec::new(), 0);
    for record in &told.records {
        let envelope = consumer.read(record.value.as_deref().expect("a value")).await;
        let row = fields(&member(&envelope, "after").expect("a row"));
        let id = row["id"].as_i64().expect("a number");
        let columns = || COLUMNS.iter().enumerate().map(|(n, (kind, ..))| (format!("c{n}"), *kind));
        let questions: Vec<String> = columns().map(|(name, kind)| question(kind, row.get(&name), &name)).collect();
        for ((name, kind), said) in columns().zip(told.ask(id, &questions)) {
            compared += 1;
            let found = row.get(&name);
            if !agrees(found, &said) {
                complaints.push(format!("{id} {name} {kind}: {found:?}, but {said}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(compared > 2 * COLUMNS.len() * 20, "{compared}");
}

/// SQL for what a value is to be, by the column's type.
fn question(kind: &str, value: Option<&Value>, column: &str) -> String {
    match value {
        None => select::unless_null(column, &format!("format('%s', {column})")),
        Some(Value::Message(_)) => select::of_each(column, &of_one(kind.trim_end_matches("[]"), "e")),
        Some(_) => of_one(kind, column),
    }
}

fn of_one(kind: &str, column: &str) -> String {
    let question = match kind.split('(').next().unwrap_or_default() {
        "bool" => select::truth(column),
        "bit" if kind == "bit(1)" => select::truth(column),
        "bytea" => format!("encode({column}, 'hex')"),
        "money" => format!("({column}::numeric)::text"),
        "date" | "day" => select::days(column),
        "time" => select::micros_of_day(column),
        "timestamp" | "timestamptz" | "instant" | "brief" => select::micros(column),
        _ => format!("format('%s', {column})"),
    };
    select::unless_null(column, &question)
}

/// The elements of an array, `None` for one that is NULL.
fn elements(array: &DynamicMessage) -> Vec<Option<Value>> {
    let elements = fields(array).remove("elements").and_then(|list| list.as_list().map(<[Value]>::to_vec));
    let value = |element: &Value| fields(element.as_message().expect("an element")).remove("value");
    elements.unwrap_or_default().iter().map(value).collect()
}

/// Whether a value is what the server said.
fn agrees(value: Option<&Value>, said: &Json) -> bool {
    if let Some(array) = value.and_then(Value::as_message) {
        let (elements, said) = (elements(array), said.as_array().cloned().unwrap_or_default());
        return elements.len() == said.len()
            && elements.iter().zip(&said).all(|(value, said)| agrees(value.as_ref(), said));
    }
    let (Some(value), Some(said)) = (value, said.as_str()) else { return value.is_none() && said.is_null() };
    match value {
        Value::Bool(value) => value.to_string() == said,
        Value::I32(2_146_033_979) => said == "infinity",
        Value::I32(-2_147_472_691) => said == "-infinity",
        Value::I32(value) => value.to_string() == said,
        Value::I64(value) if value.to_string() == said => true,
        // PostgreSQL's last thirty years are more microseconds than fit.
        Value::I64(i64::MAX) => said == "infinity" || said.parse().is_ok_and(|said: i128| said > i128::from(i64::MAX)),
        Value::I64(i64::MIN) => said == "-infinity",
        Value::F32(value) => said.parse().is_ok_and(|said: f32| said.to_bits() == value.to_bits()),
        Value::F64(value) => said.parse().is_ok_and(|said: f64| said.to_bits() == value.to_bits()),
        Value::String(value) => value == said,
        Value::Bytes(value) => value.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == said,
        _ => false,
    }
}

#[test]
fn the_comparison_can_fail() {
    let seven = Some(&Value::I64(7));
    assert!(agrees(seven, &Json::from("7")) && !agrees(seven, &Json::from("8")) && !agrees(seven, &Json::Null));
    assert!(!agrees(None, &Json::from("7")) && agrees(None, &Json::Null));
    assert!(
        !agrees(Some(&Value::I64(i64::MAX)), &Json::from("7"))
            && !agrees(Some(&Value::I32(0)), &Json::from("infinity"))
    );
    assert!(!agrees(Some(&Value::String("a".to_owned())), &Json::from("b")));
}
