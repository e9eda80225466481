//! Values beside what the connector wrote for them, and changes there and back.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::debezium::{decode_message, decoder, encoder};
use super::testing::{body, header_of, relation, row, unit};
use super::{Decoded, Format, Record, Records, Settings, avro, protobuf, testing};
use crate::decode::tuple;
use crate::event::{Cell, Change, Op, Relation, ReplicaIdentity};

fn settings() -> Settings {
    testing::settings(Format::Debezium)
}

fn encoded(relation: &Arc<Relation>, op: Op, body: &[u8]) -> Records {
    let mut records = Records::default();
    encoder(relation, &settings()).change(&mut unit(&settings()), 3, op, body, &mut records).expect("a change");
    records
}

fn decoded(relation: &Arc<Relation>, record: &Record<'_>) -> Decoded {
    decoder(relation).decode(record.value, |name| header_of(record, name)).expect("our own record")
}

/// Encodes, checks that every value is JSON, and decodes.
fn round_trip(relation: &Arc<Relation>, op: Op, body: &Bytes) -> Change {
    let records = encoded(relation, op, body);
    let mut changes = records.iter().filter_map(|record| {
        if let Some(value) = record.value {
            let parsed: Result<serde_json::Value, _> = serde_json::from_slice(value);
            assert!(parsed.is_ok(), "{}", String::from_utf8_lossy(value));
        }
        match decoded(relation, &record) {
            Decoded::Change(change) => Some(change),
            Decoded::Companion => None,
        }
    });
    let change = changes.next().expect("a change");
    assert_eq!(changes.next(), None, "one change, not more");
    change
}

/// The same in the flat format.
fn flat_round_trip(relation: &Arc<Relation>, op: Op, body: &Bytes) -> Change {
    let mut records = Records::default();
    let encoder = Format::Json.encoder(relation, &settings());
    encoder.change(&mut unit(&settings()), 3, op, body, &mut records).expect("a change");
    let decoder = Format::Json.decoder(relation);
    let decoded = records
        .iter()
        .map(|record| decoder.decode(record.value, |name| header_of(&record, name)).expect("our own record"));
    let changes: Vec<Decoded> = decoded.filter(|decoded| *decoded != Decoded::Companion).collect();
    match <[Decoded; 1]>::try_from(changes) {
        Ok([Decoded::Change(change)]) => change,
        other => panic!("one change, not {other:?}"),
    }
}

#[test]
fn a_flat_record_is_the_row_and_what_happened() {
    let relation = relation(ReplicaIdentity::Default, &[("id", 23, -1), ("v", 25, -1), ("at", 1184, -1)], vec![0]);
    let old = row(&[Cell::Text(b"1"), Cell::Null, Cell::Null]);
    let new = row(&[Cell::Text(b"2"), Cell::Unchanged, Cell::Text(b"2026-11-24 10:00:00+00")]);
    let about = |op| {
        format!(
            r#"{{"__op":"{op}","__table":"public.t","__position":"1:0/100#3","__xid":7,"__time":"1970-01-01T00:00:01.500000Z""#
        )
    };
    let mut records = Records::default();
    let encoder = Format::Json.encoder(&relation, &settings());
    let body = body(&[(b'K', &old), (b'N', &new)]);
    encoder.change(&mut unit(&settings()), 3, Op::Update, &body, &mut records).expect("a change");
    let shown = show(&records);
    assert_eq!(shown[0], format!(r#"{{"id":1}} {},"id":1}} walbridge.newkey={{"id":2}}"#, about("delete")));
    assert_eq!(shown[1], r#"{"id":1} - walbridge.newkey={"id":2}"#);
    let update = format!(r#"{{"id":2}} {},"id":2,"at":"2026-11-24T10:00:00Z"}} walbridge.exact="#, about("update"));
    assert!(shown[2].starts_with(&update), "{}", shown[2]);
    records.clear();
    Format::Json.message(&mut unit(&settings()), 3, "pre", b"\xFF", &mut records);
    let expected = format!(
        r#"{{"prefix":"pre"}} {},"prefix":"pre","content":"\\xff","content_encoding":"hex"}}"#,
        about("message")
    );
    assert_eq!(show(&records), [expected.replace("public.t", "")]);
    for content in [&b"\xFF"[..], b"text \"", b""] {
        records.clear();
        Format::Json.message(&mut unit(&settings()), 3, "p\"", content, &mut records);
        let value = records.iter().next().and_then(|record| record.value).expect("a value");
        let message = Change::Message { prefix: "p\"".to_owned(), content: Bytes::from_static(content) };
        assert_eq!(Format::Json.decode_message(value).expect("a message"), message);
    }
}

fn show(records: &Records) -> Vec<String> {
    let text = |bytes: Option<&[u8]>| bytes.map_or("-".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned());
    let shown = |record: Record<'_>| {
        let headers: String =
            record.headers().map(|(name, value)| format!(" {name}={}", String::from_utf8_lossy(value))).collect();
        format!("{} {}{headers}", text(record.key), text(record.value))
    };
    records.iter().map(shown).collect()
}

/// Written by the connector 3.7.0.Final for the same values (its floats by Java 17, compared as numbers elsewhere).
const VALUES: &[(u32, i32, &str, &str)] = &[
    (16, -1, "t", "true"),
    (20, -1, "-9223372036854775808", "-9223372036854775808"),
    (26, -1, "4294967295", "4294967295"),
    (701, -1, "100", "100.0"),
    (701, -1, "-0", "-0.0"),
    (701, -1, "NaN", r#""NaN""#),
    (1700, -1, "12.50", r#"{"scale":1,"value":"fQ=="}"#),
    (1700, -1, "0.000", r#"{"scale":0,"value":"AA=="}"#),
    (1700, -1, "1000", r#"{"scale":0,"value":"A+g="}"#),
    (1700, -1, "123456789012345678901234567890.123456789", r#"{"scale":9,"value":"XODppWAV/sWq36MorjmBFQ=="}"#),
    (1700, -1, "NaN", "null"),
    (1700, (12 << 16 | 4) + 4, "-1.5000", r#""xWg=""#),
    (790, -1, "-$1,234.56", r#""/h3A""#),
    (790, -1, "$92,233,720,368,547,758.07", r#""f/////////8=""#),
    (25, -1, "a\"\\ \n\t\u{1}\u{7f}", "\"a\\\"\\\\ \\n\\t\\u0001\u{7f}\""),
    (17, -1, "\\xdeadbeef", r#""3q2+7w==""#),
    (17, -1, "\\x", r#""""#),
    (3802, -1, r#"{"a": [1, 2.0, null]}"#, r#""{\"a\": [1, 2.0, null]}""#),
    (1082, -1, "2026-11-24", "20781"),
    (1082, -1, "infinity", "2146033979"),
    (1082, -1, "-infinity", "-2147472691"),
    (1082, -1, "0044-03-15 BC", "-735160"),
    (1083, -1, "24:00:00", "86400000000"),
    (1083, 3, "10:00:01.123", "36001123"),
    (1266, -1, "10:00:00.5+05:30", r#""04:30:00.5Z""#),
    (1266, -1, "00:30:00+02", r#""22:30:00Z""#),
    (1266, -1, "24:00:00+00", r#""24:00:00Z""#),
    (1266, -1, "24:00:00+02", r#""22:00:00Z""#),
    (1114, -1, "2026-11-24 10:00:00.123456", "1795514400123456"),
    (1114, -1, "infinity", "9223372036854775807"),
    (1114, -1, "0044-03-15 12:00:00.5 BC", "-63517780799500000"),
    (1114, 0, "infinity", "9223372036825200000"),
    (1114, 0, "294276-12-31 23:59:59", "9224318015999000"),
    (1114, 3, "1969-12-31 23:59:59.999", "-1"),
    (1114, 4, "2026-11-24 10:00:00.1234", "1795514400123400"),
    (1184, -1, "2026-11-24 10:00:00.12+00", r#""2026-11-24T10:00:00.120000Z""#),
    (1184, 0, "2026-11-24 10:00:00+00", r#""2026-11-24T10:00:00Z""#),
    (1184, -1, "0044-03-15 12:00:00.5+00 BC", r#""-0043-03-15T12:00:00.500000Z""#),
    (1184, -1, "0001-12-31 10:00:00+00 BC", r#""0000-12-31T10:00:00.000000Z""#),
    (1184, -1, "294276-12-31 23:59:59.999999+00", r#""+294276-12-31T23:59:59.999999Z""#),
    (1184, -1, "-infinity", r#""-infinity""#),
    (1186, -1, "1 year 2 mons 3 days 04:05:06.789012", "37091106789012"),
    (1186, -1, "1 day -00:00:01", "86399000000"),
    (1186, -1, "-178000000 years", "-9223372036854775808"),
    (1186, -1, "-00:00:00.5", "-500000"),
    (869, -1, "10.0.0.1/8", r#""10.0.0.1/8""#),
    (1560, 1, "1", "true"),
    (1560, 9, "100000001", r#""AQE=""#),
    (1560, 9, "000000001", r#""AQ==""#),
    (1562, -1, "1111111111", r#""/wM=""#),
    (1562, -1, "0000", r#""""#),
    (600, -1, "(1.5,-2)", r#"{"x":1.5,"y":-2.0,"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAADA","srid":null}"#),
    (
        603,
        -1,
        "(3,4),(1,2)",
        r#"{"wkb":"AQMAAAABAAAABQAAAAAAAAAAAAhAAAAAAAAAEEAAAAAAAAAIQAAAAAAAAABAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAPA/AAAAAAAAEEAAAAAAAAAIQAAAAAAAABBA","srid":null,"extensions":{"type":"box"}}"#,
    ),
    (
        602,
        -1,
        "((1,2))",
        r#"{"wkb":"AQIAAAABAAAAAAAAAAAA8D8AAAAAAAAAQA==","srid":null,"extensions":{"type":"path","closed":"true"}}"#,
    ),
    (
        604,
        -1,
        "((1,2),(3,4))",
        r#"{"wkb":"AQMAAAABAAAAAwAAAAAAAAAAAPA/AAAAAAAAAEAAAAAAAAAIQAAAAAAAABBAAAAAAAAA8D8AAAAAAAAAQA==","srid":null,"extensions":{"type":"polygon"}}"#,
    ),
    (
        718,
        -1,
        "<(1,2),3>",
        r#"{"center":{"x":1.0,"y":2.0,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA","srid":null},"radius":3.0}"#,
    ),
    (628, -1, "{1,2,3}", r#"{"a":1.0,"b":2.0,"c":3.0}"#),
    (3908, -1, r#"["2026-01-01 00:00:00",)"#, r#""[\"2026-01-01 00:00:00\",)""#),
    (1007, -1, "{1,NULL,3}", "[1,null,3]"),
    (1007, -1, "[0:1]={7,8}", "[7,8]"),
    (1231, (10 << 16 | 2) + 4, "{1.50,NULL,2.00}", r#"["AJY=",null,"AMg="]"#),
    (1009, -1, r#"{a,"",NULL,"NULL","b,c","d\"e"}"#, r#"["a","",null,"NULL","b,c","d\"e"]"#),
    (1185, -1, r#"{"2026-11-24 10:00:00.5+00"}"#, r#"["2026-11-24T10:00:00.500000Z"]"#),
];

#[test]
fn values_are_written_as_the_connector_writes_them_and_come_back() {
    for &(type_oid, modifier, text, expected) in VALUES {
        let relation = relation(ReplicaIdentity::Default, &[("v", type_oid, modifier)], vec![]);
        let new = row(&[Cell::Text(text.as_bytes())]);
        let body = body(&[(b'N', &new)]);
        let records = encoded(&relation, Op::Insert, &body);
        let record = records.iter().next().expect("a record");
        let value = String::from_utf8(record.value.expect("a value").to_vec()).expect("UTF-8");
        assert!(value.contains(&format!("\"after\":{{\"v\":{expected}}}")), "{text}: {value}");
        assert_eq!(round_trip(&relation, Op::Insert, &body), Change::Insert { relation, new }, "{text}: {value}");
    }
}

const SOURCE: &str = r#""source":{"version":"0.1.0","connector":"postgresql","name":"shop","ts_ms":1500,"snapshot":"false","db":"db","sequence":"[\"256\",\"3\"]","ts_us":1500000,"ts_ns":1500000000,"schema":"public","table":"t","txId":7,"lsn":256,"xmin":null,"origin":null,"origin_lsn":null},"transaction":null,"#;

#[test]
fn each_operation_has_the_connectors_records() {
    let relation = relation(ReplicaIdentity::Default, &[("id", 23, -1), ("v", 25, -1)], vec![0]);
    let old = row(&[Cell::Text(b"1"), Cell::Null]);
    let (same, other) = (row(&[Cell::Text(b"1"), Cell::Unchanged]), row(&[Cell::Text(b"2"), Cell::Text(b"a")]));
    let cases: [(Op, Bytes, &[&str]); 6] = [
        (
            Op::Insert,
            body(&[(b'N', &other)]),
            &[r#"{"id":2} {"before":null,"after":{"id":2,"v":"a"},SOURCE"op":"c",NOW}"#],
        ),
        (
            Op::Read,
            body(&[(b'N', &other)]),
            &[r#"{"id":2} {"before":null,"after":{"id":2,"v":"a"},SOURCE"op":"r",NOW}"#],
        ),
        (
            Op::Update,
            body(&[(b'N', &same)]),
            &[
                "{\"id\":1} {\"before\":null,\"after\":{\"id\":1,\"v\":\"__debezium_unavailable_value\"},SOURCE\"op\":\"u\",NOW} walbridge.exact=u\u{1}",
            ],
        ),
        (
            Op::Update,
            body(&[(b'K', &old), (b'N', &other)]),
            &[
                r#"{"id":1} {"before":{"id":1,"v":null},"after":null,SOURCE"op":"d",NOW} __debezium.newkey={"id":2}"#,
                r#"{"id":1} - __debezium.newkey={"id":2}"#,
                "{\"id\":2} {\"before\":null,\"after\":{\"id\":2,\"v\":\"a\"},SOURCE\"op\":\"c\",NOW} __debezium.oldkey={\"id\":1} walbridge.exact=K\u{9}\0\u{2}t\0\0\0\u{1}1n",
            ],
        ),
        (
            Op::Delete,
            body(&[(b'K', &old)]),
            &[r#"{"id":1} {"before":{"id":1,"v":null},"after":null,SOURCE"op":"d",NOW}"#, r#"{"id":1} -"#],
        ),
        (Op::Truncate, Bytes::new(), &[r#"- {"before":null,"after":null,SOURCE"op":"t",NOW}"#]),
    ];
    let now = r#""ts_ms":2000,"ts_us":2000001,"ts_ns":2000001000"#;
    for (op, body, expected) in cases {
        let expected: Vec<String> =
            expected.iter().map(|line| line.replace("SOURCE", SOURCE).replace("NOW", now)).collect();
        let copied = |line: String| if op == Op::Read { line.replace("\"false\"", "\"incremental\"") } else { line };
        let expected: Vec<String> = expected.into_iter().map(copied).collect();
        assert_eq!(show(&encoded(&relation, op, &body)), expected, "{op:?}");
    }
}

/// Under `REPLICA IDENTITY FULL` the value of unchanged TOAST is in the old row, and the connector takes it from there. walbridge said
/// that it was unavailable, and consumers that keep rows (Flink) put those words into theirs.
#[test]
fn unchanged_toast_is_told_as_what_it_was_where_that_was_logged() {
    let relation = relation(ReplicaIdentity::Full, &[("id", 23, -1), ("v", 25, -1), ("n", 1700, -1)], vec![0]);
    let old = row(&[Cell::Text(b"1"), Cell::Text(b"long"), Cell::Text(b"1.50")]);
    for (id, op) in [(b"1", "u"), (b"2", "c")] {
        let new = row(&[Cell::Text(id), Cell::Unchanged, Cell::Unchanged]);
        let body = body(&[(b'O', &old), (b'N', &new)]);
        let shown = show(&encoded(&relation, Op::Update, &body)).join("\n");
        let after = r#""v":"long","n":{"scale":1,"value":"Dw=="}},"source""#;
        assert!(shown.contains(after) && shown.contains(&format!("\"op\":\"{op}\"")), "{shown}");
        round_trip(&relation, Op::Update, &body);
        avro::tests::round_trip(&relation, Op::Update, &body);
    }
}

#[test]
fn a_table_without_a_key_has_records_without_one_and_no_tombstones() {
    for (identity, key) in [(ReplicaIdentity::Full, vec![0, 1]), (ReplicaIdentity::Full, vec![])] {
        let relation = relation(identity, &[("id", 23, -1), ("v", 25, -1)], key);
        let (old, new) = (row(&[Cell::Text(b"1"), Cell::Text(b"x")]), row(&[Cell::Text(b"2"), Cell::Text(b"a")]));
        for (op, body) in [(Op::Update, body(&[(b'O', &old), (b'N', &new)])), (Op::Delete, body(&[(b'O', &old)]))] {
            let records = encoded(&relation, op, &body);
            assert_eq!(records.iter().map(|record| record.key).collect::<Vec<_>>(), [None], "{op:?}");
            round_trip(&relation, op, &body);
        }
    }
}

#[test]
fn a_message_has_its_prefix_for_a_key() {
    let mut records = Records::default();
    unit(&settings()).message(3, "pre", b"hello", &mut records);
    let shown = show(&records).join("");
    assert!(shown.starts_with(r#"{"prefix":"pre"} {"op":"m","ts_ms":2000,"source":{"version""#), "{shown}");
    assert!(shown.ends_with(r#","transaction":null,"message":{"prefix":"pre","content":"aGVsbG8="}}"#), "{shown}");
    let value = records.iter().next().and_then(|record| record.value).expect("a value");
    let expected = Change::Message { prefix: "pre".to_owned(), content: Bytes::from_static(b"hello") };
    assert_eq!(decode_message(value).expect("a message"), expected);
}

#[test]
fn records_tell_their_place_in_the_transaction_where_that_is_asked_for() {
    let relation = relation(ReplicaIdentity::Default, &[("id", 23, -1)], vec![0]);
    let settings = Settings { transactions: true, ..settings() };
    let (encoder, mut records) = (super::debezium::encoder(&relation, &settings), Records::default());
    let mut unit = unit(&settings);
    let body = body(&[(b'N', &row(&[Cell::Text(b"1")]))]);
    for ordinal in 0..2 {
        records.clear();
        encoder.change(&mut unit, ordinal, Op::Insert, &body, &mut records).expect("a change");
    }
    let shown = show(&records).join("");
    assert!(shown.contains(r#""transaction":{"id":"7:256","total_order":2,"data_collection_order":2}"#), "{shown}");
    unit.message(2, "pre", b"", &mut records);
    records.clear();
    unit.begun(&mut records);
    unit.ended(&mut records);
    let expected = [
        r#"{"id":"7:256"} {"status":"BEGIN","id":"7:256","event_count":null,"data_collections":null,"ts_ms":1500}"#,
        r#"{"id":"7:256"} {"status":"END","id":"7:256","event_count":3,"data_collections":[{"data_collection":"public.t","event_count":2},{"data_collection":"message","event_count":1}],"ts_ms":1500}"#,
    ];
    assert_eq!(show(&records), expected);
}

#[test]
fn headers_of_cloudevents_are_added_where_they_are_asked_for() {
    let relation = relation(ReplicaIdentity::Default, &[("id", 23, -1)], vec![0]);
    let settings = Settings { cloudevents: true, name: "a shop".to_owned(), ..settings() };
    let (encoder, mut records) = (super::debezium::encoder(&relation, &settings), Records::default());
    let body = body(&[(b'K', &row(&[Cell::Text(b"1")]))]);
    encoder.change(&mut unit(&settings), 3, Op::Delete, &body, &mut records).expect("a change");
    let common = " ce_source=/walbridge/a%20shop ce_type=walbridge.delete ce_subject=public.t ce_time=1970-01-01T00:00:01.500000Z";
    let shown = show(&records);
    let told = format!(" ce_specversion=1.0 ce_id=1:0/100#3{common} content-type=application/json");
    assert!(shown[0].ends_with(&told), "{shown:?}");
    assert_eq!(shown[1], format!("{{\"id\":1}} - ce_specversion=1.0 ce_id=1:0/100#3-1{common}"));
}

/// A column's type and a value of it: as text or in binary form.
type Value = ((u32, i32), Option<(bool, Vec<u8>)>);

fn text(of: (u32, i32), values: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    values.prop_map(move |text| (of, Some((false, text.into_bytes()))))
}

fn binary(of: (u32, i32), values: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Value> {
    values.prop_map(move |bytes| (of, Some((true, bytes))))
}

fn eight(values: impl Strategy<Value = i64>) -> impl Strategy<Value = Vec<u8>> {
    values.prop_map(|value| value.to_be_bytes().to_vec())
}

/// PostgreSQL's first and last moments, and infinity on both sides.
fn moments() -> impl Strategy<Value = i64> {
    prop_oneof![
        -211_813_488_000_000_000_i64..9_223_371_331_200_000_000,
        -60_000_000_000_000_000_i64..2_000_000_000_000_000,
        Just(i64::MAX),
        Just(i64::MIN)
    ]
}

fn floats(count: usize) -> impl Strategy<Value = Vec<u8>> {
    let float = prop_oneof![any::<f64>(), (-9_i32..9).prop_map(f64::from), Just(f64::NAN), Just(f64::INFINITY)];
    prop::collection::vec(float, count).prop_map(|floats| floats.into_iter().flat_map(f64::to_be_bytes).collect())
}

fn any_value() -> impl Strategy<Value = Value> {
    let known =
        VALUES.iter().map(|(oid, modifier, text, _)| ((*oid, *modifier), Some((false, text.as_bytes().to_vec()))));
    let days = prop_oneof![-2_451_545_i32..2_145_031_949, Just(i32::MAX), Just(i32::MIN)];
    let millis =
        moments().prop_map(|moment| if moment > i64::MIN && moment < i64::MAX { moment / 1000 * 1000 } else { moment });
    let decimals = "-?[1-9][0-9]{0,40}(\\.[0-9]{1,20})?";
    let elements = prop::collection::vec(any::<Option<String>>(), 1..6).prop_map(|elements| {
        let mut text = b"{".to_vec();
        for element in elements {
            match element.filter(|element| !element.contains('\0')) {
                Some(element) => crate::decode::array::put_element(element.as_bytes(), b',', &mut text),
                None => text.extend_from_slice(b"NULL"),
            }
            text.push(b',');
        }
        text.pop();
        String::from_utf8(text).expect("UTF-8") + "}"
    });
    let integers = prop::collection::vec(any::<i32>(), 1..6);
    let nested =
        integers.prop_map(|list| format!("{{{list:?},{list:?}}}").replace('[', "{").replace(']', "}").replace(' ', ""));
    prop_oneof![
        5 => prop::sample::select(known.collect::<Vec<Value>>()),
        1 => prop_oneof![
            binary((16, -1), any::<bool>().prop_map(|value| vec![u8::from(value)])),
            binary((21, -1), any::<i16>().prop_map(|value| value.to_be_bytes().to_vec())),
            binary((23, -1), any::<i32>().prop_map(|value| value.to_be_bytes().to_vec())),
            binary((26, -1), any::<u32>().prop_map(|value| value.to_be_bytes().to_vec())),
            binary((20, -1), eight(any::<i64>())),
            binary((700, -1), any::<f32>().prop_map(|value| value.to_be_bytes().to_vec())),
            binary((701, -1), floats(1)),
            binary((790, -1), eight(any::<i64>())),
        ],
        1 => prop_oneof![
            binary((1082, -1), days.prop_map(|value| value.to_be_bytes().to_vec())),
            binary((1083, -1), eight(0..=86_400_000_000_i64)),
            binary((1083, 2), eight((0..=8_640_000_i64).prop_map(|value| value * 10_000))),
            binary((1114, -1), eight(moments())),
            binary((1114, 3), eight(millis)),
            binary((1184, -1), eight(moments())),
            binary((1186, -1), (any::<i64>(), -9..9_i32, -30..30_i32).prop_map(|(micros, days, months)| {
                [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat()
            })),
        ],
        1 => prop_oneof![
            binary((17, -1), any::<Vec<u8>>()),
            binary((25, -1), any::<String>().prop_map(String::into_bytes)),
            binary((25, -1), any::<Vec<u8>>()),
            binary((2950, -1), prop::collection::vec(any::<u8>(), 16)),
            text((1700, -1), decimals),
            text((1700, (9 << 16 | 3) + 4), "-?[1-9][0-9]{0,30}\\.[0-9]{3}"),
            text((1562, -1), "[01]{0,20}"),
            text((1560, 9), "[01]{9}"),
        ],
        1 => prop_oneof![
            binary((600, -1), floats(2)),
            binary((601, -1), floats(4)),
            binary((603, -1), floats(4)),
            binary((628, -1), floats(3)),
            binary((718, -1), floats(3)),
            text((1009, -1), elements),
            text((1007, -1), nested),
        ],
        1 => prop::sample::select(vec![(25, -1), (23, -1), (1114, 3)]).prop_map(|of| (of, None)),
    ]
}

const NAMES: [&str; 5] = ["é\"c", "__op", "a\nb", "x", "y"];

proptest! {
    #[test]
    fn every_change_comes_back(
        values in prop::collection::vec((any_value(), any::<bool>(), any::<bool>()), 1..6),
        identity in prop::sample::select(vec![ReplicaIdentity::Default, ReplicaIdentity::Full]),
        key in 0_usize..6,
        old_kind in prop::sample::select(b"KO-".to_vec()),
        op in prop::sample::select(vec![Op::Insert, Op::Read, Op::Update, Op::Delete]),
    ) {
        let columns: Vec<(&str, u32, i32)> = values.iter().zip(NAMES).map(|(((of, _), ..), name)| (name, of.0, of.1)).collect();
        let key = (0..values.len()).filter(|index| *index < key).collect();
        let relation = relation(identity, &columns, key);
        let cell = |value: &'_ Option<(bool, Vec<u8>)>| match value.clone() {
            Some((false, text)) => Cell::Text(text.leak()),
            Some((true, bytes)) => Cell::Binary(bytes.leak()),
            None => Cell::Null,
        };
        let old: Vec<_> = values.iter().enumerate().map(|(index, ((_, value), null, _))| {
            let sent = old_kind == b'O' || relation.key.contains(&index);
            if *null || !sent { Cell::Null } else { cell(value) }
        }).collect();
        let old = row(&old);
        let new: Vec<_> = values.iter().map(|((_, value), _, unchanged)| {
            if *unchanged && op == Op::Update { Cell::Unchanged } else { cell(value) }
        }).collect();
        let new = row(&new);
        let body = match (op, old_kind) {
            (Op::Insert | Op::Read, _) | (Op::Update, b'-') => body(&[(b'N', &new)]),
            (Op::Update, letter) => body(&[(letter, &old), (b'N', &new)]),
            (_, letter) => body(&[(if letter == b'-' { b'K' } else { letter }, &old)]),
        };
        let expected = tuple::change(op, &relation, &body).expect("a change");
        prop_assert_eq!(&round_trip(&relation, op, &body), &expected);
        prop_assert_eq!(&flat_round_trip(&relation, op, &body), &expected);
        prop_assert_eq!(&avro::tests::round_trip(&relation, op, &body), &expected);
        prop_assert_eq!(protobuf::tests::round_trip(&relation, op, &body), expected);
    }
}
