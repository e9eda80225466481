//! What others find in topics with schemas, beside what `SELECT` finds in the table.

use std::collections::BTreeMap;

use apache_avro::types::Value;
use serde_json::Value as Json;

use super::select::{self, Told};
use super::types::COLUMNS;
use crate::kafka::schemas::{Consumer, fields};

/// Every type's values, copied and streamed, in each of PostgreSQL's wire forms, read by the registry's schema and by another
/// implementation of Avro: each is what the server says it is, by arithmetic of the server's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_implementation_reads_what_select_reads() {
    let told = Told::of_all_types("avro").await;
    let mut consumer = Consumer::new(&told.registry);
    let (mut complaints, mut compared) = (Vec::new(), 0);
    for record in &told.records {
        let row = fields(consumer.read(record.value.as_deref().expect("a value")).await).remove("after");
        let row = fields(row.expect("a row"));
        let Value::Int(id) = row["id"] else { panic!("{row:?}") };
        let questions: Vec<String> =
            (0..COLUMNS.len()).map(|n| format!("c{n}")).map(|name| question(&row[&name], &name)).collect();
        let said = told.ask(id, &questions);
        for (n, ((kind, ..), said)) in COLUMNS.iter().zip(said).enumerate() {
            compared += 1;
            let found = &row[&format!("c{n}")];
            if !agrees(found, &said) {
                complaints.push(format!("{id} c{n} {kind}: {found:?}, but {said}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(compared > 2 * COLUMNS.len() * 20, "{compared}");
}

/// SQL for what a value is to be, by the type that it has in Avro.
fn question(value: &Value, column: &str) -> String {
    let question = match value {
        Value::Boolean(_) => select::truth(column),
        Value::Decimal(_) => format!("replace(format('%s', {column}::numeric), '.', '')"),
        Value::Bytes(_) => format!("encode({column}, 'hex')"),
        Value::Date(_) => select::days(column),
        Value::TimeMicros(_) => select::micros_of_day(column),
        Value::LocalTimestampMicros(_) | Value::TimestampMicros(_) => select::micros(column),
        Value::Array(values) => {
            let one = values.iter().map(plain).find(|value| *value != Value::Null).unwrap_or(Value::Null);
            return select::of_each(column, &question(&one, "e"));
        }
        _ => format!("format('%s', {column})"),
    };
    select::unless_null(column, &question)
}

fn plain(value: &Value) -> Value {
    if let Value::Union(_, value) = value { (**value).clone() } else { value.clone() }
}

/// Whether a value is what the server said.
fn agrees(value: &Value, said: &Json) -> bool {
    if let (Value::Array(values), said) = (value, said) {
        let said = said.as_array().cloned().unwrap_or_default();
        return values.len() == said.len() && values.iter().zip(&said).all(|(value, said)| agrees(&plain(value), said));
    }
    let Some(said) = said.as_str() else { return *value == Value::Null && said.is_null() };
    let endless = |value: i64, ends: [i64; 2]| match value {
        value if value == ends[0] => "-infinity".to_owned(),
        value if value == ends[1] => "infinity".to_owned(),
        value => value.to_string(),
    };
    match value {
        // The one value without a place in its type.
        Value::Null => said == "NaN",
        Value::Boolean(value) => value.to_string() == said,
        Value::Int(value) => value.to_string() == said,
        Value::Long(value) => value.to_string() == said,
        Value::Float(value) => said.parse().is_ok_and(|said: f32| said.to_bits() == value.to_bits()),
        Value::Double(value) => said.parse().is_ok_and(|said: f64| said.to_bits() == value.to_bits()),
        Value::String(value) => value == said,
        Value::Bytes(value) => value.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == said,
        Value::Decimal(value) => Vec::try_from(value).is_ok_and(|bytes: Vec<u8>| {
            let start = if bytes.first().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
            let unscaled = bytes.iter().fold(start, |sum: i128, byte| sum << 8 | i128::from(*byte));
            said.parse() == Ok(unscaled)
        }),
        Value::Date(days) => endless(i64::from(*days), [-2_147_472_691, 2_146_033_979]) == said,
        Value::TimeMicros(micros) => micros.to_string() == said,
        // Its last thirty years are more than fit.
        Value::LocalTimestampMicros(i64::MAX) | Value::TimestampMicros(i64::MAX) => {
            said == "infinity" || said.parse().is_ok_and(|said: i128| said > i128::from(i64::MAX))
        }
        Value::LocalTimestampMicros(micros) | Value::TimestampMicros(micros) => {
            endless(*micros, [i64::MIN, i64::MAX]) == said
        }
        Value::Uuid(value) => value.to_string() == said,
        _ => false,
    }
}

#[test]
fn the_comparison_can_fail() {
    assert!(agrees(&Value::Long(7), &Json::from("7")) && !agrees(&Value::Long(7), &Json::from("8")));
    assert!(!agrees(&Value::Null, &Json::from("7")) && !agrees(&Value::String("a".into()), &Json::from("b")));
    let array = Value::Array(vec![Value::Union(1, Box::new(Value::Int(1)))]);
    assert!(agrees(&array, &Json::from(vec!["1"])) && !agrees(&array, &Json::from(vec!["1", "2"])));
    let fields: BTreeMap<String, Value> = fields(Value::Record(vec![("a".into(), array)]));
    assert_eq!(fields.len(), 1);
}
