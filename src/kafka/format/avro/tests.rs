//! Records read by another implementation of Avro, by the schemas that a registry gets.

use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use expect_test::expect_file;

use super::super::testing::{self, body, header_of, relation, row, settings, unit};
use super::super::{Format, Records};
use crate::event::{Cell, Change, Op, Relation, ReplicaIdentity};

/// Reads what follows the number of the schema.
fn read(schema: &str, bytes: &[u8]) -> Value {
    let schema = Schema::parse_str(schema).expect("a schema");
    let mut rest = super::super::schemas::strip(bytes).expect("the wire format");
    let reader = GenericDatumReader::builder(&schema).build().expect("a reader");
    let value = reader.read_value(&mut rest).expect("a datum of the schema");
    assert!(rest.is_empty(), "{} bytes too many", rest.len());
    value
}

/// A member of a record, out of its union.
fn member(value: &Value, name: &str) -> Value {
    let Value::Record(fields) = value else { panic!("no record: {value:?}") };
    let (_, value) =
        fields.iter().find(|(field, _)| field == name).unwrap_or_else(|| panic!("no {name} in {fields:?}"));
    match value {
        Value::Union(_, value) => (**value).clone(),
        other => other.clone(),
    }
}

fn encoded(relation: &Arc<Relation>, op: Op, body: &[u8]) -> Records {
    testing::encoded(Format::Avro, relation, op, body)
}

/// Another implementation reads every record, and we get the change back.
pub(in crate::kafka::format) fn round_trip(relation: &Arc<Relation>, op: Op, body: &[u8]) -> Change {
    testing::round_trip(Format::Avro, relation, op, body, |schema, bytes| drop(read(schema, bytes)))
}

/// A log that was written by one version of walbridge is read by the next: what its bytes mean does not change. Nor do the schemas
/// without a reason, for a registry may refuse the new ones.
#[test]
fn the_schemas_are_what_they_were() {
    let columns: [(&str, u32, i32); 18] = [
        ("id", 20, -1),
        ("größe", 23, -1),
        ("a small one", 21, -1),
        ("flag", 16, -1),
        ("bit", 1560, 1),
        ("ratio", 701, -1),
        ("rough", 700, -1),
        ("price", 1700, (12 << 16 | 4) + 4),
        ("any", 1700, -1),
        ("cash", 790, -1),
        ("doc", 3802, -1),
        ("uuid", 2950, -1),
        ("raw", 17, -1),
        ("day", 1082, -1),
        ("clock", 1083, 3),
        ("local", 1114, 3),
        ("at", 1184, -1),
        ("tags", 1009, -1),
    ];
    let relation = relation(ReplicaIdentity::Default, &columns, vec![0, 7]);
    let schemas = Format::Avro.schemas(&relation, "my-shop.public.t").expect("schemas");
    let messages = Format::Avro.message_schemas().expect("schemas");
    let pretty = |text: &str| {
        Schema::parse_str(text).expect("a schema of Avro");
        serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(text).expect("JSON")).expect("JSON")
    };
    let all = [schemas.key, Some(schemas.value), messages.key, Some(messages.value)];
    let all: Vec<String> = all.iter().flatten().map(|schema| pretty(&schema.text(None))).collect();
    expect_file!["schemas.txt"].assert_eq(&format!("{}\n", all.join("\n")));
}

#[test]
fn values_are_those_of_their_logical_types() {
    let values: &[(u32, i32, &str, Value)] = &[
        (16, -1, "t", Value::Boolean(true)),
        (1560, 1, "1", Value::Boolean(true)),
        (23, -1, "-7", Value::Int(-7)),
        (20, -1, "9223372036854775807", Value::Long(i64::MAX)),
        (26, -1, "4294967295", Value::Long(4_294_967_295)),
        (700, -1, "1.1", Value::Float(1.1)),
        (701, -1, "-Infinity", Value::Double(f64::NEG_INFINITY)),
        (1700, -1, "12.50", Value::String("12.50".to_owned())),
        (1700, -1, "NaN", Value::String("NaN".to_owned())),
        (1700, (12 << 16 | 4) + 4, "-1.5000", Value::Decimal([0xC5, 0x68].into())),
        (1700, (12 << 16 | 4) + 4, "NaN", Value::Null),
        (790, -1, "-$1,234.56", Value::Decimal([0xFE, 0x1D, 0xC0].into())),
        (1186, -1, "1 year 2 mons", Value::String("1 year 2 mons".to_owned())),
        (17, -1, "\\xdead", Value::Bytes(vec![0xDE, 0xAD])),
        (1082, -1, "2026-11-24", Value::Date(20_781)),
        (1083, -1, "24:00:00", Value::TimeMicros(86_400_000_000)),
        (1114, 3, "1969-12-31 23:59:59.999", Value::LocalTimestampMicros(-1000)),
        (1184, -1, "2026-11-24 10:00:00.12+00", Value::TimestampMicros(1_795_514_400_120_000)),
        (1184, -1, "infinity", Value::TimestampMicros(i64::MAX)),
        (
            1007,
            -1,
            "{{1,NULL},{2,3}}",
            Value::Array(vec![
                Value::Union(1, Box::new(Value::Int(1))),
                Value::Union(0, Box::new(Value::Null)),
                Value::Union(1, Box::new(Value::Int(2))),
                Value::Union(1, Box::new(Value::Int(3))),
            ]),
        ),
        (1007, -1, "{}", Value::Array(vec![])),
    ];
    for (type_oid, modifier, text, expected) in values {
        let relation = relation(ReplicaIdentity::Default, &[("v", *type_oid, *modifier)], vec![]);
        let new = row(&[Cell::Text(text.as_bytes())]);
        let body = body(&[(b'N', &new)]);
        let records = encoded(&relation, Op::Insert, &body);
        let (_, schema) = testing::schemas(Format::Avro, &relation);
        let value = read(&schema, records.iter().next().and_then(|record| record.value).expect("a value"));
        assert_eq!(member(&member(&value, "after"), "v"), *expected, "{text}");
        assert_eq!(round_trip(&relation, Op::Insert, &body), Change::Insert { relation, new }, "{text}");
    }
}

#[test]
fn an_envelope_says_what_the_one_in_json_says() {
    let relation = relation(ReplicaIdentity::Default, &[("id", 23, -1), ("v", 25, -1)], vec![0]);
    let (old, new) = (row(&[Cell::Text(b"1"), Cell::Null]), row(&[Cell::Text(b"2"), Cell::Unchanged]));
    let records = encoded(&relation, Op::Update, &body(&[(b'K', &old), (b'N', &new)]));
    let (of_key, of_value) = testing::schemas(Format::Avro, &relation);
    let key = |bytes: Option<&[u8]>| member(&read(of_key.as_deref().expect("a key"), bytes.expect("a key")), "id");
    let kept: Vec<_> = records.iter().map(|record| (key(record.key), record.value.is_some())).collect();
    assert_eq!(kept, [(Value::Int(1), true), (Value::Int(1), false), (Value::Int(2), true)]);
    let first = records.iter().next().expect("a delete");
    assert_eq!(key(header_of(&first, "__debezium.newkey")), Value::Int(2));
    let value = read(&of_value, records.iter().nth(2).and_then(|record| record.value).expect("a value"));
    assert_eq!(member(&member(&value, "after"), "v"), Value::String("__debezium_unavailable_value".to_owned()));
    assert_eq!((member(&value, "before"), member(&value, "op")), (Value::Null, Value::String("c".to_owned())));
    let source = member(&value, "source");
    for (name, expected) in [
        ("name", Value::String("shop".to_owned())),
        ("ts_ms", Value::Long(1500)),
        ("sequence", Value::String("[\"256\",\"3\"]".to_owned())),
        ("table", Value::String("t".to_owned())),
        ("txId", Value::Long(7)),
        ("lsn", Value::Long(256)),
        ("origin", Value::Null),
    ] {
        assert_eq!(member(&source, name), expected, "{name}");
    }
    assert_eq!(member(&value, "ts_us"), Value::Long(2_000_001));
}

#[test]
fn a_message_comes_back_and_others_can_read_it() {
    let (settings, mut records) = (settings(Format::Avro), Records::default());
    Format::Avro.message(&mut unit(&settings), 3, "pre", b"\xFFhello", &mut records);
    let record = records.iter().next().expect("a record");
    let schemas = Format::Avro.message_schemas().expect("schemas");
    let value = read(&schemas.value.text(None), record.value.expect("a value"));
    assert_eq!(member(&member(&value, "message"), "content"), Value::Bytes(b"\xFFhello".to_vec()));
    assert_eq!(
        member(&read(&schemas.key.expect("a key").text(None), record.key.expect("a key")), "prefix"),
        Value::String("pre".to_owned())
    );
    let message = Format::Avro.decode_message(record.value.expect("a value")).expect("a message");
    assert_eq!(message, Change::Message { prefix: "pre".to_owned(), content: b"\xFFhello".as_slice().into() });
}

/// A key column that is unchanged TOAST stands in the old row alone. The create under another key had `null` there, in JSON too.
#[test]
fn another_key_keeps_the_column_that_was_not_sent_again() {
    let relation = relation(ReplicaIdentity::Default, &[("a", 23, -1), ("b", 25, -1)], vec![0, 1]);
    let (old, new) = (row(&[Cell::Text(b"1"), Cell::Text(b"long")]), row(&[Cell::Text(b"2"), Cell::Unchanged]));
    let body = body(&[(b'K', &old), (b'N', &new)]);
    let records = encoded(&relation, Op::Update, &body);
    let (schema, _) = testing::schemas(Format::Avro, &relation);
    let key = records.iter().nth(2).and_then(|record| record.key).expect("a key");
    let key = read(schema.as_deref().expect("a schema"), key);
    assert_eq!((member(&key, "a"), member(&key, "b")), (Value::Int(2), Value::String("long".to_owned())));
    let (settings, mut records) = (settings(Format::Debezium), Records::default());
    let encoder = Format::Debezium.encoder(&relation, &settings);
    encoder.change(&mut unit(&settings), 3, Op::Update, &body, &mut records).expect("a change");
    let key = records.iter().nth(2).and_then(|record| record.key).expect("a key");
    assert_eq!(String::from_utf8_lossy(key), r#"{"a":2,"b":"long"}"#);
}

/// `NaN` as a `numeric(5, 2)` that is a key: no other row's key.
#[test]
fn a_key_that_is_no_number_is_nobody_elses() {
    let relation = relation(ReplicaIdentity::Default, &[("n", 1700, (5 << 16 | 2) + 4)], vec![0]);
    let key = |text: &str| {
        let records = encoded(&relation, Op::Insert, &body(&[(b'N', &row(&[Cell::Text(text.as_bytes())]))]));
        records.iter().next().and_then(|record| record.key).expect("a key").to_vec()
    };
    let keys: Vec<_> = ["NaN", "0.00", "999.99", "-999.99"].map(key).into();
    assert!(keys.iter().skip(1).all(|other| *other != keys[0]), "{keys:?}");
    let (schema, _) = testing::schemas(Format::Avro, &relation);
    assert_eq!(member(&read(schema.as_deref().expect("a key"), &keys[0]), "n"), Value::Decimal([1, 0x86, 0xA0].into()));
}
