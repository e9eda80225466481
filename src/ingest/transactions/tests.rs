//! The state machine without a server: messages made by hand, messages recorded from PostgreSQL, and both in disorder.

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use expect_test::{Expect, expect};
use proptest::prelude::*;

mod wire;

use self::wire::*;
use super::super::OnTruncate;
use super::super::assemble::Wanted;
use super::*;
use crate::decode::tuple;
use crate::event::{Cell, Change, Op, Position};
use crate::log::Entry;

/// The log as far as it has been written: a line for each unit, and what is open.
#[derive(Default)]
struct Written {
    units: String,
    open: Option<String>,
}

impl Append for Written {
    fn append(&mut self, entry: Entry<'_>) -> Result<(), IngestError> {
        let open = self.open.take();
        match entry {
            Entry::Begin(unit) => {
                assert!(open.is_none(), "a unit inside another");
                let origin = unit.origin.as_deref().map_or(String::new(), |origin| format!(" from {origin}"));
                self.open = Some(format!("{} at {}{origin}:", unit.xid, unit.commit_lsn));
            }
            Entry::Change { op, relation, body } => {
                let open = open.expect("a unit");
                self.open = Some(format!("{open} {} {}.{}", op.as_str(), relation.name.table, key(op, relation, body)));
            }
            Entry::Message { prefix, .. } => self.open = Some(format!("{} message {prefix}", open.expect("a unit"))),
            Entry::Commit { end_lsn } => {
                writeln!(self.units, "{} end {end_lsn}", open.expect("a unit")).expect("a string");
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }
}

/// The first column of a change's row.
fn key(op: Op, relation: &Arc<Relation>, body: &[u8]) -> String {
    let change = tuple::change(op, relation, &Bytes::copy_from_slice(body)).expect("a change");
    let row = match &change {
        Change::Insert { new, .. } | Change::Update { new, .. } => new,
        Change::Delete { old, .. } => old.row(),
        _ => return "*".to_owned(),
    };
    match row.cell(0) {
        Some(Cell::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}

struct World {
    directory: tempfile::TempDir,
    transactions: Transactions,
    windows: Windows,
    log: Written,
    /// What was passed without an event.
    passed: Vec<Lsn>,
}

impl World {
    fn new(last: u64, foreign: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let transactions = stream(directory.path(), last, foreign);
        World { directory, transactions, windows: Windows::default(), log: Written::default(), passed: Vec::new() }
    }

    /// Another connection, on the log as it is.
    fn reconnect(&mut self, last: u64) {
        self.transactions = stream(self.directory.path(), last, true);
    }

    fn try_take(&mut self, message: &[u8]) -> Result<(), IngestError> {
        let step = self.transactions.take(message, Timestamp::default(), &mut self.windows, &mut self.log)?;
        self.act(step)?;
        while self.transactions.is_replaying() {
            assert!(self.transactions.in_transaction(), "a keepalive now is no place");
            let step = self.transactions.replay_some(&mut self.windows, &mut self.log)?;
            self.act(step)?;
        }
        Ok(())
    }

    fn act(&mut self, step: Step) -> Result<(), IngestError> {
        match step {
            Step::Done | Step::Announced => {}
            Step::Committed { end_lsn, events: 0 } => self.passed.push(end_lsn),
            Step::Committed { .. } => {}
            Step::Describe(relation) => self.transactions.learn(relation),
            Step::Settle { mut settling, end_lsn } => {
                assert!(self.transactions.in_transaction(), "not ours yet");
                settling.run()?;
                self.transactions.settled(settling);
                self.passed.push(end_lsn);
            }
        }
        Ok(())
    }

    fn take(&mut self, messages: &[Vec<u8>]) {
        for message in messages {
            self.try_take(message).unwrap_or_else(|error| panic!("{}: {error}", message.escape_ascii()));
        }
    }

    fn refused(&mut self, message: &[u8]) {
        self.try_take(message).expect_err("refused");
    }

    fn wrote(&self, expected: Expect) {
        expected.assert_eq(&self.log.units);
        assert_eq!(self.log.open, None);
    }
}

fn stream(directory: &std::path::Path, last: u64, foreign: bool) -> Transactions {
    let wanted = Wanted {
        tables: Arc::new(|_| true),
        messages: Arc::new(|prefix| prefix != "unwanted"),
        foreign,
        on_truncate: OnTruncate::Apply,
    };
    let last = Position { epoch: 1, commit_lsn: Lsn::new(last), ordinal: 0 };
    let spill = Spill::open(&directory.join("spill"), 1, Lsn::new(last.commit_lsn.get() + 1)).expect("a directory");
    Transactions::new(Assembler::new(1, last, wanted, Relations::new([7].into())), spill)
}

#[test]
fn interleaved_streams_are_written_in_commit_order_without_what_was_rolled_back() {
    // Others lost the last message of each block at Stream Stop, or took the id in front of each for a part of it.
    let mut world = World::new(0, true);
    world.take(&[
        start(10, true),
        of(10, table("t")),
        of(10, row("a1")),
        of(11, row("void")),
        of(10, row("a2")),
        stop(),
    ]);
    world.take(&[start(20, true), of(20, table("t")), of(20, row("b1")), of(21, row("b2")), stop()]);
    world.take(&[begin(30, 0x50), table("t"), row("c"), commit(0x50), abort(10, 11)]);
    world.take(&[start(10, false), of(10, row("a3")), of(12, row("a4")), stop(), stream_commit(20, 0x60)]);
    assert!(!world.transactions.in_transaction(), "the other one is no reason to hold the slot back");
    world.take(&[stream_commit(10, 0x70)]);
    world.wrote(expect![[r#"
        30 at 0/50: insert t.c end 0/60
        20 at 0/60: insert t.b1 insert t.b2 end 0/70
        10 at 0/70: insert t.a1 insert t.a2 insert t.a3 insert t.a4 end 0/80
    "#]]);
}

#[test]
fn a_stream_that_is_rolled_back_leaves_neither_rows_nor_its_idea_of_a_table() {
    let mut world = World::new(0, true);
    world.take(&[begin(1, 0x10), table("t"), row("x"), commit(0x10)]);
    world.take(&[start(10, true), of(10, table("renamed")), of(10, row("a")), stop()]);
    world.take(&[begin(2, 0x20), row("y"), commit(0x20), abort(10, 10), begin(3, 0x30), row("z"), commit(0x30)]);
    world.refused(&stream_commit(10, 0x40));
    world.wrote(expect![[r#"
        1 at 0/10: insert t.x end 0/20
        2 at 0/20: insert t.y end 0/30
        3 at 0/30: insert t.z end 0/40
    "#]]);
}

#[test]
fn a_table_renamed_in_a_stream_is_read_as_it_was_at_each_row_and_counts_from_the_commit_on() {
    let mut world = World::new(0, true);
    world.take(&[begin(1, 0x10), table("t"), row("x"), commit(0x10)]);
    world.take(&[start(10, true), of(10, table("t")), of(10, row("a")), of(10, table("new")), of(10, row("b"))]);
    world.take(&[of(11, table("void")), of(11, row("c")), stop(), abort(10, 11)]);
    world.take(&[start(10, false), of(10, table("new")), of(10, row("d")), stop()]);
    world.take(&[
        begin(2, 0x20),
        row("y"),
        commit(0x20),
        stream_commit(10, 0x30),
        begin(3, 0x40),
        row("z"),
        commit(0x40),
    ]);
    world.wrote(expect![[r#"
        1 at 0/10: insert t.x end 0/20
        2 at 0/20: insert t.y end 0/30
        10 at 0/30: insert t.a insert new.b insert new.d end 0/40
        3 at 0/40: insert new.z end 0/50
    "#]]);
}

#[test]
fn a_stream_that_the_log_has_still_tells_what_a_table_is() {
    // It is sent again after a reconnect, and PostgreSQL does not announce the table to those that follow.
    let mut world = World::new(0x30, true);
    world.take(&[start(10, true), of(10, table("t")), of(10, row("a")), stop(), stream_commit(10, 0x30)]);
    world.take(&[begin(2, 0x40), row("y"), commit(0x40)]);
    assert_eq!(world.passed, [Lsn::new(0x40)]);
    world.wrote(expect![[r#"
        2 at 0/40: insert t.y end 0/50
    "#]]);
}

#[test]
fn a_prepared_transaction_is_written_at_its_commit_with_its_tables_as_they_were() {
    let mut world = World::new(0, true);
    world.take(&[begin(1, 0x10), table("t"), row("x"), commit(0x10)]);
    // No announcement inside: it was made before.
    world.take(&[prepared(b'b', 20, 0x20), row("p1"), row("p2"), prepared(b'P', 20, 0x20)]);
    // One inside counts for all at once.
    world.take(&[prepared(b'b', 21, 0x30), table("later"), row("q"), prepared(b'P', 21, 0x30)]);
    world.take(&[begin(2, 0x40), row("y"), commit(0x40)]);
    world.take(&[start(22, true), of(22, table("s")), of(22, row("r")), of(23, row("v")), stop(), abort(22, 23)]);
    world.take(&[prepared(b'p', 22, 0x50), rollback_prepared(21, 0x60)]);
    assert_eq!(world.passed, [0x30, 0x40, 0x60, 0x70].map(Lsn::new), "each once it is durable");
    world.take(&[prepared(b'K', 20, 0x70), begin(3, 0x80), row("z"), commit(0x80)]);
    world.reconnect(0x80);
    world.take(&[prepared(b'K', 20, 0x70), prepared(b'K', 22, 0x90), rollback_prepared(21, 0x60)]);
    world.refused(&prepared(b'K', 21, 0xA0));
    world.wrote(expect![[r#"
        1 at 0/10: insert t.x end 0/20
        2 at 0/40: insert later.y end 0/50
        20 at 0/70: insert t.p1 insert t.p2 end 0/80
        3 at 0/80: insert later.z end 0/90
        22 at 0/90: insert s.r end 0/A0
    "#]]);
}

#[test]
fn a_message_of_no_transaction_is_a_unit_at_its_own_place() {
    let mut world = World::new(0, true);
    world.take(&[
        begin(1, 0x10),
        table("t"),
        row("x"),
        message(true, 0x8, "inside"),
        message(true, 0x9, "unwanted"),
        commit(0x10),
    ]);
    // What is told of a message is where its record ends.
    world.take(&[
        message(false, 0x20, "lone"),
        message(false, 0x21, "unwanted"),
        start(10, true),
        of(10, message(true, 0x22, "in a")),
    ]);
    world.take(&[of(11, message(true, 0x23, "void")), stop(), message(false, 0x30, "between"), abort(10, 11)]);
    world.take(&[begin(2, 0x38), message(true, 0x37, "unwanted"), commit(0x38), stream_commit(10, 0x40)]);
    world.wrote(expect![[r#"
        1 at 0/10: insert t.x message inside end 0/20
        0 at 0/1F: message lone end 0/20
        0 at 0/2F: message between end 0/30
        10 at 0/40: message in a end 0/50
    "#]]);
    // After a reconnect both may come again.
    world.reconnect(0x30);
    world.log = Written::default();
    world.take(&[message(false, 0x20, "lone"), message(false, 0x30, "between"), message(false, 0x41, "new")]);
    world.wrote(expect![[r#"
        0 at 0/40: message new end 0/41
    "#]]);
    world.take(&[begin(3, 0x50)]);
    world.refused(&message(false, 0x51, "lone"));
}

/// Found by the checker: `BEGIN; INSERT …; SELECT pg_logical_emit_message(false, …); COMMIT`. The commit's record begins where the
/// message's ends, and the transaction was taken for one that the log has already.
#[test]
fn a_transaction_whose_last_record_is_a_message_of_no_transaction_is_not_lost() {
    let mut world = World::new(0, true);
    world.take(&[message(false, 0x20, "lone"), begin(1, 0x20), table("t"), row("x"), commit(0x20)]);
    world.wrote(expect![[r#"
        0 at 0/1F: message lone end 0/20
        1 at 0/20: insert t.x end 0/30
    "#]]);
}

#[test]
fn an_origin_is_told_of_its_transaction_only_and_may_be_left_out() {
    let messages = [
        vec![begin(1, 0x10), origin("far"), table("t"), row("a"), commit(0x10), begin(2, 0x20), row("b"), commit(0x20)],
        vec![start(10, true), origin("far"), of(10, table("t")), of(10, row("c")), stop()],
        vec![
            start(20, true),
            of(20, table("t")),
            of(20, row("d")),
            stop(),
            stream_commit(10, 0x30),
            stream_commit(20, 0x40),
        ],
        vec![prepared(b'b', 30, 0x50), origin("far"), row("e"), prepared(b'P', 30, 0x50), prepared(b'K', 30, 0x60)],
    ]
    .concat();
    let mut world = World::new(0, true);
    world.take(&messages);
    world.wrote(expect![[r#"
        1 at 0/10 from far: insert t.a end 0/20
        2 at 0/20: insert t.b end 0/30
        10 at 0/30 from far: insert t.c end 0/40
        20 at 0/40: insert t.d end 0/50
        30 at 0/60 from far: insert t.e end 0/70
    "#]]);
    let mut world = World::new(0, false);
    world.take(&messages);
    world.wrote(expect![[r#"
        2 at 0/20: insert t.b end 0/30
        20 at 0/40: insert t.d end 0/50
    "#]]);
}

#[test]
fn a_huge_transaction_is_written_in_turns_and_no_place_lies_inside_it() {
    let mut world = World::new(0, true);
    world.take(&[start(10, true), of(10, table("t"))]);
    let value = "v".repeat(100_000);
    for _ in 0..50 {
        world.take(&[of(10, row(&value))]);
    }
    world.take(&[stop()]);
    let World { transactions, windows, log, .. } = &mut world;
    let step = transactions.take(&stream_commit(10, 0x50), Timestamp::default(), windows, log).expect("taken");
    assert!(matches!(step, Step::Done));
    let mut turns = 0;
    let end = loop {
        assert!(transactions.is_replaying() && transactions.in_transaction(), "turn {turns}");
        match transactions.replay_some(windows, log).expect("readable") {
            Step::Announced => {}
            Step::Done => turns += 1,
            Step::Committed { end_lsn, events } => break (end_lsn, events),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end, (Lsn::new(0x60), 50));
    assert!((4..=6).contains(&turns), "5 MB took {turns} turns");
    assert!(!transactions.in_transaction());
}

#[test]
fn what_the_protocol_does_not_allow_is_refused() {
    for (before, then) in [
        (vec![], stop()),
        (vec![], row("a")),
        (vec![], stream_commit(10, 0x10)),
        (vec![], start(10, false)),
        (vec![], prepared(b'P', 10, 0x10)),
        (vec![], prepared(b'p', 10, 0x10)),
        (vec![], prepared(b'K', 10, 0x10)),
        (vec![], origin("far")),
        (vec![start(10, true)], start(11, true)),
        (vec![start(10, true)], begin(1, 0x10)),
        (vec![start(10, true)], commit(0x10)),
        (vec![start(10, true)], vec![b'I', 0, 0]),
        (vec![start(10, true), stop()], start(10, true)),
        (vec![start(10, true)], prepared(b'P', 10, 0x10)),
        (vec![prepared(b'b', 10, 0x10)], stop()),
        (vec![prepared(b'b', 10, 0x10)], prepared(b'P', 11, 0x10)),
        (vec![begin(1, 0x10)], begin(2, 0x20)),
        (vec![begin(1, 0x10)], commit(0x20)),
    ] {
        let mut world = World::new(0, true);
        world.take(&before);
        world.refused(&then);
        assert_eq!(world.log.units, "");
    }
}

/// What PostgreSQL really sent.
fn recorded(recording: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &str| u8::from_str_radix(pair, 16).expect("hex");
    let bytes = |line: &str| (0..line.len()).step_by(2).map(|at| byte(&line[at..at + 2])).collect();
    recording.lines().map(bytes).collect()
}

const STREAM: &str = include_str!("../../../integration-tests/fixtures/stream.pgoutput");
const TWO_PHASE: &str = include_str!("../../../integration-tests/fixtures/two_phase.pgoutput");

/// Each unit's head, how many changes it has, and the last.
fn summary(units: &str) -> String {
    let one = |line: &str| {
        let (head, rest) = line.split_once(':').unwrap_or_default();
        let xid = head.split(' ').next().unwrap_or_default();
        let changes: Vec<&str> = rest.split(" end ").next().unwrap_or_default().split(' ').collect();
        let (count, last) = (changes.len() / 2, changes.last().copied().unwrap_or_default());
        format!("{xid}: {count}, the last {last}\n")
    };
    units.lines().map(one).collect()
}

#[test]
fn recorded_streams_are_written_whole() {
    let mut world = World::new(0, true);
    world.take(&recorded(STREAM));
    expect![[r#"
        788: 1004, the last small.*
        793: 1, the last small.1
    "#]]
    .assert_eq(&summary(&world.log.units));
}

#[test]
fn recorded_prepared_transactions_are_written_whole() {
    let mut world = World::new(0, true);
    world.take(&recorded(TWO_PHASE));
    expect![[r#"
        798: 1, the last t.1
        800: 601, the last t.610
    "#]]
    .assert_eq(&summary(&world.log.units));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Messages lost, doubled, swapped and damaged: refused or taken, but never a panic, and never half a unit or two in one.
    #[test]
    fn recordings_in_disorder_are_refused_or_taken_whole(
        two_phase: bool,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..12)
    ) {
        let mut messages = recorded(if two_phase { TWO_PHASE } else { STREAM });
        // Enough of it for every kind, and quick.
        let kinds: Vec<bool> = messages.iter().enumerate().map(|(at, message)| message[0] != b'I' || at % 40 == 0).collect();
        let mut kinds = kinds.into_iter();
        messages.retain(|_| kinds.next().unwrap_or_default());
        for (at, other, kind, byte) in changes {
            let (at, other) = (at.index(messages.len()), other.index(messages.len()));
            match kind {
                0 => { messages.remove(at); }
                1 => messages.insert(at, messages[other].clone()),
                2 => messages.swap(at, other),
                _ => {
                    let place = usize::from(byte) % messages[at].len();
                    messages[at][place] ^= byte | 1;
                }
            }
            prop_assume!(!messages.is_empty());
        }
        let mut world = World::new(0, true);
        for message in &messages {
            if world.try_take(message).is_err() {
                break;
            }
        }
    }
}
