//! What others find in topics with schemas, beside what `SELECT` finds in the table.

use std::collections::BTreeMap;

use apache_avro::types::Value;
use serde_json::Value as Json;

use super::types::{COLUMNS, SETUP, rows, table_of_types};
use crate::kafka::schemas::{Consumer, fields};
use crate::pipeline::caught_up;
use crate::support::{Kafka, PgOptions, Postgres, Registry, Walbridge};

/// Every type's values, copied and streamed, in each of PostgreSQL's wire forms, read by the registry's schema and by another
/// implementation of Avro: each is what the server says it is, by arithmetic of the server's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_implementation_reads_what_select_reads() {
    let (kafka, registry, postgres) =
        (Kafka::shared(), Registry::shared().await, Postgres::start(PgOptions::default()));
    postgres.psql(&format!("{SETUP}{}{}", table_of_types(), rows(0)));
    let mut walbridge = Walbridge::start(&format!(
        "[sources.typed]\nurl = \"{}\"\ntables = [\"public.*\"]\n[log]\nkind = \"kafka\"\npath = \"log\"\nbrokers = \"{}\"\n\
         format = \"avro\"\nschema_registry = {{ url = \"{}\" }}\n",
        postgres.superuser_url(),
        kafka.brokers(),
        registry.url()
    ));
    caught_up(&mut walbridge, &postgres).await;
    postgres.psql(&rows(1000));
    caught_up(&mut walbridge, &postgres).await;
    let mut consumer = Consumer::new(&registry);
    let (mut complaints, mut compared) = (Vec::new(), 0);
    for record in kafka.read_settled("typed.public.types") {
        let row = fields(consumer.read(record.value.as_deref().expect("a value")).await).remove("after");
        let row = fields(row.expect("a row"));
        let Value::Int(id) = row["id"] else { panic!("{row:?}") };
        let questions: Vec<String> =
            (0..COLUMNS.len()).map(|n| format!("c{n}")).map(|name| question(&row[&name], &name)).collect();
        // No function takes more than a hundred.
        let questions: Vec<String> =
            questions.chunks(50).map(|some| format!("jsonb_build_array({})", some.join(", "))).collect();
        let said = postgres.psql(&format!(
            "SET timezone = 'UTC'; SET lc_monetary = 'C'; SELECT {} FROM types WHERE id = {id}",
            questions.join(" || ")
        ));
        let said: Vec<Json> = serde_json::from_str(said.lines().last().expect("a row")).expect("an array");
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
    let finite =
        |expression: String| format!("CASE WHEN isfinite({column}) THEN {expression} ELSE format('%s', {column}) END");
    let question = match value {
        Value::Boolean(_) => format!("CASE WHEN format('%s', {column}) IN ('t', '1') THEN 'true' ELSE 'false' END"),
        Value::Decimal(_) => format!("replace(format('%s', {column}::numeric), '.', '')"),
        Value::Bytes(_) => format!("encode({column}, 'hex')"),
        Value::Date(_) => finite(format!("({column} - date '1970-01-01')::text")),
        Value::TimeMicros(_) => format!("(extract(epoch FROM {column}) * 1000000)::bigint::text"),
        Value::LocalTimestampMicros(_) | Value::TimestampMicros(_) => {
            finite(format!("(extract(epoch FROM {column}) * 1000000)::numeric(30, 0)::text"))
        }
        Value::Array(values) => {
            let one = values.iter().map(plain).find(|value| *value != Value::Null).unwrap_or(Value::Null);
            let question = question(&one, "e");
            return format!(
                "(SELECT jsonb_agg({question} ORDER BY i) FROM (SELECT i, {column}[i] AS e FROM generate_subscripts({column}, 1) i) each)"
            );
        }
        _ => format!("format('%s', {column})"),
    };
    format!("CASE WHEN {column} IS NULL THEN NULL ELSE {question} END")
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
