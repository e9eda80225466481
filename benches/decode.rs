//! Decoding alone, on one core: parsing a message as ingest does, and writing its row and its event as JSON.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use walbridge::decode::message::Message;
use walbridge::decode::pgoutput::{Context, parse};
use walbridge::decode::{json, shape, tuple};
use walbridge::event::{
    Cell, Change, Column, Event, Lsn, Op, Relation, ReplicaIdentity, RowBuilder, TableName, Timestamp, Transaction,
};
use walbridge::project::line;

const ROWS: usize = 100_000;
const ROUNDS: usize = 7;

/// Name, type OID and a value, of an everyday table.
const COLUMNS: [(&str, u32, &str); 8] = [
    ("id", 20, "184467440737"),
    ("name", 25, "Grace Brewster Murray Hopper"),
    ("active", 16, "t"),
    ("balance", 1700, "1234567.89"),
    ("score", 701, "0.30000000000000004"),
    ("created_at", 1184, "2026-11-24 10:00:00.123456+00"),
    ("tags", 1009, "{compilers,\"naval reserve\",cobol}"),
    ("profile", 3802, r#"{"city": "Arlington", "languages": ["en", "fr"], "visits": 42}"#),
];

/// Prints its figures, one a line.
pub(crate) fn run() {
    let relation = relation();
    let messages: Vec<Bytes> = (0..ROWS).map(message).collect();
    report("decode walk", || {
        for bytes in &messages {
            if let Ok(Message::Insert(insert)) = parse(black_box(bytes), Context::default()) {
                insert.check_columns(COLUMNS.len()).expect("the relation's width");
                black_box(insert.body);
            }
        }
    });

    let events: Vec<Event> = messages.iter().map(|bytes| event(&relation, bytes)).collect();
    let mut out = Vec::new();
    report("decode json", || {
        for event in &events {
            if let Change::Insert { relation, new } = &event.change {
                out.clear();
                json::write_row(relation, new, &mut out);
                black_box(&out);
            }
        }
    });
    report("decode line", || {
        for event in &events {
            out.clear();
            line::write_event("shop", event, &mut out);
            black_box(&out);
        }
    });
}

/// Prints the fastest round: the others had company on the core.
fn report(name: &str, mut round: impl FnMut()) {
    let fastest = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed()
        })
        .min()
        .unwrap_or(Duration::ZERO);
    let rows = u32::try_from(ROWS).expect("few rows");
    println!("{name} {:.1} ns/row", fastest.as_secs_f64() * 1e9 / f64::from(rows));
}

fn relation() -> Arc<Relation> {
    let column = |&(name, type_oid, _): &(&str, u32, &str)| Column {
        name: name.to_owned(),
        type_oid,
        type_modifier: -1,
        shape: shape::builtin(type_oid).expect("a built-in type"),
    };
    Arc::new(Relation {
        oid: 16_384,
        name: TableName { schema: "public".to_owned(), table: "users".to_owned() },
        identity: ReplicaIdentity::Default,
        columns: COLUMNS.iter().map(column).collect(),
        key: vec![0],
    })
}

/// An `Insert`, with a NULL here and there.
fn message(number: usize) -> Bytes {
    let mut row = RowBuilder::default();
    for (index, (_, _, value)) in COLUMNS.iter().enumerate() {
        let null = index > 0 && (number + index).is_multiple_of(16);
        row.push(if null { Cell::Null } else { Cell::Text(value.as_bytes()) });
    }
    [b"I\0\0\x40\0N".as_slice(), row.finish().as_bytes()].concat().into()
}

fn event(relation: &Arc<Relation>, message: &Bytes) -> Event {
    let transaction = Transaction {
        epoch: 1,
        xid: 742,
        commit_lsn: Lsn::new(0x16_B374_D848),
        commit_time: Timestamp::from_unix_micros(1_795_514_400_000_500),
        first_ordinal: 0,
        origin: None,
    };
    let body = message.slice(5..);
    let change = tuple::change(Op::Insert, relation, &body).expect("an insert's body");
    Event { transaction: Arc::new(transaction), ordinal: 0, change }
}
