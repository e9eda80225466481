//! What PostgreSQL really sends, recorded (`fixtures/README.md`), decoded and rendered: every built-in type, every
//! replica identity, unchanged TOAST, changed keys, truncates, origins, logical messages, streamed and prepared
//! transactions.

#![expect(clippy::wildcard_enum_match_arm, reason = "what a test does not expect fails it")]

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use expect_test::{ExpectFile, expect_file};
use walbridge::decode::message::{self, Message};
use walbridge::decode::pgoutput::{Context, parse};
use walbridge::decode::{json, shape, tuple};
use walbridge::event::{Cell, Change, Column, OldRow, Op, Relation, Row, Shape, TableName};

#[test]
fn every_builtin_type_and_its_edge_values() {
    check(include_str!("fixtures/types.pgoutput"), expect_file!["./fixtures/types.txt"]);
}

#[test]
fn every_replica_identity_with_unchanged_toast_and_changed_keys() {
    check(include_str!("fixtures/identity.pgoutput"), expect_file!["./fixtures/identity.txt"]);
}

#[test]
fn transactions_truncates_messages_origins_and_changed_definitions() {
    check(include_str!("fixtures/statements.pgoutput"), expect_file!["./fixtures/statements.txt"]);
}

#[test]
fn transactions_streamed_in_progress_with_aborted_parts() {
    check(include_str!("fixtures/stream.pgoutput"), expect_file!["./fixtures/stream.txt"]);
}

#[test]
fn prepared_transactions() {
    check(include_str!("fixtures/two_phase.pgoutput"), expect_file!["./fixtures/two_phase.txt"]);
}

/// The recorded messages are also the best start for damage: all cuts of all of them.
#[test]
fn no_recorded_message_survives_a_cut() {
    for (context, bytes) in [include_str!("fixtures/types.pgoutput"), include_str!("fixtures/statements.pgoutput")]
        .iter()
        .flat_map(|recording| messages(recording))
    {
        for end in 0..bytes.len() {
            parse(&bytes[..end], context).expect_err("cut short");
        }
    }
}

/// A byte changed on the way is either harmless or refused: a row that is accepted holds the cells it claims.
#[test]
fn a_recorded_message_with_a_changed_byte_is_refused_or_well_formed() {
    for (context, bytes) in [include_str!("fixtures/types.pgoutput"), include_str!("fixtures/statements.pgoutput")]
        .iter()
        .flat_map(|recording| messages(recording))
    {
        let mut damaged = bytes.to_vec();
        for at in 0..damaged.len() {
            let original = damaged[at];
            for changed in [0, 1, 0x7F, 0xFF, original ^ 1, original.wrapping_add(1), b'n', b't'] {
                damaged[at] = changed;
                if let Ok(Message::Insert(insert)) = parse(&damaged, context) {
                    let row = Row::from_tuple_data(Bytes::copy_from_slice(insert.new));
                    assert_eq!(tuple::count(insert.new), Some(row.cells().count()), "byte {at} as {changed}");
                }
            }
            damaged[at] = original;
        }
    }
}

fn check(recording: &str, expected: ExpectFile) {
    let mut renderer = Renderer::default();
    let lines: Vec<String> =
        messages(recording).iter().map(|(context, bytes)| renderer.message(bytes, *context)).collect();
    expected.assert_eq(&fold_repetitions(&lines));
}

/// The messages of a recording, each with the context it stood in.
fn messages(recording: &str) -> Vec<(Context, Bytes)> {
    let mut context = Context::default();
    let with_context = |line: &str| {
        let bytes = unhex(line);
        let found = (context, bytes);
        match found.1.first() {
            Some(b'S') => context.in_stream = true,
            Some(b'E') => context.in_stream = false,
            _ => {}
        }
        found
    };
    recording.lines().map(with_context).collect()
}

fn unhex(line: &str) -> Bytes {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit");
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).expect("two digits");
    line.as_bytes().chunks(2).map(byte).collect()
}

/// Long runs of like lines (the many rows that fill a stream) as the first, a count, and the last.
fn fold_repetitions(lines: &[String]) -> String {
    let subject = |line: &String| line.split(" {").next().map(str::to_owned);
    let mut folded = String::new();
    for run in lines.chunk_by(|a, b| a.contains("Insert") && subject(a) == subject(b)) {
        match run {
            [first, middle @ .., last] if middle.len() > 10 => {
                writeln!(folded, "{first}\n… {} more\n{last}", middle.len()).expect("a string");
            }
            _ => run.iter().for_each(|line| writeln!(folded, "{line}").expect("a string")),
        }
    }
    folded
}

/// Renders messages, remembering relations as the ingest loop does.
#[derive(Default)]
struct Renderer {
    relations: HashMap<u32, Arc<Relation>>,
}

impl Renderer {
    fn message(&mut self, bytes: &Bytes, context: Context) -> String {
        match parse(bytes, context).expect("what PostgreSQL sent") {
            Message::Relation(relation) => self.relation(&relation),
            Message::Insert(insert) => {
                insert.check_columns(self.relations[&insert.relation_oid].columns.len()).expect("its width");
                self.change(Op::Insert, insert.xid, insert.relation_oid, bytes.slice_ref(insert.body))
            }
            Message::Update(update) => {
                update.check_columns(self.relations[&update.relation_oid].columns.len()).expect("its width");
                self.change(Op::Update, update.xid, update.relation_oid, bytes.slice_ref(update.body))
            }
            Message::Delete(delete) => {
                delete.check_columns(self.relations[&delete.relation_oid].columns.len()).expect("its width");
                self.change(Op::Delete, delete.xid, delete.relation_oid, bytes.slice_ref(delete.body))
            }
            other => format!("{other:?}"),
        }
    }

    fn relation(&mut self, message: &message::Relation<'_>) -> String {
        let column = |column: &message::RelationColumn<'_>| Column {
            name: column.name.to_owned(),
            type_oid: column.type_oid,
            type_modifier: column.type_modifier,
            shape: shape::builtin(column.type_oid).unwrap_or(Shape::TEXT),
        };
        let keys = message.columns.iter().enumerate().filter(|(_, column)| column.key);
        let relation = Relation {
            oid: message.oid,
            name: TableName { schema: message.schema.to_owned(), table: message.table.to_owned() },
            identity: message.identity,
            columns: message.columns.iter().map(column).collect(),
            key: keys.map(|(index, _)| index).collect(),
        };
        let columns: Vec<String> = relation.columns.iter().map(|c| format!("{} {}", c.name, c.type_oid)).collect();
        let (xid, oid) = (transaction(message.xid), relation.oid);
        let text = format!(
            "{xid}Relation {oid} {} {:?} key {:?} ({})",
            relation.name,
            relation.identity,
            relation.key,
            columns.join(", ")
        );
        self.relations.insert(oid, Arc::new(relation));
        text
    }

    /// Renders a change the way it is read back from the log: out of its body.
    fn change(&self, op: Op, xid: Option<u32>, relation_oid: u32, body: Bytes) -> String {
        let relation = &self.relations[&relation_oid];
        let change = tuple::change(op, relation, &body).expect("a body as PostgreSQL sends it");
        let (old, new) = match &change {
            Change::Insert { new, .. } => (None, Some(new)),
            Change::Update { old, new, .. } => (old.as_ref(), Some(new)),
            Change::Delete { old, .. } => (Some(old), None),
            other => panic!("not a row change: {other:?}"),
        };
        let mut text = format!("{}{op:?} {}", transaction(xid), relation.name);
        match old {
            Some(OldRow::Key(row)) => text += &format!(" key {}", render(relation, row)),
            Some(OldRow::Full(row)) => text += &format!(" full {}", render(relation, row)),
            None => {}
        }
        if let Some(new) = new {
            text += &format!(" {}", render(relation, new));
        }
        text
    }
}

fn transaction(xid: Option<u32>) -> String {
    xid.map(|xid| format!("[{xid}] ")).unwrap_or_default()
}

/// A row cell by cell, a wide one with a line for each; long values cut short.
fn render(relation: &Relation, row: &Row) -> String {
    let mut whole = Vec::new();
    json::write_row(relation, row, &mut whole);
    let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&whole).expect("JSON");
    let unchanged = json::unchanged_columns(relation, row).count();
    assert_eq!(parsed.len() + unchanged, relation.columns.len(), "a column is missing");

    let cell = |(column, cell): (&Column, Cell<'_>)| {
        let value = match cell {
            Cell::Null => "null".to_owned(),
            Cell::Unchanged => "unchanged".to_owned(),
            Cell::Binary(bytes) => panic!("binary was not asked for: {bytes:?}"),
            Cell::Text(text) => {
                let mut out = Vec::new();
                json::write_cell(column.shape, text, &mut out);
                String::from_utf8(out).expect("JSON is UTF-8")
            }
        };
        let shown: String = value.chars().take(300).collect();
        let rest = value.len() - shown.len();
        if rest > 0 { format!("{}: {shown}… {rest} more", column.name) } else { format!("{}: {value}", column.name) }
    };
    let cells: Vec<String> = relation.columns.iter().zip(row.cells()).map(cell).collect();
    if cells.len() > 8 { format!("{{\n    {}\n}}", cells.join(",\n    ")) } else { format!("{{{}}}", cells.join(", ")) }
}
