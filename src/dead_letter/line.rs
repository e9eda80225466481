//! The lines of the file: letters, notes of what became of them, and the name of the log they are of.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::index::{Entry, Fate};
use crate::decode::base64;
use crate::decode::json::write_row;
use crate::event::{Change, Event, Position, TableName, Timestamp, Transaction};
use crate::log::single;
use crate::project::line::write_event;
use crate::project::mutation::{Document, Effect, Key, Mutation, Rejection};

/// A letter. What programs may rely on are the fields down to `row`; the others are walbridge's own.
#[derive(Serialize)]
struct Letter<'a> {
    id: u64,
    time: Timestamp,
    sink: &'a str,
    source: &'a str,
    position: Position,
    schema: Option<&'a str>,
    table: Option<&'a str>,
    key: String,
    op: &'a str,
    reason: &'a str,
    waits: bool,
    row: Value,
    oid: Option<u32>,
    /// The rows it is about, in base64.
    rows: Vec<String>,
    /// Of a document, the key it had, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_from: Option<String>,
    /// The event by itself, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<String>,
}

/// The line of a letter.
pub(super) fn letter(
    id: u64,
    sink: &str,
    source: &str,
    rejection: &Rejection,
    waits: bool,
) -> serde_json::Result<Vec<u8>> {
    let mutation = &rejection.mutation;
    let mut row = Vec::new();
    let mut moved_from = None;
    let (op, exact) = match &mutation.effect {
        Effect::Put { document, moved_from: from } => {
            write_row(&document.relation, &document.row, &mut row);
            moved_from = from.as_ref().map(|from| encode(&from.0));
            ("put", single::put_event(&as_event(document, mutation.position)))
        }
        Effect::Append(event) => {
            write_event(source, event, &mut row);
            (event.change.op().as_str(), single::put_event(event))
        }
        Effect::Delete => ("delete", None),
        Effect::Clear(_) => ("truncate", None),
        Effect::Sweep { .. } => ("sweep", None),
    };
    let mut line = serde_json::to_vec(&Letter {
        id,
        time: Timestamp::now(),
        sink,
        source,
        position: mutation.position,
        schema: mutation.table().map(|table| &*table.schema),
        table: mutation.table().map(|table| &*table.table),
        key: mutation.key.to_string(),
        op,
        reason: &rejection.reason,
        waits,
        row: serde_json::from_slice(&row).unwrap_or(Value::Null),
        oid: oid(mutation),
        rows: mutation.rows().iter().map(|key| encode(&key.0)).collect(),
        moved_from,
        exact: exact.map(|exact| encode(&exact)),
    })?;
    line.push(b'\n');
    Ok(line)
}

fn oid(mutation: &Mutation) -> Option<u32> {
    match &mutation.effect {
        Effect::Put { document, .. } => Some(document.relation.oid),
        Effect::Append(event) => event.change.relation().map(|relation| relation.oid),
        Effect::Delete | Effect::Clear(_) | Effect::Sweep { .. } => None,
    }
}

/// A document in an event's clothes.
fn as_event(document: &Document, position: Position) -> Event {
    let Position { epoch, commit_lsn, ordinal } = position;
    let commit_time = Timestamp::from_unix_micros(0);
    let transaction = Transaction { epoch, xid: 0, commit_lsn, commit_time, first_ordinal: 0, origin: None };
    let change = Change::Read { relation: document.relation.clone(), row: document.row.clone() };
    Event { transaction: transaction.into(), ordinal, change }
}

/// The letter as it is kept in mind.
pub(super) fn entry(rejection: &Rejection, waits: bool) -> Entry {
    let mutation = &rejection.mutation;
    let is_delete = match &mutation.effect {
        Effect::Delete => true,
        Effect::Append(event) => matches!(event.change, Change::Delete { .. }),
        Effect::Put { .. } | Effect::Clear(_) | Effect::Sweep { .. } => false,
    };
    Entry {
        position: mutation.position,
        key: mutation.key.clone(),
        rows: mutation.rows(),
        table: mutation.table().cloned(),
        oid: oid(mutation),
        is_delete,
        waits,
        fate: Fate::Open,
        again: None,
        place: None,
    }
}

/// What became of a letter, or which log the letters behind it are of.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Note {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) log: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) letter: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) became: Option<Became>,
    /// The later change that superseded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<Position>,
    /// The number of the retry that delivered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry: Option<u64>,
    /// Why it was refused again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Became {
    Open,
    Superseded,
    Delivered,
    Discarded,
}

impl Note {
    pub(super) fn of_fate(letter: u64, fate: Fate) -> Note {
        let (became, by, retry) = match fate {
            Fate::Open => (Became::Open, None, None),
            Fate::Superseded(by) => (Became::Superseded, by, None),
            Fate::Delivered(retry) => (Became::Delivered, None, Some(retry)),
        };
        Note { letter: Some(letter), became: Some(became), by, retry, ..Note::default() }
    }

    pub(super) fn line(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// What the index needs of a line; rows are passed over.
#[derive(Deserialize)]
struct Head {
    log: Option<String>,
    letter: Option<u64>,
    became: Option<Became>,
    by: Option<Position>,
    retry: Option<u64>,
    reason: Option<String>,
    id: Option<u64>,
    position: Option<Position>,
    #[serde(default)]
    key: String,
    schema: Option<String>,
    table: Option<String>,
    oid: Option<u32>,
    #[serde(default)]
    op: String,
    #[serde(default)]
    waits: bool,
    rows: Option<Vec<String>>,
}

/// A line that was read.
#[derive(Debug)]
pub(super) enum Line {
    /// With its number; one that an earlier version wrote has none.
    Letter(Option<u64>, Box<Entry>),
    Note(Note),
}

/// `None`: cut short by a crash, or nothing of ours.
pub(super) fn read(line: &[u8]) -> Option<Line> {
    let head: Head = serde_json::from_slice(line).ok()?;
    let Some(position) = head.position else {
        let Head { log, letter, became, by, retry, reason, .. } = head;
        return Some(Line::Note(Note { log, letter, became, by, retry, reason }));
    };
    let own = (!head.key.is_empty()).then(|| Key(Bytes::from(head.key.into_bytes())));
    let rows = match head.rows {
        Some(rows) => rows.iter().map(|row| decode(row).map(Key)).collect::<Option<Vec<_>>>()?,
        None => own.clone().into_iter().collect(),
    };
    let entry = Entry {
        position,
        key: rows.first().cloned().or(own).unwrap_or(Key(Bytes::new())),
        rows,
        table: head.schema.zip(head.table).map(|(schema, table)| TableName { schema, table }),
        oid: head.oid,
        is_delete: head.op == "delete",
        waits: head.waits,
        fate: Fate::Open,
        again: None,
        place: None,
    };
    Some(Line::Letter(head.id, Box::new(entry)))
}

/// The mutation that a letter's line holds; `None` if an earlier version wrote it.
pub(super) fn mutation(line: &[u8]) -> Option<Mutation> {
    #[derive(Deserialize)]
    struct Kept {
        position: Position,
        op: String,
        rows: Vec<String>,
        moved_from: Option<String>,
        exact: Option<String>,
    }
    let kept: Kept = serde_json::from_slice(line).ok()?;
    let key = match kept.rows.first() {
        Some(own) => Key(decode(own)?),
        None => Key(Bytes::new()),
    };
    let event = kept.exact.map(|exact| single::read_event(&decode(&exact)?));
    let effect = match (event, &*kept.op) {
        (None, "delete") => Effect::Delete,
        (Some(Some(Event { change: Change::Read { relation, row }, .. })), "put") => {
            let moved_from = kept.moved_from.map(|from| decode(&from).map(Key));
            Effect::Put {
                document: Document { relation, row },
                moved_from: moved_from.map_or(Some(None), |from| from.map(Some))?,
            }
        }
        (Some(event), _) => Effect::Append(event?),
        (None, _) => return None,
    };
    Some(Mutation { key, position: kept.position, effect })
}

fn encode(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    base64::encode(bytes, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn decode(text: &str) -> Option<Bytes> {
    base64::decode(text.as_bytes()).map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::OldRow;
    use crate::project::testing::{event, relation, row};

    #[test]
    fn a_mutation_comes_back_from_its_line_as_it_was() {
        let relation = Arc::new(relation("t", &["id", "big"], &[0]));
        let key = Key(Bytes::from_static(b"public.t:\xFF"));
        let document = Document { relation: relation.clone(), row: row(&["2", "~"]) };
        let old = Some(OldRow::Key(row(&["1", ""])));
        let moved = event(Change::Update { relation: relation.clone(), old, new: row(&["2", "x"]) });
        let effects = [
            Effect::Put { document: document.clone(), moved_from: None },
            Effect::Put { document, moved_from: Some(Key("public.t:1".into())) },
            Effect::Delete,
            Effect::Append(event(Change::Delete { relation, old: OldRow::Key(row(&["1", ""])) })),
            Effect::Append(moved),
        ];
        for (effect, rows) in effects.into_iter().zip([1, 2, 1, 1, 2]) {
            let mutation = Mutation { key: key.clone(), position: event_position(), effect };
            let rejection = Rejection { mutation, reason: "no".to_owned() };
            let line = letter(7, "s", "shop", &rejection, true).expect("JSON");
            assert_eq!(super::mutation(&line).as_ref(), Some(&rejection.mutation));
            let Some(Line::Letter(Some(7), read)) = read(&line) else { panic!("a letter") };
            assert_eq!((&*read, read.rows.len()), (&entry(&rejection, true), rows));
        }
    }

    fn event_position() -> Position {
        Position { epoch: 1, commit_lsn: crate::event::Lsn::new(5), ordinal: 3 }
    }

    #[test]
    fn a_line_of_an_earlier_version_is_a_letter_without_a_number() {
        let line = br#"{"key":"public.t:1","op":"put","position":{"epoch":1,"commit_lsn":"0/5","ordinal":3},"reason":"no","row":{"id":1},"schema":"public","sink":"s","source":"shop","table":"t","time":"x"}"#;
        let Some(Line::Letter(None, entry)) = read(line) else { panic!("a letter") };
        assert_eq!((entry.rows.len(), entry.position), (1, event_position()));
        assert_eq!(mutation(line), None);
        assert!(read(br#"{"position":"#).is_none());
    }
}
