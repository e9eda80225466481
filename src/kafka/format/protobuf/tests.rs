//! Records read by another implementation of Protobuf, by the schemas that a registry gets.

use std::sync::Arc;

use expect_test::expect_file;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _, Value};
use protox::file::{File, FileResolver};

use super::super::testing::{self, body, header_of, relation, row, settings, unit};
use super::super::{Format, Records};
use crate::event::{Cell, Change, Op, Relation, ReplicaIdentity};

const FILE: &str = "schema.proto";

struct Text(String);

impl FileResolver for Text {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == FILE { File::from_source(name, &self.0) } else { Err(protox::Error::file_not_found(name)) }
    }
}

/// Compiles a file.
fn compiled(schema: &str) -> DescriptorPool {
    let mut compiler = protox::Compiler::with_file_resolver(Text(schema.to_owned()));
    compiler.open_file(FILE).unwrap_or_else(|error| panic!("{error}\n{schema}"));
    compiler.descriptor_pool()
}

/// Reads a record's key or value: of the schema's first message, as its index says.
fn read(schema: &str, bytes: &[u8]) -> DynamicMessage {
    let message = compiled(schema).get_file_by_name(FILE).and_then(|file| file.messages().next()).expect("a message");
    let [0, 0, 0, 0, 0, 0, rest @ ..] = bytes else { panic!("not the wire format: {bytes:?}") };
    let message = DynamicMessage::decode(message, rest).expect("a message of the schema");
    known(&message);
    message
}

/// Nothing is in it that its schema does not tell of.
fn known(message: &DynamicMessage) {
    assert_eq!(message.unknown_fields().count(), 0, "{message:?}");
    for (_, value) in message.fields() {
        value.as_message().into_iter().for_each(known);
    }
}

/// A member that is there.
fn member(message: &DynamicMessage, name: &str) -> Option<Value> {
    let field = message.descriptor().get_field_by_name(name).unwrap_or_else(|| panic!("no {name} in {message:?}"));
    message.has_field(&field).then(|| message.get_field(&field).into_owned())
}

fn inner(message: &DynamicMessage, name: &str) -> DynamicMessage {
    member(message, name).and_then(|value| value.as_message().cloned()).unwrap_or_else(|| panic!("no {name}"))
}

fn text(value: &str) -> Option<Value> {
    Some(Value::String(value.to_owned()))
}

fn encoded(relation: &Arc<Relation>, op: Op, body: &[u8]) -> Records {
    testing::encoded(Format::Protobuf, relation, op, body)
}

/// Another implementation reads every record, and we get the change back.
pub(in crate::kafka::format) fn round_trip(relation: &Arc<Relation>, op: Op, body: &[u8]) -> Change {
    testing::round_trip(Format::Protobuf, relation, op, body, |schema, bytes| drop(read(schema, bytes)))
}

/// What a log's bytes mean does not change from one version of walbridge to the next: not the numbers of columns above all.
#[test]
fn the_schemas_are_what_they_were() {
    let columns: [(&str, u32, i32); 21] = [
        ("id", 20, -1),
        ("größe", 23, -1),
        ("a small\none", 21, -1),
        ("flag", 16, -1),
        ("bit", 1560, 1),
        ("ratio", 701, -1),
        ("rough", 700, -1),
        ("price", 1700, (12 << 16 | 4) + 4),
        ("cash", 790, -1),
        ("doc", 3802, -1),
        ("uuid", 2950, -1),
        ("raw", 17, -1),
        ("day", 1082, -1),
        ("clock", 1083, 3),
        ("local", 1114, 3),
        ("at", 1184, -1),
        ("tags", 1009, -1),
        ("days", 1182, -1),
        ("user_id", 20, -1),
        ("userId", 20, -1),
        ("message", 25, -1),
    ];
    let relation = relation(ReplicaIdentity::Default, &columns, vec![0, 7]);
    let schemas = Format::Protobuf.schemas(&relation, "my-shop.public.t").expect("schemas");
    let messages = Format::Protobuf.message_schemas().expect("schemas");
    let all = [schemas.key, Some(schemas.value), messages.key, Some(messages.value)];
    let all: Vec<String> = all.iter().flatten().map(|schema| schema.text(None)).collect();
    all.iter().for_each(|text| drop(compiled(text)));
    expect_file!["schemas.txt"].assert_eq(&all.join("\n"));
}

/// A table that changes keeps all fields it had: under their names and numbers, what is gone as deprecated. What comes back is what it
/// was, and a column of another type is another field.
#[test]
fn a_table_that_changes_keeps_its_fields() {
    let text = |columns: &[(&str, u32, i32)], latest: Option<&str>| {
        let relation = relation(ReplicaIdentity::Default, columns, vec![0]);
        let text = Format::Protobuf.schemas(&relation, "shop.public.t").expect("schemas").value.text(latest);
        compiled(&text);
        text
    };
    let row = |text: &str| {
        let message = compiled(text).get_message_by_name("shop.public.t.Value").expect("the row");
        let fields = message.fields().map(|field| {
            let stands = |end: &str| text.find(&format!(" {} = {}{end}", field.name(), field.number()));
            let gone = if stands(" [deprecated = true];").is_some() { "-" } else { "" };
            (stands("").expect("in the text"), format!("{gone}{}", field.name()), field.number())
        });
        let mut fields: Vec<_> = fields.collect();
        fields.sort_unstable();
        fields.into_iter().map(|(_, name, number)| (name, number)).collect::<Vec<_>>()
    };
    let names = |text: &str| row(text).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let (id, n, v, tags) = (("id", 23, -1), ("n", 23, -1), ("v", 25, -1), ("tags", 1007, -1));
    let first = text(&[id, n, tags], None);
    assert_eq!(names(&first), ["id", "n", "tags"]);
    let added = text(&[id, n, tags, v], Some(&first));
    assert_eq!(names(&added), ["id", "n", "tags", "v"]);
    let dropped = text(&[id, v], Some(&added));
    assert_eq!(names(&dropped), ["id", "v", "-n", "-tags"]);
    let added_again = text(&[id, v, n], Some(&dropped));
    assert_eq!(names(&added_again), ["id", "v", "n", "-tags"]);
    let other_type = text(&[id, v, ("n", 25, -1)], Some(&added_again));
    assert_eq!(names(&other_type), ["id", "v", "n_string", "-n", "-tags"]);
    let back = text(&[id, v, ("n", 20, -1), ("tags", 1009, -1)], Some(&other_type));
    assert_eq!(names(&back), ["id", "v", "n", "tags_string_array", "-n_string", "-tags"]);
    let renamed = text(&[("key", 23, -1), v], Some(&back));
    assert_eq!(names(&renamed), ["key", "v", "-id", "-n", "-tags_string_array", "-n_string", "-tags"]);
    // What was written under a number means the same for ever.
    let number =
        |text: &str, name: &str| row(text).into_iter().find(|(known, _)| known.trim_start_matches('-') == name);
    for (name, number_then) in row(&first) {
        assert_eq!(number(&renamed, &name).map(|(_, number)| number), Some(number_then), "{name}");
    }
    // The version that follows itself is itself, also in the words of a registry that writes the text anew.
    assert_eq!(text(&[("key", 23, -1), v], Some(&renamed)), renamed);
    let anew: Vec<&str> = renamed.lines().map(|line| line.split("//").next().unwrap_or_default().trim()).collect();
    assert_eq!(text(&[("key", 23, -1), v], Some(&anew.join(" "))), renamed);
}

#[test]
fn values_are_what_the_schema_says_they_count() {
    let values: &[(u32, i32, &str, Option<Value>)] = &[
        (16, -1, "f", Some(Value::Bool(false))),
        (1560, 1, "1", Some(Value::Bool(true))),
        (23, -1, "-7", Some(Value::I64(-7))),
        (20, -1, "9223372036854775807", Some(Value::I64(i64::MAX))),
        (26, -1, "4294967295", Some(Value::I64(4_294_967_295))),
        (700, -1, "1.1", Some(Value::F32(1.1))),
        (701, -1, "-Infinity", Some(Value::F64(f64::NEG_INFINITY))),
        (1700, -1, "12.50", text("12.50")),
        (1700, (12 << 16 | 4) + 4, "-1.5000", text("-1.5000")),
        (1700, (12 << 16 | 4) + 4, "NaN", text("NaN")),
        (790, -1, "-$1,234.56", text("-1234.56")),
        (1186, -1, "1 year 2 mons", text("1 year 2 mons")),
        (25, -1, "", text("")),
        (17, -1, "\\xdead", Some(Value::Bytes(vec![0xDE, 0xAD].into()))),
        (1082, -1, "1969-12-31", Some(Value::I32(-1))),
        (1082, -1, "infinity", Some(Value::I32(2_146_033_979))),
        (1083, -1, "24:00:00", Some(Value::I64(86_400_000_000))),
        (1114, 3, "1969-12-31 23:59:59.999", Some(Value::I64(-1000))),
        (1184, -1, "2026-11-24 10:00:00.12+00", Some(Value::I64(1_795_514_400_120_000))),
        (1184, -1, "infinity", Some(Value::I64(i64::MAX))),
    ];
    for (type_oid, modifier, told, expected) in values {
        let relation = relation(ReplicaIdentity::Default, &[("v", *type_oid, *modifier)], vec![]);
        let new = row(&[Cell::Text(told.as_bytes())]);
        let body = body(&[(b'N', &new)]);
        let records = encoded(&relation, Op::Insert, &body);
        let (_, schema) = testing::schemas(Format::Protobuf, &relation);
        let value = read(&schema, records.iter().next().and_then(|record| record.value).expect("a value"));
        assert_eq!(member(&inner(&value, "after"), "v"), *expected, "{told}");
        assert_eq!(round_trip(&relation, Op::Insert, &body), Change::Insert { relation, new }, "{told}");
    }
}

/// The elements of an array, `None` for one that is NULL.
fn elements(array: &DynamicMessage) -> Vec<Option<Value>> {
    let elements = member(array, "elements").and_then(|list| list.as_list().map(<[Value]>::to_vec)).unwrap_or_default();
    elements.iter().map(|element| member(element.as_message().expect("an element"), "value")).collect()
}

#[test]
fn arrays_have_all_their_elements_and_those_that_are_null() {
    let long = "x".repeat(300);
    let int = |value| Some(Value::I64(value));
    for (type_oid, told, expected) in [
        (1007, "{{1,NULL},{2,-3}}".to_owned(), Some(vec![int(1), None, int(2), int(-3)])),
        (1007, "{}".to_owned(), Some(vec![])),
        (1009, format!("{{{long},\"\",NULL,{long}}}"), Some(vec![text(&long), text(""), None, text(&long)])),
        (1231, "{1.50,NaN}".to_owned(), Some(vec![text("1.50"), text("NaN")])),
        (791, "{$1.50}".to_owned(), Some(vec![text("1.50")])),
        (1182, "{1970-01-02}".to_owned(), Some(vec![Some(Value::I32(1))])),
        (1022, "{0,-0.5}".to_owned(), Some(vec![Some(Value::F64(0.0)), Some(Value::F64(-0.5))])),
        (1007, "NULL".to_owned(), None),
    ] {
        let relation = relation(ReplicaIdentity::Default, &[("v", type_oid, -1)], vec![]);
        let new = row(&[if told == "NULL" { Cell::Null } else { Cell::Text(told.as_bytes()) }]);
        let body = body(&[(b'N', &new)]);
        let records = encoded(&relation, Op::Insert, &body);
        let (_, schema) = testing::schemas(Format::Protobuf, &relation);
        let value = read(&schema, records.iter().next().and_then(|record| record.value).expect("a value"));
        let array = member(&inner(&value, "after"), "v");
        assert_eq!(array.map(|array| elements(array.as_message().expect("an array"))), expected, "{told}");
        assert_eq!(round_trip(&relation, Op::Insert, &body), Change::Insert { relation, new }, "{told}");
    }
}

#[test]
fn an_envelope_says_what_the_one_in_json_says() {
    let relation = relation(ReplicaIdentity::Default, &[("id", 23, -1), ("v", 25, -1)], vec![0]);
    let (old, new) = (row(&[Cell::Text(b"1"), Cell::Null]), row(&[Cell::Text(b"2"), Cell::Unchanged]));
    let records = encoded(&relation, Op::Update, &body(&[(b'K', &old), (b'N', &new)]));
    let (of_key, of_value) = testing::schemas(Format::Protobuf, &relation);
    let key = |bytes: Option<&[u8]>| member(&read(of_key.as_deref().expect("a key"), bytes.expect("a key")), "id");
    let kept: Vec<_> = records.iter().map(|record| (key(record.key), record.value.is_some())).collect();
    let (one, two) = (Some(Value::I64(1)), Some(Value::I64(2)));
    assert_eq!(kept, [(one.clone(), true), (one, false), (two.clone(), true)]);
    let first = records.iter().next().expect("a delete");
    assert_eq!(key(header_of(&first, "__debezium.newkey")), two);
    let value = read(&of_value, records.iter().nth(2).and_then(|record| record.value).expect("a value"));
    assert_eq!(member(&inner(&value, "after"), "v"), text("__debezium_unavailable_value"));
    assert_eq!((member(&value, "before"), member(&value, "op")), (None, text("c")));
    let source = inner(&value, "source");
    for (name, expected) in [
        ("version", text(env!("CARGO_PKG_VERSION"))),
        ("name", text("shop")),
        ("ts_ms", Some(Value::I64(1500))),
        ("snapshot", text("false")),
        ("db", text("db")),
        ("sequence", text("[\"256\",\"3\"]")),
        ("ts_ns", Some(Value::I64(1_500_000_000))),
        ("schema", text("public")),
        ("table", text("t")),
        ("txId", Some(Value::I64(7))),
        ("lsn", Some(Value::I64(256))),
        ("origin", None),
    ] {
        assert_eq!(member(&source, name), expected, "{name}");
    }
    assert_eq!(member(&value, "ts_us"), Some(Value::I64(2_000_001)));
    assert_eq!(member(&value, "transaction"), None);
}

/// A row of more than 127 bytes has a longer length, in front of which there was room for one byte only: the key, which stands in it,
/// moves with it.
#[test]
fn a_long_row_keeps_its_key() {
    let relation = relation(ReplicaIdentity::Full, &[("v", 25, -1), ("id", 23, -1), ("w", 25, -1)], vec![1]);
    let schema = testing::schemas(Format::Protobuf, &relation).0.expect("a key");
    for length in [0, 100, 128, 5000, 20_000] {
        let long = "x".repeat(length);
        let cells =
            |id: &'static [u8]| row(&[Cell::Text(long.as_bytes()), Cell::Text(id), Cell::Text(long.as_bytes())]);
        let (old, new) = (cells(b"1"), cells(b"300"));
        let body = body(&[(b'O', &old), (b'N', &new)]);
        let records = encoded(&relation, Op::Update, &body);
        let ids: Vec<_> =
            records.iter().map(|record| member(&read(&schema, record.key.expect("a key")), "id")).collect();
        assert_eq!(ids, [1, 1, 300].map(|id| Some(Value::I64(id))), "{length}");
        let Change::Update { new: back, .. } = round_trip(&relation, Op::Update, &body) else { panic!("an update") };
        assert_eq!(back, new);
    }
}

/// A key's column that is unchanged TOAST stands in the old row alone, which does not move when the new one does.
#[test]
fn another_key_keeps_the_column_that_was_not_sent_again() {
    let columns = [("a", 23, -1), ("b", 25, -1), ("c", 25, -1)];
    let relation = relation(ReplicaIdentity::Default, &columns, vec![0, 1]);
    let long = "x".repeat(300);
    let old = row(&[Cell::Text(b"1"), Cell::Text(b"long"), Cell::Null]);
    let new = row(&[Cell::Text(b"2"), Cell::Unchanged, Cell::Text(long.as_bytes())]);
    let records = encoded(&relation, Op::Update, &body(&[(b'K', &old), (b'N', &new)]));
    let (schema, _) = testing::schemas(Format::Protobuf, &relation);
    let key = records.iter().nth(2).and_then(|record| record.key).expect("a key");
    let key = read(schema.as_deref().expect("a schema"), key);
    assert_eq!((member(&key, "a"), member(&key, "b")), (Some(Value::I64(2)), text("long")));
}

#[test]
fn a_message_comes_back_and_others_can_read_it() {
    let (settings, mut records) = (settings(Format::Protobuf), Records::default());
    Format::Protobuf.message(&mut unit(&settings), 3, "pre", b"\xFFhello", &mut records);
    let record = records.iter().next().expect("a record");
    let schemas = Format::Protobuf.message_schemas().expect("schemas");
    let value = read(&schemas.value.text(None), record.value.expect("a value"));
    assert_eq!(member(&inner(&value, "message"), "content"), Some(Value::Bytes(b"\xFFhello".as_slice().into())));
    assert_eq!((member(&value, "op"), member(&inner(&value, "source"), "name")), (text("m"), text("shop")));
    let key = read(&schemas.key.expect("a key").text(None), record.key.expect("a key"));
    assert_eq!(member(&key, "prefix"), text("pre"));
    let message = Format::Protobuf.decode_message(record.value.expect("a value")).expect("a message");
    assert_eq!(message, Change::Message { prefix: "pre".to_owned(), content: b"\xFFhello".as_slice().into() });
}

/// A record that was cut, or of another table, is refused and not read as something else.
#[test]
fn what_is_not_such_an_envelope_is_refused() {
    let relation = relation(ReplicaIdentity::Default, &[("id", 23, -1), ("tags", 1007, -1)], vec![0]);
    let new = row(&[Cell::Text(b"300"), Cell::Text(b"{1,NULL,3}")]);
    let records = encoded(&relation, Op::Insert, &body(&[(b'N', &new)]));
    let value = records.iter().next().and_then(|record| record.value).expect("a value");
    let decode = |value: &[u8]| Format::Protobuf.decoder(&relation).decode(Some(value), |_| None).map(drop);
    decode(value).expect("the whole");
    // Behind the prefix, a tag and a length.
    let row_ends = 8 + usize::from(value[7]);
    (0..row_ends).for_each(|end| assert!(decode(&value[..end]).is_err(), "{end}"));
    let mut another_message = value.to_vec();
    another_message[5] = 2;
    assert!(decode(&another_message).is_err(), "not the schema's first message");
    let other = testing::relation(ReplicaIdentity::Default, &[("other", 23, -1)], vec![0]);
    assert!(Format::Protobuf.decoder(&other).decode(Some(value), |_| None).is_err());
    let avro = testing::encoded(Format::Avro, &relation, Op::Insert, &body(&[(b'N', &new)]));
    assert!(decode(avro.iter().next().and_then(|record| record.value).expect("a value")).is_err());
}
