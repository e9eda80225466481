//! Kafka's formats alone, on one core: a narrow row from its tuple into a record, and back.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use walbridge::decode::shape;
use walbridge::event::{
    Cell, Column, Lsn, Op, Relation, ReplicaIdentity, RowBuilder, TableName, Timestamp, Transaction,
};
use walbridge::kafka::format::{EXACT_HEADER, Format, Records, Settings, Unit};

const ROWS: u32 = 100_000;
const ROUNDS: usize = 7;

/// Name, type OID, text and binary form of a value.
const COLUMNS: [(&str, u32, &[u8], &[u8]); 4] = [
    ("id", 20, b"184467440737", &184_467_440_737_i64.to_be_bytes()),
    ("name", 25, b"Grace Brewster Murray Hopper", b"Grace Brewster Murray Hopper"),
    ("balance", 23, b"1234567", &1_234_567_i32.to_be_bytes()),
    ("created_at", 1114, b"2026-11-24 10:00:00.123456", &848_829_600_123_456_i64.to_be_bytes()),
];

/// Prints its figures, one a line.
pub(crate) fn run() {
    let relation = relation();
    let settings =
        Settings { name: "shop".to_owned(), database: "shop".to_owned(), tombstones: true, ..Settings::default() };
    for format in [Format::Debezium, Format::Json, Format::Avro, Format::Protobuf] {
        one(format, &relation, &settings);
    }
}

fn one(format: Format, relation: &Arc<Relation>, settings: &Settings) {
    let (encoder, decoder) = (format.encoder(relation, settings), format.decoder(relation));
    let mut unit = Unit::new(settings);
    unit.begin(&transaction(), Timestamp::now());
    let mut records = Records::default();
    for (form, binary) in [("text", false), ("binary", true)] {
        let body = body(binary);
        report(&format!("format {} {form}", format.name()), || {
            for ordinal in 0..u64::from(ROWS) {
                records.clear();
                encoder.change(&mut unit, ordinal, Op::Insert, black_box(&body), &mut records).expect("a change");
                black_box(&records);
            }
        });
    }
    report(&format!("format {} decode", format.name()), || {
        for _ in 0..ROWS {
            let record = records.iter().next().expect("a record");
            let exact = record.headers().find(|(name, _)| *name == EXACT_HEADER).map(|(_, value)| value);
            black_box(decoder.decode(record.value, |name| exact.filter(|_| name == EXACT_HEADER)).expect("a change"));
        }
    });
}

/// Prints the fastest round: the others had company on the core.
fn report(name: &str, mut round: impl FnMut()) {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed()
    });
    let fastest = rounds.min().unwrap_or(Duration::ZERO);
    println!("{name} {:.1} ns/row", fastest.as_secs_f64() * 1e9 / f64::from(ROWS));
}

fn relation() -> Arc<Relation> {
    let column = |&(name, type_oid, ..): &(&str, u32, &[u8], &[u8])| Column {
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

fn body(binary: bool) -> Vec<u8> {
    let mut row = RowBuilder::default();
    for (_, _, text, bytes) in COLUMNS {
        row.push(if binary { Cell::Binary(bytes) } else { Cell::Text(text) });
    }
    [b"N".as_slice(), row.finish().as_bytes()].concat()
}

fn transaction() -> Transaction {
    Transaction {
        epoch: 1,
        xid: 742,
        commit_lsn: Lsn::new(0x16_B374_D848),
        commit_time: Timestamp::from_unix_micros(1_795_514_400_000_500),
        first_ordinal: 0,
        origin: None,
    }
}
