//! The Protobuf schemas of a table's keys and values.
//!
//! A field that has been in a schema stays in it, marked `deprecated` once its column is gone, and nobody writes it. So a table that
//! changes only ever adds fields: every version reads the records of all others, whatever a registry asks, and a column that comes
//! back is the field that it was. For that the text depends on the version before it. No number is ever used for another meaning
//! ([`super::field`]), hence nothing need be `reserved`.

use super::super::envelope::key_columns;
use super::super::name::{dotted, legal};
use super::super::schemas::{Language, Schema, Schemas};
use super::field::{self, Field, Means};
use super::history::{self, Known};
use crate::event::Relation;

/// A file with the schema of a topic's keys or values. Its text depends on the version before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct File {
    package: String,
    /// What stands in front of the row's message.
    head: &'static str,
    /// The row's message.
    row: &'static str,
    columns: Vec<Column>,
    /// What follows it.
    tail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Column {
    name: String,
    field: Field,
}

/// Of a table whose records are in this topic.
pub(in crate::kafka::format) fn of_table(relation: &Relation, topic: &str) -> Schemas {
    let fields = field::of_table(relation);
    let column = |index: usize| {
        let (column, field) = (relation.columns.get(index)?, fields.get(index)?);
        Some(Column { name: column.name.clone(), field: field.clone() })
    };
    let file = |head, row, columns, tail| File { package: dotted(topic), head, row, columns, tail };
    let keys = key_columns(relation);
    let key: Vec<Column> = keys.iter().filter_map(|&index| column(index)).collect();
    let key = (!key.is_empty()).then(|| Schema::Protobuf(file(KEY_HEAD, "Key", key, String::new())));
    let columns = (0..fields.len()).filter_map(column).collect();
    let value = Schema::Protobuf(file(ENVELOPE, "Value", columns, format!("\n{SOURCE}\n{BLOCK}")));
    Schemas { language: Language::Protobuf, key, value }
}

/// Of logical messages.
pub(in crate::kafka::format) fn of_messages() -> Schemas {
    let head = begin("io.debezium.connector.postgresql");
    let key = Schema::Fixed(format!("{head}{MESSAGE_KEY}"));
    let value = Schema::Fixed(format!("{head}{MESSAGE_VALUE}\n{SOURCE}\n{BLOCK}"));
    Schemas { language: Language::Protobuf, key: Some(key), value }
}

fn begin(package: &str) -> String {
    format!("syntax = \"proto3\";\n\npackage {package};\n\n")
}

/// The first message of its file, so that its index in front of every record is a single zero.
const ENVELOPE: &str = "// A change.
message Envelope {
  Value before = 1;
  Value after = 2;
  Source source = 3;
  Block transaction = 4;
  string op = 5;
  optional int64 ts_ms = 6;
  optional int64 ts_us = 7;
  optional int64 ts_ns = 8;
}

// A row. What is null, or was not logged, is not there.
";
const KEY_HEAD: &str = "// What names a row.\n";
/// Where a change comes from: the fields that the connector has, in its order.
const SOURCE: &str = "// Where a change comes from.
message Source {
  string version = 1;
  string connector = 2;
  string name = 3;
  int64 ts_ms = 4;
  optional string snapshot = 5;
  string db = 6;
  optional string sequence = 7;
  optional int64 ts_us = 8;
  optional int64 ts_ns = 9;
  string schema = 10;
  string table = 11;
  optional int64 txId = 12;
  optional int64 lsn = 13;
  optional int64 xmin = 14;
  optional string origin = 15;
  optional int64 origin_lsn = 16;
}
";
const BLOCK: &str = "// The place in a transaction.
message Block {
  string id = 1;
  int64 total_order = 2;
  int64 data_collection_order = 3;
}
";
const MESSAGE_KEY: &str = "message MessageKey {
  optional string prefix = 1;
}
";
const MESSAGE_VALUE: &str = "message MessageValue {
  string op = 1;
  optional int64 ts_ms = 2;
  Source source = 3;
  Block transaction = 4;
  Message message = 5;
}

message Message {
  optional string prefix = 1;
  optional bytes content = 2;
}
";

impl File {
    /// Its text, which may follow `latest`, the text of the version before.
    #[must_use]
    pub fn text(&self, latest: Option<&str>) -> String {
        let known = latest.map(|latest| history::fields(latest, self.row)).unwrap_or_default();
        let mut names: Vec<String> = known.iter().map(|known| json_name(&known.name)).collect();
        let mut text = begin(&self.package);
        text.push_str(self.head);
        text.push_str(&format!("message {} {{\n", self.row));
        let mut kinds = Vec::new();
        for Column { name, field } in &self.columns {
            let kind = kind(field.means);
            let same = known.iter().find(|known| known.number == field.number && known.kind == kind);
            let spelt = same.map_or_else(|| new_name(name, field, &mut names), |known| known.name.clone());
            text.push_str(&format!("  {}{kind} {spelt} = {};", label(&kind), field.number));
            text.push_str(&comment(name, &spelt, field.means));
            kinds.push(kind);
        }
        let gone = |known: &&Known| self.columns.iter().all(|column| column.field.number != known.number);
        for Known { number, kind, name } in known.iter().filter(gone) {
            text.push_str(&format!("  {}{kind} {name} = {number} [deprecated = true];\n", label(kind)));
            kinds.push(kind.clone());
        }
        text.push_str("}\n");
        text.push_str(&self.tail);
        kinds.sort_unstable();
        kinds.dedup();
        text.extend(kinds.iter().filter_map(|kind| array(kind)));
        text
    }
}

/// Types of columns that are no arrays.
const SCALARS: [&str; 7] = ["bool", "bytes", "double", "float", "int32", "int64", "string"];

/// A field's type.
fn kind(means: Means) -> String {
    if means.array { array_of(means.scalar) } else { means.scalar.to_owned() }
}

fn array_of(scalar: &str) -> String {
    let mut letters = scalar.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).chain("Array".chars()).collect()
}

/// Whether a column may have this type.
pub(super) fn is_kind(kind: &str) -> bool {
    SCALARS.iter().any(|scalar| *scalar == kind || array_of(scalar) == kind)
}

/// Messages can be absent without it.
fn label(kind: &str) -> &'static str {
    if SCALARS.contains(&kind) { "optional " } else { "" }
}

/// The message of an array's type.
fn array(kind: &str) -> Option<String> {
    let scalar = SCALARS.iter().find(|scalar| array_of(scalar) == kind)?;
    Some(format!(
        "\nmessage {kind} {{\n  // One that is null has no value.\n  message Element {{\n    optional {scalar} value = 1;\n  }}\n  repeated Element elements = 1;\n}}\n"
    ))
}

/// A name that no other field of the message has or had: one that had it was of another type.
fn new_name(column: &str, field: &Field, taken: &mut Vec<String>) -> String {
    let (plain, Means { word, array, .. }) = (legal(column), field.means);
    let typed = format!("{plain}_{word}{}", if array { "_array" } else { "" });
    let numbered = format!("{plain}_{}", field.number);
    let free = [plain, typed].into_iter().find(|name| !taken.contains(&json_name(name)));
    let name = free.unwrap_or(numbered);
    taken.push(json_name(&name));
    name
}

/// A field's name in JSON, which no two may share either: the letter behind an underscore is a capital.
fn json_name(name: &str) -> String {
    let mut capital = false;
    let mut out = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter == '_' {
            capital = true;
        } else {
            out.push(if capital { letter.to_ascii_uppercase() } else { letter });
            capital = false;
        }
    }
    out
}

/// The column's own name, where the field's is another, and what numbers count.
fn comment(column: &str, name: &str, means: Means) -> String {
    let counts = match means.word {
        "date" => "days since 1970-01-01",
        "time" => "microseconds since midnight",
        "timestamp" => "microseconds since 1970-01-01 00:00, in no time zone",
        "timestamptz" => "microseconds since 1970-01-01 00:00 UTC",
        _ => "",
    };
    let column = if column == name { String::new() } else { serde_json::Value::from(column).to_string() };
    let told: Vec<&str> = [column.as_str(), counts].into_iter().filter(|told| !told.is_empty()).collect();
    if told.is_empty() { "\n".to_owned() } else { format!(" // {}\n", told.join(": ")) }
}
